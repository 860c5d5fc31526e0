"""Contracts of every table, and the settings of a study. Imports nothing else of ours."""

from schemas.contract import Balance, Column, Contract, Rule
from schemas.counts import (
    CONTAMINATION,
    CONTAMINATION_PARTIALS,
    GENERATION_COUNTS,
    GENERATION_PAIR_PARTIALS,
    GENERATION_PARTIALS,
    GENERATION_QUERIES,
    INFINIGRAM,
    INFINIGRAM_PARTIALS,
    NGRAM_COUNT_PARTIALS,
    NGRAM_COUNTS,
    NGRAM_PARTIALS,
    NGRAM_STATS,
    NGRAM_VOCABULARY,
    PAIR_COUNTS,
    PAIR_DOCUMENT_PARTIALS,
    PAIR_DOCUMENTS,
    PAIR_PARTIALS,
)
from schemas.documents import DOCUMENT_REJECTS, DOCUMENTS, PLANTED_FILES, PLANTED_SEQUENCES, TRUTH
from schemas.errors import StudyError
from schemas.examples import (
    EMBEDDINGS,
    EXAMPLE_NGRAMS,
    EXAMPLE_REJECTS,
    EXAMPLES,
    TASK_GRAMS,
)
from schemas.metrics import EXCLUSIONS, METRIC_FAMILY, METRICS, REPORT_FILES
from schemas.models import GENERATIONS, MODELS, TOKEN_SCORES, TRAINING_LOG
from schemas.study import Study, load_study
from schemas.words import TOKENIZER, TOKENS, VOCABULARY, WORDS

__all__ = [name for name in dir() if name.isupper()] + ["Balance", "Column", "Contract", "Rule", "Study", "StudyError", "load_study"]
