"""A study, top to bottom: each step reads only what a step above it writes. If a study names a placebo, the steps PLANT, IDS,
INGEST, WORDS and QUERY work on that corpus too (`for_each_corpus`)."""

from tasks.corpus.encode import TOKENIZER, TOKENS, WORDS
from tasks.corpus.held_out import HELD_OUT
from tasks.corpus.ingest import IDS, INGEST
from tasks.corpus.planted.plant import PLANT
from tasks.evidence.evidence_step import EVIDENCE
from tasks.examples.read import READ
from tasks.memorization import MEASURES
from tasks.memorization.counterfactual import COUNTERFACTUAL_STEP
from tasks.memorization.decide_claims import VERDICTS_STEP
from tasks.memorization.membership import MEMBERSHIP_STEP
from tasks.memorization.memorize import MEMORIZE
from tasks.metrics.measure import MEASURE, with_measures
from tasks.models.capacity_grid import CAPACITY
from tasks.models.ensemble import ENSEMBLE
from tasks.models.generate import GENERATE
from tasks.models.inject import INJECT
from tasks.models.pretrain import MODELS
from tasks.models.recite import RECITE
from tasks.models.redraw import REDRAW
from tasks.models.score import SCORE
from tasks.models.score_sequences import SCORE_SEQUENCES
from tasks.models.sequence_leverage import LEVERAGE_STEP
from tasks.ngrams.count.count import COUNT
from tasks.ngrams.count_recitations import COUNT_RECITATIONS
from tasks.ngrams.draw_sequences import SEQUENCES
from tasks.ngrams.index import INDEX
from tasks.ngrams.infinigram import INFINIGRAM
from tasks.ngrams.novelty_scan import NOVELTY
from tasks.ngrams.query.query import QUERY
from tasks.report.build import REPORT
from tasks.step import Step
from tasks.taskgrams.align import ALIGN
from tasks.taskgrams.embed import EMBED
from tasks.taskgrams.extract import EXTRACT

MEASURE = with_measures(MEASURE, MEASURES)
STEPS: tuple[Step, ...] = (
    PLANT,  # a world with known truth, if the study names one
    IDS,  # duplicate ids across the chunks of a split file
    INGEST,  # documents
    HELD_OUT,  # a sample of the documents that were kept out of the corpus
    READ,  # examples
    TOKENIZER,  # the models' tokens
    TOKENS,
    MODELS,  # the ladder: trained here, or named
    MEMBERSHIP_STEP,  # which run of an ensemble is trained on what, if the study trains one
    ENSEMBLE,  # its runs, and how each scores every sequence
    LEVERAGE_STEP,  # how much each sequence determines what its kept runs say
    COUNTERFACTUAL_STEP,  # what runs with a sequence give that runs without it do not
    REDRAW,  # redrawn targets, and further runs on them
    CAPACITY,  # a grid of sizes and corpora, if the study trains one
    VERDICTS_STEP,  # what all that says about each claim
    WORDS,  # the words that are counted
    EXTRACT,  # n-grams of the examples
    EMBED,
    ALIGN,  # task-grams: which n-grams belong together
    QUERY,  # how often they occur in the same document
    INFINIGRAM,  # the ∞-gram language model on the models' tokens
    SEQUENCES,  # windows of the corpus and of held-out text, if the study asks what is memorized
    INJECT,  # trainings with held-out windows in some batches, if the study names any
    SCORE,  # the models' log-probabilities
    SCORE_SEQUENCES,  # and those of each token of these windows
    RECITE,  # what the models write where they do not give the rest of a window back
    COUNT_RECITATIONS,  # and how often that occurs in the corpus
    MEMORIZE,  # each definition of memorization for each window
    GENERATE,  # the models' answers
    NOVELTY,  # which of their n-grams the corpus does not contain
    COUNT,  # all n-grams, for the report
    INDEX,  # for `taskgram count`, if the study names one
    EVIDENCE,  # the join every measure needs: pairs with counts, probabilities, graded answers
    MEASURE,  # memorization, generalization, performance
    REPORT,
)
