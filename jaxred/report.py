"""A self-contained HTML report of a workdir's results."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup

import jaxred
from jaxred.errors import UserError
from jaxred.files import write_text
from jaxred.metrics import OVERALL
from jaxred.results import fingerprint, load_result
from jaxred.tables.doubts import not_converged, warning
from jaxred.tables.probes import minimal_lines, rows, sweep_lines
from jaxred.tables.text import Value
from jaxred.tables.together import models_lines, tasks_lines
from jaxred.workdir import Workdir, locked

VECTOR_FORMATS = ("pdf", "svg")
RESULTS = ("pipeline", "redundancy", "cluster_sweep", "minimal_neurons", "tasks", "models")

PROBES = ("pipeline", "minimal_neurons", "cluster_sweep")  # the studies of one task's probes, the main one first
STUDIES = {
    "minimal_neurons": ("The minimal set out of all neurons", minimal_lines),
    "cluster_sweep": ("Clusters of all neurons", sweep_lines),
}  # that have a table, by the name of their results
TOGETHER = {"tasks": ("Several tasks together", tasks_lines), "models": ("Two models on the same rows", models_lines)}

CAPTIONS = {
    "layers": "Probes on each layer alone and on all layers up to it.",
    "minimal_neurons": "Neurons are ranked by a probe on all candidates; each point is a probe retrained from "
    "scratch on the first "
    "k of the ranking.",
    "kept_neurons": "The layers that the neurons of the minimal sets come from.",
    "training": "Mean loss of each epoch, penalties included, of the probes on layers 0 to l.",
    "minimal_of_all": "The neurons of all layers, ranked by the oracle; a point is a probe retrained on the first k.",
    "cluster_sweep": "One neuron of each correlation cluster is kept, over all layers.",
    "cka": "Linear centred kernel alignment between the layers, over the training rows.",
    "clusters": "Average-linkage clusters of the neurons of all layers, by distance of their correlations.",
    "tasks_curves": "The share of redundant neurons of each task, of their mean, and of all rows pooled.",
    "tasks_windows": "How far apart the layers are whose neurons share a cluster: of each task, and summed over them.",
    "tasks_agreement": "Adjusted Rand index between the clusterings of two tasks; dashed, of two halves of one.",
    "models_cka": "Linear centred kernel alignment between the layers of two models, over the same rows.",
    "models_clusters": "The neurons of both models clustered together: how many share a cluster with the other's.",
    "windows": "How far apart the layers are whose neurons share a cluster.",
}


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


def write(workdir: Workdir, force: bool = False, also: Sequence[str] = ()) -> None:
    """Draws the figures and writes report.html, unless it already shows these results.

    Args:
        workdir: whose results are shown.
        force: even where the report shows them already.
        also: formats out of `VECTOR_FORMATS` that the figures are written in beside PNG.

    Raises:
        UserError: if the workdir holds no results.
    """
    with locked(workdir.path):
        _write(workdir, force, also)


def _write(workdir: Workdir, force: bool, also: Sequence[str]) -> None:
    results = read_results(workdir)
    identity = fingerprint([jaxred.__version__, {name: content["identity"] for name, content in results.items()}])
    mark = f'<meta name="jaxred-identity" content="{identity}">'
    if not force and workdir.report.exists() and mark in workdir.report.read_text(encoding="utf-8")[:2000]:
        return
    from jaxred import figures  # here, because importing matplotlib takes a second

    files = figures.draw(workdir.figures, results, also)
    pipeline, study = results.get("pipeline"), _study(results, workdir)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxred"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["grouped"] = lambda n: "–" if n is None else f"{n:,}"
    environment.filters["percent"] = lambda x: "–" if x is None else f"{x:.1%}"
    environment.filters["score"] = lambda x: "–" if x is None else (x if isinstance(x, Value) else Value(x)).text()
    images = {name: base64.b64encode(path.read_bytes()).decode() for name, path in files.items()}
    html = environment.get_template("report.html.j2").render(
        mark=Markup(mark),
        version=jaxred.__version__,
        workdir=workdir.path.name,
        config=json.dumps(workdir.saved_config(), indent=2),
        pipeline=pipeline,
        study=study,
        redundancy=results.get("redundancy"),
        studies=_titled(STUDIES, results),
        together=_titled(TOGETHER, results),
        rows=rows(pipeline) if pipeline else [],
        headline=_headline(study) if study else "",
        warning=warning(study) if study and _smallest(study) else "",
        class_scores=_class_scores(study) if study else {},
        not_converged=not_converged(pipeline) if pipeline else "",
        metric=figures.metric_name(study) if study else "",
        images=images,
        captions=CAPTIONS,
    )
    write_text(workdir.report, html)


def _titled(
    makers: dict[str, tuple[str, Any]], results: dict[str, dict[str, Any]]
) -> list[tuple[str, list[tuple[list[list[str]], str]]]]:
    """Titles, and the tables of the results that are there, each with what it says."""
    return [(title, lines(results[name])) for name, (title, lines) in makers.items() if name in results]


def _study(results: dict[str, dict[str, Any]], workdir: Workdir) -> dict[str, Any] | None:
    """The pipeline or, where it was not run, another study of probes, with its encoder; None where there is none."""
    found = next((results[name] for name in PROBES if name in results), None)
    if found is None or "encoder" in found:
        return found
    path = (workdir.saved_config() or {}).get("encoder", {}).get("path", "")
    return {**found, "encoder": {"path": path, "n_layers": found["n_layers"], "hidden_size": found["hidden_size"]}}


def _headline(study: dict[str, Any]) -> str:
    """The study's outcome in a sentence: the smallest set found, and what it keeps of the oracle's score."""
    best = _smallest(study)
    if best is None:
        return ""
    encoder = study["encoder"]
    n_neurons = encoder["n_layers"] * encoder["hidden_size"]
    oracle, kept = study["oracle"]["test"][OVERALL], best["minimal_scores"]["test"][OVERALL]
    share = f"{best['n_minimal'] / n_neurons:.1%}"
    ratio = f", {kept / oracle:.1%} of the oracle's {oracle:.3f}" if oracle > 0 else ""
    layers = f"from layers 0–{best['top_layer']} of 0–{encoder['n_layers'] - 1}, " if "top_layer" in best else ""
    return f"{best['n_minimal']:,} of {n_neurons:,} neurons ({share}), {layers}score {kept:.3f} on test{ratio}."


def _smallest(study: dict[str, Any]) -> dict[str, Any] | None:
    """The smallest minimal set found; None of a study that looks for none."""
    if "selection" not in study:
        return study if "n_minimal" in study else None
    chosen: list[dict[str, Any]] = study["selection"]
    smallest = min(chosen, key=lambda entry: (entry["n_minimal"], entry["top_layer"]))
    return smallest


def _class_scores(study: dict[str, Any]) -> dict[str, Any]:
    """Every class's scores on test, of the oracle and of the smallest minimal set; empty where results have none."""
    found, best = study.get("per_class"), _smallest(study)
    if found is None or best is None:
        return {}
    oracle = "oracle" if "oracle" in found else f"layers-0-{study['encoder']['n_layers'] - 1}"
    minimal = best.get("minimal_probe", f"first-{best['n_minimal']}")
    return {"oracle": found[oracle]["test"], "minimal": found.get(minimal, found[oracle])["test"]}
