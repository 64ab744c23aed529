"""The studies of a run: each reads its activations, and keeps its results, probes and tables in the workdir."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np

from jaxred.activations.store import Store
from jaxred.config import StudyConfig, recorded_task, to_dict
from jaxred.data.labeling import LABELING_TASKS
from jaxred.io.artifacts import Artifact, get_or_make
from jaxred.io.files import write_text
from jaxred.io.progress import progress_bar
from jaxred.io.result_files import fingerprint, save_result
from jaxred.io.tables import as_csv
from jaxred.original.all_results import ORIGINALS
from jaxred.original.importing import IMPORTED
from jaxred.probing import Probe
from jaxred.probing.features import Features, split_of
from jaxred.probing.probe_files import save_probes
from jaxred.report.csv_tables import Lines, layer_tables, redundancy_tables
from jaxred.runs.finetuning import encoder_name
from jaxred.runs.kept_moments import training_moments, training_sums
from jaxred.runs.repeats import run_each
from jaxred.runs.token_pass import token_changes_of
from jaxred.runs.workdir import Workdir
from jaxred.studies import cluster_sweep, minimal_neurons, pipeline
from jaxred.studies.before_after import before_and_after
from jaxred.studies.layer_measures import layer_measures, pass_over
from jaxred.studies.rankings import compare_rankings
from jaxred.studies.redundancy import general_redundancy
from jaxred.studies.results import (
    BeforeAfter,
    ClusterSweepResult,
    GeneralRedundancy,
    LayerMeasures,
    MinimalNeuronsResult,
    PipelineResult,
    ProbeStudy,
    RankingsResult,
    Result,
)
from jaxred.studies.search import Progress

T = TypeVar("T")
S = TypeVar("S", bound=ProbeStudy)
R = TypeVar("R", bound=Result)

REDUNDANCY_FORMAT = 3  # of results/redundancy.json
LAYERS_FORMAT = 1  # of results/layer_measures.json


class Background(Generic[T]):
    """An outcome that is taken once: who takes it alone has it then, so that its memory is free when it is let go."""

    def __init__(self, pool: Executor, work: Callable[[], T]):
        self._future: Future[T] | None = pool.submit(work)

    def take(self) -> T:
        """Waits for the outcome and gives it away."""
        future, self._future = self._future, None
        assert future is not None, "it was taken before"
        return future.result()


@dataclass(frozen=True)
class Ran:
    """One repeat of a study of probes."""

    result: Any
    probes: dict[str, Probe]
    features: Features  # without matrices


def run_redundancy(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> GeneralRedundancy:
    """General redundancy: results/redundancy.json, and as CSV the curve, the windows, and CKA by pairs of layers."""
    settings = [to_dict(recorded_task(config)), to_dict(config.clustering)]
    identity = fingerprint(["redundancy", REDUNDANCY_FORMAT, stores["train"].ledger.identity, settings])

    def work() -> GeneralRedundancy:
        return general_redundancy(training_sums(stores, config, workdir), config.clustering).result

    return kept_with_tables(GeneralRedundancy, identity, ("", "_windows", "_cka"), workdir, work, redundancy_tables)


def run_layer_measures(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> LayerMeasures:
    """Measures of layers without labels: results/layer_measures.json, and as CSV layers, pairs of layers and orders."""
    train, task = stores["train"], to_dict(recorded_task(config))
    identity = fingerprint([LayerMeasures.name, LAYERS_FORMAT, train.ledger.identity, task])

    def work() -> LayerMeasures:
        split = split_of(stores, config.task)
        rows = None if split is None else np.asarray(split.train_idx)
        with progress_bar(train.n_rows, "layers", "rows") as bar:
            row_pass = pass_over(train, rows, bar.update)
        return layer_measures(training_sums(stores, config, workdir), row_pass, token_changes_of(config))

    return kept_with_tables(LayerMeasures, identity, ("", "_pairs", "_orders"), workdir, work, layer_tables)


def kept_with_tables(
    kind: type[R],
    identity: str,
    ends: Sequence[str],
    workdir: Workdir,
    work: Callable[[], R],
    tables: Callable[[R], dict[str, Lines]],
) -> R:
    """A result with its CSV files.

    Args:
        kind: of the result.
        identity: of all that decides it.
        ends: what follows the result's name in the names of its CSV files.
        workdir: where they are kept.
        work: gives the result.
        tables: the lines of each CSV file.
    """
    file, title = workdir.result(kind.name), kind.name.replace("_", " ")
    files = {end: file.with_name(f"{kind.name}{end}.csv") for end in ends}

    def make() -> None:
        result = work()
        for end, lines in tables(result).items():
            write_text(files[end], as_csv(lines))
        save_result(file, identity, result.to_json())

    artifact = Artifact(
        workdir.path, kind.name, identity, [file, *files.values()], lambda: workdir.kept(kind, identity), title
    )
    return get_or_make(artifact, make, "the results are made again")


def run_pipeline(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> PipelineResult:
    """The pipeline: results/pipeline.json, results/all_results.json (the original's format) and the probes."""

    def once(one: StudyConfig, load: Callable[[], Features], progress: Progress) -> Ran:
        with ThreadPoolExecutor(2) as pool:  # for what is not needed before the layers are trained
            moments = Background(pool, lambda: training_moments(stores, one, workdir, config).correlation())
            for module in ("scipy.cluster.hierarchy", "orbax.checkpoint"):  # each takes a third of a second
                pool.submit(importlib.import_module, module)
            features = load()
            settings = one.probe, one.clustering, one.selection
            result, probes = pipeline.pipeline(features, moments.take, *settings, progress)
        encoder = replace(
            result.encoder,
            path=encoder_name(config, workdir),
            parameters=stores["train"].ledger.encoder_parameters,
        )
        return Ran(replace(result, encoder=encoder), probes, replace(features, matrices={}))

    sections = "task", "probe", "clustering", "selection"
    return _kept_or_run(PipelineResult, sections, stores, config, workdir, once, pipeline.together)


def run_before_after(workdir: Workdir) -> BeforeAfter:
    """What the pipeline finds before and after fine-tuning: results/before_after.json."""
    before = Workdir(workdir.before).find_with_identity(PipelineResult)
    after = workdir.find_with_identity(PipelineResult)
    assert before is not None, "the pipeline was just run on both"
    assert after is not None, "the pipeline was just run on both"
    measured = [folder.find_with_identity(LayerMeasures) for folder in (Workdir(workdir.before), workdir)]
    measures = None if measured[0] is None or measured[1] is None else (measured[0][0], measured[1][0])
    decided_by = [before[1], after[1], *(each[1] for each in measured if each is not None)]
    identity, file = fingerprint([BeforeAfter.name, *decided_by]), workdir.result(BeforeAfter.name)
    artifact = Artifact(workdir.path, BeforeAfter.name, identity, [file], lambda: workdir.kept(BeforeAfter, identity))
    return get_or_make(
        artifact,
        lambda: save_result(file, identity, before_and_after(before[0], after[0], measures).to_json()),
        "it is made again",
    )


def run_cluster_sweep(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> ClusterSweepResult:
    """The cluster sweep: results/cluster_sweep.json, the same in the original's format, and the probes."""

    def once(one: StudyConfig, load: Callable[[], Features], progress: Progress) -> Ran:
        features = load()
        correlation = training_moments(stores, one, workdir, config).correlation()
        return Ran(
            *cluster_sweep.cluster_sweep(features, correlation, one.probe, one.clustering),
            replace(features, matrices={}),
        )

    sections = "task", "probe", "clustering"
    return _kept_or_run(ClusterSweepResult, sections, stores, config, workdir, once, cluster_sweep.together)


def run_minimal_neurons(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> MinimalNeuronsResult:
    """The minimal set out of all: results/minimal_neurons.json, the same in the original's format, and the probes."""

    def once(one: StudyConfig, load: Callable[[], Features], progress: Progress) -> Ran:
        features = load()
        result, probes = minimal_neurons.minimal_neurons(features, one.probe, one.selection, progress)
        return Ran(result, probes, replace(features, matrices={}))

    sections = "task", "probe", "selection"
    return _kept_or_run(MinimalNeuronsResult, sections, stores, config, workdir, once, minimal_neurons.together)


def run_rankings(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> RankingsResult:
    """Rankings of neurons next to each other, of one split: results/rankings.json, and rankings.csv."""
    recorded = replace(config, task=recorded_task(config))
    settings = [to_dict(getattr(recorded, section)) for section in ("task", "probe", "selection")]
    activations = {split: store.ledger.identity for split, store in stores.items()}
    identity = fingerprint([RankingsResult.name, activations, settings])

    def once(one: StudyConfig, load: Callable[[], Features]) -> RankingsResult:
        with _progress("rankings") as progress:
            return compare_rankings(load(), one.probe, one.selection, progress)

    def work() -> RankingsResult:
        return run_each(stores, replace(config, repeats=1), workdir.scratch, once)[0]

    def tables(result: RankingsResult) -> dict[str, Lines]:
        lines = result.rows()
        return {"": [[*lines[0]], *([*line.values()] for line in lines)]}

    return kept_with_tables(RankingsResult, identity, ("",), workdir, work, tables)


def _kept_or_run(
    kind: type[S],
    sections: Sequence[str],
    stores: dict[str, Store],
    config: StudyConfig,
    workdir: Workdir,
    once: Callable[[StudyConfig, Callable[[], Features], Progress], Ran],
    together: Callable[[Sequence[S]], S],
) -> S:
    """The result of a study of probes, kept or new.

    Kept are results/`name`.json and the probes; and, as an artifact of its own, the same in the original's format,
    which is made of the result.

    Args:
        kind: of the result.
        sections: the sections of the configuration that decide it.
        stores: the activations.
        config: all of the configuration.
        workdir: where results go.
        once: runs one repeat, given its configuration, what loads its data, and what receives the progress.
        together: puts the results of all repeats together.
    """
    name, title = kind.name, kind.name.replace("_", " ")
    activations = {split: store.ledger.identity for split, store in stores.items()}
    recorded = replace(config, task=recorded_task(config))
    settings = [to_dict(getattr(recorded, section)) for section in sections]
    identity = fingerprint([name, activations, settings, config.repeats, config.repeat_split])
    file, probes = workdir.result(name), workdir.probes(name)

    def make() -> None:
        with _progress(title) as progress:
            runs = run_each(stores, config, workdir.scratch, lambda one, load: once(one, load, progress))
        result = replace(
            together([ran.result for ran in runs]),
            pooling=_pooling(config),
            extraction={split: store.ledger.notes for split, store in stores.items()},
        )
        save_probes(probes, runs[0].probes, runs[0].features.scaling)
        save_result(file, identity, result.to_json())

    study = Artifact(workdir.path, name, identity, [file, probes], lambda: workdir.kept(kind, identity), title)
    result = get_or_make(study, make, f"the {title} is run again")
    original, in_original_format = ORIGINALS[name]
    copy = workdir.result(original)
    derived = Artifact(workdir.path, original, identity, [copy], lambda: copy if copy.exists() else None)
    get_or_make(
        derived,
        lambda: write_text(copy, in_original_format(result, split_of(stores, config.task))),
        f"it is made again from {file}",
    )
    return result


@contextmanager
def _progress(title: str) -> Iterator[Progress]:
    """A progress bar of probes."""
    with progress_bar(0, title, "probes") as bar:

        def progress(trained: int, planned: int) -> None:
            bar.total += planned
            bar.update(trained)

        yield progress


def _pooling(config: StudyConfig) -> str | None:
    """How an encoder's sentence vectors were made; None for words, and for activations that others made."""
    return None if recorded_task(config).name in (*IMPORTED, *LABELING_TASKS) else config.extraction.pooling
