"""Documents as integers: words for counting, model tokens for the ∞-gram and for training."""

from schemas.contract import balance, count, int32, int64, list_of, rows, string, table, total

WORDS = table(
    "words by document",
    "One row per document: the ids of its normalised words in the part's own sorted vocabulary.",
    int64("document", "position of the document in its documents part", at_least=0),
    list_of(int32, "ids", "word ids; id order is the code point order of the words"),
    balance(count("words"), count("documents"), "no document is lost"),
    balance(total("len(ids)", "words"), total("occurrences", "vocabulary"), "the vocabulary counts every word once"),
)

VOCABULARY = table(
    "vocabulary by id",
    "The sorted vocabulary of one words part.",
    int32("id", "id of the word in this part, from 0", at_least=0),
    string("word", "the normalised word"),
    int64("occurrences", "occurrences in the part", at_least=1),
    int64("documents", "documents of the part that contain it", at_least=1),
    rows("documents <= occurrences", "a word occurs at least once in each document that contains it"),
    rows("length(word) > 0 AND position(' ' IN word) = 0", "a word has characters and no space"),
)

TOKENIZER = table(
    "tokenizer by name",
    "The tokenizer of the study's models, as the text of its tokenizer.json.",
    string("name", "name of the tokenizer"),
    int64("vocabulary_size", "number of token ids", at_least=2),
    int32("end_of_document", "id of the token that separates documents in training", at_least=0),
    string("json", "content of tokenizer.json"),
    rows("end_of_document < vocabulary_size", "the separator is a token of the vocabulary"),
)

TOKENS = table(
    "tokens by document",
    "One row per document: the ids of its model tokens, without special tokens.",
    int64("document", "position of the document in its documents part", at_least=0),
    list_of(int32, "ids", "token ids of the study's tokenizer"),
    balance(count("tokens"), count("documents"), "no document is lost"),
    balance(
        count("tokens WHERE list_max(ids) >= (SELECT max(vocabulary_size) FROM tokenizer)"), "0", "every id is in the vocabulary"
    ),
)
