"""The examples of the tasks, and the n-grams in them."""

from schemas.contract import balance, boolean, count, float32, int16, int32, int64, list_of, reported, rows, string, table, total
from schemas.tables.documents import REJECT_COLUMNS

FAMILIES = ("translation", "qa", "multiple_choice", "math")
SPLITS = ("mine", "evaluate")
_TASK = string("task", "name of the task")
_ORDER = int16("order", "n", between=(1, 16))
_SIDE = string("side", "the text it is from", one_of=("input", "output"))
_NGRAM = string("ngram", "normalised words, one space between")

EXAMPLES = table(
    "examples by task split example",
    "One row per task example. Task-grams are mined from `mine` examples; models are evaluated on `evaluate` examples.",
    _TASK,
    string("split", "what the example is used for", one_of=SPLITS),
    string("example", "identifier, unique in task and split"),
    string("file", "the file it is from; for a data set of the hub, its split"),
    int64("row", "line or record number in its file, from 1", at_least=1),
    string("version", "of the task and of its reader, e.g. 1/mmlu-1"),
    string("group", "subject, relation or language pair; empty where there is none"),
    string("input", "x, as n-grams are taken from it"),
    string("output", "y, the reference output"),
    string("prompt", "u ⊕ x as it is sent to the model, solved examples included; trailing white space is in `separator`"),
    string("separator", "white space between prompt and output; part of the continuation"),
    list_of(string, "aliases", "other outputs that count as right"),
    list_of(string, "options", "the choices in order, for multiple choice; else empty"),
    int16("answer", "index of the right option, from 0; -1 where there are no options", at_least=-1),
    string("sha256", "hash of prompt, separator, input, output, aliases, options"),
    rows("length(output) > 0", "an example without output is rejected"),
    rows("answer < len(options)", "the right option is one of the options"),
    rows("answer < 0 OR options[answer + 1] = output", "the output is the right option's text"),
    balance(
        f"{count('examples')} + {count('example_rejects')} + {reported('beyond_limit')}",
        reported("records"),
        "examples + rejects + those beyond the limit = records read, once for each split they serve",
    ),
)

EXAMPLE_REJECTS = table(
    "example_rejects by split file row",
    "One row per task record that did not become an example.",
    string("split", "what the example would have been used for", one_of=SPLITS),
    *REJECT_COLUMNS,
)

EXAMPLE_NGRAMS = table(
    "example_ngrams by task split example side order ngram",
    "Distinct word n-grams of each example's input and output, with their positions.",
    _TASK,
    string("split", "mine or evaluate", one_of=SPLITS),
    string("example", "identifier of the example"),
    _SIDE,
    int16("order", "n of the study; a whole answer has a row for every n, whatever its length", between=(1, 16)),
    _NGRAM,
    int16("length", "number of words", at_least=1),
    list_of(int32, "starts", "code point offsets in the text where it begins"),
    list_of(int32, "ends", "code point offsets in the text just after it"),
    rows("len(starts) = len(ends) AND len(starts) >= 1", "an n-gram occurs at least once"),
    rows("len(string_split(ngram, ' ')) = length", "length counts the words"),
    rows("side = 'output' OR length = \"order\"", "an input n-gram has n words"),
)

EMBEDDINGS = table(
    "embeddings by task side ngram",
    "One vector per distinct n-gram of a task's side. Cosine is the dot product: vectors have length 1 or 0.",
    _TASK,
    _SIDE,
    _NGRAM,
    list_of(float32, "vector", "the embedding"),
    rows(
        "abs(list_dot_product(vector, vector) - 1) < 1e-3 OR list_dot_product(vector, vector) = 0",
        "a vector has length 1, or 0 if the encoder knows none of the n-gram",
    ),
    compression="none",
)

TASK_GRAMS = table(
    "task_grams by task order input_ngram output_ngram",
    "Pairs of n-grams mined from a task's examples, above the lowest γ of the study (arXiv 2407.14985 §2, Def. 1).",
    _TASK,
    _ORDER,
    string("input_ngram", "s_x"),
    string("output_ngram", "s_y"),
    float32("similarity", "cosine of the two embeddings", between=(-1.001, 1.001)),
    boolean("shares_word", "the two n-grams have a word in common"),
    int64("examples", "mining examples that contain the pair", at_least=1),
    rows("input_ngram <> output_ngram", "s_x differs from s_y (Def. 1)"),
    balance(
        count("task_grams"),
        f"{reported('candidates')} - {reported('below_gamma')} - {reported('contained')}",
        "pairs kept = candidates - those below γ - those with one n-gram inside the other",
    ),
)

SIMILARITIES = table(
    "similarities by task order at_most",
    "Histogram of the cosines of all candidate pairs A_n of a task, those below the lowest γ included, from which a γ "
    "given as a percentile is computed. Bins of width 2^-14; empty bins have no row.",
    _TASK,
    _ORDER,
    float32(
        "at_most",
        "upper end of the bin (lower end: 2^-14 less); the first and the last bin include all values beyond",
        between=(-1, 1),
    ),
    int64("candidates", "distinct pairs of the mining examples", at_least=1),
    balance(total("candidates", "similarities"), reported("candidates"), "every candidate pair is in a bin"),
)
