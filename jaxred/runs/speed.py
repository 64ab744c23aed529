"""The stage that measures how much faster the smallest set that is a finding is than the whole."""

import time
from collections.abc import Callable
from statistics import median

import jax
import numpy as np

from jaxred.io.artifacts import Artifact, get_or_make
from jaxred.io.result_files import fingerprint, save_result
from jaxred.probing.estimators import ElasticNetProbe, ElasticNetProbeRegressor
from jaxred.report.findings import smallest_finding
from jaxred.runs.run import Run
from jaxred.studies.results import PipelineResult, SpeedResult

N_ROUNDS = 3


def run_speed(run: Run) -> SpeedResult | None:
    """results/speed.json; None where no set is a finding.

    Args:
        run: a finished study.
    """
    with_identity = run.workdir.find_with_identity(PipelineResult)
    if with_identity is None or smallest_finding(with_identity[0]) is None:
        return None
    file, identity = run.workdir.result(SpeedResult.name), fingerprint([SpeedResult.name, with_identity[1]])
    artifact = Artifact(
        run.path, SpeedResult.name, identity, [file], lambda: run.workdir.kept(SpeedResult, identity), "speed"
    )
    return get_or_make(artifact, lambda: save_result(file, identity, _measured(run).to_json()), "it is measured again")


def _measured(run: Run) -> SpeedResult:
    small = run.reduced(measure=True)
    speed, card = small.card.speed, small.card
    assert speed is not None, "the task's texts are at hand"
    seconds, n_rows = _training(run, np.asarray(run.probe().columns))
    return SpeedResult(
        set_name=card.name,
        n_layers={"whole": card.whole.n_layers, "small": card.small.n_layers},
        n_neurons={"whole": card.whole.n_neurons, "small": card.small.n_neurons},
        texts_per_second={"whole": speed.whole, "small": speed.small},
        n_texts=speed.n_texts,
        training_seconds=seconds,
        n_rows=n_rows,
        device=f"{speed.device}, {jax.device_count()} device(s)",
    )


def _training(run: Run, columns: np.ndarray) -> tuple[dict[str, float], int]:
    """Seconds to train the probe on all neurons and on some, taking turns; the first round of each is not counted."""
    store = run.activations("train")
    matrix = np.asarray(store, np.float32).reshape(store.n_rows, -1)
    labels, config = store.labels(), run.config.probe
    kind = ElasticNetProbeRegressor if run.config.task.kind == "regression" else ElasticNetProbe
    probe = kind(l1=config.l1, l2=config.l2, epochs=config.epochs, batch_size=config.batch_size)
    few = np.ascontiguousarray(matrix[:, columns])
    ways: dict[str, Callable[[], object]] = {
        "whole": lambda: probe.fit(matrix, labels),
        "small": lambda: probe.fit(few, labels),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(N_ROUNDS + 1):
        for name, train in ways.items():
            begin = time.perf_counter()
            train()
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    return {name: median(each) for name, each in seconds.items()}, store.n_rows
