"""Record the metrics of finished studies: python -m tests.recorded ROOT STUDY ..."""

import sys
from pathlib import Path

from tests.recorded import record
from tests.studies import FinishedStudy

for name in sys.argv[2:]:
    record(FinishedStudy(Path(sys.argv[1]), name))
