"""General redundancy of several tasks together: `jaxred.studies.several_tasks`."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from jaxred.io.records import renamed
from jaxred.studies.results.base import Result
from jaxred.studies.results.probe_study import Spread
from jaxred.studies.results.redundancy import GeneralRedundancy


@dataclass(frozen=True, kw_only=True)
class TaskRedundancy(GeneralRedundancy):
    """General redundancy of one of several tasks."""

    run: str = field(metadata=renamed("name"))
    workdir: str = ""
    task: str = ""


@dataclass(frozen=True)
class MeanClustersAt:
    """The mean over tasks at a threshold."""

    threshold: float
    n_clusters: Spread
    redundant_share: Spread


@dataclass(frozen=True)
class PairAt:
    """Two tasks' clusterings at a threshold."""

    threshold: float
    agreement: float  # adjusted Rand index
    n_same: int
    n_same_of_several: int
    share_of_several: float | None


@dataclass(frozen=True)
class PairOfTasks:
    tasks: list[str]
    cka_differs_by: float | None
    cka_differs_by_on_average: float | None
    thresholds: list[PairAt]


@dataclass(frozen=True, kw_only=True)
class SeveralTasks(Result):
    """General redundancy of several tasks together."""

    name: ClassVar[str] = "tasks"

    n_layers: int
    hidden_size: int
    tasks: list[TaskRedundancy]
    mean: list[MeanClustersAt]
    window_threshold: float
    windows: np.ndarray
    pairs: list[PairOfTasks]
    pooled: GeneralRedundancy | None = None
    why_not_pooled: str | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Each task's clusters at every threshold."""
        return [{"task": task.run, **row} for task in self.tasks for row in task.rows()]
