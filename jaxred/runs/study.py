"""The whole line, from text to report."""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from jaxred.activations.store import Store, reading
from jaxred.config import FinetuneConfig, StudyConfig, source_kind
from jaxred.errors import UserError
from jaxred.io.devices import require_devices
from jaxred.io.paths import below
from jaxred.io.processes import n_processes, own_number, wait_for_all
from jaxred.io.result_files import fingerprint
from jaxred.original import experiment
from jaxred.report import tables
from jaxred.runs import publishing, report, stages
from jaxred.runs.controls import run_controls
from jaxred.runs.finetuning import require_text, run_finetuning, studied
from jaxred.runs.finished import MODELS, TASKS
from jaxred.runs.sources import OriginalExperiment, Source, TextSource, source_of
from jaxred.runs.together import run_models, run_tasks
from jaxred.runs.workdir import Workdir, locked
from jaxred.studies.results import RESULTS, BeforeAfter, ControlsResult, PipelineResult
from jaxred.validation import validate_source

log = logging.getLogger("jaxred")

STAGES = {
    "redundancy": stages.run_redundancy,
    "layer_measures": stages.run_layer_measures,
    "pipeline": stages.run_pipeline,
    "cluster_sweep": stages.run_cluster_sweep,
    "minimal_neurons": stages.run_minimal_neurons,
    "rankings": stages.run_rankings,
    "controls": run_controls,
}
TOGETHER = {TASKS: run_tasks, MODELS: run_models}  # general redundancy of other runs, by source
STUDY = ("redundancy", "layer_measures", "pipeline", "cluster_sweep")  # the stages of jaxred study


def run(config: StudyConfig, workdir: str, overwrite: bool = False) -> None:
    """Extraction, general redundancy, pipeline, cluster sweep and report; what is already done is kept."""
    with locked(workdir):
        folder = run_stages(config, workdir, overwrite, STUDY)
        timed("report", lambda: report.write(folder))
        table = tables.printed(folder.load(PipelineResult), folder.find(ControlsResult))
        if (compared := folder.find(BeforeAfter)) is not None:
            table += f"\n\nBefore and after fine-tuning:\n\n{tables.printed(compared)}"
    print(f"\n{table}\n")
    print(f"Report:      {folder.report}")
    print(f"Figures:     {folder.figures}")
    print(f"Results:     {folder.path / 'results'} ({', '.join(sorted(p.name for p in folder.results()))})")
    print(f"Tables:      {folder.path / 'results'} (table.md, table.csv, table.tex, neurons.csv)")
    print(f"Activations: {folder.stores}")


def run_stages(
    config: StudyConfig, workdir: str, overwrite: bool, wanted: tuple[str, ...], source: Source | None = None
) -> Workdir:
    """Gets the activations from their source, and runs some of the stages.

    Args:
        config: of the run.
        workdir: where it keeps what it makes.
        overwrite: replace what another configuration left there.
        wanted: the stages, in order; see `STAGES`.
        source: of the activations; by default what the configuration names.
    """
    require_devices()
    validate_source(config)  # before anything that it names is opened
    with locked(workdir):
        return _run_stages(config, workdir, overwrite, wanted, source or source_of(config))


def _run_stages(config: StudyConfig, workdir: str, overwrite: bool, wanted: tuple[str, ...], source: Source) -> Workdir:
    if config.controls.enabled and "pipeline" in wanted and "controls" not in wanted:
        wanted = *wanted, "controls"
    if source_kind(config) in TOGETHER:
        return _run_together(config, workdir, overwrite, wanted)
    if wanted:
        _require_all_layers(config.extraction.layers, wanted[0])  # before they are extracted
    if isinstance(source, OriginalExperiment):
        return _run_original(config, workdir, overwrite, wanted, source)
    if config.finetune.enabled:
        require_text(config)
        if n_processes() > 1:
            raise UserError(
                "An encoder is fine-tuned by one process: run jaxred finetune first, and extract with its encoder, as "
                "in config.encoder.path='runs/sst2/finetuned'."
            )
    if own_number() > 0:
        wait_for_all("claimed the workdir")  # which may be one folder for all
    folder = Workdir.claim(workdir, config, overwrite)
    if own_number() == 0:
        wait_for_all("claimed the workdir")
    if config.finetune.enabled and isinstance(source, TextSource):
        config = _fine_tuned(config, overwrite, wanted, source, folder)
    stores = timed(source.stage, lambda: source.stores(config, folder.stores, overwrite))
    _run(wanted, stores, config, folder, overwrite)
    if "pipeline" in wanted:
        from jaxred.runs.neurons import run_stage  # here, because it imports what imports this module

        with reading(stores.values()):
            timed("neurons", lambda: run_stage(source, config, folder))
    return folder


def _fine_tuned(
    config: StudyConfig, overwrite: bool, wanted: tuple[str, ...], source: TextSource, folder: Workdir
) -> StudyConfig:
    """Fine-tunes the encoder and runs the pipeline on it as it was; what is studied next is the fine-tuned one."""
    timed("fine-tuning", lambda: run_finetuning(source.load(config), config, folder))
    if "pipeline" in wanted:
        log.info("the encoder before fine-tuning: %s", folder.before)
        elsewhere = config.extraction.store and str(below(config.extraction.store, folder.before.name))
        pretrained = replace(
            config,
            finetune=FinetuneConfig(),
            encoder=replace(config.encoder, n_layers=config.finetune.n_layers),
            extraction=replace(config.extraction, store=elsewhere),
        )
        compared = tuple(stage for stage in ("layer_measures", "pipeline") if stage in wanted)
        _run_stages(pretrained, str(folder.before), overwrite, compared, source)
    return studied(config, folder)


def finetune(config: StudyConfig, workdir: str, overwrite: bool, source: Source | None = None) -> Workdir:
    """Fine-tunes the encoder on the task, and studies nothing."""
    require_devices()
    validate_source(config)
    require_text(config)
    text = source or source_of(config)
    assert isinstance(text, TextSource), "activations of other sources were rejected"
    with locked(workdir):
        folder = Workdir.claim(workdir, replace(config, finetune=replace(config.finetune, enabled=True)), overwrite)
        timed("fine-tuning", lambda: run_finetuning(text.load(config), config, folder))
    return folder


def result_of(stage: str, config: StudyConfig) -> str:
    """The name of a stage's results."""
    return kind if (kind := source_kind(config)) in TOGETHER else stage


def printed(stage: str, config: StudyConfig, folder: Workdir) -> str:
    """What a launcher prints of a stage that was run: its table, and where the result is."""
    name = result_of(stage, config)
    table = tables.printed(folder.load(RESULTS[name]), folder.find(ControlsResult))
    return f"\n{table}\n\nResults: {folder.result(name)}"


def _run_together(config: StudyConfig, workdir: str, overwrite: bool, wanted: tuple[str, ...]) -> Workdir:
    """General redundancy of other runs, whose activations lie in their own workdirs."""
    if wanted != ("redundancy",):
        raise UserError(
            f"config.source.{source_kind(config)} puts other runs together, which jaxred redundancy alone does: "
            "give this launcher the `config` of one task."
        )
    folder = Workdir.claim(workdir, config, overwrite)
    timed("redundancy", lambda: TOGETHER[source_kind(config)](config, folder))
    return folder


def _run_original(
    config: StudyConfig, workdir: str, overwrite: bool, wanted: tuple[str, ...], source: Source
) -> Workdir:
    """The same of an experiment file, with all_results.json where it says."""
    output, published = experiment.load(config.source.original).output_directory, publishing.published_stage(wanted)
    with publishing.locked(output) if published else contextlib.nullcontext():
        if published:
            publishing.check(output, Workdir(workdir), published, overwrite)
        folder = Workdir.claim(workdir, config, overwrite)
        stores = timed(source.stage, lambda: source.stores(config, folder.stores, overwrite))
        _run(wanted, stores, config, folder, overwrite)
        if published and (file := publishing.publish(output, folder, published, overwrite)):
            log.info("%s: %s", published.replace("_", " "), file)
    return folder


def _run(
    wanted: tuple[str, ...], stores: dict[str, Store], config: StudyConfig, folder: Workdir, overwrite: bool
) -> None:
    if wanted:
        for store in stores.values():
            _require_all_layers(store.ledger.layers, wanted[0])
    activations = fingerprint({name: store.ledger.identity for name, store in stores.items()})
    folder.claim_results(activations, overwrite)
    with reading(stores.values()):
        for stage in wanted:
            timed(stage.replace("_", " "), lambda stage=stage: STAGES[stage](stores, config, folder))
            folder.enter_results(activations)
        if "pipeline" in wanted and folder.before.is_dir():
            stages.run_before_after(folder)
    if "pipeline" in wanted and config.measure_speed:
        from jaxred.runs.run import Run
        from jaxred.runs.speed import run_speed  # here, because scikit-learn takes a second to import

        timed("speed", lambda: run_speed(Run(folder, config)))


def _require_all_layers(kept: Sequence[int], stage: str) -> None:
    if kept:
        raise UserError(
            f"The activations keep the layers {', '.join(map(str, kept))} alone, but jaxred {stage.replace('_', '-')} "
            "compares all of them: leave `config.extraction.layers` empty, or extract alone (jaxred extract)."
        )


def timed(name: str, work: Callable[[], Any]) -> Any:
    """Does the work and logs how long it took."""
    begin = time.perf_counter()
    result = work()
    log.info("%s: done in %.1f s", name, time.perf_counter() - begin)
    return result
