"""What models write instead of the suffixes that they do not give back, and how often that occurs in the corpus."""

import pyarrow as pa

from schemas.contract import Contract, balance, column, rows
from schemas.tables.models import INT_LIST

_GENERATION = column("generation", pa.string(), "hash of its ids: equal generations have the same")
_COUNTS = (
    column("occurrences", pa.int64(), "places of the corpus where it occurs, whatever precedes it", at_least=0),
    column("documents", pa.int64(), "documents of the corpus that contain it", at_least=0),
)
_COUNTED = rows("documents <= occurrences AND (documents > 0) = (occurrences > 0)", "a document contains it at least once")

RECITATIONS = Contract(
    name="recitations",
    description="What a model writes greedily after a prefix, for each window whose suffix it does not give back; where it does, "
    "its generation is the suffix, and there is no row.",
    columns=(
        column("model", pa.string(), "name of the model in the study"),
        column("checkpoint", pa.int64(), "training step, or 0 for a model without checkpoints", at_least=0),
        column("sequence", pa.string(), "name of the window"),
        column("first_miss", pa.int32(), "tokens of the suffix that it gives back before its first other one", at_least=0),
        column("ids", INT_LIST, "token ids that it writes: as many as the suffix has, or up to one that ends the document"),
        column("ended", pa.bool_(), "whether it ended the document, with the last of these ids"),
        _GENERATION,
    ),
    key=("model", "checkpoint", "sequence"),
    rules=(rows("first_miss < len(ids)", "the token of the first miss is written"),),
    balances=(
        balance(
            "(SELECT count(*) FROM recitations)",
            "(SELECT count(*) FROM sequence_scores JOIN sequences USING (sequence) WHERE NOT list_bool_and(hits[prefix + 1 :]))",
            "a generation for each suffix that is not given back",
        ),
    ),
)

RECITED_SUFFIXES = Contract(
    name="recited_suffixes",
    description="The distinct generations as long as a suffix, of all models and checkpoints together.",
    columns=(_GENERATION, column("ids", INT_LIST, "its token ids")),
    key=("generation",),
    rules=(rows("len(ids) > 0", "a suffix has a token"),),
)

RECITATION_PARTIALS = Contract(
    name="recitation_partials",
    description="How often they occur in one part of the corpus; those that do not are left out.",
    columns=(column("number", pa.int64(), "row of `recited_suffixes`, from 0", at_least=0), *_COUNTS),
    key=("number",),
    rules=(_COUNTED,),
)

RECITATION_COUNTS = Contract(
    name="recitation_counts",
    description="How often each of them occurs anywhere in the corpus (docs/memorization.md).",
    columns=(_GENERATION, *_COUNTS),
    key=("generation",),
    rules=(_COUNTED,),
    balances=(
        balance(
            "(SELECT count(*) FROM recitation_counts)",
            "(SELECT count(DISTINCT generation) FROM recitations WHERE NOT ended)",
            "every distinct generation as long as a suffix is counted",
        ),
    ),
)
