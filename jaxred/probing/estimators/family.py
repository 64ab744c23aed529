"""Many elastic-net probes trained at once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from jaxred.errors import UserError
from jaxred.probing import saved
from jaxred.probing.estimators.base import as_array, as_matrix, one_line, train
from jaxred.probing.estimators.elastic_net import ElasticNetProbe, ElasticNetProbeRegressor
from jaxred.probing.families import Family, layer_family, prefix_family, subset_family

_AnyFamily = TypeVar("_AnyFamily", bound="ProbeFamily")


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
        X = as_array(X)
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
        train(family, rows, targets, probes)
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
        return one_line(self)

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
