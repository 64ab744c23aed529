"""Two models on the same rows: `jaxred.studies.two_models`."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from jaxred.io.records import OPTIONAL
from jaxred.studies.results.base import Result


@dataclass(frozen=True)
class ModelSummary:
    """One of two models."""

    n_layers: int
    hidden_size: int
    cka: np.ndarray
    cka_debiased: np.ndarray
    name: str = ""
    workdir: str = ""
    encoder: str = ""


@dataclass(frozen=True)
class SharedAt:
    """The clusters of two models' neurons together at a threshold."""

    threshold: float
    n_clusters: int
    n_shared: int
    shared_share_of_neurons: list[float]  # of either model
    agreement: float | None = field(default=None, metadata=OPTIONAL)  # these, where the models are of one shape
    n_same: int | None = field(default=None, metadata=OPTIONAL)
    n_same_of_several: int | None = field(default=None, metadata=OPTIONAL)
    share_of_several: float | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, kw_only=True)
class TwoModels(Result):
    """Two models on the same rows."""

    name: ClassVar[str] = "models"

    n_rows: int
    models: list[ModelSummary]
    cka: np.ndarray  # [layer of the first, layer of the second]
    cka_debiased: np.ndarray
    halves_move_cka_by: float | None
    most_alike: list[int | None]  # the layer of the second that is most like each of the first
    thresholds: list[SharedAt]

    def rows(self) -> list[dict[str, Any]]:
        """The CKA of every pair of layers."""
        return [
            {"layer_of_first": int(i), "layer_of_second": int(j), "cka": self.cka[i, j], "cka_debiased": debiased}
            for (i, j), debiased in np.ndenumerate(self.cka_debiased)
        ]
