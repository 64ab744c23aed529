"""Elastic-net probes as scikit-learn estimators: one probe, or many at once on one read of the data.

    probe = ElasticNetProbe(l1=1e-3).fit(X, labels)
    probe.score(X_test, labels_test), probe.neurons(10), probe.coef_

`X` is a matrix [row, neuron], an array [row, layer, neuron], whose neurons are numbered layer * hidden size + index, or
anything with a method `matrix()` that gives either, such as a store of activations.
"""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from jaxred.activations.matrix import FeatureMatrix
from jaxred.config import ProbeConfig
from jaxred.errors import UserError
from jaxred.probing import saved
from jaxred.probing.families import Family, layer_family, prefix_family, subset_family
from jaxred.probing.outputs import linear_outputs, probabilities
from jaxred.probing.ranking import rank_neurons
from jaxred.probing.trained import Probe, fit

_Estimator = TypeVar("_Estimator", bound="_ElasticNet")  # Self, which a check of single methods does not know
_AnyFamily = TypeVar("_AnyFamily", bound="ProbeFamily")


class _ElasticNet(BaseEstimator):
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
        _train(family, rows, targets, [self])
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
        return _one_line(self)

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


class ElasticNetProbe(ClassifierMixin, _ElasticNet):
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


class ElasticNetProbeRegressor(RegressorMixin, _ElasticNet):
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


class ProbeFamily(BaseEstimator):
    """Many probes trained at once, on one read of the data; each has the weights that it would have alone.

    Args:
        probe: an `ElasticNetProbe` or `ElasticNetProbeRegressor` whose parameters all take.
        sets: what each probe sees. "layers": every layer alone ("layer-0", ...) and every prefix of layers
            ("layers-0-1", ...); "prefixes": the first k neurons of `order` ("first-10", ...), for every k of `sizes`;
            or the neurons of each probe, as a mapping of names or as a sequence, by number.
        order: with "prefixes": neurons, such as those of `ElasticNetProbe.neurons()`. By default as they lie.
        sizes: with "prefixes": how many neurons each probe sees, ascending.
        n_layers: with "layers": layers of X, where it is a matrix.

    Attributes:
        probes_: by name, fitted estimators like `probe`; each takes the whole X.
        n_features_in_: neurons of X.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(200, 3, 4))
        >>> y = np.where(X[:, 2, 1] > 0, "yes", "no")
        >>> family = ProbeFamily(ElasticNetProbe(solver="fista"), sets={"first": [0, 1], "third layer": range(8, 12)})
        >>> scores = family.fit(X, y).score(X, y)
        >>> scores["third layer"] > scores["first"]
        True
    """

    def __init__(
        self,
        probe: ElasticNetProbe | ElasticNetProbeRegressor | None = None,
        sets: Any = "layers",
        *,
        order: Any = None,
        sizes: Any = None,
        n_layers: int | None = None,
    ):
        self.probe = probe
        self.sets = sets
        self.order = order
        self.sizes = sizes
        self.n_layers = n_layers

    @property
    def probes(self) -> "dict[str, ElasticNetProbe | ElasticNetProbeRegressor]":
        """The fitted probes, by name."""
        check_is_fitted(self)
        return self.probes_

    def fit(self: _AnyFamily, X: Any, y: Any) -> _AnyFamily:
        """Trains all probes; arguments and errors as of `ElasticNetProbe.fit`.

        Raises:
            UserError: if the sets do not fit the neurons of X.
        """
        n_layers = getattr(X, "n_layers", None)  # of a store, and of activations in memory
        X = _array(X)
        model = ElasticNetProbe() if self.probe is None else self.probe
        if not isinstance(model, ElasticNetProbe | ElasticNetProbeRegressor):
            raise UserError(
                f"probe is {model!r}, but an ElasticNetProbe or an ElasticNetProbeRegressor is expected: pass one."
            )
        first: Any = clone(model)
        rows, targets = first._training_data(X, y)
        n_layers = X.shape[1] if X.ndim == 3 else self.n_layers or n_layers
        names, family = self._family(rows.shape[1], n_layers)
        probes: list[Any] = [clone(model) for _ in names]
        shared = ("n_features_in_", "feature_names_in_", "classes_")
        for name in shared:
            if hasattr(first, name):
                for probe in probes:
                    setattr(probe, name, getattr(first, name))
        _train(family, rows, targets, probes)
        self.probes_ = dict(zip(names, probes, strict=True))
        self.n_features_in_ = first.n_features_in_
        if hasattr(first, "feature_names_in_"):
            self.feature_names_in_ = first.feature_names_in_
        return self

    def predict(self, X: Any) -> np.ndarray:
        """What every probe predicts, [row, probe]."""
        X = as_matrix(X)
        return np.stack([probe.predict(X) for probe in self.probes.values()], axis=1)

    def score(self, X: Any, y: Any) -> dict[str, float]:
        """The score of every probe, by name: its share of right labels, or R squared."""
        X = as_matrix(X)
        return {name: probe.score(X, y) for name, probe in self.probes.items()}

    def save(self, path: str | Path) -> None:
        """Writes the fitted family to one file; raises as `ElasticNetProbe.save`."""
        arrays, probes = {}, []
        for number, (name, probe) in enumerate(self.probes.items()):
            its_arrays, facts = probe._content()
            arrays |= {f"{number}/{key}": array for key, array in its_arrays.items()}
            probes.append({"name": name, "kind": type(probe).__name__, **facts})
        saved.save(path, type(self).__name__, arrays, {"n_neurons": self.n_features_in_, "probes": probes})

    @classmethod
    def load(cls: type[_AnyFamily], path: str | Path) -> _AnyFamily:
        """The fitted family of a file that `save` wrote; its `sets` are the neurons of each probe.

        Raises:
            UserError: if there is no such file, it holds something else, or it is damaged.
        """
        _, arrays, facts = saved.load(path, (cls.__name__,))
        probes = {}
        for number, entry in enumerate(facts["probes"]):
            prefix = f"{number}/"
            its_arrays = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
            kind = ElasticNetProbeRegressor if entry["kind"] == ElasticNetProbeRegressor.__name__ else ElasticNetProbe
            probes[entry["name"]] = kind._restored(its_arrays, entry)
        model: Any = clone(next(iter(probes.values()))) if probes else None
        family = cls(model, {name: probe.columns_.tolist() for name, probe in probes.items()})
        family.probes_, family.n_features_in_ = probes, facts["n_neurons"]
        return family

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        del N_CHAR_MAX
        return _one_line(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def _family(self, n_neurons: int, n_layers: int | None) -> tuple[list[str], Family]:
        """The names of the probes, and which neurons each sees."""
        if isinstance(self.sets, str):
            if self.sets == "layers":
                if not n_layers or n_neurons % n_layers:
                    raise UserError(
                        f"sets='layers' needs the layers of the {n_neurons} neurons, and n_layers is {n_layers}: pass "
                        "X as [row, layer, neuron], or an n_layers that divides them."
                    )
                family = layer_family(n_layers, n_neurons // n_layers)
                names = [f"layer-{i}" for i in range(n_layers)] + [f"layers-0-{i}" for i in range(n_layers)]
                return names, family
            if self.sets == "prefixes":
                order = np.arange(n_neurons) if self.order is None else _columns(self.order, n_neurons, "order")
                sizes = [] if self.sizes is None else [int(size) for size in self.sizes]
                if not sizes or sizes != sorted(set(sizes)) or sizes[0] < 0 or sizes[-1] > len(order):
                    raise UserError(
                        f"sets='prefixes' needs sizes that ascend from at least 0 to at most the {len(order)} neurons "
                        f"of order, but sizes is {self.sizes}."
                    )
                return [f"first-{size}" for size in sizes], prefix_family(order, sizes, n_neurons)
            raise UserError(
                f"sets={self.sets!r} is not known: pass 'layers', 'prefixes', or the neurons of each probe."
            )
        named = self.sets.items() if isinstance(self.sets, Mapping) else enumerate(self.sets)
        subsets = {str(name): np.sort(_columns(columns, n_neurons, f"sets[{name!r}]")) for name, columns in named}
        return list(subsets), subset_family(list(subsets.values()), n_neurons)


def as_matrix(X: Any) -> Any:
    """A matrix [row, neuron] of whatever an estimator takes; what is none of it is left to scikit-learn's check."""
    X = _array(X)
    return X.reshape(len(X), -1) if isinstance(X, np.ndarray) and X.ndim == 3 else X


def _array(X: Any) -> Any:
    if callable(getattr(X, "matrix", None)):
        X = X.matrix()
    if isinstance(X, FeatureMatrix) or (getattr(X, "ndim", None) == 3 and not isinstance(X, np.ndarray)):
        X = np.asarray(X)
    return X


def _columns(columns: Any, n_neurons: int, argument: str) -> Int[np.ndarray, " column"]:
    """Numbers of neurons, each once, checked."""
    columns = np.asarray(columns if isinstance(columns, np.ndarray) else list(columns))
    columns = columns.astype(int) if not columns.size else columns
    ok = columns.ndim == 1 and columns.dtype.kind in "iu" and len(np.unique(columns)) == len(columns)
    if not ok or (columns.size and not (columns.min() >= 0 and columns.max() < n_neurons)):
        raise UserError(
            f"{argument} must hold numbers of neurons from 0 to {n_neurons - 1}, each once, but it is {columns}."
        )
    return columns


def _train(
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


def _one_line(estimator: BaseEstimator) -> str:
    """An estimator and the parameters that are not its defaults, in one line."""
    defaults = inspect.signature(type(estimator).__init__).parameters
    changed = []
    for name, value in estimator.get_params(deep=False).items():
        if value is not defaults[name].default and repr(value) != repr(defaults[name].default):
            text = " ".join(repr(value).split())
            changed.append(f"{name}={text if len(text) <= 60 else text[:57] + '...'}")
    return f"{type(estimator).__name__}({', '.join(changed)})"
