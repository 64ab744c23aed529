"""Claim: at every speed, jaxred's small models are the most accurate of what is compared: the frontier of accuracy
against texts per second.

    python launch/study.py --config=configs/sweeps/paper.py:data,sst2,mrpc --workdir=runs/paper
    python launch/study.py --config=configs/demo.py --workdir=runs/demo
    python benchmarks/frontier.py --runs=runs/paper/sst2,runs/paper/mrpc,runs/demo --output=runs/frontier

Of each finished study: TF-IDF with logistic regression; the whole encoder with a probe on all layers; the lowest layers
of LayerSelector, and the minimal sets, at every delta; the same of the encoder that was fine-tuned on the task, where
the study has one, and that encoder with its own head. All read the same test texts on this machine, from text to
answer, in turns; compiling is not counted. Accuracy is on all test rows, as the study reports it. model2vec's models
come from Hugging Face's hub alone, so that there is none here. Prints a table of each task and which points lie on the
upper edge (no other is both faster and at least as good), and writes it with a figure into --output. Without --runs, a
study of the built-in reviews is made first.
"""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import _machine
import numpy as np
from absl import app, flags
from matplotlib.figure import Figure
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from jaxred.config import StudyConfig, TaskConfig
from jaxred.data import load_task
from jaxred.data.examples import WordDataset
from jaxred.errors import UserError
from jaxred.finetuning import training
from jaxred.finetuning.batches import Rows
from jaxred.finetuning.classifier import load_classifier
from jaxred.finetuning.step import Trainer
from jaxred.io.tables import markdown
from jaxred.models.tokenization import Tokenizer
from jaxred.probing.metrics import score
from jaxred.report.findings import minimal_set_names
from jaxred.runs.run import Run, open_run
from jaxred.runs.study import run_stages
from jaxred.studies.results import PipelineResult

RUNS = flags.DEFINE_list("runs", [], "Folders of finished studies of sentences.")
OUTPUT = flags.DEFINE_string("output", "", "A folder for frontier.md and frontier.png.")
N_TEXTS = flags.DEFINE_integer("n_texts", 256, "Test texts that are timed.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds after the warm-up.", lower_bound=1)
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")


@dataclass
class Point:
    """A model of a task."""

    name: str
    kind: str  # by which it is coloured
    score: float
    answer: Callable[[Sequence[Any]], Any]  # of texts
    rate: float = 0.0  # texts per second


def joined(text: Any) -> str:
    return text if isinstance(text, str) else " [SEP] ".join(text)


def of_words(run: Run, texts: dict[str, list[Any]], labels: dict[str, list[Any]]) -> Point:
    """TF-IDF of words and pairs of words, with a linear model."""
    linear = Ridge() if run.config.task.kind == "regression" else LogisticRegression(C=10, max_iter=1000)
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), linear)
    model.fit([joined(text) for text in texts["train"]], labels["train"])

    def answer(texts: Sequence[Any]) -> Any:
        return model.predict([joined(text) for text in texts])

    return Point("TF-IDF + linear", "words", scored(run, answer(texts["test"]), labels["test"]), answer)


def scored(run: Run, predictions: Any, answers: Sequence[Any]) -> float:
    metric = run.config.task.metric
    if run.config.task.kind == "regression":
        return score(metric, np.asarray(predictions, float), np.asarray(answers, float))
    classes = sorted({*map(str, answers), *map(str, predictions)})
    ids = [np.array([classes.index(str(label)) for label in each]) for each in (predictions, answers)]
    return score(metric, ids[0], ids[1], len(classes))


def of_study(run: Run, kind: str) -> list[Point]:
    """The oracle, LayerSelector's layers, and the minimal sets, each once."""
    study = run.study
    assert isinstance(study, PipelineResult)
    names = ["oracle", *(f"LayerSelector δ {each.delta:g}" for each in study.layer_selection)]
    names += [title for title, _ in minimal_set_names(study)]
    points: dict[Any, Point] = {}
    for name in names:
        model = run.reduced(name)
        scores = model.card.scores["small"]
        point = Point(f"{kind}: {name}", kind, scores.test, lambda texts, model=model: list(model.outputs(texts)))
        points.setdefault(tuple(model.neurons), point)
    return list(points.values())


def of_head(run: Run) -> Point:
    """The fine-tuned encoder with its own head."""
    result, folder = run.finetuning, run.finetuned
    assert result is not None
    assert result.test is not None
    classifier, rates = load_classifier(folder, len(result.classes) or 1, False, fine_tuned=True)
    tokenizer = Tokenizer(folder, classifier.encoder.config)
    trainer = Trainer(classifier, rates, run.config.finetune, result.kind, "last", 1)
    params = trainer.start().params

    def answer(texts: Sequence[Any]) -> Any:
        pairs = None if isinstance(texts[0], str) else [text[1] for text in texts]
        first = [text if isinstance(text, str) else text[0] for text in texts]
        tokens = tokenizer.encode(first, pairs, run.config.extraction.max_length)
        return training.predict(trainer, params, tokenizer, Rows(tokens, np.zeros(len(texts), np.float32)))

    return Point("fine-tuned, with its head", "fine-tuned head", result.test, answer)


def points_of(run: Run) -> list[Point]:
    dataset = load_task(run.config.task)
    if isinstance(dataset, WordDataset):
        raise UserError(f"{run.path} is of words: pass studies of sentences.")
    texts = {
        split: [row.text if row.pair is None else (row.text, row.pair) for row in rows]
        for split, rows in dataset.splits.items()
    }
    labels = {split: [row.label for row in rows] for split, rows in dataset.splits.items()}
    points = [of_words(run, texts, labels)]
    before = run.path / "before"
    points += of_study(open_run(before) if before.is_dir() else run, "pretrained")
    if run.finetuning is not None:
        points += [of_head(run), *of_study(run, "fine-tuned")]
    n = 16 if SMALLEST.value else N_TEXTS.value
    sample = texts["test"][:: max(1, len(texts["test"]) // n)][:n]
    seconds: dict[str, list[float]] = {point.name: [] for point in points}
    for turn in range((1 if SMALLEST.value else ROUNDS.value) + 1):
        for point in points:
            begin = time.perf_counter()
            point.answer(sample)
            if turn:
                seconds[point.name].append(time.perf_counter() - begin)
    for point in points:
        point.rate = len(sample) / median(seconds[point.name])
    return sorted(points, key=lambda point: -point.rate)


def on_edge(point: Point, points: Sequence[Point]) -> bool:
    """Whether no other model is faster and at least as good, or as fast and better."""
    better = [other for other in points if other.score >= point.score and other.rate >= point.rate]
    return not any(other.score > point.score or other.rate > point.rate for other in better)


def drawn(tasks: dict[str, list[Point]], metrics: dict[str, str]) -> Figure:
    colors = {"words": "#8a919c", "pretrained": "#2a5d9f", "fine-tuned": "#d97706", "fine-tuned head": "#2f855a"}
    figure = Figure(figsize=(5.2 * len(tasks), 4.0), constrained_layout=True)
    for axes, (task, points) in zip(np.atleast_1d(figure.subplots(1, len(tasks))), tasks.items(), strict=True):
        for kind, color in colors.items():
            mine = [point for point in points if point.kind == kind]
            axes.scatter(
                [p.rate for p in mine], [p.score for p in mine], color=color, label=kind if mine else None, s=28
            )
        edge = [point for point in points if on_edge(point, points)]
        axes.plot([p.rate for p in edge], [p.score for p in edge], color="#1f2933", linewidth=0.8, zorder=0)
        axes.set(xscale="log", xlabel="texts per second", ylabel=f"test {metrics[task]}", title=task)
        axes.legend(fontsize=8)
    return figure


def main(argv: list[str]) -> None:
    del argv
    with tempfile.TemporaryDirectory() as place:
        folders = RUNS.value
        if not folders:
            n = 80 if SMALLEST.value else -1
            run_stages(StudyConfig(TaskConfig(limit_instances=n)), f"{place}/reviews", False, ("pipeline",))
            folders = [f"{place}/reviews"]
        tasks, metrics = {}, {}
        for folder in folders:
            run = open_run(folder)
            tasks[run.config.task.name] = points_of(run)
            metrics[run.config.task.name] = run.config.task.metric
    text = json.dumps(_machine.describe()) + "\n"
    for task, points in tasks.items():
        lines = [[task, f"test {metrics[task]}", "texts/s", "on the edge"]]
        for point in points:
            lines.append(
                [point.name, f"{point.score:.3f}", f"{point.rate:,.0f}", "yes" if on_edge(point, points) else ""]
            )
        text += f"\n{markdown(lines)}\n"
    print(text)
    if OUTPUT.value:
        output = Path(OUTPUT.value)
        output.mkdir(parents=True, exist_ok=True)
        (output / "frontier.md").write_text(text)
        drawn(tasks, metrics).savefig(output / "frontier.png", dpi=150)


if __name__ == "__main__":
    app.run(main)
