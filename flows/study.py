"""A study, top to bottom: what each line reads, a line above it has written."""

from __future__ import annotations

from flows.placebo import PLACEBO
from tasks.corpus.encode import TOKENIZER, TOKENS, WORDS
from tasks.corpus.held_out import HELD_OUT
from tasks.corpus.ids import IDS
from tasks.corpus.ingest import INGEST
from tasks.corpus.planted.plant import PLANT
from tasks.examples.read import READ
from tasks.metrics.measure import MEASURE
from tasks.metrics.trace import TRACE
from tasks.models.generate import GENERATE
from tasks.models.pretrain import MODELS
from tasks.models.score import SCORE
from tasks.ngrams.count.count import COUNT
from tasks.ngrams.index import INDEX
from tasks.ngrams.infinigram import INFINIGRAM
from tasks.ngrams.novelty_scan import NOVELTY
from tasks.ngrams.query.query import QUERY
from tasks.report.build import REPORT
from tasks.step import Step
from tasks.taskgrams.align import ALIGN
from tasks.taskgrams.embed import EMBED
from tasks.taskgrams.extract import EXTRACT

STEPS: tuple[Step, ...] = (
    PLANT,  # a world with known truth, where the study asks for one
    IDS,  # which ids stand twice, in files too large for one job
    INGEST,  # documents
    HELD_OUT,  # and what was kept out of them, a sample
    READ,  # examples
    TOKENIZER,  # the models' tokens
    TOKENS,
    MODELS,  # the ladder: trained here, or named
    WORDS,  # the words that are counted
    EXTRACT,  # n-grams of the examples
    EMBED,
    ALIGN,  # task-grams: which n-grams belong together
    QUERY,  # how often they stand in the same document
    PLACEBO,  # and in a corpus that no model has seen, where the study names one
    INFINIGRAM,  # the ∞-gram language model on the models' tokens
    SCORE,  # what the models find likely
    GENERATE,  # what the models say
    NOVELTY,  # how much of it the corpus has never said
    COUNT,  # all n-grams, for the report
    INDEX,  # for questions after the study, where it asks for one
    MEASURE,  # memorization, generalization, performance
    TRACE,  # what the numbers of each example rest on
    REPORT,
)
