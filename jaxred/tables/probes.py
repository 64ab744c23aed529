"""The tables of a task's probes: of a pipeline, of a cluster sweep, of the minimal set out of all neurons."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from jaxred.metrics import OVERALL
from jaxred.tables.doubts import not_converged, warning
from jaxred.tables.text import Value, load, markdown, of_repeats, value
from jaxred.workdir import Workdir


@dataclass(frozen=True)
class Row:
    """A line of the pipeline's table."""

    name: str
    layers: str
    n_neurons: Value
    share: float  # of all neurons
    dev: Value | None
    test: Value | None
    encoder_parameters: int | None  # of the encoder cut after the highest layer used
    probe_parameters: int | None


def rows(pipeline: dict[str, Any]) -> list[Row]:
    """Majority class, oracle, best layer, LayerSelector, and LS + CCFS at every delta and threshold.

    With repeats, scores and numbers of neurons are means over them; layers are those of the first.
    """
    task, encoder, repeats = pipeline["task"], pipeline["encoder"], pipeline.get("repeats")
    hidden_size, n_layers = encoder["hidden_size"], encoder["n_layers"]
    n_outputs = len(task.get("classes", ())) or 1

    def row(
        name: str, layers: str, n_neurons: Value, top_layer: int, scores: dict[str, Any], spread: dict[str, Any] | None
    ) -> Row:
        count = round(n_neurons.mean)
        return Row(
            name,
            layers,
            n_neurons,
            n_neurons.mean / (n_layers * hidden_size),
            value(scores, spread, "dev"),
            value(scores, spread, "test"),
            encoder["parameters"][top_layer] if encoder["parameters"] else None,
            (count + 1) * n_outputs,
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
    if "majority" in task:
        accuracy = task["majority"]["accuracy"] if task["metric"] == "accuracy" else {}
        dev, test = (Value(accuracy[split]) if split in accuracy else None for split in ("dev", "test"))
        table.append(Row(f"Majority class ({task['majority']['class']})", "none", Value(0), 0.0, dev, test, None, None))
    everyone = Value(n_layers * hidden_size)
    table.append(row("Oracle", _layers(n_layers - 1), everyone, n_layers - 1, pipeline["oracle"], of("oracle")))
    best = max(range(n_layers), key=lambda layer: pipeline["independent"][layer]["dev"][OVERALL])
    alone = pipeline["independent"][best]
    table.append(row("Best layer alone", str(best), Value(hidden_size), best, alone, of("independent", best)))

    selectors: dict[Any, list[int]] = {}
    for i in range(len(pipeline["layer_selection"])):
        selectors.setdefault(settled("layer_selection", i, "top_layer"), []).append(i)
    for numbers in selectors.values():
        entry, spread = pipeline["layer_selection"][numbers[0]], of("layer_selection", numbers[0])
        deltas = ", ".join(f"{pipeline['layer_selection'][i]['delta']:g}" for i in numbers)
        name = f"LayerSelector (δ {deltas})"
        top, layers = entry["top_layer"], _layers(entry["top_layer"])
        if spread is not None:
            runs = [(layer + 1) * hidden_size for layer in spread["top_layer"]["runs"]]
            n_neurons = Value(sum(runs) / len(runs), spread["top_layer"]["sd"] * hidden_size)
            layers = _layers_of_repeats(spread["top_layer"]["runs"])
        else:
            n_neurons = Value((top + 1) * hidden_size)
        table.append(row(name, layers, n_neurons, top, entry["scores"], spread and spread["scores"]))

    minimal: dict[Any, list[int]] = {}
    for i, chosen in enumerate(pipeline["selection"]):
        found = settled("selection", i, "top_layer"), chosen["threshold"], settled("selection", i, "n_minimal")
        minimal.setdefault(found, []).append(i)
    for numbers in minimal.values():
        chosen, spread = pipeline["selection"][numbers[0]], of("selection", numbers[0])
        pairs = [pipeline["selection"][i] for i in numbers]
        deltas = ", ".join(f"{pair['delta_layers']:g}/{pair['delta_neurons']:g}" for pair in pairs)
        clustering = "no clustering" if chosen["clusters"] is None else f"clustering {chosen['threshold']:g}"
        top, layers, n_neurons = chosen["top_layer"], _layers(chosen["top_layer"]), Value(chosen["n_minimal"])
        if spread is not None:
            layers = _layers_of_repeats(spread["top_layer"]["runs"])
            n_neurons = Value(spread["n_minimal"]["mean"], spread["n_minimal"]["sd"])
        scores, mine = chosen["minimal_scores"], spread and spread["minimal_scores"]
        table.append(row(f"LS + CCFS (δ {deltas}; {clustering})", layers, n_neurons, top, scores, mine))
    return table


def pipeline_table(workdir: Workdir) -> str:
    """The pipeline's outcome as a Markdown table, and a note where it means little."""
    pipeline = load(workdir, "pipeline")
    metric = pipeline["task"]["metric"]
    head = ["", "layers", "neurons", "share", f"dev {metric}", f"test {metric}", "encoder params", "probe params"]
    text = markdown([head, *map(cells, rows(pipeline))])
    counts = ", ".join(f"{split} {n:,}" for split, n in pipeline["task"]["rows"].items())
    text += f"\n\nRows: {counts}. Layers and neurons are selected on dev.{of_repeats(pipeline)}"
    notes = " ".join(filter(None, (warning(pipeline), not_converged(pipeline))))
    return f"{text}\nNote: {notes}" if notes else text


def sweep_table(workdir: Workdir) -> str:
    """The score at every clustering threshold as a Markdown table."""
    (lines, note), *_ = sweep_lines(load(workdir, "cluster_sweep"))
    return f"{markdown(lines)}\n\n{note}"


def sweep_lines(sweep: dict[str, Any]) -> list[tuple[list[list[str]], str]]:
    """The table of a cluster sweep, with what it says."""
    metric, repeats = sweep["task"]["metric"], sweep.get("repeats")
    n_neurons = sweep["n_layers"] * sweep["hidden_size"]
    lines = [["threshold", "neurons", "share", f"dev {metric}", f"test {metric}"]]
    entries = [("none", n_neurons, sweep["oracle"], repeats and repeats["oracle"])]
    for i, entry in enumerate(sweep["thresholds"]):
        spread = repeats and repeats["thresholds"][i]
        entries.append((f"{entry['threshold']:g}", entry["n_clusters"], entry["scores"], spread))
    for name, count, scores, spread in entries:
        values = [value(scores, spread, split).text() for split in ("dev", "test")]
        lines.append([name, f"{count:,}", f"{count / n_neurons:.1%}", *values])
    return [(lines, f"One neuron of each correlation cluster of all layers is kept.{of_repeats(sweep)}")]


def minimal_table(workdir: Workdir) -> str:
    """The minimal set out of all neurons as a Markdown table."""
    found = load(workdir, "minimal_neurons")
    (lines, note), *_ = minimal_lines(found)
    doubt = warning(found)
    return f"{markdown(lines)}\n\n{note}" + (f"\nNote: {doubt}" if doubt else "")


def minimal_lines(found: dict[str, Any]) -> list[tuple[list[list[str]], str]]:
    """The table of the minimal set out of all neurons, with what it says."""
    metric, repeats = found["task"]["metric"], found.get("repeats")
    lines = [["", "neurons", "share", f"dev {metric}", f"test {metric}"]]
    if "majority" in found["task"]:
        accuracy = found["task"]["majority"]["accuracy"] if metric == "accuracy" else {}
        scores = [Value(accuracy[split]).text() if split in accuracy else "" for split in ("dev", "test")]
        lines.append([f"Majority class ({found['task']['majority']['class']})", "0", "0.0%", *scores])
    minimal = Value(found["n_minimal"])
    if repeats:
        minimal = Value(repeats["n_minimal"]["mean"], repeats["n_minimal"]["sd"])
    entries = [
        ("Oracle", Value(found["n_candidates"]), found["oracle"], repeats and repeats["oracle"]),
        (
            f"Minimal set (δ {found['delta']:g})",
            minimal,
            found["minimal_scores"],
            repeats and repeats["minimal_scores"],
        ),
    ]
    for name, count, scores, spread in entries:
        values = [value(scores, spread, split).text() for split in ("dev", "test")]
        lines.append([name, count.text(0), f"{count.mean / found['n_candidates']:.1%}", *values])
    tried = f"{len(found['sizes']):,} sizes were tried, up to {max(map(int, found['sizes']), default=0):,}."
    counts = ", ".join(f"{split} {n:,}" for split, n in found["task"]["rows"].items())
    by_layer = Counter(layer for layer, _ in found["minimal_neurons"])
    where = ", ".join(f"{n:,} of layer {layer}" for layer, n in sorted(by_layer.items()))
    note = f"Rows: {counts}. The set is selected on dev. {tried}{f' It has {where}.' if where else ''}"
    return [(lines, f"{note}{of_repeats(found)}")]


def cells(row: Row) -> list[str]:
    """A line of the pipeline's table as text."""

    def grouped(n: int | None) -> str:
        return "" if n is None else f"{n:,}"

    scores = ["" if value is None else value.text() for value in (row.dev, row.test)]
    numbers = [grouped(row.encoder_parameters), grouped(row.probe_parameters)]
    return [row.name, row.layers, row.n_neurons.text(0), f"{row.share:.1%}", *scores, *numbers]


def _layers(top_layer: int) -> str:
    return f"0–{top_layer}" if top_layer else "0"


def _layers_of_repeats(top_layers: list[float]) -> str:
    lowest, highest = int(min(top_layers)), int(max(top_layers))
    return _layers(lowest) if lowest == highest else f"0–{lowest} to 0–{highest}"
