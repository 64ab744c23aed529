"""How much faster a minimal set is than the whole, on the machine of the run."""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxred.studies.results.base import Result


@dataclass(frozen=True, kw_only=True)
class SpeedResult(Result):
    """The time of the whole encoder and oracle, and of the smallest set that is a finding."""

    name: ClassVar[str] = "speed"

    set_name: str
    n_layers: dict[str, int]  # transformer layers of whole and small
    n_neurons: dict[str, int]
    texts_per_second: dict[str, float]  # from text to answer
    n_texts: int
    training_seconds: dict[str, float]  # of the probe, compiling not counted
    n_rows: int
    device: str

    @property
    def extraction(self) -> float:
        """How many times as fast the small model reads text."""
        return self.texts_per_second["small"] / self.texts_per_second["whole"]

    @property
    def training(self) -> float:
        """How many times as fast the small probe is trained."""
        return self.training_seconds["whole"] / self.training_seconds["small"]

    def rows(self) -> list[dict[str, Any]]:
        """Whole and small."""
        return [
            {
                "model": side,
                "n_layers": self.n_layers[side],
                "n_neurons": self.n_neurons[side],
                "texts_per_second": self.texts_per_second[side],
                "training_seconds": self.training_seconds[side],
            }
            for side in ("whole", "small")
        ]
