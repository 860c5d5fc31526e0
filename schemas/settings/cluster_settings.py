"""Settings of where Dask workers come from. They decide where a study is computed, never its results: no part key has them."""

import re
from typing import Any, Self

from pydantic import field_validator, model_validator

from schemas.settings.base import Settings, value


class ClusterSettings(Settings):
    """Workers beyond those of this machine: a scheduler that is already running, or a class that starts one.

    [cluster]
    cluster_class = "dask_jobqueue.SLURMCluster"
    cluster_kwargs = {cores = 1, memory = "4GB", queue = "long"}
    workers = 40
    """

    address: str = value("", "of a running Dask scheduler, tcp://… or tls://…; DASK_SCHEDULER_ADDRESS overrides it")
    cluster_class: str = value("", "class that starts a cluster, of a package that is installed, e.g. dask_jobqueue.SLURMCluster")
    cluster_kwargs: dict[str, Any] = value({}, 'arguments of the class, e.g. {cores = 1, memory = "4GB"}, without secrets')
    workers: int | None = value(None, "number to start; without it, the study's `workers`", ge=1, le=10**5)
    most_workers: int = value(0, "40, with workers = 4: between 4 and 40 workers, as there is work", ge=0, le=10**5)
    wait: float = value(600.0, "seconds to wait for a worker: the first one, and a new one when all are gone", gt=0)
    resource: str = value("GPU", "resource of workers with a GPU, as in `dask worker --resources GPU=1`", min_length=1)
    gpus: int | None = value(None, "GPUs of this machine for local workers, one each; without it, all", ge=0)

    @field_validator("cluster_class")
    @classmethod
    def _importable(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", value):
            raise ValueError('name a module and a class in it, e.g. "dask_jobqueue.SLURMCluster"')
        return value

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.address and self.cluster_class:
            raise ValueError("name either the address of a scheduler or a cluster_class that starts one")
        if not self.cluster_class and (self.cluster_kwargs or self.workers or self.most_workers):
            raise ValueError("cluster_kwargs, workers and most_workers are for a cluster_class; name one")
        if self.most_workers and self.most_workers < (self.workers or 1):
            raise ValueError(f"most_workers = {self.most_workers} is less than workers = {self.workers}")
        return self
