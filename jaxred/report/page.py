"""A self-contained HTML report of a workdir's results."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup, escape

import jaxred
from jaxred.errors import UserError
from jaxred.io import digests
from jaxred.io.files import write_text
from jaxred.io.result_files import fingerprint, load_result
from jaxred.original.importing import IMPORTED, STORES
from jaxred.report.findings import headline, searches, smallest_finding
from jaxred.report.tables.probes import (
    INTERVALS,
    cells,
    marks_note,
    minimal_lines,
    pipeline_head,
    rows,
    sweep_lines,
)
from jaxred.report.tables.together import models_lines, tasks_lines
from jaxred.report.values import Value
from jaxred.report.visible_text import visible
from jaxred.report.warnings import not_converged, warning
from jaxred.runs.workdir import Workdir, locked

VECTOR_FORMATS = ("pdf", "svg")
MADE = "report"  # the name under which the digests of the report and its figures are kept
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
OF_ONE_REPEAT = ("minimal_neurons", "training", "minimal_of_all")  # figures of curves, which differ in their sizes


def read_results(workdir: Workdir) -> dict[str, dict[str, Any]]:
    """The result files that are there.

    Raises:
        UserError: if there is none.
    """
    found = {name: load_result(workdir.result(name)) for name in RESULTS}
    present = {name: content for name, content in found.items() if content is not None}
    if not present:
        raise UserError(f"{workdir.path} holds no results: run launch/study.py workdir={str(workdir.path)!r} first.")
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
    found = digests.faults(workdir.path, MADE, identity)
    if not found and not force:
        return
    digests.warn_of_changes(workdir.path, MADE, [workdir.report], "the report and its figures are made again")
    from jaxred.report import figures  # here, because importing matplotlib takes a second

    files = figures.draw(workdir.figures, results, also)
    pipeline, study = results.get("pipeline"), _study(results, workdir)
    table = rows(pipeline) if pipeline else []
    notes = [INTERVALS, marks_note(pipeline, table), not_converged(pipeline)] if pipeline else []
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxred.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda shown: visible(shown) if type(shown) is str else shown,
    )
    environment.filters["grouped"] = lambda n: "–" if n is None else f"{n:,}"
    environment.filters["percent"] = lambda x: "–" if x is None else f"{x:.1%}"
    environment.filters["score"] = lambda x: "–" if x is None else (x if isinstance(x, Value) else Value(x)).text()
    images = {name: base64.b64encode(path.read_bytes()).decode() for name, path in files.items()}
    html = environment.get_template("report.html.j2").render(
        mark=Markup(mark),
        version=jaxred.__version__,
        workdir=workdir.path.name,
        config=escape(json.dumps(workdir.saved_config(), indent=2)),
        imported=_task(workdir) in IMPORTED,
        pipeline=pipeline,
        study=study,
        redundancy=results.get("redundancy"),
        studies=_titled(STUDIES, results),
        together=_titled(TOGETHER, results),
        head=pipeline_head(pipeline) if pipeline else [],
        lines=list(map(cells, table)),
        notes=notes,
        headline=headline(study) if study else "",
        warning=warning(study) if study and searches(study) else "",
        class_scores=_class_scores(study) if study else {},
        metric=figures.metric_name(study) if study else "",
        images=images,
        captions=_captions(study),
    )
    write_text(workdir.report, html)
    vector = [path.with_suffix(f".{form}") for form in also for path in files.values()]
    digests.record(workdir.path, MADE, identity, [workdir.report, *files.values(), *vector])


def _captions(study: dict[str, Any] | None) -> dict[str, str]:
    """Of the figures; those that show one repeat out of several say so."""
    if study is None or "repeats" not in study:
        return CAPTIONS
    first = f" Of the first of {study['repeats']['n']} repeats."
    return {name: text + (first if name in OF_ONE_REPEAT else "") for name, text in CAPTIONS.items()}


def _titled(
    makers: dict[str, tuple[str, Any]], results: dict[str, dict[str, Any]]
) -> list[tuple[str, list[tuple[list[list[str]], str]]]]:
    """Titles, and the tables of the results that are there, each with what it says."""
    return [(title, lines(results[name])) for name, (title, lines) in makers.items() if name in results]


def _study(results: dict[str, dict[str, Any]], workdir: Workdir) -> dict[str, Any] | None:
    """The pipeline or, where it was not run, another study of probes, with its encoder; None where there is none."""
    found = next((results[name] for name in PROBES if name in results), None)
    if found is None:
        return None
    encoder = found.get("encoder") or {name: found[name] for name in ("n_layers", "hidden_size")}
    path = encoder.get("path", (workdir.saved_config() or {}).get("encoder", {}).get("path", ""))
    return {**found, "encoder": {**encoder, "path": "imported activations" if _task(workdir) == STORES else path}}


def _task(workdir: Workdir) -> str:
    return (workdir.saved_config() or {}).get("task", {}).get("name", "")


def _class_scores(study: dict[str, Any]) -> dict[str, Any]:
    """Every class's scores on test, of the oracle and of the smallest minimal set that is a finding, with repeats the
    means over them; empty where results have none.
    """
    scores, number = study.get("per_class"), smallest_finding(study)
    if scores is None:
        return {}
    if "repeats" in study:
        means = study["repeats"]["per_class"]
        minimal = None if number is None else means["selection"][number] if "selection" in means else means["minimal"]
        return {"oracle": means["oracle"]["test"], "minimal": minimal and minimal["test"]}
    oracle = "oracle" if "oracle" in scores else f"layers-0-{study['encoder']['n_layers'] - 1}"
    if number is None:
        return {"oracle": scores[oracle]["test"], "minimal": None}
    best = study["selection"][number] if "selection" in study else study
    return {"oracle": scores[oracle]["test"], "minimal": scores[best["minimal_probe"]]["test"]}
