"""What control tasks, codes and usable information say of the pipeline's probes: `jaxred.studies.controls`."""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxred.studies.results.base import Result
from jaxred.studies.results.probe_study import Difference, Interval, TaskSummary

WORD_TYPES, ROWS = "word types", "permuted rows"  # the kinds of control tasks


@dataclass(frozen=True)
class ControlledProbe:
    """A probe of the pipeline next to the same probe on the control task."""

    kind: str  # layer, layers (0 to one), or minimal
    probe: str
    top_layer: int
    n_neurons: int
    score: dict[str, float]  # by split
    interval: Interval  # of test
    finding: bool  # whether it beats the best constant answer; of a minimal set, whether it is a finding
    control: dict[str, float]  # the score on the control task, by split
    selectivity: Difference  # score less control score on test, by the paired bootstrap
    information: float | None  # bits on test; None for regression
    information_interval: Interval | None
    code: float | None  # kbits
    compression: float | None  # of the code that knows nothing

    @property
    def control_as_good(self) -> bool:
        """Whether the control task is reached as well: selectivity is not above 0 by more than its uncertainty."""
        return self.selectivity.interval[0] <= 0


@dataclass(frozen=True)
class ExpectedLayer:
    """The layer at which the score is gained, on the mean over the gains of prefixes."""

    layer: float | None  # None where nothing is gained
    interval: Interval | None
    gain: float  # of all layers over the embedding output
    gain_interval: Interval

    @property
    def finding(self) -> bool:
        """Whether layers gain more than the uncertainty of their gain."""
        return self.gain_interval[0] > 0


@dataclass(frozen=True, kw_only=True)
class ControlsResult(Result):
    """Control tasks, online codes and usable information of the pipeline's probes."""

    name: ClassVar[str] = "controls"

    task: TaskSummary
    control: str  # the kind of control task
    seed: int
    n_repeats: int  # of the pipeline; the controls are of the first
    constant_control: float | None  # the test score of the best constant answer on the control task
    entropy: float | None  # bits: H(Y) by train's class shares; None for regression
    uniform_code: float | None  # kbits: n log2 K
    portions: list[int]  # the rows at which the portions of the code end
    probes: list[ControlledProbe]
    expected_layer: dict[str, ExpectedLayer]  # by split: dev, test

    def of(self, kind: str) -> list[ControlledProbe]:
        """The probes of a kind, in their order."""
        return [entry for entry in self.probes if entry.kind == kind]

    def named(self, probe: str) -> ControlledProbe | None:
        """The entry of a probe by its name."""
        return next((entry for entry in self.probes if entry.probe == probe), None)

    def rows(self) -> list[dict[str, Any]]:
        """A row for every probe, numbers as they are."""
        return [_row(entry) for entry in self.probes]


def _row(entry: ControlledProbe) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(entry, name) for name in ("kind", "probe", "top_layer", "n_neurons")}
    row |= {split: score for split, score in entry.score.items()}
    row |= {"test_low": entry.interval[0], "test_high": entry.interval[1]}
    row |= {f"control_{split}": score for split, score in entry.control.items()}
    low, high = entry.selectivity.interval
    row |= {"selectivity": entry.selectivity.difference, "selectivity_low": low, "selectivity_high": high}
    ends = entry.information_interval or (None, None)
    row |= {"information_bits": entry.information, "information_low": ends[0], "information_high": ends[1]}
    row |= {"code_kbits": entry.code, "compression": entry.compression, "finding": entry.finding}
    return {**row, "control_as_good": entry.control_as_good}
