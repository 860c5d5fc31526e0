"""The examples of the tasks, and the n-grams they are made of."""

import pyarrow as pa

from schemas.contract import Contract, balance, column, rows
from schemas.tables.documents import REJECT_COLUMNS

FAMILIES = ("translation", "qa", "multiple_choice", "math")
SPLITS = ("mine", "evaluate")

EXAMPLES = Contract(
    name="examples",
    description="One row per task example. `mine` examples give task-grams, `evaluate` examples are put to the models.",
    columns=(
        column("task", pa.string(), "name of the task in the study"),
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
        column("aliases", pa.list_(pa.field("element", pa.string(), nullable=False)), "other outputs that count as right"),
        column(
            "options",
            pa.list_(pa.field("element", pa.string(), nullable=False)),
            "the choices in order, for multiple choice; else empty",
        ),
        column("answer", pa.int16(), "index of the right option, from 0; -1 where there are no options", at_least=-1),
        column("sha256", pa.string(), "hash of prompt, separator, input, output, aliases, options"),
    ),
    key=("task", "split", "example"),
    rules=(
        rows("length(output) > 0", "an example without output is a reject"),
        rows("answer < len(options)", "the right option is one of the options"),
        rows("answer < 0 OR options[answer + 1] = output", "the output is the right option's text"),
    ),
    balances=(
        balance(
            "(SELECT count(*) FROM examples) + (SELECT count(*) FROM example_rejects)"
            " + (SELECT coalesce(sum(value), 0) FROM sums WHERE name = 'beyond_limit')",
            "(SELECT coalesce(sum(value), 0) FROM sums WHERE name = 'records')",
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
    description="Distinct word n-grams of each example's input and output, with the places they stand in.",
    columns=(
        column("task", pa.string(), "name of the task"),
        column("split", pa.string(), "mine or evaluate", one_of=SPLITS),
        column("example", pa.string(), "identifier of the example"),
        column("side", pa.string(), "which text it is from", one_of=("input", "output")),
        column(
            "order",
            pa.int16(),
            "n the study asks for; a whole answer of another length stands under every n",
            between=(1, 16),
        ),
        column("ngram", pa.string(), "normalised words, one space between"),
        column("length", pa.int16(), "number of words", at_least=1),
        column(
            "starts",
            pa.list_(pa.field("element", pa.int32(), nullable=False)),
            "code point offsets in the text where it begins",
        ),
        column(
            "ends",
            pa.list_(pa.field("element", pa.int32(), nullable=False)),
            "code point offsets in the text just behind it",
        ),
    ),
    key=("task", "split", "example", "side", "order", "ngram"),
    rules=(
        rows("len(starts) = len(ends) AND len(starts) >= 1", "an n-gram stands somewhere"),
        rows("len(string_split(ngram, ' ')) = length", "length counts the words"),
        rows("side = 'output' OR length = \"order\"", "an input n-gram has n words"),
    ),
)

EMBEDDINGS = Contract(
    name="embeddings",
    description="One vector per distinct n-gram of a task's side. Cosine is the dot product: vectors have length 1 or 0.",
    columns=(
        column("task", pa.string(), "name of the task"),
        column("side", pa.string(), "which text the n-gram is from", one_of=("input", "output")),
        column("ngram", pa.string(), "normalised words, one space between"),
        column("vector", pa.list_(pa.field("element", pa.float32(), nullable=False)), "the embedding"),
    ),
    key=("task", "side", "ngram"),
    compression="none",  # vectors do not repeat
    rules=(
        rows(
            "abs(list_dot_product(vector, vector) - 1) < 1e-3 OR list_dot_product(vector, vector) = 0",
            "a vector has length 1, or 0 where the encoder knows nothing of the n-gram",
        ),
    ),
)

TASK_GRAMS = Contract(
    name="task_grams",
    description="Pairs of n-grams mined from a task's examples, above the lowest γ of the study (arXiv 2407.14985 §2, "
    "Def. 1).",
    columns=(
        column("task", pa.string(), "name of the task"),
        column("order", pa.int16(), "n", between=(1, 16)),
        column("input_ngram", pa.string(), "s_x"),
        column("output_ngram", pa.string(), "s_y"),
        column("similarity", pa.float32(), "cosine of the two embeddings", between=(-1.001, 1.001)),
        column("shares_word", pa.bool_(), "the two n-grams have a word in common"),
        column("examples", pa.int64(), "mining examples that hold the pair", at_least=1),
    ),
    key=("task", "order", "input_ngram", "output_ngram"),
    rules=(rows("input_ngram <> output_ngram", "s_x differs from s_y (Def. 1)"),),
    balances=(
        balance(
            "(SELECT count(*) FROM task_grams)",
            "(SELECT coalesce(sum(CASE WHEN name = 'candidates' THEN value ELSE -value END), 0) FROM sums "
            " WHERE name IN ('candidates', 'below_gamma', 'contained'))",
            "pairs kept = candidates - below γ - one inside the other",
        ),
    ),
)

SIMILARITIES = Contract(
    name="similarities",
    description="How the cosines of all candidate pairs A_n of a task are spread, those below the lowest γ included: what γ as a "
    "percentile is taken from. Steps of 2^-14 that hold no pair have no row.",
    columns=(
        column("task", pa.string(), "name of the task"),
        column("order", pa.int16(), "n", between=(1, 16)),
        column(
            "at_most",
            pa.float32(),
            "the pairs' cosines are at most this, and above it less 2^-14; the first and last step hold what lies beyond, too",
            between=(-1, 1),
        ),
        column("candidates", pa.int64(), "distinct pairs of the mining examples", at_least=1),
    ),
    key=("task", "order", "at_most"),
    balances=(
        balance(
            "(SELECT coalesce(sum(candidates), 0) FROM similarities)",
            "(SELECT coalesce(sum(value), 0) FROM sums WHERE name = 'candidates')",
            "every candidate pair lies somewhere",
        ),
    ),
)
