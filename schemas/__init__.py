"""Contracts of every table, and the settings of a study. Imports no other package of this project."""

from schemas.contract import Balance as Balance
from schemas.contract import Column as Column
from schemas.contract import Contract as Contract
from schemas.contract import Rule as Rule
from schemas.errors import StudyError as StudyError
from schemas.settings.study_file import Study as Study
from schemas.settings.study_file import load_study as load_study
from schemas.tables import CONTRACTS as CONTRACTS

# ruff: noqa: F403 - each of these files defines contracts, under the names that the project uses
from schemas.tables.documents import *
from schemas.tables.encoded_documents import *
from schemas.tables.ensembles import *
from schemas.tables.evidence import *
from schemas.tables.examples import *
from schemas.tables.generation_counts import *
from schemas.tables.injections import *
from schemas.tables.leverage import *
from schemas.tables.metrics import *
from schemas.tables.models import *
from schemas.tables.ngram_counts import *
from schemas.tables.prompt_scores import *
from schemas.tables.recitations import *
from schemas.tables.redrawn import *
from schemas.tables.sequences import *
from schemas.tables.task_counts import *
from schemas.tables.verdicts import *
