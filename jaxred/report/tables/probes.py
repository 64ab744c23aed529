"""The tables of a task's probes: of a pipeline, of a cluster sweep, of the minimal set out of all neurons."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from jaxred.probing.resampling import LEVEL
from jaxred.report.findings import (
    constant,
    layer_range,
    mark,
    mark_of_scores,
    mean_score,
    n_repeats,
    no_finding_note,
)
from jaxred.report.values import Value, load, markdown, of_repeats, to_oracle, value
from jaxred.report.warnings import not_converged, warning
from jaxred.runs.workdir import Workdir

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
    marks: tuple[str, ...] = ()  # that it is no finding, or not at its optimum

    @property
    def title(self) -> str:
        """The name with its marks."""
        return f"{self.name}: {', '.join(self.marks)}" if self.marks else self.name


def rows(pipeline: dict[str, Any]) -> list[Row]:
    """The best constant answer, oracle, best layer, LayerSelector, and LS + CCFS at every delta and threshold.

    With repeats, scores, numbers of neurons and parameters are means over them; layers are a range.
    """
    task, encoder, repeats = pipeline["task"], pipeline["encoder"], pipeline.get("repeats")
    hidden_size, n_layers = encoder["hidden_size"], encoder["n_layers"]
    n_outputs, n_runs = len(task.get("classes", ())) or 1, n_repeats(pipeline)

    def row(
        name: str,
        layers: str,
        n_neurons: Value,
        top_layers: list[Any],
        scores: dict[str, Any],
        spread: dict[str, Any] | None,
        probe: str,
        n_findings: int | None = None,
    ) -> Row:
        parameters = encoder["parameters"] and [encoder["parameters"][int(layer)] for layer in top_layers]
        not_a_finding = mark_of_scores(scores, spread, n_runs) if n_findings is None else mark(n_findings, n_runs)
        record = pipeline["training"].get(probe)
        unsolved = pipeline["solver"] == "fista" and repeats is None and record and not record["converged"]
        return Row(
            name,
            layers,
            n_neurons,
            n_neurons.mean / (n_layers * hidden_size),
            value(scores, spread, "dev"),
            value(scores, spread, "test"),
            None if name == "Oracle" else to_oracle(scores, spread),
            round(sum(parameters) / len(parameters)) if parameters else None,
            (round(n_neurons.mean) + 1) * n_outputs,
            tuple(filter(None, (not_a_finding, "not at its optimum" if unsolved else ""))),
        )

    def of(part: str, index: int | None = None) -> dict[str, Any] | None:
        if repeats is None:
            return None
        return repeats[part] if index is None else repeats[part][index]

    def settled(part: str, index: int, name: str) -> Any:
        """What was found, in every repeat: entries that agree on it share a line."""
        spread = of(part, index)
        return pipeline[part][index][name] if spread is None else tuple(spread[name]["runs"])

    table = []
    if (baseline := constant(pipeline)) is not None:
        name, scores = baseline
        table.append(Row(name, "none", Value(0), 0.0, scores["dev"], scores["test"], None, None, None))
    last, everyone = n_layers - 1, Value(n_layers * hidden_size)
    oracle = f"layers-0-{last}"
    table.append(row("Oracle", layer_range([last]), everyone, [last], pipeline["oracle"], of("oracle"), oracle))
    alone = [mean_score(entry, of("independent", i), "dev") for i, entry in enumerate(pipeline["independent"])]
    best = max(range(n_layers), key=alone.__getitem__)
    entry, spread = pipeline["independent"][best], of("independent", best)
    table.append(row("Best layer alone", str(best), Value(hidden_size), [best], entry, spread, f"layer-{best}"))

    selectors: dict[Any, list[int]] = {}
    for i in range(len(pipeline["layer_selection"])):
        selectors.setdefault(settled("layer_selection", i, "top_layer"), []).append(i)
    for numbers in selectors.values():
        entry, spread = pipeline["layer_selection"][numbers[0]], of("layer_selection", numbers[0])
        deltas = ", ".join(f"{pipeline['layer_selection'][i]['delta']:g}" for i in numbers)
        tops = [entry["top_layer"]] if spread is None else spread["top_layer"]["runs"]
        sizes = [(layer + 1) * hidden_size for layer in tops]
        sd = None if spread is None else spread["top_layer"]["sd"] * hidden_size
        n_neurons, probe = Value(sum(sizes) / len(sizes), sd), f"layers-0-{entry['top_layer']}"
        scores, spread = entry["scores"], spread and spread["scores"]
        name = f"LayerSelector (δ {deltas})"
        table.append(row(name, layer_range(tops), n_neurons, tops, scores, spread, probe))

    minimal: dict[Any, list[int]] = {}
    for i, chosen in enumerate(pipeline["selection"]):
        key = settled("selection", i, "top_layer"), chosen["threshold"], settled("selection", i, "n_minimal")
        minimal.setdefault(key, []).append(i)
    for numbers in minimal.values():
        chosen, spread = pipeline["selection"][numbers[0]], of("selection", numbers[0])
        pairs = [pipeline["selection"][i] for i in numbers]
        deltas = ", ".join(f"{pair['delta_layers']:g}/{pair['delta_neurons']:g}" for pair in pairs)
        clustering = "no clustering" if chosen["clusters"] is None else f"clustering {chosen['threshold']:g}"
        tops, n_neurons = [chosen["top_layer"]], Value(chosen["n_minimal"])
        n_findings = int(chosen["finding"])
        if spread is not None:
            tops, n_findings = spread["top_layer"]["runs"], spread["findings"]
            n_neurons = Value(spread["n_minimal"]["mean"], spread["n_minimal"]["sd"])
        name, scores = f"LS + CCFS (δ {deltas}; {clustering})", chosen["minimal_scores"]
        spread, probe = spread and spread["minimal_scores"], chosen["minimal_probe"]
        table.append(row(name, layer_range(tops), n_neurons, tops, scores, spread, probe, n_findings))
    return table


def pipeline_table(workdir: Workdir) -> str:
    """The pipeline's outcome as a Markdown table, and a note where it means little."""
    pipeline = load(workdir, "pipeline")
    table = rows(pipeline)
    text = markdown([pipeline_head(pipeline), *map(cells, table)])
    counts = ", ".join(f"{split} {n:,}" for split, n in pipeline["task"]["rows"].items())
    text += f"\n\nRows: {counts}. Layers and neurons are selected on dev. {INTERVALS}{of_repeats(pipeline)}"
    notes = " ".join(filter(None, (marks_note(pipeline, table), warning(pipeline), not_converged(pipeline))))
    return f"{text}\nNote: {notes}" if notes else text


def pipeline_head(pipeline: dict[str, Any]) -> list[str]:
    """The head of the pipeline's table."""
    metric = pipeline["task"]["metric"]
    scores = [f"dev {metric}", f"test {metric}", "test - oracle"]
    return ["", "layers", "neurons", "share", *scores, "encoder params", "probe params"]


def marks_note(pipeline: dict[str, Any], table: list[Row]) -> str:
    """What the marks of the table's lines mean."""
    return no_finding_note(pipeline, [text for row in table for text in row.marks if text.startswith("no ")])


def sweep_table(workdir: Workdir) -> str:
    """The score at every clustering threshold as a Markdown table."""
    (lines, note), *_ = sweep_lines(load(workdir, "cluster_sweep"))
    return f"{markdown(lines)}\n\n{note}"


def sweep_lines(sweep: dict[str, Any]) -> list[tuple[list[list[str]], str]]:
    """The table of a cluster sweep, with what it says."""
    metric, repeats = sweep["task"]["metric"], sweep.get("repeats")
    n_neurons, n_runs = sweep["n_layers"] * sweep["hidden_size"], n_repeats(sweep)
    lines = [["threshold", "neurons", "share", f"dev {metric}", f"test {metric}", "test - oracle"]]
    entries = [("none", Value(n_neurons), sweep["oracle"], repeats and repeats["oracle"])]
    for i, entry in enumerate(sweep["thresholds"]):
        spread = repeats and repeats["thresholds"][i]
        count = Value(entry["n_clusters"])
        if spread:
            count = Value(spread["n_clusters"]["mean"], spread["n_clusters"]["sd"])
        entries.append((f"{entry['threshold']:g}", count, entry["scores"], spread))
    marks = []
    for name, count, scores, spread in entries:
        marks.append(mark_of_scores(scores, spread, n_runs))
        values = [value(scores, spread, split).text() for split in ("dev", "test")]
        against = "" if name == "none" else to_oracle(scores, spread).text()
        title = f"{name}: {marks[-1]}" if marks[-1] else name
        lines.append([title, count.text(0), f"{count.mean / n_neurons:.1%}", *values, against])
    note = f"One neuron of each correlation cluster of all layers is kept. {INTERVALS}{of_repeats(sweep)}"
    return [(lines, " ".join(filter(None, (note, no_finding_note(sweep, marks), not_converged(sweep)))))]


def minimal_table(workdir: Workdir) -> str:
    """The minimal set out of all neurons as a Markdown table."""
    found = load(workdir, "minimal_neurons")
    (lines, note), *_ = minimal_lines(found)
    doubt = warning(found)
    return f"{markdown(lines)}\n\n{note}" + (f"\nNote: {doubt}" if doubt else "")


def minimal_lines(found: dict[str, Any]) -> list[tuple[list[list[str]], str]]:
    """The table of the minimal set out of all neurons, with what it says."""
    metric, repeats, n_runs = found["task"]["metric"], found.get("repeats"), n_repeats(found)
    lines = [["", "neurons", "share", f"dev {metric}", f"test {metric}", "test - oracle"]]
    if (baseline := constant(found)) is not None:
        name, scores = baseline
        lines.append([name, "0", "0.0%", *(scores[split].text() for split in ("dev", "test")), ""])
    minimal, by_layer = Value(found["n_minimal"]), dict(Counter(layer for layer, _ in found["minimal_neurons"]))
    if repeats:
        minimal = Value(repeats["n_minimal"]["mean"], repeats["n_minimal"]["sd"])
        by_layer = {int(layer): n for layer, n in repeats["neurons_by_layer"].items()}
    oracle, spread_of_oracle = found["oracle"], repeats and repeats["oracle"]
    scores, spread = found["minimal_scores"], repeats and repeats["minimal_scores"]
    marks = [
        mark_of_scores(oracle, spread_of_oracle, n_runs),
        mark(repeats["findings"] if repeats else int(found["finding"]), n_runs),
    ]
    entries = [
        ("Oracle", Value(found["n_candidates"]), oracle, spread_of_oracle),
        (f"Minimal set (δ {found['delta']:g})", minimal, scores, spread),
    ]
    for text, (name, count, entry, spread_of_entry) in zip(marks, entries, strict=True):
        values = [value(entry, spread_of_entry, split).text() for split in ("dev", "test")]
        against = "" if name == "Oracle" else to_oracle(entry, spread_of_entry).text()
        share = f"{count.mean / found['n_candidates']:.1%}"
        lines.append([f"{name}: {text}" if text else name, count.text(0), share, *values, against])
    tried = f" {len(found['sizes']):,} sizes were tried, up to {max(map(int, found['sizes']), default=0):,}."
    counts = ", ".join(f"{split} {n:,}" for split, n in found["task"]["rows"].items())
    digits = 0 if repeats is None else 1
    where = ", ".join(f"{n:,.{digits}f} of layer {layer}" for layer, n in sorted(by_layer.items()))
    has = f" It has {where}." if where else ""
    if repeats:
        tried, has = "", ""
        if where:
            has = f" On the mean it has {where}; {repeats['in_every_run']:,} neurons are in the set of every repeat."
    note = f"Rows: {counts}. The set is selected on dev.{tried}{has} {INTERVALS}{of_repeats(found)}"
    return [(lines, " ".join(filter(None, (note, no_finding_note(found, marks), not_converged(found)))))]


def cells(row: Row) -> list[str]:
    """A line of the pipeline's table as text."""

    def grouped(n: int | None) -> str:
        return "" if n is None else f"{n:,}"

    scores = ["" if value is None else value.text() for value in (row.dev, row.test, row.to_oracle)]
    numbers = [grouped(row.encoder_parameters), grouped(row.probe_parameters)]
    return [row.title, row.layers, row.n_neurons.text(0), f"{row.share:.1%}", *scores, *numbers]
