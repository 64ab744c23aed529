"""What neurons of a run respond to: of the task's text where there is any, kept in results/neurons.json."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxred.activations.store import Store
from jaxred.config import StudyConfig, source_kind
from jaxred.errors import UserError
from jaxred.io.artifacts import Artifact, get_or_make
from jaxred.io.result_files import fingerprint, save_result
from jaxred.original.importing import STORES, open_stores
from jaxred.report.findings import smallest_finding
from jaxred.runs import report
from jaxred.runs.row_texts import texts_of_run
from jaxred.runs.run import Run, open_run
from jaxred.runs.sources import Source, TextSource
from jaxred.runs.top_words import neurons_of, top_words
from jaxred.runs.workdir import Workdir, locked
from jaxred.studies.neuron_examples import MIN_COUNT, OF_CLASS
from jaxred.studies.results import Neuron, NeuronExamples

MOST_NEURONS = 100  # of a minimal set, that are looked at by default
FORMAT = 1  # of results/neurons.json


def run_neurons(
    run: Run,
    neurons: Sequence[Neuron] | None = None,
    k: int = 10,
    min_count: int = MIN_COUNT,
    split: str = "train",
    source: Source | None = None,
) -> NeuronExamples:
    """The examples of neurons: results/neurons.json.

    Args:
        run: a finished study, or extraction where the neurons are named.
        neurons: by default the smallest minimal set that is a finding.
        k: examples at either end.
        min_count: the fewest occurrences of a word.
        split: of the rows.
        source: of the activations, where it is not what the configuration names.

    Raises:
        UserError: as `examples_of`.
    """
    chosen, left_out = _chosen(run, neurons)
    store = _store(run, split)
    settings = [chosen, left_out, k, min_count, split, OF_CLASS]
    identity = fingerprint([NeuronExamples.name, FORMAT, store.ledger.identity, settings])
    file = run.workdir.result(NeuronExamples.name)
    artifact = Artifact(
        run.path, NeuronExamples.name, identity, [file], lambda: run.workdir.kept(NeuronExamples, identity), "neurons"
    )

    def make() -> None:
        found = _examples(run, store, chosen, None, k, min_count, split, left_out, source)
        save_result(file, identity, found.to_json())

    return get_or_make(artifact, make, "it is made again")


def run_stage(source: Source, config: StudyConfig, folder: Workdir) -> NeuronExamples | None:
    """The same of a study of text that was just run; None where there is no text, or no set is a finding."""
    run = Run(folder, config)
    if not isinstance(source, TextSource) or run.study is None or smallest_finding(run.study) is None:
        return None
    return run_neurons(run, source=source)


def run_folder(path: str | Path, neurons: Sequence[str], k: int, min_count: int, split: str) -> NeuronExamples:
    """Of the run in a folder, which keeps them, and whose report then shows them."""
    with locked(path):
        run = open_run(path)
        found = run_neurons(run, neurons_of(neurons) if neurons else None, k, min_count, split)
        report.write(run.workdir)
    return found


def examples_of(run: Run, neurons: Any, texts: Any, k: int, min_count: int, split: str) -> NeuronExamples:
    """The examples of neurons, kept nowhere; see `Run.top_words`."""
    chosen, left_out = _chosen(run, None if neurons is None else neurons_of(neurons))
    if neurons is None and texts is None:
        kept = run.workdir.find(NeuronExamples)
        if kept is not None and _is_of(kept, chosen, left_out, k, min_count, split):
            return kept
    return _examples(run, _store(run, split), chosen, texts, k, min_count, split, left_out, None)


def _is_of(kept: NeuronExamples, neurons: list[Neuron], left_out: int, k: int, min_count: int, split: str) -> bool:
    """Whether a kept result is what is asked for; of sentences, `min_count` is 1."""
    same_count = kept.min_count == (min_count if kept.unit == "word" else 1)
    same = (kept.left_out, kept.k, kept.split) == (left_out, k, split) and same_count
    return same and [(neuron.layer, neuron.index) for neuron in kept.neurons] == neurons


def _examples(
    run: Run,
    store: Store,
    neurons: Sequence[Neuron],
    texts: Any,
    k: int,
    min_count: int,
    split: str,
    left_out: int,
    source: Source | None,
) -> NeuronExamples:
    if texts is None:
        texts = texts_of_run(store, split, run.config, source)
    found = top_words(store, neurons, texts, k=k, min_count=min_count, split=split)
    return replace(found, left_out=left_out)


def _chosen(run: Run, neurons: Sequence[Neuron] | None) -> tuple[list[Neuron], int]:
    """The neurons that are looked at, and how many more there are: by default the smallest finding's."""
    if neurons is not None:
        return list(neurons), 0
    found = [(neuron.layer, neuron.index) for neuron in run.neurons]
    if not found:
        raise UserError(
            f"{run.path} has no minimal set of neurons that is a finding: name neurons, such as neurons=['3:17']."
        )
    return found[:MOST_NEURONS], max(0, len(found) - MOST_NEURONS)


def _store(run: Run, split: str) -> Store:
    if source_kind(run.config) == STORES:
        stores = open_stores(run.config)
        if split not in stores:
            raise UserError(f"The run has no split {split!r}: it has {', '.join(stores)}.")
        return stores[split]
    if not run.workdir.has_activations(split):
        raise UserError(
            f"{run.path} has no activations of split={split!r}: choose train, test, or dev where it has its own."
        )
    return run.activations(split)
