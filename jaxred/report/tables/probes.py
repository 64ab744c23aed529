"""The tables of a task's probes: of a pipeline, of a cluster sweep, of the minimal set out of all neurons."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxred.io.tables import markdown
from jaxred.probing.resampling import LEVEL
from jaxred.report.findings import constant, layer_range, mark, mark_of_scores, no_finding_note
from jaxred.report.values import Value, of_repeats, of_spread, to_oracle, value
from jaxred.report.warnings import not_converged, warning
from jaxred.studies.results import ClusterSweepResult, MeanScores, MinimalNeuronsResult, PipelineResult, ProbeScores

INTERVALS = (
    f"In brackets, {LEVEL:.0%} bootstrap intervals over the test rows; of the difference to the oracle, of the paired "
    "bootstrap."
)


@dataclass(frozen=True)
class Row:
    """A line of the pipeline's table."""

    name: str
    layers: str
    n_neurons: Value
    share: float  # of all neurons
    dev: Value | None
    test: Value | None
    to_oracle: Value | None  # the difference on test
    encoder_parameters: int | None  # of the encoder cut after the highest layer used
    probe_parameters: int | None
    probe: str = ""  # by its name
    marks: tuple[str, ...] = ()  # that it is no finding, or not at its optimum

    @property
    def title(self) -> str:
        """The name with its marks."""
        return f"{self.name}: {', '.join(self.marks)}" if self.marks else self.name


def rows(pipeline: PipelineResult) -> list[Row]:
    """The best constant answer, oracle, best layer, LayerSelector, and LS + CCFS at every delta and threshold.

    With repeats, scores, numbers of neurons and parameters are means over them; layers are a range.
    """
    encoder, repeats, n_runs = pipeline.encoder, pipeline.repeats, pipeline.n_runs
    hidden_size, n_layers = encoder.hidden_size, encoder.n_layers
    n_outputs = len(pipeline.task.classes) or 1

    def row(
        name: str,
        layers: str,
        n_neurons: Value,
        top_layers: Sequence[float | int],
        scores: ProbeScores,
        mean: MeanScores | None,
        probe: str,
        n_findings: int | None = None,
    ) -> Row:
        parameters = encoder.parameters and [encoder.parameters[int(layer)] for layer in top_layers]
        not_a_finding = mark_of_scores(scores, mean, n_runs) if n_findings is None else mark(n_findings, n_runs)
        record = pipeline.training.get(probe)
        unsolved = pipeline.solver == "fista" and repeats is None and record is not None and not record.converged
        return Row(
            name,
            layers,
            n_neurons,
            n_neurons.mean / (n_layers * hidden_size),
            value(scores, mean, "dev"),
            value(scores, mean, "test"),
            None if name == "Oracle" else to_oracle(scores, mean),
            round(sum(parameters) / len(parameters)) if parameters else None,
            (round(n_neurons.mean) + 1) * n_outputs,
            probe,
            tuple(filter(None, (not_a_finding, "not at its optimum" if unsolved else ""))),
        )

    table = []
    if (baseline := constant(pipeline)) is not None:
        name, scores = baseline
        table.append(Row(name, "none", Value(0), 0.0, scores["dev"], scores["test"], None, None, None))
    last, everyone = n_layers - 1, Value(n_layers * hidden_size)
    oracle = pipeline.oracle, pipeline.mean_oracle
    table.append(row("Oracle", layer_range([last]), everyone, [last], *oracle, pipeline.oracle_probe))
    means = [None] * n_layers if repeats is None else repeats.independent
    alone = [value(*pair, "dev").mean for pair in zip(pipeline.independent, means, strict=True)]
    best = max(range(n_layers), key=alone.__getitem__)
    scores = pipeline.independent[best], means[best]
    table.append(row("Best layer alone", str(best), Value(hidden_size), [best], *scores, f"layer-{best}"))

    # Choices that agree in every repeat share a line.
    selectors: dict[Any, list[int]] = {}
    tops_of = [
        [choice.top_layer] if repeats is None else repeats.layer_selection[i].top_layer.runs
        for i, choice in enumerate(pipeline.layer_selection)
    ]
    for i, tops in enumerate(tops_of):
        selectors.setdefault(tuple(tops), []).append(i)
    for tops, numbers in selectors.items():
        choice, mean = pipeline.layer_selection[numbers[0]], None
        sizes = [(layer + 1) * hidden_size for layer in tops]
        n_neurons = Value(sum(sizes) / len(sizes))
        if repeats is not None:
            of_repeats = repeats.layer_selection[numbers[0]]
            mean, n_neurons = of_repeats.scores, Value(n_neurons.mean, of_repeats.top_layer.sd * hidden_size)
        name = f"LayerSelector (δ {', '.join(f'{pipeline.layer_selection[i].delta:g}' for i in numbers)})"
        probe = f"layers-0-{choice.top_layer}"
        table.append(row(name, layer_range(tops), n_neurons, tops, choice.scores, mean, probe))

    minimal: dict[Any, list[int]] = {}
    sets = pipeline.minimal_sets
    for i, chosen in enumerate(sets):
        key = tuple(chosen.top_layers or ()), pipeline.selection[i].threshold, tuple(chosen.n_neurons.runs)
        minimal.setdefault(key, []).append(i)
    for numbers in minimal.values():
        choice, chosen = pipeline.selection[numbers[0]], sets[numbers[0]]
        deltas = ", ".join("/".join(f"{delta:g}" for delta in sets[i].deltas) for i in numbers)
        clustering = "no clustering" if choice.clusters is None else f"clustering {choice.threshold:g}"
        name, tops = f"LS + CCFS (δ {deltas}; {clustering})", chosen.top_layers or [last]
        size, scores = of_spread(chosen.n_neurons, n_runs), (chosen.scores, chosen.mean)
        table.append(row(name, layer_range(tops), size, tops, *scores, chosen.probe, chosen.n_findings))
    return table


def pipeline_notes(pipeline: PipelineResult, table: list[Row]) -> str:
    """What is below the pipeline's table: its rows and intervals, and a note where it means little."""
    counts = ", ".join(f"{split} {n:,}" for split, n in pipeline.task.rows.items())
    text = f"Rows: {counts}. Layers and neurons are selected on dev. {INTERVALS}{of_repeats(pipeline)}"
    notes = " ".join(filter(None, (marks_note(pipeline, table), warning(pipeline), not_converged(pipeline))))
    return f"{text}\nNote: {notes}" if notes else text


def pipeline_head(pipeline: PipelineResult) -> list[str]:
    """The head of the pipeline's table."""
    metric = pipeline.task.metric
    scores = [f"dev {metric}", f"test {metric}", "test - oracle"]
    return ["", "layers", "neurons", "share", *scores, "encoder params", "probe params"]


def marks_note(pipeline: PipelineResult, table: list[Row]) -> str:
    """What the marks of the table's lines mean."""
    return no_finding_note(pipeline, [text for row in table for text in row.marks if text.startswith("no ")])


def sweep_table(sweep: ClusterSweepResult) -> str:
    """The score at every clustering threshold as a Markdown table."""
    (lines, note), *_ = sweep_lines(sweep)
    return f"{markdown(lines)}\n\n{note}"


def sweep_lines(sweep: ClusterSweepResult) -> list[tuple[list[list[str]], str]]:
    """The table of a cluster sweep, with what it says."""
    metric, n_neurons, n_runs = sweep.task.metric, sweep.n_layers * sweep.hidden_size, sweep.n_runs
    lines = [["threshold", "neurons", "share", f"dev {metric}", f"test {metric}", "test - oracle"]]
    entries: list[tuple[str, Value, ProbeScores, MeanScores | None]] = [
        ("none", Value(n_neurons), sweep.oracle, sweep.mean_oracle)
    ]
    for i, entry in enumerate(sweep.thresholds):
        mean = None if sweep.repeats is None else sweep.repeats.thresholds[i]
        count = Value(entry.n_clusters) if mean is None else of_spread(mean.n_clusters, n_runs)
        entries.append((f"{entry.threshold:g}", count, entry.scores, mean))
    marks = []
    for name, count, scores, mean in entries:
        marks.append(mark_of_scores(scores, mean, n_runs))
        values = [value(scores, mean, split).text() for split in ("dev", "test")]
        against = "" if name == "none" else to_oracle(scores, mean).text()
        title = f"{name}: {marks[-1]}" if marks[-1] else name
        lines.append([title, count.text(0), f"{count.mean / n_neurons:.1%}", *values, against])
    note = f"One neuron of each correlation cluster of all layers is kept. {INTERVALS}{of_repeats(sweep)}"
    return [(lines, " ".join(filter(None, (note, no_finding_note(sweep, marks), not_converged(sweep)))))]


def minimal_table(result: MinimalNeuronsResult) -> str:
    """The minimal set out of all neurons as a Markdown table."""
    (lines, note), *_ = minimal_lines(result)
    doubt = warning(result)
    return f"{markdown(lines)}\n\n{note}" + (f"\nNote: {doubt}" if doubt else "")


def minimal_lines(result: MinimalNeuronsResult) -> list[tuple[list[list[str]], str]]:
    """The table of the minimal set out of all neurons, with what it says."""
    metric, repeats, n_runs = result.task.metric, result.repeats, result.n_runs
    lines = [["", "neurons", "share", f"dev {metric}", f"test {metric}", "test - oracle"]]
    if (baseline := constant(result)) is not None:
        name, scores = baseline
        lines.append([name, "0", "0.0%", *(scores[split].text() for split in ("dev", "test")), ""])
    (chosen,) = result.minimal_sets
    marks = [mark_of_scores(result.oracle, result.mean_oracle, n_runs), mark(chosen.n_findings, n_runs)]
    entries = [
        ("Oracle", Value(result.n_candidates), result.oracle, result.mean_oracle),
        (f"Minimal set (δ {result.delta:g})", of_spread(chosen.n_neurons, n_runs), chosen.scores, chosen.mean),
    ]
    for text, (name, count, scores, mean) in zip(marks, entries, strict=True):
        values = [value(scores, mean, split).text() for split in ("dev", "test")]
        against = "" if name == "Oracle" else to_oracle(scores, mean).text()
        share = f"{count.mean / result.n_candidates:.1%}"
        lines.append([f"{name}: {text}" if text else name, count.text(0), share, *values, against])
    counts = ", ".join(f"{split} {n:,}" for split, n in result.task.rows.items())
    if repeats is None:
        by_layer = Counter(layer for layer, _ in result.minimal_neurons)
        where = ", ".join(f"{n:,} of layer {layer}" for layer, n in sorted(by_layer.items()))
        tried = f" {len(result.sizes):,} sizes were tried, up to {max(result.sizes, default=0):,}."
        has = f"{tried} It has {where}." if where else tried
    else:
        where = ", ".join(f"{n:,.1f} of layer {layer}" for layer, n in sorted(repeats.neurons_by_layer.items()))
        in_every = f"{repeats.in_every_run:,} neurons are in the set of every repeat"
        has = f" On the mean it has {where}; {in_every}." if where else ""
    note = f"Rows: {counts}. The set is selected on dev.{has} {INTERVALS}{of_repeats(result)}"
    return [(lines, " ".join(filter(None, (note, no_finding_note(result, marks), not_converged(result)))))]


def cells(row: Row) -> list[str]:
    """A line of the pipeline's table as text."""

    def grouped(n: int | None) -> str:
        return "" if n is None else f"{n:,}"

    scores = ["" if value is None else value.text() for value in (row.dev, row.test, row.to_oracle)]
    numbers = [grouped(row.encoder_parameters), grouped(row.probe_parameters)]
    return [row.title, row.layers, row.n_neurons.text(0), f"{row.share:.1%}", *scores, *numbers]
