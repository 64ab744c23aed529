"""One table worth pasting, and a self-contained HTML report, from a workdir's results."""

import base64
import json
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup

import jaxred
from jaxred.errors import UserError
from jaxred.files import write_text
from jaxred.metrics import OVERALL
from jaxred.results import fingerprint, load_result
from jaxred.workdir import Workdir

RESULTS = ("pipeline", "redundancy", "cluster_sweep")

LEARNT = 0.02  # by so much accuracy an oracle must beat the majority class to have learnt something worth selecting

CAPTIONS = {
    "layers": "Probes on each layer alone and on all layers up to it.",
    "minimal_neurons": "Neurons are ranked by a probe on all candidates; each point is a probe retrained from "
    "scratch on the first "
    "k of the ranking.",
    "kept_neurons": "The layers that the neurons of the minimal sets come from.",
    "cluster_sweep": "One neuron of each correlation cluster is kept, over all layers.",
    "cka": "Linear centred kernel alignment between the layers, over the training rows.",
    "clusters": "Average-linkage clusters of the neurons of all layers, by distance of their correlations.",
    "windows": "How far apart the layers are whose neurons share a cluster.",
}


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    name: str
    layers: str
    n_neurons: int | None
    share: float | None  # of all neurons
    dev: float | None
    test: float | None
    encoder_parameters: int | None  # of the encoder cut after the highest layer used
    probe_parameters: int | None


def read_results(workdir: Workdir) -> dict[str, dict[str, Any]]:
    """The result files that are there.

    Raises:
        UserError: if there is none.
    """
    found = {name: load_result(workdir.result(name)) for name in RESULTS}
    present = {name: content for name, content in found.items() if content is not None}
    if not present:
        raise UserError(f"{workdir.path} holds no results: run launch/study.py --workdir={workdir.path} first.")
    return present


def rows(pipeline: dict[str, Any]) -> list[Row]:
    """Majority class, oracle, best layer, LayerSelector, and LS + CCFS at every delta and threshold."""
    task, encoder = pipeline["task"], pipeline["encoder"]
    hidden_size, n_layers = encoder["hidden_size"], encoder["n_layers"]
    parameters = encoder["parameters"] or [None] * n_layers  # of imported activations the encoder is not known
    n_outputs = len(task.get("classes", ())) or 1

    def row(name: str, layers: str, n_neurons: int, scores: dict[str, Any], top_layer: int) -> Row:
        return Row(
            name,
            layers,
            n_neurons,
            n_neurons / (n_layers * hidden_size),
            scores["dev"][OVERALL],
            scores["test"][OVERALL],
            parameters[top_layer],
            (n_neurons + 1) * n_outputs,
        )

    def span(top_layer: int) -> str:
        return f"0–{top_layer}" if top_layer else "0"

    table = []
    if "majority" in task:
        accuracy = task["majority"]["accuracy"] if task["metric"] == "accuracy" else {"dev": None, "test": None}
        name = f"Majority class ({task['majority']['class']})"
        table.append(Row(name, "none", 0, 0.0, accuracy["dev"], accuracy["test"], None, None))
    table.append(row("Oracle", span(n_layers - 1), n_layers * hidden_size, pipeline["oracle"], n_layers - 1))
    best = max(range(n_layers), key=lambda layer: pipeline["independent"][layer]["dev"][OVERALL])
    table.append(row("Best layer alone", str(best), hidden_size, pipeline["independent"][best], best))

    selectors: dict[int, list[str]] = {}
    for entry in pipeline["layer_selection"]:
        selectors.setdefault(entry["top_layer"], []).append(f"{entry['delta']:g}")
    for top_layer, deltas in selectors.items():
        scores = pipeline["incremental"][top_layer]
        name = f"LayerSelector (δ {', '.join(deltas)})"
        table.append(row(name, span(top_layer), (top_layer + 1) * hidden_size, scores, top_layer))

    minimal: dict[tuple[int, float, int], list[str]] = {}
    chosen_by_key = {}
    for chosen in pipeline["selection"]:
        key = chosen["top_layer"], chosen["threshold"], chosen["n_minimal"]
        minimal.setdefault(key, []).append(f"{chosen['delta_layers']:g}/{chosen['delta_neurons']:g}")
        chosen_by_key[key] = chosen
    for key, deltas in minimal.items():
        top_layer, threshold, size = key
        clustered = chosen_by_key[key]["clusters"] is not None
        name = f"LS + CCFS (δ {', '.join(deltas)}; {f'clustering {threshold:g}' if clustered else 'no clustering'})"
        table.append(row(name, span(top_layer), size, chosen_by_key[key]["minimal_scores"], top_layer))
    return table


def table(workdir: Workdir) -> str:
    """The pipeline's outcome as a Markdown table, and a note where it means little."""
    pipeline = load_result(workdir.result("pipeline"))
    if pipeline is None:
        raise UserError(
            f"{workdir.path} holds no pipeline results: run launch/pipeline.py --workdir={workdir.path} first."
        )
    metric = pipeline["task"]["metric"]
    head = ["", "layers", "neurons", "share", f"dev {metric}", f"test {metric}", "encoder params", "probe params"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *([*_cells(row)] for row in rows(pipeline))]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = "\n".join(
        f"| {' | '.join(_fit(c, w, i) for i, (c, w) in enumerate(zip(line, widths, strict=True)))} |" for line in lines
    )
    counts = ", ".join(f"{split} {n:,}" for split, n in pipeline["task"]["rows"].items())
    text += f"\n\nRows: {counts}. Layers and neurons are selected on dev."
    note = warning(pipeline)
    return f"{text}\nNote: {note}" if note else text


def warning(pipeline: dict[str, Any]) -> str:
    """A sentence where the oracle hardly beats the majority class, so that what is selected means little; else
    empty.
    """
    majority = pipeline["task"].get("majority")
    if majority is None or pipeline["task"]["metric"] != "accuracy":
        return ""
    oracle, baseline = pipeline["oracle"]["dev"][OVERALL], majority["accuracy"]["dev"]
    if oracle > baseline + LEARNT:
        return ""
    return (
        f"The oracle's dev accuracy ({oracle:.3f}) hardly beats the majority class ({baseline:.3f}): these "
        f"activations tell "
        "little about the task under this probe, and so does the selection. Try an encoder fine-tuned on the task, "
        "--config.extraction.pooling=mean, or more --config.probe.epochs."
    )


def redundancy_table(workdir: Workdir) -> str:
    """Clusters by threshold as a Markdown table."""
    redundancy = load_result(workdir.result("redundancy"))
    if redundancy is None:
        raise UserError(
            f"{workdir.path} holds no redundancy results: run launch/redundancy.py --workdir={workdir.path} first."
        )
    lines = ["| threshold | clusters | redundant | largest | across layers |", "|---:|---:|---:|---:|---:|"]
    lines += [
        f"| {e['threshold']:g} | {e['n_clusters']:,} | {e['redundant_share']:.1%} | {e['largest_cluster']:,} | "
        f"{e['n_across_layers']:,} |"
        for e in redundancy["thresholds"]
    ]
    return "\n".join(lines)


def write(workdir: Workdir, force: bool = False) -> None:
    """Draws the figures and writes report.html, unless it already shows these results.

    Raises:
        UserError: if the workdir holds no results.
    """
    results = read_results(workdir)
    identity = fingerprint([jaxred.__version__, {name: content["identity"] for name, content in results.items()}])
    mark = f'<meta name="jaxred-identity" content="{identity}">'
    if not force and workdir.report.exists() and mark in workdir.report.read_text(encoding="utf-8")[:2000]:
        return
    from jaxred import figures  # here, because importing matplotlib takes a second

    files = figures.draw(workdir.figures, results)
    pipeline = results.get("pipeline")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxred"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["grouped"] = lambda n: "–" if n is None else f"{n:,}"
    environment.filters["percent"] = lambda x: "–" if x is None else f"{x:.1%}"
    environment.filters["score"] = lambda x: "–" if x is None else f"{x:.3f}"
    images = {name: base64.b64encode(path.read_bytes()).decode() for name, path in files.items()}
    html = environment.get_template("report.html.j2").render(
        mark=Markup(mark),
        version=jaxred.__version__,
        workdir=workdir.path.name,
        config=json.dumps(workdir.saved_config(), indent=2),
        pipeline=pipeline,
        redundancy=results.get("redundancy"),
        rows=rows(pipeline) if pipeline else [],
        headline=_headline(pipeline) if pipeline else "",
        warning=warning(pipeline) if pipeline else "",
        metric=figures.metric_name(pipeline) if pipeline else "",
        images=images,
        captions=CAPTIONS,
    )
    write_text(workdir.report, html)


def _headline(pipeline: dict[str, Any]) -> str:
    """The study's outcome in a sentence: the smallest set found, and what it keeps of the oracle's score."""
    encoder = pipeline["encoder"]
    n_neurons = encoder["n_layers"] * encoder["hidden_size"]
    best = min(pipeline["selection"], key=lambda chosen: (chosen["n_minimal"], chosen["top_layer"]))
    oracle, kept = pipeline["oracle"]["test"][OVERALL], best["minimal_scores"]["test"][OVERALL]
    share = f"{best['n_minimal'] / n_neurons:.1%}"
    ratio = f", {kept / oracle:.1%} of the oracle's {oracle:.3f}" if oracle > 0 else ""
    return (
        f"{best['n_minimal']:,} of {n_neurons:,} neurons ({share}), from layers 0–{best['top_layer']} of "
        f"0–{encoder['n_layers'] - 1}, score {kept:.3f} on test{ratio}."
    )


def _cells(row: Row) -> list[str]:
    def grouped(n: int | None) -> str:
        return "" if n is None else f"{n:,}"

    def score(x: float | None) -> str:
        return "" if x is None else f"{x:.3f}"

    share = "" if row.share is None else f"{row.share:.1%}"
    numbers = [grouped(row.encoder_parameters), grouped(row.probe_parameters)]
    return [row.name, row.layers, grouped(row.n_neurons), share, score(row.dev), score(row.test), *numbers]


def _fit(cell: str, width: int, column: int) -> str:
    if set(cell) <= set("-:") and cell:
        return "-" * width if column == 0 else "-" * (width - 1) + ":"
    return cell.ljust(width) if column == 0 else cell.rjust(width)
