"""From a finished run to the small model of its task."""

import logging
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

import jaxred
from jaxred.activations.store import Store
from jaxred.config import recorded_task, source_kind
from jaxred.data import load_task
from jaxred.data.examples import WordDataset
from jaxred.errors import UserError
from jaxred.models import load_encoder, pretrained, tokenizer_files
from jaxred.models.encoder import Encoder
from jaxred.models.tokenization import Tokenizer
from jaxred.reduced.card import Card, CardScores, Size
from jaxred.reduced.model import ReducedModel
from jaxred.reduced.parts import Facts, Head, Made
from jaxred.reduced.speed import measure as measure_speed
from jaxred.report.findings import minimal_set_names, smallest_finding
from jaxred.runs.finetuning import encoder_name, studied
from jaxred.studies.results import PipelineResult, ProbeScores, ProbeStudy

if TYPE_CHECKING:
    from jaxred.runs.run import Run

log = logging.getLogger("jaxred")

WHOLE = ("oracle", "whole")  # names of the probe on all neurons


def reduced(run: "Run", name: str | None, measure: bool) -> ReducedModel:
    """The small model of a run; see `Run.reduced`."""
    study = run.study
    if study is None:
        raise UserError(
            f"{run.path} has no study of probes, which finds the neurons of a small model: run jaxred study "
            f"workdir={str(run.path)!r} first."
        )
    title, probe_name = _chosen(study, name)
    store = _store(run)
    encoder, tokenizer, source = _encoder(run, store)
    texts, pairs = _test_texts(run, store)
    heads = {}
    for probe_to_read in {probe_name, study.oracle_probe}:
        probe = run.probe(probe_to_read)
        heads[probe_to_read] = Head.of_columns(probe.columns, probe.weights, probe.bias, store.hidden_size)
    head, whole_head = heads[probe_name], heads[study.oracle_probe]
    cut = encoder.first_layers(head.top_layer)
    scores = {"whole": study.oracle, "small": _scores(study, probe_name)}
    card = Card(
        name=title,
        finding=_is_finding(study, probe_name),
        whole=_size(encoder, whole_head),
        small=_size(cut, head),
        scores={size: _of_card(of_probe) for size, of_probe in scores.items() if of_probe is not None},
        speed=None,
        facts=_facts(study, store, cut, pairs),
        made=Made(
            run=run.path.name,
            encoder=Path(encoder_name(studied(run.config, run.workdir), run.workdir)).name,
            jaxred=jaxred.__version__,
            date=date.today().isoformat(),
            identity=dict(store.ledger.identity),
        ),
    )
    small = ReducedModel(cut, tokenizer, head, card, source)
    if not measure:
        return small
    if not texts:
        log.warning("The texts of the run are not at hand: the speed is not measured.")
        return small
    speed = measure_speed(ReducedModel(encoder, tokenizer, whole_head, card, source), small, texts)
    return ReducedModel(cut, tokenizer, head, replace(card, speed=speed), source)


def _chosen(study: ProbeStudy, name: str | None) -> tuple[str, str]:
    """The set that a name stands for: how the card calls it, and its probe."""
    named = minimal_set_names(study)
    if name is None:
        number = smallest_finding(study)
        if number is None:
            raise UserError(
                "The run has no set of neurons that is a finding: name another, such as the whole encoder's, "
                f"{WHOLE[0]!r}, or one of {', '.join(repr(each) for each in _names(study))}."
            )
        title, chosen = named[number]
        return title, chosen.probe
    if name in WHOLE:
        return "all neurons", study.oracle_probe
    probes = _names(study)
    title = next((each for each in probes if _plain(each) == _plain(name)), name)
    probe = probes.get(title, title)
    if probe not in study.training:
        raise UserError(
            f"There is no set {name!r}: there are {', '.join(map(repr, [*WHOLE[:1], *probes]))}, and probes such as "
            f"{', '.join(map(repr, list(study.training)[:3]))}."
        )
    return title, probe


def _names(study: ProbeStudy) -> dict[str, str]:
    """The probes of what the tables name, by name."""
    probes = {}
    if isinstance(study, PipelineResult):
        probes = {f"LayerSelector δ {each.delta:g}": f"layers-0-{each.top_layer}" for each in study.layer_selection}
    return probes | {title: chosen.probe for title, chosen in minimal_set_names(study)}


def _plain(name: str) -> str:
    return "".join(name.casefold().replace("δ", "").split())


def _store(run: "Run") -> Store:
    """The activations of train, which say what made them."""
    kind = source_kind(run.config)
    store = None if kind else run.activations("train")
    if store is None or "encoder" not in store.ledger.identity:
        raise UserError(
            f"The activations of {run.path} were {'given' if store else 'imported'}, and jaxred knows no encoder that "
            "makes them: a small model needs a run of texts and an encoder."
        )
    return store


def _encoder(run: "Run", store: Store) -> tuple[Encoder, Tokenizer, Path]:
    """The run's encoder as its activations were extracted by."""
    identity = store.ledger.identity
    folder = pretrained.resolve(studied(run.config, run.workdir).encoder.path)
    for what, digest in (
        ("encoder", pretrained.weights_digest(folder)),
        ("tokenizer", tokenizer_files.tokenizer_digest(folder)),
    ):
        if identity[what] != digest:
            raise UserError(
                f"The {what} in {folder} is not the one that the run's activations are of, as its files have changed: "
                "put the same files there, or run the study again."
            )
    encoder = load_encoder(folder, identity["transformer_layers"], identity["compute_dtype"])
    return encoder, Tokenizer(folder, encoder.config), folder


def _test_texts(run: "Run", store: Store) -> tuple[list[Any], bool | None]:
    """The task's test texts, where its files are at hand, and whether they are pairs."""
    if recorded_task(run.config).name == "texts":  # which Python gave
        return [], False if store.has_words else None
    try:
        dataset = load_task(run.config.task)
    except UserError as error:
        log.warning("The task's texts cannot be read (%s).", error)
        return [], False if store.has_words else None
    if isinstance(dataset, WordDataset):
        return [list(sentence.words) for sentence in dataset.splits["test"]], False
    examples = dataset.splits["test"]
    pairs = examples[0].pair is not None
    return [(row.text, row.pair) if pairs else row.text for row in examples], pairs


def _size(encoder: Encoder, head: Head) -> Size:
    n_layers = encoder.config.n_layers
    n_head = head.weights.size + head.bias.size
    n_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(encoder)) + 4 * n_head
    return Size(n_layers, len(head), encoder.n_parameters(n_layers) + n_head, n_bytes)


def _facts(study: ProbeStudy, store: Store, encoder: Encoder, pairs: bool | None) -> Facts:
    identity, task = store.ledger.identity, study.task
    return Facts(
        task=task.name,
        kind=task.kind,
        metric=task.metric,
        classes=list(task.classes),
        rows="word" if store.has_words else "sentence",
        pairs=pairs,
        pooling=identity["pooling"],
        max_length=identity["max_length"],
        compute_dtype=identity["compute_dtype"],
        dtype=store.ledger.dtype,
        window_rows=store.ledger.window_rows,
        final_norm=encoder.final_norm is not None,
    )


def _scores(study: ProbeStudy, probe: str) -> ProbeScores | None:
    """The scores of a probe, where the results have them; with repeats, of the first."""
    by_probe = {study.oracle_probe: study.oracle} | {chosen.probe: chosen.scores for chosen in study.minimal_sets}
    if isinstance(study, PipelineResult):
        by_probe |= {f"layer-{layer}": scores for layer, scores in enumerate(study.independent)}
        by_probe |= {f"layers-0-{layer}": scores for layer, scores in enumerate(study.incremental)}
    return by_probe.get(probe)


def _is_finding(study: ProbeStudy, probe: str) -> bool | None:
    for chosen in study.minimal_sets:
        if chosen.probe == probe:
            return chosen.n_findings == study.n_runs
    scores = _scores(study, probe)
    return None if scores is None else scores.beats_constant


def _of_card(scores: ProbeScores) -> CardScores:
    return CardScores(scores.overall("dev"), scores.standard_error["dev"], scores.overall("test"), scores.interval)
