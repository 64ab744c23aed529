"""`jaxred.top_words`: the words or sentences for which neurons of any activations are largest and smallest."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxred.activations.in_memory import HiddenStates, as_activations
from jaxred.activations.store import Store
from jaxred.data.labels import encode_labels
from jaxred.errors import UserError
from jaxred.runs.row_texts import pair_text, words_of_rows
from jaxred.runs.run import Run, open_run
from jaxred.studies.neuron_examples import MIN_COUNT, Labels, neuron_examples
from jaxred.studies.results import Neuron, NeuronExamples


def top_words(
    activations: Any,
    neurons: Any = None,
    texts: Any = None,
    *,
    labels: Any = None,
    words: bool | None = None,
    k: int = 10,
    min_count: int = MIN_COUNT,
    split: str = "",
) -> NeuronExamples:
    """The words or the sentences for which neurons are largest and smallest, overall and by class.

    For words it is the mean over a type (the same letters, upper and lower case kept apart) that counts, and types
    with fewer than `min_count` occurrences are left out.

    Args:
        activations: a run or its folder; or an array [row, layer, neuron], `HiddenStates`, a store or its path.
        neurons: pairs of layer and index, or texts such as "3:17"; of a run by default the smallest minimal set that is
            a finding.
        texts: of the rows: sentences, pairs of them or words, one per row; for a store of words also sentences as lists
            of words. A run reads its own. None: rows are numbered.
        labels: of the rows: names of classes, or scores; by default a store's.
        words: whether a row is a word; by default what a store says, and else not.
        k: how many at either end.
        min_count: the fewest occurrences of a word type.
        split: of a run, train by default; of other rows, what the result calls them.

    Raises:
        UserError: there is no such neuron, or texts and rows do not fit together.

    Example:
        >>> jaxred.top_words("runs/chunk").neurons[0].largest[0].text
        >>> jaxred.top_words(store, [(3, 17)], texts).to_frame()
    """
    run = _run(activations)
    if run is not None:
        if labels is not None or words is not None:
            raise UserError("A run has its own labels and words: leave `labels` and `words` out.")
        return run.top_words(neurons, texts, k, min_count, split or "train")
    read = as_activations(activations)
    if neurons is None:
        raise UserError("neurons is missing: name some, such as [(3, 17)]; a run alone knows its minimal set.")
    of_words = bool(isinstance(read, Store) and read.has_words) if words is None else words
    return neuron_examples(
        read,
        neurons_of(neurons),
        _labels(read, labels),
        None if texts is None else _row_texts(read, list(texts)),
        of_words,
        k,
        min_count,
        split,
    )


def neurons_of(given: Any) -> list[Neuron]:
    """Neurons as pairs of layer and index.

    Args:
        given: such pairs, `Run.neurons`, or texts such as "3:17".

    Raises:
        UserError: one is neither.
    """
    given = [given] if isinstance(given, str) or _is_pair(given) else list(given)
    neurons = []
    for each in given:
        parts = each.split(":") if isinstance(each, str) else list(each)[:2] if isinstance(each, Iterable) else []
        try:
            layer, index = (int(str(part)) for part in parts)
        except ValueError:
            raise UserError(
                f"{str(each)[:40]!r} is no neuron: name a layer and an index in it, such as '3:17' or (3, 17)."
            ) from None
        neurons.append((layer, index))
    return neurons


def _is_pair(given: Any) -> bool:
    return isinstance(given, tuple) and len(given) == 2 and all(isinstance(part, int | np.integer) for part in given)


def _run(given: Any) -> Run | None:
    if isinstance(given, Run):
        return given
    is_path = isinstance(given, str | Path)
    return open_run(given) if is_path and (Path(given) / "config.json").is_file() else None


def _row_texts(read: Store | HiddenStates, texts: list[Any]) -> list[str]:
    """One text per row."""
    if texts and isinstance(read, Store) and read.has_words and not isinstance(texts[0], str):
        return words_of_rows(read, texts)
    for number, text in enumerate(texts, 1):
        pair = isinstance(text, Sequence) and len(text) == 2 and all(isinstance(part, str) for part in text)
        if not isinstance(text, str) and not pair:
            raise UserError(f"texts, row {number}, is {str(text)[:40]!r}, but a text or a pair of texts is expected.")
    return [text if isinstance(text, str) else pair_text(text) for text in texts]


def _labels(read: Store | HiddenStates, given: Any) -> Labels:
    if given is None:
        if not isinstance(read, Store):
            return Labels([])
        given = read.labels()
    values = np.asarray(given)
    if values.shape != (read.n_rows,):
        raise UserError(
            f"labels has shape {values.shape}, but the activations have {read.n_rows:,} rows: pass one for each."
        )
    if np.issubdtype(values.dtype, np.floating):
        return Labels([], scores=values.astype(np.float64))
    names, numbers = encode_labels([str(value) for value in values.tolist()])
    return Labels(names, classes=numbers.astype(np.int64)) if len(names) > 1 else Labels([])
