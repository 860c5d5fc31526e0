"""A Dask cluster that a class of another package starts: SLURM, Kubernetes, Coiled and others.

Does not import Dask; `tasks/cluster/cluster.py` connects to the cluster that is started here, and closes it.
"""

import importlib
from typing import Any

from schemas import StudyError
from schemas.settings.cluster_settings import ClusterSettings

PACKAGES = ("dask_kubernetes", "dask_jobqueue", "coiled", "dask_gateway", "dask_cloudprovider", "dask_cuda")


def start(settings: ClusterSettings, least: int) -> Any:
    """A cluster of the class that the study names, with at least `least` workers. Raises StudyError where there is no such class,
    or where it cannot start a cluster."""
    module, _, name = settings.cluster_class.rpartition(".")
    setting = f'cluster.cluster_class = "{settings.cluster_class}"'
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        top = module.partition(".")[0]
        package = top.replace("_", "-") if top in PACKAGES else f"the package that has {module}"
        raise StudyError(f"{setting}: {error}. Install it here: pip install {package}, or correct the name") from None
    if not isinstance(kind, type) or not hasattr(kind, "scale"):
        raise StudyError(f"{setting} is not the class of a Dask cluster: it has no method scale")
    try:
        cluster = kind(**settings.cluster_kwargs)
        if settings.most_workers:
            cluster.adapt(minimum=least, maximum=max(least, settings.most_workers))
        else:
            cluster.scale(least)
    except Exception as error:  # each class has its own errors
        raise StudyError(
            f"{settings.cluster_class} could not be started with cluster_kwargs = {sorted(settings.cluster_kwargs)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    return cluster
