"""What a study runs on: the machine it names, else this one."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from flows.cost.rates import GPUS, Gpu
from schemas import Study, StudyError
from schemas.settings.study_file import parse_count, parse_size


@dataclass(frozen=True)
class Machine:
    """What it runs on. `flops`: FLOP/s really reached by a GPU or, without one, by a core; 0: not named in the study."""

    processes: int
    gpu: Gpu | None = None
    gpus: int = 1
    flops: float = 0.0
    weight_bytes: int = 4  # of a parameter in memory, by the study's dtype


def cores_of(study: Study) -> int:
    """Cores the study names, else those this process may use."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return study.hardware.cores or here


def machine_of(study: Study) -> Machine:
    """The machine a study names, with this machine's cores where it names none. StudyError for an unknown GPU."""
    h = study.hardware
    if h.gpu and h.gpu not in GPUS and not h.flops:
        raise StudyError(
            f"hardware.gpu: no data sheet of {h.gpu!r}; known are {', '.join(GPUS)}. Or give what it really "
            'reaches as flops = "250T"'
        )
    flops = float(parse_count(h.flops)) if h.flops else 0.0
    gpu = GPUS.get(h.gpu, Gpu(flops, flops, 0.0, 1e12)) if h.gpu and study.scoring.device != "cpu" else None
    width = 4 if study.scoring.dtype == "float32" else 2
    return Machine(max(1, min(study.workers, cores_of(study))), gpu, h.gpus, flops, width)


def room(study: Study, root: str) -> tuple[float, float]:
    """Bytes of main memory and of disk: as the study names them, else this machine's; 0 where neither says."""
    memory = float(parse_size(study.hardware.memory)) if study.hardware.memory else 0.0
    if not memory and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    if study.hardware.disk:
        return memory, float(parse_size(study.hardware.disk))
    if "://" in root:
        return memory, 0.0
    folder = next((p for p in (Path(root), *Path(root).parents) if p.is_dir()), None)
    return memory, float(shutil.disk_usage(folder).free) if folder else 0.0
