"""The controls of a run: next to its pipeline, which runs first where it is missing."""

import numpy as np

from jaxred.activations.store import Store
from jaxred.config import StudyConfig, recorded_task, source_kind
from jaxred.data.examples import WordDataset
from jaxred.io.result_files import fingerprint
from jaxred.original import experiment
from jaxred.probing import Probe
from jaxred.probing.controls import of_types, permuted
from jaxred.probing.features import SPLITS, Features, load_features
from jaxred.probing.probe_files import load_probes
from jaxred.report.csv_tables import controls_tables
from jaxred.runs.repeats import configs
from jaxred.runs.sources import TextSource, source_of
from jaxred.runs.stages import kept_with_tables, run_pipeline
from jaxred.runs.workdir import Workdir
from jaxred.studies import controls
from jaxred.studies.results import ControlsResult, PipelineResult
from jaxred.studies.results.controls import ROWS, WORD_TYPES

CONTROLS_FORMAT = 1  # of results/controls.json


def run_controls(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> ControlsResult:
    """Selectivity, usable information and codes of the pipeline's probes: results/controls.json and controls.csv."""
    run_pipeline(stores, config, workdir)
    pipeline = workdir.find_with_identity(PipelineResult)
    assert pipeline is not None, "it was just run"
    result, of_pipeline = pipeline
    seed = config.controls.seed
    identity = fingerprint(["controls", CONTROLS_FORMAT, of_pipeline, seed])

    def work() -> ControlsResult:
        one, by_rows = configs(config)[0], source_kind(config) == experiment.ORIGINAL
        features = load_features(stores, recorded_task(one), one.probe, workdir.scratch, by_rows)
        targets, kind = control_targets(features, stores, config)
        probes = _probes(workdir, result)
        return controls.controls(features, result, probes, targets, kind, seed, one.probe, workdir.scratch)

    return kept_with_tables(ControlsResult, identity, ("",), workdir, work, controls_tables)


def control_targets(
    features: Features, stores: dict[str, Store], config: StudyConfig
) -> tuple[dict[str, np.ndarray], str]:
    """The targets of the control task by split, and its kind.

    Where a row is a word whose text can be read, every word type has one target; else targets are permuted over the
    rows of each split.
    """
    seed, words = config.controls.seed, row_words(features, stores, config)
    if words is not None:
        train = features.targets["train"]
        return {split: of_types(words[split], train, seed) for split in SPLITS}, WORD_TYPES
    return {split: permuted(features.targets[split], seed, i) for i, split in enumerate(SPLITS)}, ROWS


def row_words(features: Features, stores: dict[str, Store], config: StudyConfig) -> dict[str, list[str]] | None:
    """The word of each row by split; None where rows are sentences, or the text is not at hand."""
    source = source_of(config)
    if not stores["train"].has_words or not isinstance(source, TextSource):
        return None
    dataset = source.load(config)
    if not isinstance(dataset, WordDataset):
        return None
    words = {}
    for split in stores:
        sentences, store = dataset.splits[split], stores[split]
        places = zip(store.sentence_index().tolist(), store.word_index().tolist(), strict=True)
        words[split] = [sentences[sentence].words[word] for sentence, word in places]
    if features.data_split is not None:
        of_train, held_out = words["train"], features.data_split
        words["train"] = [of_train[row] for row in held_out.train_idx]
        words["dev"] = [of_train[row] for row in held_out.dev_idx]
    return words


def _probes(workdir: Workdir, result: PipelineResult) -> dict[str, Probe]:
    """The pipeline's probes, as they were trained."""
    n_outputs, probes = len(result.task.classes) or 1, {}
    for name, arrays in load_probes(workdir.probes(result.name)).items():
        if name in result.training:
            columns = np.asarray(arrays.get("columns", np.zeros(0, np.int32)))
            weights = np.asarray(arrays.get("weights", np.zeros((0, n_outputs), np.float32)))
            probes[name] = Probe(columns, weights, np.asarray(arrays["bias"]), np.zeros(0, np.float32))
    return probes
