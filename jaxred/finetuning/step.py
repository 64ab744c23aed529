"""One step of training: the loss, its gradient, clipping, AdamW with a linear schedule."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float

from jaxred.config import FinetuneConfig
from jaxred.finetuning.batches import TrainingBatch
from jaxred.finetuning.classifier import Classifier
from jaxred.models.dropout import SILENT, DropoutRates, Noise

_GENERATOR = "rbg"  # of the dropout; its programs take a third less time to compile than threefry's on a CPU


class TrainState(NamedTuple):
    """What a step changes."""

    params: Any  # float32, by path
    optimizer: Any
    step: Array


def optimizer_of(config: FinetuneConfig, n_steps: int) -> optax.GradientTransformation:
    """Clipping by the global norm, then AdamW whose rate rises over the warm-up and falls to 0 in straight lines.

    Args:
        config: rates, epsilon, decay, clipping.
        n_steps: of the whole training.

    Reference: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (ICLR 2019).
    """
    n_warmup = round(config.warmup_fraction * n_steps)

    def rate(step: Any) -> Any:
        falling = (n_steps - step) / max(n_steps - n_warmup, 1)
        return config.learning_rate * jnp.minimum((step + 0.0) / max(n_warmup, 1) if n_warmup else falling, falling)

    adamw = optax.adamw(rate, eps=config.epsilon, weight_decay=config.weight_decay, mask=_decays)
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), adamw) if config.clip_norm else adamw


def _decays(params: Any) -> Any:
    """Whether a parameter decays: all but biases and the scales of norms."""
    return {path: path[-1] not in ("bias", "scale") for path in params}


def _graph(classifier: Classifier, compute_dtype: str) -> Any:
    """The structure of a classifier whose encoder takes products in a type."""
    encoder = classifier.encoder
    abstract = nnx.eval_shape(lambda: type(encoder)(encoder.config, compute_dtype, rngs=nnx.Rngs(0)))
    abstract.depth = encoder.depth
    return nnx.split(Classifier(abstract, classifier.head))[0]


def row_losses(scores: Float[Array, "row class"], targets: Any, kind: str) -> Float[Array, " row"]:
    """The cross-entropy of each row or, for scores, the squared error."""
    if kind == "regression":
        return jnp.square(scores[:, 0] - targets)
    return optax.softmax_cross_entropy_with_integer_labels(scores, targets)


class Trainer:
    """The compiled functions of one training."""

    def __init__(
        self,
        classifier: Classifier,
        rates: DropoutRates,
        config: FinetuneConfig,
        kind: str,
        word_pooling: str,
        n_steps: int,
    ):
        """Takes a model apart, and compiles nothing yet.

        Args:
            classifier: the encoder and its head.
            rates: of the dropout.
            config: how it is trained.
            kind: classification or regression.
            word_pooling: the sub-word that stands for a word.
            n_steps: of the whole training.
        """
        state = nnx.state(classifier)
        self.graph = _graph(classifier, config.compute_dtype)
        self._initial = {path: leaf[...] for path, leaf in nnx.to_flat_state(state)}
        self._paths = [path for path, _ in nnx.to_flat_state(state)]
        self._variables = dict(nnx.to_flat_state(state))
        self.optimizer, self._rates = optimizer_of(config, n_steps), rates
        self._compute_dtype, self._seed = jnp.dtype(config.compute_dtype), config.seed
        self._kind, self._word_pooling = kind, word_pooling
        self.devices = jax.local_devices()
        self._mesh = jax.sharding.Mesh(self.devices, ("batch",))
        self._gradient = jax.jit(self.gradient)  # compiled for every length; what follows, once
        self._update = jax.jit(self._updated, donate_argnums=0)
        self.scores = jax.jit(self._scores)

    def start(self) -> TrainState:
        """The state before the first step."""
        params = self._replicated({path: jnp.array(leaf) for path, leaf in self._initial.items()})
        return TrainState(params, self.optimizer.init(params), jnp.zeros((), jnp.int32))

    def model(self, params: Any) -> Classifier:
        """The model of some parameters."""
        flat = {path: self._variables[path].replace(params[path]) for path in self._paths}
        return nnx.merge(self.graph, nnx.from_flat_state(flat))

    def placed(self, batch: TrainingBatch) -> TrainingBatch:
        """A batch on the devices, each of which has its share of every part's sentences."""
        if len(self.devices) == 1:
            return batch
        by_sentence = jax.sharding.NamedSharding(self._mesh, jax.sharding.PartitionSpec(None, "batch"))
        place: Callable[[Any], Any] = functools.partial(jax.device_put, device=by_sentence)
        if batch.words is not None:  # whose slots may be of any sentence
            return batch._replace(tokens=jax.tree.map(place, batch.tokens))
        return jax.tree.map(place, batch)

    def _replicated(self, tree: Any) -> Any:
        if len(self.devices) == 1:
            return tree
        return jax.device_put(tree, jax.sharding.NamedSharding(self._mesh, jax.sharding.PartitionSpec()))

    def _computed(self, params: Any) -> Any:
        """The parameters in the type in which products are taken."""
        if self._compute_dtype == jnp.float32:
            return params
        is_kernel = {path: path[0] == "encoder" and path[-1] in ("kernel", "embedding") for path in params}
        return {path: leaf.astype(self._compute_dtype) if is_kernel[path] else leaf for path, leaf in params.items()}

    def loss(self, params: Any, batch: TrainingBatch, noise: Noise = SILENT) -> Array:
        """The sum of the losses of a part's rows."""
        scores = self.model(self._computed(params))(batch.tokens, batch.words, self._word_pooling, noise)
        return jnp.sum(batch.weights * row_losses(scores, batch.targets, self._kind))

    def gradient(self, params: Any, batch: TrainingBatch, step: Array) -> tuple[Array, Any]:
        """The mean loss of a batch's rows, and its gradient, summed part by part."""
        batch = jax.tree.map(jnp.asarray, batch)
        key = jax.random.fold_in(jax.random.key(self._seed, impl=_GENERATOR), step)
        n_parts, n_rows = len(batch.targets), jnp.maximum(jnp.sum(batch.weights), 1)

        def part(number: Array) -> tuple[Array, Any]:
            one = jax.tree.map(lambda array: array[number], batch)
            noise = Noise(jax.random.fold_in(key, number), self._rates)
            return jax.value_and_grad(self.loss)(params, one, noise)

        loss, gradient = part(jnp.zeros((), jnp.int32))
        if n_parts > 1:
            add = functools.partial(jax.tree.map, jnp.add)
            loss, gradient = jax.lax.fori_loop(1, n_parts, lambda i, so_far: add(so_far, part(i)), (loss, gradient))
        return loss / n_rows, jax.tree.map(lambda leaf: leaf / n_rows, gradient)

    def step(self, state: TrainState, batch: TrainingBatch) -> tuple[TrainState, Array]:
        """The state after a batch, and its mean loss; the state that is given is used up."""
        loss, gradient = self._gradient(state.params, batch, state.step)
        return self._update(state, gradient), loss

    def _updated(self, state: TrainState, gradient: Any) -> TrainState:
        updates, optimizer = self.optimizer.update(gradient, state.optimizer, state.params)
        return TrainState(optax.apply_updates(state.params, updates), optimizer, state.step + 1)

    def _scores(self, params: Any, batch: TrainingBatch) -> Float[Array, "part row class"]:
        batch = jax.tree.map(jnp.asarray, batch)
        model = self.model(self._computed(params))
        parts = [jax.tree.map(lambda array, i=i: array[i], batch) for i in range(len(batch.targets))]
        return jnp.stack([model(part.tokens, part.words, self._word_pooling) for part in parts])
