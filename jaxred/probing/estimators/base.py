"""What the probe of classes and that of scores share, and what all estimators do with their arguments."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from jaxred.activations.matrix import FeatureMatrix
from jaxred.config import ProbeConfig
from jaxred.probing import saved
from jaxred.probing.families import Family, prefix_family
from jaxred.probing.outputs import linear_outputs
from jaxred.probing.ranking import rank_neurons
from jaxred.probing.trained import Probe, fit

_Estimator = TypeVar("_Estimator", bound="ElasticNetBase")  # Self, which a check of single methods does not know


class ElasticNetBase(BaseEstimator):
    """What the probe of classes and that of scores share."""

    n_features_in_: int
    feature_names_in_: np.ndarray
    classes_: np.ndarray
    coef_: Any
    intercept_: Any

    def __init__(
        self,
        l1: float = 1e-5,
        l2: float = 1e-5,
        *,
        squared_l2: bool = False,
        learning_rate: float = 1e-3,
        epochs: int = 10,
        batch_size: int = 128,
        shuffle: bool = False,
        standardize: bool = False,
        random_state: int | np.random.RandomState | None = 42,
        solver: str = "adam",
        tolerance: float = 1e-4,
        max_iterations: int = 1000,
    ):
        self.l1 = l1
        self.l2 = l2
        self.squared_l2 = squared_l2
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.standardize = standardize
        self.random_state = random_state
        self.solver = solver
        self.tolerance = tolerance
        self.max_iterations = max_iterations

    def fit(self: _Estimator, X: Any, y: Any) -> _Estimator:
        """Trains the probe.

        Args:
            X: [row, neuron], [row, layer, neuron], or what has such a `matrix()`.
            y: [row] labels of any type that scikit-learn takes, or scores.

        Returns:
            The estimator itself.

        Raises:
            ValueError: if X, y or a parameter is impossible; those of jaxred are `UserError`s.
        """
        rows, targets = self._training_data(X, y)
        n_neurons = rows.shape[1]
        family = prefix_family(np.arange(n_neurons), [n_neurons])
        train(family, rows, targets, [self])
        return self

    def neurons(self, n: int | None = None) -> Int[np.ndarray, " neuron"]:
        """The neurons on which the probe relies, the most salient first: all that have a weight, or the first n.

        The ranking is `jaxred.probing.ranking.rank_neurons`; where the probe was trained on standardised neurons, of
        the weights on those. Neurons without weight in every class are left out.
        """
        check_is_fitted(self)
        weights = np.atleast_2d(self.coef_).T
        weights = weights if self._deviation is None else weights * self._deviation[:, None]
        order = rank_neurons(weights[self.columns_].astype(np.float32)).order
        order = self.columns_[order]
        return order[(weights[order] != 0).any(1)][:n]

    def save(self, path: str | Path) -> None:
        """Writes the fitted probe to one file, by custom `*.safetensors`.

        Raises:
            UserError: if the file cannot be written, or the classes are neither strings nor numbers.
        """
        check_is_fitted(self)
        arrays, facts = self._content()
        saved.save(path, type(self).__name__, arrays, facts)

    @classmethod
    def load(cls: type[_Estimator], path: str | Path) -> _Estimator:
        """The fitted probe of a file that `save` wrote.

        Raises:
            UserError: if there is no such file, it holds something else, or it is damaged.
        """
        _, arrays, facts = saved.load(path, (cls.__name__,))
        return cls._restored(arrays, facts)

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        del N_CHAR_MAX  # scikit-learn's own argument
        return one_line(self)

    def _config(self) -> ProbeConfig:
        values = self.get_params(deep=False)
        state = values.pop("random_state")
        if state is None or isinstance(state, np.random.RandomState):
            state = int(check_random_state(state).randint(2**31 - 1))
        return ProbeConfig(**values, seed=int(state) if isinstance(state, np.integer) else state)

    def _training_data(self, X: Any, y: Any) -> tuple[Float[np.ndarray, "row neuron"], np.ndarray]:
        raise NotImplementedError

    def _take(self, probe: Probe, scaling: tuple[np.ndarray, np.ndarray] | None) -> None:
        """Takes over the weights of a trained probe, in terms of the neurons as they are.

        Args:
            probe: trained on columns that were standardised if scaling is given.
            scaling: mean and deviation of every column.
        """
        weights, bias = probe.weights, probe.bias
        if scaling is not None:
            mean, deviation = (values[probe.columns].astype(np.float64) for values in scaling)
            weights = weights / deviation[:, None]
            bias = bias - mean @ weights
        dense = np.zeros((weights.shape[1], self.n_features_in_), weights.dtype)
        dense[:, probe.columns] = weights.T
        self.columns_ = probe.columns
        self.losses_ = np.array(probe.losses)
        self.converged_ = probe.converged
        self.n_iter_ = len(probe.losses) if probe.solution is None else int(probe.solution.iterations)
        self._deviation = None if scaling is None else scaling[1]
        self._set_weights(dense, bias)

    def _set_weights(self, weights: Float[np.ndarray, "output neuron"], bias: Float[np.ndarray, " output"]) -> None:
        self.coef_, self.intercept_ = weights, bias

    def _outputs(self, X: Any) -> Float[np.ndarray, "row output"]:
        check_is_fitted(self)
        rows: Any = validate_data(self, as_matrix(X), reset=False, dtype=[np.float32, np.float64])
        weights = np.atleast_2d(self.coef_)
        return linear_outputs(rows, np.arange(weights.shape[1]), weights.T, np.atleast_1d(self.intercept_))

    def _content(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The arrays and facts that make the fitted probe again; of the weights, those of its own columns."""
        arrays = {
            "columns": self.columns_,
            "weights": np.atleast_2d(self.coef_)[:, self.columns_],
            "bias": np.atleast_1d(self.intercept_),
            "losses": self.losses_,
        }
        if self._deviation is not None:
            arrays["deviation"] = self._deviation
        names = getattr(self, "feature_names_in_", None)
        params = self.get_params(deep=False)
        if isinstance(params["random_state"], np.random.RandomState):
            params["random_state"] = None
        params = {name: value.item() if isinstance(value, np.generic) else value for name, value in params.items()}
        facts = {
            "params": params,
            "n_neurons": self.n_features_in_,
            "n_iter": self.n_iter_,
            "converged": self.converged_,
            "classes": saved.class_facts(getattr(self, "classes_", None)),
            "neuron_names": None if names is None else names.tolist(),
        }
        return arrays, facts

    @classmethod
    def _restored(cls: type[_Estimator], arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> _Estimator:
        probe = cls(**facts["params"])
        probe.n_features_in_ = facts["n_neurons"]
        if facts["neuron_names"] is not None:
            probe.feature_names_in_ = np.array(facts["neuron_names"], object)
        classes = saved.classes_of(facts["classes"])
        if classes is not None:
            probe.classes_ = classes
        probe.columns_, probe.losses_ = arrays["columns"], arrays["losses"]
        probe.n_iter_, probe.converged_ = facts["n_iter"], facts["converged"]
        probe._deviation = arrays.get("deviation")
        dense = np.zeros((len(arrays["bias"]), probe.n_features_in_), arrays["weights"].dtype)
        dense[:, probe.columns_] = arrays["weights"]
        probe._set_weights(dense, arrays["bias"])
        return probe


def train(
    family: Family,
    rows: Float[np.ndarray, "row neuron"],
    targets: np.ndarray,
    probes: Sequence[Any],
) -> None:
    """Trains the family of as many estimators, which take over the weights."""
    config = probes[0]._config()
    n_outputs = len(probes[0].classes_) if hasattr(probes[0], "classes_") else 1
    matrix = FeatureMatrix.from_rows(rows, config.batch_size)
    scaling = None
    if config.standardize:
        mean, deviation = matrix.mean_and_deviation()
        deviation[deviation == 0] = 1
        scaling = mean.astype(np.float32), deviation.astype(np.float32)
        matrix.standardize(*scaling)
    fitted = fit(family, matrix, targets, n_outputs, config)
    for number, probe in enumerate(probes):
        probe._take(fitted.probe(number), scaling)


def one_line(estimator: BaseEstimator) -> str:
    """An estimator and the parameters that are not its defaults, in one line."""
    defaults = inspect.signature(type(estimator).__init__).parameters
    changed = []
    for name, value in estimator.get_params(deep=False).items():
        if value is not defaults[name].default and repr(value) != repr(defaults[name].default):
            text = " ".join(repr(value).split())
            changed.append(f"{name}={text if len(text) <= 60 else text[:57] + '...'}")
    return f"{type(estimator).__name__}({', '.join(changed)})"


def as_matrix(X: Any) -> Any:
    """A matrix [row, neuron] of whatever an estimator takes; what is none of it is left to scikit-learn's check."""
    X = as_array(X)
    return X.reshape(len(X), -1) if isinstance(X, np.ndarray) and X.ndim == 3 else X


def as_array(X: Any) -> Any:
    if callable(getattr(X, "matrix", None)):
        X = X.matrix()
    if isinstance(X, FeatureMatrix) or (getattr(X, "ndim", None) == 3 and not isinstance(X, np.ndarray)):
        X = np.asarray(X)
    return X
