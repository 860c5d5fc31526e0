"""The examples of the tasks, and the n-grams in them."""

import pyarrow as pa

from schemas.contract import Contract, balance, column, count, reported, rows, total
from schemas.tables.documents import REJECT_COLUMNS

FAMILIES = ("translation", "qa", "multiple_choice", "math")
SPLITS = ("mine", "evaluate")
_TEXTS = pa.list_(pa.field("element", pa.string(), nullable=False))
_OFFSETS = pa.list_(pa.field("element", pa.int32(), nullable=False))
_TASK = column("task", pa.string(), "name of the task")
_ORDER = column("order", pa.int16(), "n", between=(1, 16))
_SIDE = column("side", pa.string(), "the text it is from", one_of=("input", "output"))
_NGRAM = column("ngram", pa.string(), "normalised words, one space between")

EXAMPLES = Contract(
    name="examples",
    description="One row per task example. Task-grams are mined from `mine` examples; models are evaluated on `evaluate` examples.",
    columns=(
        _TASK,
        column("split", pa.string(), "what the example is used for", one_of=SPLITS),
        column("example", pa.string(), "identifier, unique in task and split"),
        column("file", pa.string(), "the file it is from; for a data set of the hub, its split"),
        column("row", pa.int64(), "line or record number in its file, from 1", at_least=1),
        column("version", pa.string(), "of the task and of its reader, e.g. 1/mmlu-1"),
        column("group", pa.string(), "subject, relation or language pair; empty where there is none"),
        column("input", pa.string(), "x, as n-grams are taken from it"),
        column("output", pa.string(), "y, the reference output"),
        column(
            "prompt",
            pa.string(),
            "u ⊕ x as it is sent to the model, solved examples included; trailing white space is in `separator`",
        ),
        column("separator", pa.string(), "white space between prompt and output; part of the continuation"),
        column("aliases", _TEXTS, "other outputs that count as right"),
        column("options", _TEXTS, "the choices in order, for multiple choice; else empty"),
        column("answer", pa.int16(), "index of the right option, from 0; -1 where there are no options", at_least=-1),
        column("sha256", pa.string(), "hash of prompt, separator, input, output, aliases, options"),
    ),
    key=("task", "split", "example"),
    rules=(
        rows("length(output) > 0", "an example without output is rejected"),
        rows("answer < len(options)", "the right option is one of the options"),
        rows("answer < 0 OR options[answer + 1] = output", "the output is the right option's text"),
    ),
    balances=(
        balance(
            f"{count('examples')} + {count('example_rejects')} + {reported('beyond_limit')}",
            reported("records"),
            "examples + rejects + those beyond the limit = records read, once for each split they serve",
        ),
    ),
)

EXAMPLE_REJECTS = Contract(
    name="example_rejects",
    description="One row per task record that did not become an example.",
    columns=(column("split", pa.string(), "what the example would have been used for", one_of=SPLITS), *REJECT_COLUMNS),
    key=("split", "file", "row"),
)

EXAMPLE_NGRAMS = Contract(
    name="example_ngrams",
    description="Distinct word n-grams of each example's input and output, with their positions.",
    columns=(
        _TASK,
        column("split", pa.string(), "mine or evaluate", one_of=SPLITS),
        column("example", pa.string(), "identifier of the example"),
        _SIDE,
        column("order", pa.int16(), "n of the study; a whole answer has a row for every n, whatever its length", between=(1, 16)),
        _NGRAM,
        column("length", pa.int16(), "number of words", at_least=1),
        column("starts", _OFFSETS, "code point offsets in the text where it begins"),
        column("ends", _OFFSETS, "code point offsets in the text just after it"),
    ),
    key=("task", "split", "example", "side", "order", "ngram"),
    rules=(
        rows("len(starts) = len(ends) AND len(starts) >= 1", "an n-gram occurs at least once"),
        rows("len(string_split(ngram, ' ')) = length", "length counts the words"),
        rows("side = 'output' OR length = \"order\"", "an input n-gram has n words"),
    ),
)

EMBEDDINGS = Contract(
    name="embeddings",
    description="One vector per distinct n-gram of a task's side. Cosine is the dot product: vectors have length 1 or 0.",
    columns=(_TASK, _SIDE, _NGRAM, column("vector", pa.list_(pa.field("element", pa.float32(), nullable=False)), "the embedding")),
    key=("task", "side", "ngram"),
    compression="none",  # vectors do not repeat
    rules=(
        rows(
            "abs(list_dot_product(vector, vector) - 1) < 1e-3 OR list_dot_product(vector, vector) = 0",
            "a vector has length 1, or 0 if the encoder knows none of the n-gram",
        ),
    ),
)

TASK_GRAMS = Contract(
    name="task_grams",
    description="Pairs of n-grams mined from a task's examples, above the lowest γ of the study (arXiv 2407.14985 §2, Def. 1).",
    columns=(
        _TASK,
        _ORDER,
        column("input_ngram", pa.string(), "s_x"),
        column("output_ngram", pa.string(), "s_y"),
        column("similarity", pa.float32(), "cosine of the two embeddings", between=(-1.001, 1.001)),
        column("shares_word", pa.bool_(), "the two n-grams have a word in common"),
        column("examples", pa.int64(), "mining examples that contain the pair", at_least=1),
    ),
    key=("task", "order", "input_ngram", "output_ngram"),
    rules=(rows("input_ngram <> output_ngram", "s_x differs from s_y (Def. 1)"),),
    balances=(
        balance(
            count("task_grams"),
            f"{reported('candidates')} - {reported('below_gamma')} - {reported('contained')}",
            "pairs kept = candidates - those below γ - those with one n-gram inside the other",
        ),
    ),
)

SIMILARITIES = Contract(
    name="similarities",
    description="Histogram of the cosines of all candidate pairs A_n of a task, those below the lowest γ included, from which a γ "
    "given as a percentile is computed. Bins of width 2^-14; empty bins have no row.",
    columns=(
        _TASK,
        _ORDER,
        column(
            "at_most",
            pa.float32(),
            "upper end of the bin (lower end: 2^-14 less); the first and the last bin include all values beyond",
            between=(-1, 1),
        ),
        column("candidates", pa.int64(), "distinct pairs of the mining examples", at_least=1),
    ),
    key=("task", "order", "at_most"),
    balances=(balance(total("candidates", "similarities"), reported("candidates"), "every candidate pair is in a bin"),),
)
