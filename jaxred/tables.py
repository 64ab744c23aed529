"""The tables of a study's results: one worth pasting for each study, and the warnings that belong under them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxred.errors import UserError
from jaxred.metrics import OVERALL
from jaxred.results import load_result
from jaxred.workdir import Workdir

LEARNT = 0.02  # by so much accuracy an oracle must beat the majority class to have learnt something worth selecting
CORRELATED = 0.1  # with the training scores an oracle must correlate by so much
UNDERFIT = 0.02  # an oracle whose last epoch brought more than this share of all it has learnt could learn more


@dataclass(frozen=True)
class Value:
    """A number, or the mean of its repeats with their standard deviation."""

    mean: float
    sd: float | None = None

    def text(self, decimals: int = 3) -> str:
        spread = "" if self.sd is None else f" ± {self.sd:,.{decimals}f}"
        return f"{self.mean:,.{decimals}f}{spread}"


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
            _value(scores, spread, "dev"),
            _value(scores, spread, "test"),
            encoder["parameters"][top_layer] if encoder["parameters"] else None,
            (count + 1) * n_outputs,
        )

    def of(part: str, index: int | None = None) -> dict[str, Any] | None:
        if repeats is None:
            return None
        return repeats[part] if index is None else repeats[part][index]

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
    for i, entry in enumerate(pipeline["layer_selection"]):
        selectors.setdefault(entry["top_layer"] if repeats is None else i, []).append(i)
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
        key = (chosen["top_layer"], chosen["threshold"], chosen["n_minimal"]) if repeats is None else i
        minimal.setdefault(key, []).append(i)
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
    pipeline = _load(workdir, "pipeline")
    metric = pipeline["task"]["metric"]
    head = ["", "layers", "neurons", "share", f"dev {metric}", f"test {metric}", "encoder params", "probe params"]
    text = markdown([head, *map(cells, rows(pipeline))])
    counts = ", ".join(f"{split} {n:,}" for split, n in pipeline["task"]["rows"].items())
    text += f"\n\nRows: {counts}. Layers and neurons are selected on dev.{_of_repeats(pipeline)}"
    note = warning(pipeline)
    return f"{text}\nNote: {note}" if note else text


def sweep_table(workdir: Workdir) -> str:
    """The score at every clustering threshold as a Markdown table."""
    (lines, note), *_ = sweep_lines(_load(workdir, "cluster_sweep"))
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
        values = [_value(scores, spread, split).text() for split in ("dev", "test")]
        lines.append([name, f"{count:,}", f"{count / n_neurons:.1%}", *values])
    return [(lines, f"One neuron of each correlation cluster of all layers is kept.{_of_repeats(sweep)}")]


def minimal_table(workdir: Workdir) -> str:
    """The minimal set out of all neurons as a Markdown table."""
    found = _load(workdir, "minimal_neurons")
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
        values = [_value(scores, spread, split).text() for split in ("dev", "test")]
        lines.append([name, count.text(0), f"{count.mean / found['n_candidates']:.1%}", *values])
    tried = f"{len(found['sizes']):,} sizes were tried, up to {max(map(int, found['sizes']), default=0):,}."
    counts = ", ".join(f"{split} {n:,}" for split, n in found["task"]["rows"].items())
    by_layer = Counter(layer for layer, _ in found["minimal_neurons"])
    where = ", ".join(f"{n:,} of layer {layer}" for layer, n in sorted(by_layer.items()))
    note = f"Rows: {counts}. The set is selected on dev. {tried}{f' It has {where}.' if where else ''}"
    return [(lines, f"{note}{_of_repeats(found)}")]


def redundancy_table(workdir: Workdir) -> str:
    """Clusters by threshold as a Markdown table."""
    redundancy = _load(workdir, "redundancy")
    halves = all("agreement_of_halves" in e for e in redundancy["thresholds"])
    more = ["redundant, of either half", "agreement of halves"] if halves else []
    lines = [["threshold", "clusters", "redundant", *more, "largest", "across layers"]]
    lines += [
        [
            f"{e['threshold']:g}",
            f"{e['n_clusters']:,}",
            f"{e['redundant_share']:.1%}",
            *(_of_halves(e) if halves else []),
            f"{e['largest_cluster']:,}",
            f"{e['n_across_layers']:,}",
        ]
        for e in redundancy["thresholds"]
    ]
    return markdown(lines)


def tasks_table(workdir: Workdir) -> str:
    """Several tasks' curves, their summed windows and their agreement as Markdown tables."""
    return "\n\n".join(f"{markdown(lines)}\n\n{note}" for lines, note in tasks_lines(_load(workdir, "tasks")))


def tasks_lines(content: dict[str, Any]) -> list[tuple[list[list[str]], str]]:
    """The tables of several tasks together, each with what it says."""
    tasks, pooled, pairs = content["tasks"], content["pooled"], content["pairs"]
    columns = [*tasks, *([pooled] if pooled else [])]
    names = [*(task["name"] for task in tasks), *(["all rows pooled"] if pooled else [])]
    curve = [["threshold", *names, "mean redundant"]]
    windows = [["window", *names[: len(tasks)], "sum"]]
    for i, entry in enumerate(content["mean"]):
        mine = [column["thresholds"][i] for column in columns]
        cells = [f"{e['n_clusters']:,} ({e['redundant_share']:.1%})" for e in mine]
        share = entry["redundant_share"]
        curve.append([f"{entry['threshold']:g}", *cells, f"{share['mean']:.1%} ± {share['sd']:.1%}"])
    for window, total in enumerate(content["windows"], 1):
        windows.append([f"{window}", *(f"{task['windows'][window - 1]:,}" for task in tasks), f"{total:,}"])
    rows = ", ".join(f"{name} {column['n_rows']:,}" for name, column in zip(names, columns, strict=True))
    why = f" Rows are not pooled: {content['why_not_pooled']}." if content["why_not_pooled"] else ""
    found = [
        (curve, f"Clusters (share of redundant neurons). Rows: {rows}.{why}"),
        (
            windows,
            f"Clusters at threshold {content['window_threshold']:g} by their window: the layers from their lowest to "
            "their highest.",
        ),
    ]
    head = ["threshold", "agreement of tasks", "agreement of halves", "same clusters", "of several neurons"]
    agreement = [head]
    for i, entry in enumerate(content["mean"]):
        mine = [pair["thresholds"][i] for pair in pairs]
        halves = [task["thresholds"][i].get("agreement_of_halves") for task in tasks]
        cells = [_range([e["agreement"] for e in mine]), _range(halves), _range([e["n_same"] for e in mine], ",.0f")]
        several = _range([e["share_of_several"] for e in mine], ".1%")
        agreement.append([f"{entry['threshold']:g}", *cells, several])
    moved = _range([pair["cka_differs_by"] for pair in pairs])
    found.append(
        (
            agreement,
            "Agreement is the adjusted Rand index between the clusterings of two tasks and, to be compared with it, of "
            "two halves of one task's sentences. Same clusters are the same set of neurons in both tasks, also as a "
            "share of the clusters of several neurons. Lowest to highest over "
            f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''} and {len(tasks)} tasks. The layers' CKA differs by at "
            f"most {moved} between two tasks.",
        )
    )
    return found


def models_table(workdir: Workdir) -> str:
    """Two models' CKA and shared clusters as Markdown tables."""
    return "\n\n".join(f"{markdown(lines)}\n\n{note}" for lines, note in models_lines(_load(workdir, "models")))


def models_lines(content: dict[str, Any]) -> list[tuple[list[list[str]], str]]:
    """The tables of two models, each with what it says."""
    first, second = (model["name"] for model in content["models"])
    cka = [["layer", *map(str, range(len(content["cka"][0]))), "most alike"]]
    for layer, (row, best) in enumerate(zip(content["cka"], content["most_alike"], strict=True)):
        cells = ["–" if value is None else f"{value:.2f}" for value in row]
        cka.append([str(layer), *cells, "–" if best is None else str(best)])
    moved = content["halves_move_cka_by"]
    note = "" if moved is None else f" Two halves of the sentences differ by at most {moved:.3f}."
    found = [
        (
            cka,
            f"Linear CKA between the layers of {first} (down) and of {second} (across), over {content['n_rows']:,} "
            f"rows (–: constant layer).{note}",
        )
    ]
    alone = all("agreement" in entry for entry in content["thresholds"])
    more = ["agreement", "same clusters", "of several neurons"] if alone else []
    shared = [["threshold", "clusters of both together", "shared", f"neurons of {first}", f"of {second}", *more]]
    for entry in content["thresholds"]:
        shares = [f"{share:.1%}" for share in entry["shared_share_of_neurons"]]
        line = [f"{entry['threshold']:g}", f"{entry['n_clusters']:,}", f"{entry['n_shared']:,}", *shares]
        if alone:
            several = _range([entry["share_of_several"]], ".1%")
            line += [f"{entry['agreement']:.2f}", f"{entry['n_same']:,}", several]
        shared.append(line)
    note = "The neurons of both models are clustered together; shared clusters have neurons of both."
    if alone:
        note += (
            " Agreement (adjusted Rand index) and same clusters compare the clusterings of either model alone, neuron "
            "by neuron, which means something where one was made from the other."
        )
    found.append((shared, note))
    return found


def _range(values: Sequence[float | None], form: str = ".2f") -> str:
    """The lowest to the highest of the values that there are, or the only one."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    ends = [format(end, form) for end in (min(known), max(known))]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _of_halves(entry: dict[str, Any]) -> list[str]:
    shares = entry["redundant_share_of_halves"]
    return [f"{min(shares):.1%} to {max(shares):.1%}", f"{entry['agreement_of_halves']:.2f}"]


def warning(results: dict[str, Any]) -> str:
    """Sentences where the oracle has learnt little or could learn more, so that what is selected means little; else
    empty. The results are those of a pipeline, or of a minimal set out of all neurons.
    """
    return " ".join(sentence for sentence in (_learnt_little(results), _underfits(results)) if sentence)


def not_converged(results: dict[str, Any]) -> str:
    """How many probes of a study were still learning when training ended."""
    record = results["training"]
    n_probes = sum(not entry["converged"] for entry in record.values())
    return f"{n_probes:,} of {len(record):,} probes had not converged when training ended."


def _learnt_little(results: dict[str, Any]) -> str:
    majority, metric = results["task"].get("majority"), results["task"]["metric"]
    advice = (
        "these activations tell little about the task under this probe, and so does the selection. Try an encoder "
        "fine-tuned on the task, --config.extraction.pooling=mean, or more --config.probe.epochs."
    )
    if majority is None:
        oracle = results["oracle"]["train"][OVERALL]
        if oracle > CORRELATED:
            return ""
        return f"The oracle's {metric.replace('_', ' ')} on its own training rows is {oracle:.3f}: {advice}"
    oracle, baseline = results["oracle"]["dev"][OVERALL], majority["accuracy"]["dev"]
    if metric != "accuracy" or oracle > baseline + LEARNT:
        return ""
    return f"The oracle's dev accuracy ({oracle:.3f}) hardly beats the majority class ({baseline:.3f}): {advice}"


def _underfits(results: dict[str, Any]) -> str:
    oracle = f"layers-0-{len(results['incremental']) - 1}" if "incremental" in results else "oracle"
    record = results["training"][oracle]
    losses = record["losses"]
    if results.get("solver") == "fista":
        return (
            ""
            if record["converged"]
            else ("The oracle is not at its optimum: it had not reached probe.tolerance after probe.max_iterations.")
        )
    if len(losses) < 2 or losses[-2] - losses[-1] <= UNDERFIT * (losses[0] - losses[-1]):
        return ""
    return (
        f"The oracle underfits: its loss fell from {losses[0]:.3f} to {losses[-1]:.3f} in {len(losses)} epochs, and by "
        f"{losses[-2] - losses[-1]:.3f} still in the last. --config.probe.solver=fista finds the optimum; more "
        "--config.probe.epochs come closer to it."
    )


def cells(row: Row) -> list[str]:
    """A line of the pipeline's table as text."""

    def grouped(n: int | None) -> str:
        return "" if n is None else f"{n:,}"

    scores = ["" if value is None else value.text() for value in (row.dev, row.test)]
    numbers = [grouped(row.encoder_parameters), grouped(row.probe_parameters)]
    return [row.name, row.layers, row.n_neurons.text(0), f"{row.share:.1%}", *scores, *numbers]


def markdown(lines: list[list[str]]) -> str:
    """A Markdown table; the first line is its head, the first column text, the others numbers."""
    rule = ["---", *["---:"] * (len(lines[0]) - 1)]
    table = [lines[0], rule, *lines[1:]]
    widths = [max(len(line[i]) for line in table) for i in range(len(rule))]
    return "\n".join(
        f"| {' | '.join(_fit(c, w, i) for i, (c, w) in enumerate(zip(line, widths, strict=True)))} |" for line in table
    )


def _fit(cell: str, width: int, column: int) -> str:
    if cell and set(cell) <= set("-:"):
        return "-" * width if column == 0 else "-" * (width - 1) + ":"
    return cell.ljust(width) if column == 0 else cell.rjust(width)


def _layers(top_layer: int) -> str:
    return f"0–{top_layer}" if top_layer else "0"


def _layers_of_repeats(top_layers: list[float]) -> str:
    lowest, highest = int(min(top_layers)), int(max(top_layers))
    return _layers(lowest) if lowest == highest else f"0–{lowest} to 0–{highest}"


def _value(scores: dict[str, Any], spread: dict[str, Any] | None, split: str) -> Value:
    return Value(scores[split][OVERALL]) if spread is None else Value(spread[split]["mean"], spread[split]["sd"])


def _of_repeats(results: dict[str, Any]) -> str:
    return f" Mean ± standard deviation of {results['repeats']['n']} repeats." if "repeats" in results else ""


def _load(workdir: Workdir, name: str) -> dict[str, Any]:
    content = load_result(workdir.result(name))
    if content is None:
        raise UserError(
            f"{workdir.path} holds no {name.replace('_', ' ')} results: run launch/{name}.py --workdir={workdir.path} "
            "first."
        )
    return content


REDUNDANCY = {"redundancy": redundancy_table, "tasks": tasks_table, "models": models_table}  # by the results' name
