"""A finished run, from Python."""

import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxred.activations.store import Store
from jaxred.config import StudyConfig, recorded_task
from jaxred.errors import UserError
from jaxred.probing import Probe
from jaxred.probing.probe_files import load_probes
from jaxred.report import page, tables
from jaxred.report.findings import headline, smallest_finding
from jaxred.runs import report
from jaxred.runs.finished import open_run as open_finished
from jaxred.runs.workdir import Workdir
from jaxred.studies.results import (
    AblationResult,
    BeforeAfter,
    ClusterSweepResult,
    ControlsResult,
    FineTuningResult,
    GeneralRedundancy,
    MinimalNeuronsResult,
    MinimalSet,
    NeuronExamples,
    PipelineResult,
    ProbeStudy,
    Result,
)

if TYPE_CHECKING:
    from jaxred.reduced.model import ReducedModel


class StudyNeuron(NamedTuple):
    """A neuron of a minimal set."""

    layer: int  # 0 is the embedding output
    index: int  # in that layer
    label: str  # the class for which it weighs most; "score" for regression
    weight: float  # for that class, of the probe on the minimal set


class Run:
    """The results of a run, and what it keeps in its folder.

    Example:
        >>> run = jaxred.open_run("runs/demo")
        >>> run.headline
        "107 of 2,688 neurons (4.0%), from layers 0–4 of 0–6, keep 97.6% of the oracle's accuracy on test: ..."
        >>> run.to_frame()[["set", "n_neurons", "test"]]
        >>> run.report("report.html")
    """

    def __init__(self, workdir: Workdir, config: StudyConfig, temporary: TemporaryDirectory[str] | None = None):
        """Takes a folder that a run has filled.

        Args:
            workdir: the folder.
            config: of the run.
            temporary: what removes the folder, once nobody has the run any more.
        """
        self._workdir, self.config, self._temporary = workdir, config, temporary

    def __repr__(self) -> str:
        study, tuned = self.study, self.finetuning
        what = "activations"
        if study is not None:
            what = headline(study).split(": ")[0].split(", a difference")[0]
        elif tuned is not None:
            best = tuned.dev[tuned.best_epoch - 1]
            what = f"{tuned.encoder} fine-tuned, {tuned.metric.replace('_', ' ')} {best:.3f} on dev"
        return f"<Run {self.path.name} of {recorded_task(self.config).name}: {what}>"

    @property
    def path(self) -> Path:
        """The folder of the run."""
        return self._workdir.path

    @cached_property
    def results(self) -> Mapping[str, Result]:
        """The results that are there, by name."""
        return report.results_of(self._workdir)

    @property
    def pipeline(self) -> PipelineResult | None:
        """Oracle, layers, LayerSelector and LS + CCFS; None where it was not run."""
        return self._result(PipelineResult)

    @property
    def cluster_sweep(self) -> ClusterSweepResult | None:
        """One neuron of each cluster at every threshold; None where it was not run."""
        return self._result(ClusterSweepResult)

    @property
    def minimal_neurons(self) -> MinimalNeuronsResult | None:
        """The minimal set out of all neurons; None where it was not run."""
        return self._result(MinimalNeuronsResult)

    @property
    def redundancy(self) -> GeneralRedundancy | None:
        """CKA, clusters, outliers; None where it was not run."""
        return self._result(GeneralRedundancy)

    @property
    def finetuning(self) -> FineTuningResult | None:
        """How the encoder was fine-tuned; None where it was not."""
        return self._result(FineTuningResult)

    @property
    def before_after(self) -> BeforeAfter | None:
        """What the pipeline finds before and after fine-tuning; None where the encoder was not fine-tuned."""
        return self._result(BeforeAfter)

    @property
    def ablation(self) -> AblationResult | None:
        """What the model's own head can do without; None where it was not run (`jaxred.ablate`)."""
        return self._result(AblationResult)

    @property
    def finetuned(self) -> Path:
        """The fine-tuned encoder with its head, as a Hugging Face folder.

        Raises:
            UserError: the encoder was not fine-tuned.
        """
        if self.finetuning is None:
            raise UserError(f"{self.path} has no fine-tuned encoder: call jaxred.finetune.")
        return self._workdir.finetuned

    @property
    def workdir(self) -> Workdir:
        """Where the run keeps what it makes."""
        return self._workdir

    def _result(self, kind: type[Any]) -> Any:
        return self.results.get(kind.name)

    @property
    def study(self) -> ProbeStudy | None:
        """The pipeline or, where it was not run, another study of probes."""
        return page.main_study(self.results)

    @property
    def headline(self) -> str:
        """What was found, in a sentence, which says so where nothing was."""
        return "" if self.study is None else headline(self.study)

    def to_frame(self, name: str | None = None) -> Any:
        """A result as a pandas DataFrame: by default the main study's sets of neurons with their scores.

        Args:
            name: of another result: pipeline, cluster_sweep, minimal_neurons, redundancy.

        Raises:
            UserError: there is no such result, or pandas is not installed.
        """
        return self._named(name).to_frame()

    def table(self, name: str | None = None) -> str:
        """A result's table as it is printed, in Markdown, with its notes.

        Raises:
            UserError: there is no such result.
        """
        controls = self.results.get("controls")
        return tables.printed(self._named(name), controls if isinstance(controls, ControlsResult) else None)

    def _named(self, name: str | None) -> Result:
        result = self.results.get(name) if name is not None else self.study or next(iter(self.results.values()))
        if result is None:
            raise UserError(f"The run has no result {name!r}: it has {', '.join(self.results)}.")
        return result

    @cached_property
    def neurons(self) -> list[StudyNeuron]:
        """The neurons of the smallest minimal set that is a finding, most salient first; none where nothing is.

        With repeats, those of the first.
        """
        chosen = self._smallest
        if chosen is None or self.study is None:
            return []
        probe = self.probe(chosen.probe)
        weights = {int(column): weight for column, weight in zip(probe.columns, probe.weights, strict=True)}
        names = self.study.task.classes or ["score"]
        hidden_size = self.study.shape[1]
        neurons = []
        for layer, index in chosen.neurons:
            weight = weights[layer * hidden_size + index]
            most = int(np.argmax(weight))
            neurons.append(StudyNeuron(layer, index, names[most], float(weight[most])))
        return neurons

    @property
    def _smallest(self) -> MinimalSet | None:
        study = self.study
        number = None if study is None else smallest_finding(study)
        return None if study is None or number is None else study.minimal_sets[number]

    def probe(self, name: str | None = None) -> Probe:
        """A trained probe, which takes activations as they are, [row, layer, neuron] or [row, column].

        Args:
            name: as in `run.study.training`; by default that of the smallest minimal set that is a finding, or else the
                oracle's.

        Raises:
            UserError: there is no such probe, or the checkpoint is damaged.
        """
        study = self.study
        if study is None:
            raise UserError(f"{self.path} has no study of probes: run one, such as jaxred.study.")
        if name is None:
            name = study.oracle_probe if self._smallest is None else self._smallest.probe
        saved = load_probes(self._workdir.probes(study.name))
        if name not in study.training:
            raise UserError(f"There is no probe {name!r}: there are {', '.join(list(study.training)[:20])}, ...")
        arrays, n_outputs = saved[name], len(study.task.classes) or 1
        columns = np.asarray(arrays.get("columns", np.zeros(0, np.int32)))
        weights = np.asarray(arrays.get("weights", np.zeros((0, n_outputs), np.float32)))
        bias = np.asarray(arrays["bias"])
        if "scaling" in saved:  # of standardised neurons, which those of the rows are not
            mean, deviation = (np.asarray(saved["scaling"][part])[columns] for part in ("mean", "deviation"))
            weights = weights / deviation[:, None]
            bias = bias - mean @ weights
        losses = np.asarray(study.training[name].losses, np.float32)
        return Probe(columns, weights, bias, losses, classes=tuple(study.task.classes) or None)

    def reduced(self, name: str | None = None, measure: bool = False) -> "ReducedModel":
        """The small model: the first layers of the encoder, some neurons of them, and the probe on these.

        It predicts from text what the probe does from the run's activations. With repeats, it is of the first.

        Args:
            name: "oracle" for all neurons, a set as tables and the report name it, such as "δ 3/1; clustering 0.3" or
                "LayerSelector δ 3", or a probe as in `run.study.training`; by default the smallest minimal set that is
                a finding.
            measure: measure its speed next to the whole encoder's, on the task's test texts, for the card.

        Raises:
            UserError: nothing is a finding and no set is named, there is no such set, the activations are not of an
                encoder, or the encoder's files are not those that the run read.

        Example:
            >>> small = jaxred.open_run("runs/demo").reduced()
            >>> small.predict(["a fine film"])
            ['positive']
            >>> small.save("small")
        """
        from jaxred.runs.reduction import reduced  # here, because Flax takes a while to import

        return reduced(self, name, measure)

    def top_words(
        self, neurons: Any = None, texts: Any = None, k: int = 10, min_count: int = 3, split: str = "train"
    ) -> NeuronExamples:
        """The words or the sentences for which neurons are largest and smallest, overall and by class.

        Args:
            neurons: pairs of layer and index, or texts such as "3:17"; by default the smallest minimal set that is a
                finding, its 100 most salient ones at most.
            texts: the split's texts, where the run cannot read them again: words or sentences, one per row.
            k: how many at either end.
            min_count: the fewest occurrences of a word.
            split: train, dev or test.

        Raises:
            UserError: there is no such neuron, nothing is a finding and none is named, or the texts have changed.

        Example:
            >>> jaxred.open_run("runs/chunk").top_words(["4:17"]).neurons[0].largest[:3]
        """
        from jaxred.runs.neurons import examples_of  # here, because it reads the task's files

        return examples_of(self, neurons, texts, k, min_count, split)

    def activations(self, split: str = "train") -> Store:
        """The activations of a split.

        Raises:
            UserError: there are none.
        """
        return Store(self._workdir.activations(split))

    def report(self, path: str | Path | None = None) -> Path:
        """Draws the figures and writes the report.

        Args:
            path: a copy of the report, which is one file; by default it is in the run's folder alone.

        Raises:
            UserError: it cannot be written.
        """
        report.write(self._workdir)
        if path is None:
            return self._workdir.report
        try:
            return Path(shutil.copyfile(self._workdir.report, path))
        except OSError as error:
            raise UserError(f"Cannot write {path} ({error.strerror}): choose another place.") from error


def open_run(path: str | Path) -> Run:
    """A run that a command or `study` has left.

    Raises:
        UserError: it is not the folder of a run, or its activations are missing.

    Example:
        >>> open_run("runs/demo").table()
    """
    workdir, config = Workdir.open(Path(path))
    if workdir.result(FineTuningResult.name).is_file() and not workdir.has_activations("train"):
        return Run(workdir, config)  # the encoder was fine-tuned, and nothing studied
    finished = open_finished(Path(path), str(path))
    return Run(finished.workdir, finished.config)
