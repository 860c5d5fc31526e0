"""What models write instead of the suffixes that they do not reproduce, and how often that occurs in the corpus."""

from schemas.contract import balance, boolean, int32, int64, list_of, rows, string, table
from schemas.tables.models import OF_MODEL

_GENERATION = string("generation", "hash of its ids: equal generations have the same")
_COUNTS = (
    int64("occurrences", "places of the corpus where it occurs, whatever precedes it", at_least=0),
    int64("documents", "documents of the corpus that contain it", at_least=0),
)
_COUNTED = rows("documents <= occurrences AND (documents > 0) = (occurrences > 0)", "a document contains it at least once")

RECITATIONS = table(
    "recitations by model checkpoint sequence",
    "What a model writes greedily after a prefix, for each window whose suffix it does not reproduce; where it does, "
    "its generation is the suffix, and there is no row.",
    *OF_MODEL,
    string("sequence", "name of the window"),
    int32("first_miss", "tokens of the suffix that it reproduces before its first other one", at_least=0),
    list_of(int32, "ids", "token ids that it writes: as many as the suffix has, or up to one that ends the document"),
    boolean("ended", "whether it ended the document, with the last of these ids"),
    _GENERATION,
    rows("first_miss < len(ids)", "the token of the first miss is written"),
    balance(
        "(SELECT count(*) FROM recitations)",
        "(SELECT count(*) FROM sequence_scores JOIN sequences USING (sequence) WHERE NOT list_bool_and(hits[prefix + 1 :]))",
        "a generation for each suffix that is not given back",
    ),
)

RECITED_SUFFIXES = table(
    "recited_suffixes by generation",
    "The distinct generations as long as a suffix, of all models and checkpoints together.",
    _GENERATION,
    list_of(int32, "ids", "its token ids"),
    rows("len(ids) > 0", "a suffix has a token"),
)

RECITATION_PARTIALS = table(
    "recitation_partials by number",
    "How often they occur in one part of the corpus; those that do not are left out.",
    int64("number", "row of `recited_suffixes`, from 0", at_least=0),
    *_COUNTS,
    _COUNTED,
)

RECITATION_COUNTS = table(
    "recitation_counts by generation",
    "How often each of them occurs anywhere in the corpus (docs/memorization.md).",
    _GENERATION,
    *_COUNTS,
    _COUNTED,
    balance(
        "(SELECT count(*) FROM recitation_counts)",
        "(SELECT count(DISTINCT generation) FROM recitations WHERE NOT ended)",
        "every distinct generation as long as a suffix is counted",
    ),
)
