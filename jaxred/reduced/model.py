"""The small model: predictions from text, and its folder."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxred.data.labels import class_ids
from jaxred.data.table_values import class_of, score_of
from jaxred.errors import UserError
from jaxred.models import Encoder
from jaxred.models.tokenization import Tokenizer
from jaxred.probing.metrics import score
from jaxred.probing.outputs import probabilities
from jaxred.reduced import folder
from jaxred.reduced.card import Card
from jaxred.reduced.parts import Facts, Head
from jaxred.reduced.windows import Windows


class ReducedModel:
    """The first layers of an encoder, the neurons that a task needs, and a linear head on them.

    A text is a sentence, a pair of sentences as a tuple, or, for a task of labelled words, a list of words: what the
    run was of.

    Example:
        >>> model = jaxred.load_reduced("small")
        >>> model
        <ReducedModel of movie_reviews: 107 neurons of layers 0-4, accuracy 0.803 on test>
        >>> model.predict(["a fine film", "a bore"])
        ['positive', 'negative']
        >>> model.predict_proba(["a fine film", "a bore"]).shape
        (2, 2)
    """

    def __init__(self, encoder: Encoder, tokenizer: Tokenizer, head: Head, card: Card, source: Path):
        """Takes the parts; `jaxred.load_reduced` and `Run.reduced` make it.

        Args:
            encoder: cut to the highest layer of the head.
            tokenizer: the encoder's.
            head: the head.
            card: what is known about the model.
            source: the Hugging Face folder of the encoder, whose configuration and tokenizer files are saved.

        Raises:
            ValueError: if the head does not fit the encoder or the classes.
        """
        card.facts.check_head(head)
        if head.top_layer > encoder.config.n_layers or head.neurons.max(initial=0) >= encoder.config.hidden_size:
            raise ValueError("the head reads neurons that the encoder does not have")
        self.encoder, self.tokenizer, self.head, self.card, self.source = encoder, tokenizer, head, card, source

    def __repr__(self) -> str:
        scores = self.card.scores.get("small")
        score = "" if scores is None else f", {self.facts.metric} {scores.test:.3f} on test"
        layers = f"layers 0-{self.n_layers}" if self.n_layers else "layer 0"
        return f"<ReducedModel of {self.facts.task}: {len(self.head):,} neurons of {layers}{score}>"

    @property
    def facts(self) -> Facts:
        """The task, and how texts become rows."""
        return self.card.facts

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of probabilities; empty for regression."""
        return self.facts.classes

    @property
    def n_layers(self) -> int:
        """Transformer layers of the encoder."""
        return self.encoder.config.n_layers

    @property
    def neurons(self) -> list[tuple[int, int]]:
        """The neurons that the head reads: the layer (0 is the embedding output), and the index in it."""
        return list(zip(self.head.layers.tolist(), self.head.neurons.tolist(), strict=True))

    @cached_property
    def _windows(self) -> Windows:
        from jaxred.activations.encode import encode_fn

        chosen = self.head.layers, self.head.neurons
        encode = encode_fn(self.encoder, self.facts.pooling, self.facts.dtype, chosen)
        return Windows(encode, self.tokenizer, self.head, self.facts)

    def outputs(self, texts: Iterable[Any]) -> Iterator[np.ndarray]:
        """The head's outputs for each text of an iterable, in its order, as they are computed.

        Args:
            texts: may have no end; so many as `facts.window_rows` are read ahead.

        Yields:
            [output], float64: of each class before the softmax, or the score; of words [word, output], NaN for a word
            that has no vector (it became no token, or was cut off).

        Raises:
            UserError: a text is none, naming its row, counted from 1.
        """
        if isinstance(texts, str):
            raise UserError(f"texts is one text, {texts[:40]!r}, but a list of them is expected: pass [text].")
        return self._windows.outputs(texts)

    def stream(self, texts: Iterable[Any]) -> Iterator[Any]:
        """`predict` for any number of texts, in the memory of two windows of them.

        Yields:
            What `predict` has for each text, in the order of the texts.

        Raises:
            UserError: as `outputs`.
        """
        return map(self.label, self.outputs(texts))

    def predict(self, texts: Iterable[Any]) -> list[Any]:
        """The class of each text by name, or its score; for words a list of them, None for one without a vector.

        Raises:
            UserError: as `outputs`.
        """
        return list(self.stream(texts))

    def predict_proba(self, texts: Iterable[Any]) -> Any:
        """The probability of each class.

        Returns:
            [text, class]; of words a list of arrays [word, class], NaN for a word without a vector.

        Raises:
            UserError: as `outputs`; or the task is one of scores.
        """
        if not self.classes:
            raise UserError("predict_proba is of classes, but the task is regression: use predict, which gives scores.")
        probabilities = [self.probabilities(outputs) for outputs in self.outputs(texts)]
        if self.facts.rows == "word":
            return probabilities
        return np.array(probabilities).reshape(len(probabilities), len(self.classes))

    def label(self, outputs: np.ndarray) -> Any:
        """What `predict` has for one text, of its outputs."""
        if outputs.ndim == 2:
            return [None if np.isnan(row).any() else self.label(row) for row in outputs]
        return self.classes[int(outputs.argmax())] if self.classes else float(outputs[0])

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """What `predict_proba` has for one text, of its outputs."""
        return probabilities(outputs.reshape(-1, outputs.shape[-1])).reshape(outputs.shape)

    def score(self, texts: Iterable[Any], labels: Iterable[Any]) -> float:
        """The task's metric on labelled texts; words without a vector do not count, as in a study.

        Args:
            texts: as `predict` takes them.
            labels: of each text, or of words a list of each sentence's.

        Raises:
            UserError: as `outputs`; there is not one label for each text, or one is no class of the model.
        """
        return self.score_of(self.predict(texts), list(labels))

    def score_of(self, predictions: list[Any], labels: list[Any]) -> float:
        """The same, of what `predict` gave."""
        if len(predictions) != len(labels):
            raise UserError(f"There are {len(predictions)} texts and {len(labels)} labels: pass one for each text.")
        if self.facts.rows == "word":
            if [len(row) for row in predictions] != [len(row) for row in labels]:
                raise UserError("A sentence has another number of labels than of words: pass one for each word.")
            both = [pair for row, own in zip(predictions, labels, strict=True) for pair in zip(row, own, strict=True)]
            predictions, labels = ([pair[side] for pair in both if pair[0] is not None] for side in (0, 1))
        if not predictions:
            raise UserError("There is nothing to score: no text has a label.")
        if not self.classes:
            targets = np.array([score_of(label, f"labels, row {i}") for i, label in enumerate(labels, 1)], np.float32)
            return score(self.facts.metric, np.array(predictions, np.float32), targets)
        names = [class_of(label, f"labels, row {i}") for i, label in enumerate(labels, 1)]
        targets, predicted = (class_ids(values, self.classes)[0] for values in (names, predictions))
        return score(self.facts.metric, predicted, targets, len(self.classes))

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Writes the model's folder, whole or not at all.

        Args:
            path: the folder; see docs/reduced.md for its files.
            overwrite: replace a reduced model that is there.

        Raises:
            UserError: there is something already, or it cannot be written.
        """
        return folder.write(self, path, overwrite)

    def save_onnx(self, path: str | Path, overwrite: bool = False) -> Path:
        """Writes the model as one ONNX file, of any number of texts and tokens; `docs/reduced.md` has its inputs.

        Args:
            path: the file, by custom `*.onnx`.
            overwrite: replace a file that is there.

        Raises:
            UserError: the extra `onnx` is not installed, the architecture cannot be translated, there is a file
                already, or it cannot be written.
        """
        from jaxred.reduced import onnx_file

        return onnx_file.write(self, path, overwrite)


def load_reduced(path: str | Path) -> ReducedModel:
    """A model that `ReducedModel.save` or `jaxred export` wrote.

    Every file is checked by its digest; nothing in the folder is run.

    Args:
        path: the folder.

    Raises:
        UserError: it is no such folder, a file is missing or is not what was written, or it is of a newer jaxred.

    Example:
        >>> jaxred.load_reduced("small").predict(["a fine film"])
        ['positive']
    """
    return ReducedModel(*folder.read(path))
