"""Two stores of the same rows read as one, so that one pass gives the moments of both models together."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float

from jaxred.activations.store import Store
from jaxred.activations.store.chunk_sizes import run_rows
from jaxred.errors import UserError


class SideBySide:
    """The layers of one store and, after them, those of another, of the same rows.

    Layers are as wide as the widest: the narrower model's are filled up with neurons that are 0, which no CKA sees and
    which `real` marks.
    """

    def __init__(self, one: Store, other: Store):
        """Joins two stores.

        Raises:
            UserError: if they are not of the same rows, or that is unknown.
        """
        _check_rows(one, other)
        self.one, self.other = one, other
        self.n_rows = one.n_rows
        self.n_layers = one.n_layers + other.n_layers
        self.hidden_size = max(one.hidden_size, other.hidden_size)

    @property
    def real(self) -> Bool[np.ndarray, " neuron"]:
        """The neurons that either model has."""
        column = np.arange(self.hidden_size)
        widths = np.repeat([self.one.hidden_size, self.other.hidden_size], [self.one.n_layers, self.other.n_layers])
        return (column < widths[:, None]).ravel()

    def sentence_index(self) -> np.ndarray:
        """Each row's sentence."""
        return self.one.sentence_index()

    def windows(self, first: int = 0, step: int = 1) -> Iterator[tuple[slice, Float[np.ndarray, "row layer neuron"]]]:
        """Reads both stores a run of rows at a time, in float32, as `Store.windows` does."""
        run = run_rows(self.one.ledger.window_rows)
        both = zip(self.one.windows(first, step), self.other.windows(first, step, run), strict=True)
        for (rows, mine), (_, theirs) in both:
            yield rows, np.concatenate([self._filled(mine), self._filled(theirs)], axis=1)

    def _filled(self, block: Float[np.ndarray, "row layer neuron"]) -> Float[np.ndarray, "row layer filled"]:
        missing = self.hidden_size - block.shape[2]
        return np.pad(block, ((0, 0), (0, 0), (0, missing))) if missing else block


def _check_rows(one: Store, other: Store) -> None:
    where = f"{one.location} and {other.location}"
    for store in (one, other):
        if store.ledger.identity.get("source") is None:
            raise UserError(
                f"{store.location} does not say which text its rows are of, so that it is unknown whether they "
                "are those of another model: make it again with the text (jaxred extract, or jaxred convert with "
                "`text`)."
            )
    if one.ledger.identity["source"] != other.ledger.identity["source"]:
        raise UserError(
            f"{where} are not of the same text (the digests in their ledgers differ), but two models are compared "
            "on the same rows: extract both from the same task, with the same limit_instances and split_seed."
        )
    same = (one.ledger.rows, one.n_rows) == (other.ledger.rows, other.n_rows)
    same = same and np.array_equal(one.sentence_index(), other.sentence_index())
    if same and one.has_words:
        same = np.array_equal(one.word_index(), other.word_index())
    if not same:
        raise UserError(
            f"{where} are of the same text but not of the same rows ({one.n_rows} {one.ledger.rows}s and "
            f"{other.n_rows} {other.ledger.rows}s): one has left out words or sentences that the other has not. "
            "Extract both with an extraction.max_length that truncates neither."
        )
