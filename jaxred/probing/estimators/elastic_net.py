"""One elastic-net probe: a classifier, and a regressor."""

from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from jaxred.errors import UserError
from jaxred.probing.estimators.base import ElasticNetBase, as_matrix
from jaxred.probing.outputs import probabilities


class ElasticNetProbe(ClassifierMixin, ElasticNetBase):
    """A linear classifier with the penalty l1 * sum|W| + l2 * ||W||_F, trained by Adam or to its optimum.

    The weights are those of `jaxred.probing.fit` with the same settings; its default, Adam for some epochs, is the
    original's. docs/probes.md says how l1 and l2 relate to scikit-learn's C and l1_ratio.

    Args:
        l1: weight of the sum of absolute weights.
        l2: weight of the Frobenius norm, not squared unless `squared_l2`.
        squared_l2: penalise the squared norm.
        learning_rate: Adam's step size.
        epochs: passes over the rows, of Adam.
        batch_size: rows per step.
        shuffle: take the rows in a new order in every epoch, of Adam.
        standardize: train on neurons of mean 0 and variance 1; `coef_` belongs to the neurons as they are.
        random_state: seed of the initial weights and of shuffling, of Adam.
        solver: "adam", or "fista", which goes to the optimum and sets weights to exactly 0.
        tolerance: the residual at which fista stops, as a share.
        max_iterations: steps of fista at most.

    Attributes:
        classes_: [class] the labels, sorted.
        coef_: [class, neuron]; 0 where a neuron takes no part. With two classes, too, each has its row.
        intercept_: [class].
        columns_: the neurons that the probe sees: all, or its own in a family.
        n_features_in_: neurons of X.
        n_iter_: epochs, or steps of fista.
        converged_: with fista, whether the tolerance was met; with Adam, whether the last epoch hardly
            lowered the loss.
        losses_: the loss of each epoch, penalties included; with fista, of every 10 steps.

    Raises:
        ValueError: on fit; a UserError names the parameter, the value and what is allowed.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(200, 3, 4))
        >>> y = np.where(X[:, 2, 1] > 0, "yes", "no")
        >>> probe = ElasticNetProbe(l1=0.02, solver="fista").fit(X, y)
        >>> probe.neurons(1).tolist(), probe.predict(X[:2]).tolist() == y[:2].tolist()
        ([9], True)

    Dalvi et al. (2020), "Analyzing Redundancy in Pretrained Transformer Models", section 4.
    """

    classes_: np.ndarray
    coef_: Float[np.ndarray, "class neuron"]
    intercept_: Float[np.ndarray, " class"]

    def decision_function(self, X: Any) -> np.ndarray:
        """The outputs [row, class]; with two classes [row], the second's output less the first's."""
        outputs = self._outputs(X)
        return outputs[:, 1] - outputs[:, 0] if outputs.shape[1] == 2 else outputs

    def predict_proba(self, X: Any) -> Float[np.ndarray, "row class"]:
        """The softmax of the outputs."""
        return probabilities(self._outputs(X))

    def predict(self, X: Any) -> np.ndarray:
        """The label with the largest output, [row]."""
        outputs = self._outputs(X)
        return self.classes_[outputs.argmax(1)]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of rows whose label is predicted."""
        return float(super().score(X, y, sample_weight))

    def _training_data(self, X: Any, y: Any) -> tuple[Float[np.ndarray, "row neuron"], np.ndarray]:
        rows: Any
        labels: Any
        rows, labels = validate_data(self, as_matrix(X), y, dtype=np.float32)
        check_classification_targets(labels)
        self.classes_, ids = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise UserError(
                f"y holds one class, {self.classes_.tolist()[0]!r}, in all of its rows (n_samples = {len(labels)}), "
                "but a probe tells at least two classes apart: pass rows of another class as well."
            )
        return rows, ids.astype(np.int32)


class ElasticNetProbeRegressor(RegressorMixin, ElasticNetBase):
    """A linear regression with the penalty l1 * sum|w| + l2 * ||w||, trained by Adam or to its optimum.

    Arguments, attributes and errors are those of `ElasticNetProbe`, but `coef_` is [neuron], `intercept_` a number, and
    there are no `classes_`. The loss is the mean squared error.
    """

    coef_: Float[np.ndarray, " neuron"]
    intercept_: float

    def predict(self, X: Any) -> Float[np.ndarray, " row"]:
        """The scores."""
        return self._outputs(X)[:, 0]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R squared of the scores."""
        return float(super().score(X, y, sample_weight))

    def _set_weights(self, weights: Float[np.ndarray, "output neuron"], bias: Float[np.ndarray, " output"]) -> None:
        self.coef_, self.intercept_ = weights[0], float(bias[0])

    def _training_data(self, X: Any, y: Any) -> tuple[Float[np.ndarray, "row neuron"], np.ndarray]:
        rows: Any
        scores: Any
        rows, scores = validate_data(self, as_matrix(X), y, dtype=np.float32, y_numeric=True)
        return rows, scores.astype(np.float32)
