"""A family trained, its probes, and their predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxred.activations.matrix import FeatureMatrix
from jaxred.config import ProbeConfig
from jaxred.data.table_values import class_of
from jaxred.errors import UserError
from jaxred.probing import epochs, fista, saved
from jaxred.probing import layout as kernel
from jaxred.probing.families import Family
from jaxred.probing.fista import Solution
from jaxred.probing.outputs import linear_outputs, probabilities
from jaxred.probing.parts import Part, Settings, all_parts, settings_of, unpacked
from jaxred.probing.proximal import INTERVAL
from jaxred.validation import validate_probe

PREDICT_BATCHES = 8  # batches asked for predictions at once
CONVERGED = 0.01  # the share of its loss that a probe may still lose in its last epoch


class Probe(NamedTuple):
    """A trained linear probe: outputs = features[:, columns] @ weights + bias."""

    columns: Int[np.ndarray, " column"]
    weights: Float[np.ndarray, "column output"]
    bias: Float[np.ndarray, " output"]
    losses: Float[np.ndarray, " epoch"]  # penalties included: of each epoch's batches; of fista, every 10 steps
    solution: "Solution | None" = None  # of fista
    classes: tuple[str, ...] | None = None  # names of the outputs; None: class ids, or a score

    def __repr__(self) -> str:
        n_outputs = len(self.bias)
        what = ", ".join(self.classes[:5]) if self.classes else f"{n_outputs} classes" if n_outputs > 1 else "a score"
        return f"<Probe of {len(self.columns):,} neurons: {what}{', ...' if len(self.classes or ()) > 5 else ''}>"

    @property
    def converged(self) -> bool:
        """With fista, whether its residual met the tolerance; with Adam, whether the last epoch lowered the loss by
        less than CONVERGED of it.
        """
        if self.solution is not None:
            return bool(self.solution.residual <= self.solution.tolerance)
        return len(self.losses) > 1 and bool(self.losses[-2] - self.losses[-1] <= CONVERGED * abs(self.losses[-1]))

    def outputs(self, X: Any) -> Float[np.ndarray, "row output"]:
        """The outputs for rows of all the matrix's columns, [row, column] or [row, layer, neuron].

        Raises:
            UserError: if the rows have too few columns.
        """
        rows = np.asarray(X)
        rows = rows.reshape(len(rows), -1) if rows.ndim == 3 else rows
        n_columns = int(self.columns.max(initial=-1)) + 1
        if rows.ndim != 2 or rows.shape[1] < n_columns:
            raise UserError(
                f"X is of shape {np.shape(X)}, but the probe reads columns up to {n_columns - 1}, counted from 0: pass "
                "[row, column] or [row, layer, neuron] of the matrix that it was trained on."
            )
        return linear_outputs(rows, self.columns, self.weights, self.bias)

    def predict(self, X: Any) -> np.ndarray:
        """For every row of `outputs`' X the class, by name where the probe knows it, or the score."""
        outputs = self.outputs(X)
        if outputs.shape[1] == 1:
            return outputs[:, 0]
        ids = outputs.argmax(1)
        return ids if self.classes is None else np.array(self.classes)[ids]

    def predict_proba(self, X: Any) -> Float[np.ndarray, "row class"]:
        """For every row of `outputs`' X the probability of each class, the softmax of the outputs."""
        return probabilities(self.outputs(X))

    def score(self, X: Any, y: Any) -> float:
        """The share of rows whose class is right; of scores, R squared.

        Args:
            X: rows, as `outputs` takes them.
            y: names of classes, or numbers and truth values that stand for them, as 1 for the class "1"; ids for a
                probe that knows no names; or scores.

        Raises:
            UserError: there are not as many labels as rows, or none of them is a class of the probe.
        """
        predictions, labels = self.predict(X), np.asarray(y)
        if len(labels) != len(predictions):
            raise UserError(f"X has {len(predictions)} rows and y {len(labels)} labels: pass one for each row.")
        if self.weights.shape[1] > 1:
            if self.classes is not None:
                labels = np.array([class_of(label, "y") for label in labels.tolist()])
                if len(labels) and not np.isin(labels, self.classes).any():
                    names = ", ".join(self.classes[:20])
                    raise UserError(f"No label of y, such as {str(labels[0])!r}, is a class of the probe: {names}.")
            return float(np.mean(predictions == labels))
        from sklearn.metrics import r2_score  # here, because importing it takes a second

        return float(r2_score(np.asarray(y), predictions))

    def save(self, path: str | Path) -> None:
        """Writes the probe to one file, by custom `*.safetensors`.

        Raises:
            UserError: if the file cannot be written.
        """
        names = ("columns", "weights", "bias", "losses")
        solution = None
        if self.solution is not None:
            solution = [float(self.solution.residual), int(self.solution.iterations), float(self.solution.tolerance)]
        facts = {"classes": None if self.classes is None else list(self.classes), "solution": solution}
        saved.save(path, "Probe", {name: getattr(self, name) for name in names}, facts)

    @staticmethod
    def load(path: str | Path) -> "Probe":
        """The probe of a file that `save` wrote.

        Raises:
            UserError: if there is no such file, it holds something else, or it is damaged.
        """
        _, arrays, facts = saved.load(path, ("Probe",))
        solution = None if facts["solution"] is None else Solution(*facts["solution"])
        classes = None if facts["classes"] is None else tuple(facts["classes"])
        return Probe(**arrays, solution=solution, classes=classes)


@dataclass(frozen=True)
class Fit:
    """A trained family."""

    family: Family
    parts: tuple[Part, ...]
    losses: Float[np.ndarray, "epoch probe"]
    regression: bool
    solution: Solution | None = None  # of fista, for every probe
    classes: tuple[str, ...] | None = None  # by class id, for the names that probes give

    def probe(self, index: int) -> Probe:
        """One probe of the family, unpacked.

        Raises:
            IndexError: if there is no such probe.
        """
        if not 0 <= index < self.family.n_probes:
            raise IndexError(f"there is no probe {index}: the family has probes 0 to {self.family.n_probes - 1}")
        part = next(part for part in self.parts if index in part.probes)
        owner = part.probes.index(index)
        arrays = unpacked(part)
        segments = part.family.places(owner)
        weights = np.zeros((0, part.packing.n_outputs), np.float32)
        if segments:
            starts = [segment.start for segment in part.family.segments]
            blocks = [arrays[number][at][:, positions - starts[number]].T for number, at, positions in segments]
            rank = self.family.rank[np.concatenate([positions for _, _, positions in segments])]
            weights = np.concatenate(blocks)[np.argsort(rank)]
        bias = np.asarray(part.params.bias)[owner]
        solution = self.solution
        if solution is not None:
            residual, iterations = solution.residual[index].item(), solution.iterations[index].item()
            solution = Solution(residual, iterations, solution.tolerance)
        return Probe(self.family.owned(index), weights, bias, self.losses[:, index], solution, self.classes)

    def predict(self, features: FeatureMatrix | Float[np.ndarray, "row column"]) -> np.ndarray:
        """Every probe's class ids [row, probe], or scores for regression."""
        matrix = features if isinstance(features, FeatureMatrix) else FeatureMatrix.from_rows(features, 128)
        shape = len(matrix.blocks), self.family.n_probes, matrix.batch_size
        predictions = np.zeros(shape, np.float32 if self.regression else np.int32)
        for part in self.parts:
            columns, packing = part.weight_map.columns, part.packing
            for batches, blocks in matrix.windows(part.device, PREDICT_BATCHES):  # one shape, one compilation
                predicted = kernel.predict(part.params, blocks, columns, packing=packing, regression=self.regression)
                predictions[batches, list(part.probes)] = np.asarray(predicted)[: batches.stop - batches.start]
        return predictions.transpose(0, 2, 1).reshape(shape[0] * shape[2], shape[1])[: matrix.n_rows]


def fit(
    family: Family,
    features: FeatureMatrix | Float[np.ndarray, "row column"],
    targets: Int[np.ndarray, " row"] | Float[np.ndarray, " row"],
    n_outputs: int,
    config: ProbeConfig,
    settings: Settings | None = None,
    *,
    classes: Sequence[str] | None = None,
    optimizer: Any = None,
) -> Fit:
    """Trains every probe of a family.

    Args:
        family: what is trained.
        features: the training matrix, in the order in which its rows are taken.
        targets: class ids (integers; `jaxred.probing.features.class_ids` gives them) or scores (floats).
        n_outputs: classes; 1 for regression.
        config: solver, penalties, learning rate, epochs, batch size, seed.
        settings: penalties, learning rate and seed of every probe, in place of the configuration's.
        classes: names of the class ids, for the predictions of single probes.
        optimizer: any transformation of optax in place of Adam, with its own learning rate, such as
            `optax.sgd(0.1, momentum=0.9)`. Gradients include those of the penalties. A probe whose rate in `settings`
            is not `config.learning_rate` has its updates scaled by their ratio (`jaxred.probing.adam.with_rates`).

    Raises:
        UserError: if features, targets and the family do not fit together, targets are names of classes, the
            configuration is impossible, rows are to be shuffled and the matrix does not fit in memory, or a probe's
            training ends in numbers that are not finite.
    """
    validate_probe(config)
    targets = np.asarray(targets)
    if not np.issubdtype(targets.dtype, np.number):
        raise UserError(
            f"The targets are such as {targets.tolist()[:1]}, but probes are trained on class ids (integers) or scores "
            "(floats): jaxred.probing.features.class_ids(labels) gives the ids and their names."
        )
    matrix = features if isinstance(features, FeatureMatrix) else FeatureMatrix.from_rows(features, config.batch_size)
    settings = settings or settings_of(config, family.n_probes)
    if classes is not None and len(classes) != n_outputs:
        raise UserError(f"classes has {len(classes)} names, but n_outputs is {n_outputs}: pass one per class.")
    regression = not np.issubdtype(targets.dtype, np.integer)
    _refuse_misfits(family, matrix, targets, n_outputs, regression)
    values = matrix.batched(targets.astype(np.float32 if regression else np.int32))
    if optimizer is not None and config.solver != "adam":
        raise UserError(
            f"An optimizer takes the place of Adam, but solver is {config.solver!r}: leave one of them out."
        )
    if config.solver == "fista":
        columns = fista.column_moments(matrix)
        parts = all_parts(family, n_outputs, config, settings, columns.varies)
        parts, losses, solution = fista.solve(parts, matrix, values, targets, columns, family.n_probes, config)
    else:
        parts = all_parts(family, n_outputs, config, settings)
        parts, losses = epochs.train(parts, matrix, values, family.n_probes, config, optimizer)
        solution = None
    _refuse_divergence(losses, family, settings, config)
    return Fit(family, tuple(parts), losses, regression, solution, None if classes is None else tuple(classes))


def _refuse_misfits(
    family: Family, matrix: FeatureMatrix, targets: np.ndarray, n_outputs: int, regression: bool
) -> None:
    n_rows, n_columns = matrix.shape
    if targets.shape != (n_rows,):
        raise UserError(f"The targets are of shape {targets.shape}, but the features have {n_rows} rows: one a row.")
    if family.columns.max(initial=-1) >= n_columns:
        raise UserError(
            f"The features have {n_columns} columns, but the family has columns up to {family.columns.max()}, counted "
            "from 0: make it for these features."
        )
    if regression and n_outputs != 1:
        raise UserError(f"The targets are scores, which take one output, but n_outputs is {n_outputs}: pass 1.")
    if not regression and n_rows and not (targets.min() >= 0 and targets.max() < n_outputs):
        raise UserError(
            f"The targets are class ids from {targets.min()} to {targets.max()}, but n_outputs is {n_outputs}: they "
            "must be from 0 to one less than the classes."
        )


def _refuse_divergence(
    losses: Float[np.ndarray, "epoch probe"], family: Family, settings: Settings, config: ProbeConfig
) -> None:
    bad = np.flatnonzero(~np.isfinite(losses).all(0))
    if not len(bad):
        return
    name = f"{family.names[bad[0]]} is the first" if family.names else f"number {bad[0]} is the first"
    when = int(np.flatnonzero(~np.isfinite(losses[:, bad[0]]))[0])
    rate = np.asarray(settings.learning_rate)[bad[0]]
    after, fix = f"epoch {when + 1}", f", or lower the learning rate (config.probe.learning_rate is {rate:g})"
    if config.solver == "fista":
        after, fix = f"{when * INTERVAL} iterations", ", or set config.probe.standardize"
    raise UserError(
        f"The loss of {len(bad)} of {losses.shape[1]} probes ({name}) is not a finite number after {after}: look for "
        f"values in the features that are not finite or very large{fix}."
    )
