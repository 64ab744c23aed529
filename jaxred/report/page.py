"""A self-contained HTML page of results: a function of them, which reads no files."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup, escape

from jaxred.io.visible_text import visible
from jaxred.report.findings import headline, minimal_set_names, smallest_finding
from jaxred.report.tables.ablation import ablation_lines
from jaxred.report.tables.controls import controls_lines, with_selectivity
from jaxred.report.tables.finetuning import before_after_lines, finetuning_lines
from jaxred.report.tables.layer_measures import layer_sections
from jaxred.report.tables.neurons import neuron_notes, neurons_note
from jaxred.report.tables.probes import INTERVALS, marks_note, minimal_lines, pipeline_head, rows, sweep_lines
from jaxred.report.tables.rankings import ranking_lines
from jaxred.report.tables.speed import speed_lines
from jaxred.report.tables.together import models_lines, tasks_lines
from jaxred.report.values import Value
from jaxred.report.warnings import control_warning, not_converged, warning
from jaxred.studies.results import ControlsResult, NeuronExamples, PipelineResult, ProbeStudy, Result

PROBES = ("pipeline", "minimal_neurons", "cluster_sweep")  # the studies of one task's probes, the main one first
STUDIES = {
    "before_after": ("Before and after fine-tuning", before_after_lines),
    "finetuning": ("Fine-tuning", finetuning_lines),
    "speed": ("How much faster", speed_lines),
    "controls": ("Controls: what the probes would score on labels that mean nothing", controls_lines),
    "minimal_neurons": ("The minimal set out of all neurons", minimal_lines),
    "cluster_sweep": ("Clusters of all neurons", sweep_lines),
    "rankings": ("Rankings of neurons", ranking_lines),
    "ablation": ("What the model can do without", ablation_lines),
    "layer_measures": ("Layers, without labels", layer_sections),
}  # that have a table, by the name of their results
TOGETHER = {"tasks": ("Several tasks together", tasks_lines), "models": ("Two models on the same rows", models_lines)}

CAPTIONS = {
    "layers": "Probes on each layer alone and on all layers up to it.",
    "minimal_neurons": "Neurons are ranked by a probe on all candidates; each point is a probe retrained from "
    "scratch on the first "
    "k of the ranking.",
    "control_scores": "Test scores with their intervals, and those of the same probes on the control task.",
    "compression": "How many times as short the online code of the training labels is as one without a probe.",
    "kept_neurons": "The layers that the neurons of the minimal sets come from.",
    "training": "Mean loss of each epoch, penalties included, of the probes on layers 0 to l.",
    "minimal_of_all": "The neurons of all layers, ranked by the oracle; a point is a probe retrained on the first k.",
    "cluster_sweep": "One neuron of each correlation cluster is kept, over all layers.",
    "cka": "Linear centred kernel alignment between the layers, over the training rows.",
    "clusters": "Average-linkage clusters of the neurons of all layers, by distance of their correlations.",
    "learning_curve": "The training loss, and the score on dev after every epoch, of which the best is kept.",
    "layers_before_after": "Probes on each layer alone, of the pretrained encoder and of the fine-tuned one.",
    "tasks_curves": "The share of redundant neurons of each task, of their mean, and of all rows pooled.",
    "tasks_windows": "How far apart the layers are whose neurons share a cluster: of each task, and summed over them.",
    "tasks_agreement": "Adjusted Rand index between the clusterings of two tasks; dashed, of two halves of one.",
    "models_cka": "Linear centred kernel alignment between the layers of two models, over the same rows.",
    "models_clusters": "The neurons of both models clustered together: how many share a cluster with the other's.",
    "windows": "How far apart the layers are whose neurons share a cluster.",
    "ablation": "The score of the model's own head with neurons removed in the forward pass, by each order. "
    "Shaded: intervals.",
    "rankings": "The same probe, trained again on the first neurons of each ranking. Shaded: intervals.",
    "ranking_overlap": "How much of their first neurons two rankings have in common.",
    "ablation_layers": "The score of the model's own head with layers skipped.",
    "layer_pairs": "Four measures of every pair of layers; in all of them bright is alike. Grey: not defined.",
}
OF_ONE_REPEAT = ("minimal_neurons", "training", "minimal_of_all")  # figures of curves, which differ in their sizes


@dataclass(frozen=True)
class Run:
    """What a page says of the run whose results it shows."""

    name: str
    config: dict[str, Any]
    imported: bool  # whether others made the activations
    encoder: str  # its path, or what stands in its place
    version: str
    command: str = ""
    date: str = ""
    machine: str = ""


def html(results: Mapping[str, Result], images: Mapping[str, bytes], run: Run, identity: str) -> str:
    """The page.

    Args:
        results: what is shown, by name.
        images: the figures, as PNG, by name.
        run: what results are of.
        identity: of what is shown, noted in the page.
    """
    pipeline, study, examples = results.get("pipeline"), main_study(results), results.get("neurons")
    table = rows(pipeline) if isinstance(pipeline, PipelineResult) else []
    found = results.get("controls")
    controls = found if isinstance(found, ControlsResult) else None
    head = pipeline_head(pipeline) if isinstance(pipeline, PipelineResult) else []
    head, lines = with_selectivity(head, table, controls)
    notes: list[str] = []
    if isinstance(pipeline, PipelineResult):
        notes = [INTERVALS, marks_note(pipeline, table), not_converged(pipeline)]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxred.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda shown: visible(shown) if type(shown) is str else shown,
    )
    environment.filters["grouped"] = lambda n: "–" if n is None else f"{n:,}"
    environment.filters["percent"] = lambda x: "–" if x is None else f"{x:.1%}"
    environment.filters["score"] = lambda x: "–" if x is None else (x if isinstance(x, Value) else Value(x)).text()
    return environment.get_template("report.html.j2").render(
        mark=Markup(f'<meta name="jaxred-identity" content="{identity}">'),
        run=run,
        config=escape(json.dumps(run.config, indent=2)),
        pipeline=pipeline,
        study=study,
        redundancy=results.get("redundancy"),
        studies=_titled(STUDIES, results),
        together=_titled(TOGETHER, results),
        head=head,
        lines=lines,
        notes=notes,
        headline=headline(study) if study else "",
        warning=" ".join(
            filter(
                None,
                (
                    warning(study) if study and study.minimal_sets else "",
                    control_warning(controls) if controls else "",
                ),
            )
        ),
        class_scores=_class_scores(study) if study else {},
        neurons=neuron_lines(study) if study else [],
        neuron_notes=neuron_notes(examples) if isinstance(examples, NeuronExamples) else [],
        neurons_note=neurons_note(examples) if isinstance(examples, NeuronExamples) else "",
        metric=metric_name(study) if study else "",
        images={name: base64.b64encode(image).decode() for name, image in images.items()},
        captions=_captions(study),
    )


def main_study(results: Mapping[str, Result]) -> ProbeStudy | None:
    """The pipeline or, where it was not run, another study of probes; None where there is none."""
    present = (results.get(name) for name in PROBES)
    return next((study for study in present if isinstance(study, ProbeStudy)), None)


def metric_name(study: ProbeStudy) -> str:
    """The task's metric in words."""
    return study.task.metric.replace("_", " ").replace("corrcoef", "correlation")


def neuron_lines(study: ProbeStudy) -> list[tuple[str, str]]:
    """The neurons of every minimal set that is a finding, as layer:index by layer; with repeats, of the first."""
    lines = {}
    for row_of_set in minimal_set_names(study):
        name, chosen = row_of_set
        if chosen.n_findings == study.n_runs:
            by_layer: dict[int, list[int]] = {}
            for layer, index in chosen.neurons:
                by_layer.setdefault(layer, []).append(index)
            text = "; ".join(
                f"layer {layer}: {', '.join(map(str, sorted(by_layer[layer])))}" for layer in sorted(by_layer)
            )
            lines.setdefault(text, name)
    return [(name, text) for text, name in lines.items() if text]


def _captions(study: ProbeStudy | None) -> dict[str, str]:
    """Of the figures; those that show one repeat out of several say so."""
    if study is None or study.repeats is None:
        return CAPTIONS
    first = f" Of the first of {study.n_runs} repeats."
    return {name: text + (first if name in OF_ONE_REPEAT else "") for name, text in CAPTIONS.items()}


def _titled(
    makers: dict[str, tuple[str, Any]], results: Mapping[str, Result]
) -> list[tuple[str, list[tuple[list[list[str]], str]]]]:
    """Titles, and the tables of the results that are there, each with what it says."""
    return [(title, lines(results[name])) for name, (title, lines) in makers.items() if name in results]


def _class_scores(study: ProbeStudy) -> dict[str, Any]:
    """Every class's scores on test, of the oracle and of the smallest minimal set that is a finding, with repeats the
    means over them; empty where results have none.
    """
    oracle = study.oracle_class_report
    if oracle is None:
        return {}
    number = smallest_finding(study)
    minimal = None if number is None else study.minimal_sets[number].class_report
    return {"oracle": oracle["test"], "minimal": minimal and minimal["test"]}
