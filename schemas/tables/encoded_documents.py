"""Documents as integers: words for counting, model tokens for the ∞-gram and for training."""

import pyarrow as pa

from schemas.contract import Contract, balance, column, count, rows, total

_IDS = pa.list_(pa.field("element", pa.int32(), nullable=False))

WORDS = Contract(
    name="words",
    description="One row per document: the ids of its normalised words in the part's own sorted vocabulary.",
    columns=(
        column("document", pa.int64(), "position of the document in its documents part", at_least=0),
        column("ids", _IDS, "word ids; id order is the code point order of the words"),
    ),
    key=("document",),
    balances=(
        balance(count("words"), count("documents"), "no document is lost"),
        balance(total("len(ids)", "words"), total("occurrences", "vocabulary"), "the vocabulary counts every word once"),
    ),
)

VOCABULARY = Contract(
    name="vocabulary",
    description="The sorted vocabulary of one words part.",
    columns=(
        column("id", pa.int32(), "id of the word in this part, from 0", at_least=0),
        column("word", pa.string(), "the normalised word"),
        column("occurrences", pa.int64(), "occurrences in the part", at_least=1),
        column("documents", pa.int64(), "documents of the part that contain it", at_least=1),
    ),
    key=("id",),
    rules=(
        rows("documents <= occurrences", "a word occurs at least once in each document that contains it"),
        rows("length(word) > 0 AND position(' ' IN word) = 0", "a word has characters and no space"),
    ),
)

TOKENIZER = Contract(
    name="tokenizer",
    description="The tokenizer of the study's models, as the text of its tokenizer.json.",
    columns=(
        column("name", pa.string(), "name of the tokenizer"),
        column("vocabulary_size", pa.int64(), "number of token ids", at_least=2),
        column("end_of_document", pa.int32(), "id of the token that separates documents in training", at_least=0),
        column("json", pa.string(), "content of tokenizer.json"),
    ),
    key=("name",),
    rules=(rows("end_of_document < vocabulary_size", "the separator is a token of the vocabulary"),),
)

TOKENS = Contract(
    name="tokens",
    description="One row per document: the ids of its model tokens, without special tokens.",
    columns=(
        column("document", pa.int64(), "position of the document in its documents part", at_least=0),
        column("ids", _IDS, "token ids of the study's tokenizer"),
    ),
    key=("document",),
    balances=(
        balance(count("tokens"), count("documents"), "no document is lost"),
        balance(
            count("tokens WHERE list_max(ids) >= (SELECT max(vocabulary_size) FROM tokenizer)"),
            "0",
            "every id is in the vocabulary",
        ),
    ),
)
