"""What neurons respond to: the words or sentences with their largest and smallest activations."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxred.activations.in_memory import HiddenStates
from jaxred.activations.store import Store
from jaxred.errors import UserError
from jaxred.statistics.extremes import Extremes, Top, extremes
from jaxred.studies.results import Neuron, NeuronClass, NeuronExample, NeuronExamples, NeuronProfile

OF_CLASS = 3  # examples of each class
MIN_COUNT = 3  # rows of a word type, by default
MOST_LETTERS = 300  # of a sentence that is kept in the result
_NORMAL_95 = 1.959963984540054


class Labels(NamedTuple):
    """The classes of rows, or their scores."""

    names: list[str]  # of the classes; none for scores, and for rows without labels
    classes: Int[np.ndarray, " row"] | None = None
    scores: Float[np.ndarray, " row"] | None = None


def neuron_examples(
    activations: Store | HiddenStates,
    neurons: Sequence[Neuron],
    labels: Labels,
    texts: Sequence[str] | None = None,
    words: bool = False,
    k: int = 10,
    min_count: int = MIN_COUNT,
    split: str = "",
    left_out: int = 0,
) -> NeuronExamples:
    """The words or sentences for which neurons are largest and smallest, overall and by class.

    Args:
        activations: [row, layer, neuron].
        neurons: layer and index of each.
        labels: of the rows.
        texts: the word or the sentence of each row; None where they are not known.
        words: whether a row is a word: the mean over its type counts, where there are texts.
        k: how many at either end; of each class at most `OF_CLASS`.
        min_count: the fewest occurrences of a word type, and of one within a class.
        split: the name of what the rows are, for the result.
        left_out: how many neurons were asked for in addition, for the result.

    Raises:
        UserError: there is no such neuron, or the texts are not of these rows.
    """
    _check(activations, neurons, texts, k, min_count)
    groups = _types(texts) if words and texts is not None else None
    classes = np.zeros(activations.n_rows, np.int64) if labels.classes is None else labels.classes
    places = np.array(neurons, np.int64).reshape(-1, 2)
    found = extremes(
        activations, places, classes, max(1, len(labels.names)), groups, labels.scores, k, min(k, OF_CLASS), min_count
    )
    return NeuronExamples(
        unit="row" if texts is None else "word" if words else "sentence",
        split=split,
        n_rows=activations.n_rows,
        k=k,
        min_count=min_count if groups is not None else 1,
        left_out=left_out,
        neurons=[_profile(found, number, neuron, labels, texts) for number, neuron in enumerate(neurons)],
    )


def _check(
    activations: Store | HiddenStates, neurons: Sequence[Neuron], texts: Sequence[str] | None, k: int, min_count: int
) -> None:
    n_rows, n_layers, hidden_size = activations.shape
    if not neurons:
        raise UserError("neurons is empty: name at least one, as a layer and an index.")
    for layer, index in neurons:
        if not (0 <= layer < n_layers and 0 <= index < hidden_size):
            raise UserError(
                f"There is no neuron {layer}:{index}: layers are 0 to {n_layers - 1}, and a layer's neurons are 0 to "
                f"{hidden_size - 1}."
            )
    for name, value in (("k", k), ("min_count", min_count)):
        if value < 1:
            raise UserError(f"{name}={value} is not possible: it must be at least 1.")
    if texts is not None and len(texts) != n_rows:
        raise UserError(
            f"texts has {len(texts):,} entries, but the activations have {n_rows:,} rows: pass one per row."
        )


def _types(texts: Sequence[str]) -> Int[np.ndarray, " row"]:
    """The type of each word, numbered by first occurrence."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)


def _profile(
    found: Extremes, number: int, neuron: Neuron, labels: Labels, texts: Sequence[str] | None
) -> NeuronProfile:
    mean, deviation = float(found.means[number]), float(found.deviations[number])

    def examples(top: Top) -> list[NeuronExample]:
        return [] if deviation == 0 else _examples(top, number, mean, deviation, texts)

    classes = []
    for i, label in enumerate(labels.names):
        effect, ends_of_effect = _effect(found, i, number)
        classes.append(
            NeuronClass(
                label,
                int(found.class_counts[i]),
                _number(found.class_means[i, number]),
                _number(found.class_deviations[i, number]),
                effect,
                ends_of_effect,
                examples(found.largest_of_class[i]),
                examples(found.smallest_of_class[i]),
            )
        )
    correlation = None if found.correlations is None else _number(found.correlations[number])
    largest, smallest = examples(found.largest), examples(found.smallest)
    return NeuronProfile(int(neuron[0]), int(neuron[1]), mean, deviation, largest, smallest, classes, correlation)


def _examples(top: Top, number: int, mean: float, deviation: float, texts: Sequence[str] | None) -> list[NeuronExample]:
    examples = []
    for row, value, spread, n in zip(
        *(part[number].tolist() for part in (top.rows, top.means, top.deviations, top.counts)), strict=True
    ):
        if row >= 0:
            text = f"row {row:,}" if texts is None else str(texts[row])
            text = text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…"
            error = spread / (n - 1) ** 0.5 / deviation if n > 1 else None
            examples.append(NeuronExample(text, row, n, value, (value - mean) / deviation, error))
    return examples


def _effect(found: Extremes, i: int, number: int) -> tuple[float | None, tuple[float, float] | None]:
    """Cohen's d of a class against the other rows, and its interval (Hedges and Olkin 1985, large samples)."""
    n, n_all = int(found.class_counts[i]), int(found.class_counts.sum())
    rest = n_all - n
    if n < 2 or rest < 2:
        return None, None
    mean, variance = float(found.class_means[i, number]), float(found.class_deviations[i, number]) ** 2
    of_all, total = float(found.means[number]), n_all * float(found.deviations[number]) ** 2
    difference = (mean - of_all) * n_all / rest
    within = total - difference**2 * n * rest / n_all  # squares about the two means
    pooled = max(within, n * variance, 0.0) / (n_all - 2)
    if pooled <= 0:
        return None, None
    effect = difference / pooled**0.5
    half = _NORMAL_95 * (n_all / (n * rest) + effect**2 / (2 * n_all)) ** 0.5
    return effect, (effect - half, effect + half)


def _number(value: np.floating | float) -> float | None:
    return None if np.isnan(value) else float(value)
