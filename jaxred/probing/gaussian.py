"""Neurons by what class-conditional Gaussians of them say of the labels (Torroba Hennigen et al. 2020).

p(x | c) is a Gaussian of the chosen neurons, with mean and covariance of class c's training rows. Starting with none,
the neuron is added with which the sum of log p(c | x) over held-out rows is largest. These are a fifth of the training
rows: dev, on which sizes are selected, is not looked at. A Gaussian of one more neuron is that of the others times that
of the new one's residual after regressing it on them, within each class: so the residuals of all candidates are kept,
for fitted and held-out rows, and a step takes the part along the new neuron off them (Gram-Schmidt); all candidates are
scored at once.

Variances are shrunk towards those within classes, as if each class had PRIOR_ROWS more rows of these, and get
SHRINKAGE of the neuron's variance, so that neither a class of one row nor a copy of a chosen neuron looks certain.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxred.activations.matrix import FeatureMatrix
from jaxred.probing.features import Features

GREEDY = 64  # neurons that are added one by one; the others follow by what each alone says
CANDIDATES = 1024  # the best ones alone, among which these are looked for
HELD_OUT = 5  # every so-manieth training row, in a random order
TRAIN_ROWS, HELD_ROWS = 10_000, 2_000  # samples, where there are more
PRIOR_ROWS = 1.0
SHRINKAGE = 1e-3
_COLUMNS = 512  # scored alone at once


def gaussian_order(features: Features, n_greedy: int = GREEDY) -> Int[np.ndarray, " neuron"]:
    """All neurons: first those that are added greedily, then the others by their likelihood alone.

    Args:
        features: the data.
        n_greedy: how many are added greedily.
    """
    n_classes, n_neurons = len(features.classes), features.n_neurons
    rows = held_out(len(features.targets["train"]))
    train, held = (features.targets["train"][each] for each in rows)
    prior = np.log((np.bincount(train, minlength=n_classes) + 1) / (len(train) + n_classes)).astype(np.float32)
    alone = np.empty(n_neurons)
    start = jnp.broadcast_to(jnp.asarray(prior)[:, None], (n_classes, len(held)))
    for first in range(0, n_neurons, _COLUMNS):
        columns = np.arange(first, min(first + _COLUMNS, n_neurons))
        state = _start(features, rows, columns, n_classes)
        alone[columns] = _likelihoods(*state, start, jnp.asarray(train), jnp.asarray(held), n_classes)
    by_itself = np.argsort(-alone, kind="stable")
    candidates = np.sort(by_itself[:CANDIDATES])
    greedy = _greedy(features, rows, candidates, start, train, held, n_greedy)
    return np.concatenate([greedy, by_itself[~np.isin(by_itself, greedy)]])


def held_out(n_rows: int) -> tuple[Int[np.ndarray, " fitted"], Int[np.ndarray, " held"]]:
    """The training rows that Gaussians are fitted to, and those that they are judged by; of one row it is both."""
    order = np.random.default_rng(0).permutation(n_rows)
    is_held = np.arange(n_rows) % HELD_OUT == 0
    if n_rows < 2:
        return order, order
    return np.sort(order[~is_held][:TRAIN_ROWS]), np.sort(order[is_held][:HELD_ROWS])


def rows_of(matrix: FeatureMatrix, rows: Int[np.ndarray, " row"], columns: Int[np.ndarray, " column"]) -> np.ndarray:
    """Some rows of some columns, copied: [row, column]."""
    taken = np.empty((len(rows), len(columns)), np.float32)
    batch, place = np.divmod(rows, matrix.batch_size)
    for number in np.unique(batch):
        mine = batch == number
        taken[mine] = matrix.blocks[number][np.ix_(columns, place[mine])].T
    return taken


State = tuple[Float[Array, "train candidate"], Float[Array, "class held candidate"], Float[Array, " candidate"]]


def _start(
    features: Features,
    rows: tuple[np.ndarray, np.ndarray],
    columns: Int[np.ndarray, " candidate"],
    n_classes: int,
) -> State:
    """Fitted rows less their class's mean, held-out rows less that of every class, and each neuron's variance."""
    train, held = (rows_of(features.matrices["train"], each, columns) for each in rows)
    targets = features.targets["train"][rows[0]]
    whole = train.mean(0, dtype=np.float64)
    variance = np.square(train - whole).mean(0)
    means = np.tile(whole, (n_classes, 1))  # of a class without rows, that of all
    for class_id in np.unique(targets):
        means[class_id] = train[targets == class_id].mean(0, dtype=np.float64)
    centred = (train - means[targets]).astype(np.float32)
    return (
        jnp.asarray(centred),
        jnp.asarray((held[None] - means[:, None]).astype(np.float32)),
        jnp.asarray(variance, jnp.float32),
    )


def _variances(
    train: Float[Array, "train candidate"],
    variance: Float[Array, " candidate"],
    targets: Int[Array, " train"],
    n_classes: int,
) -> Float[Array, "class candidate"]:
    """Of the residuals in each class, shrunk."""
    squares = jnp.square(train)
    own = jax.ops.segment_sum(squares, targets, n_classes)
    counts = jnp.bincount(targets, length=n_classes)[:, None]
    within = squares.mean(0)
    return (own + PRIOR_ROWS * within) / (counts + PRIOR_ROWS) + SHRINKAGE * variance


@jax.jit(static_argnums=6)
def _likelihoods(
    train: Float[Array, "train candidate"],
    held: Float[Array, "class held candidate"],
    variance: Float[Array, " candidate"],
    before: Float[Array, "class held"],
    targets: Int[Array, " train"],
    labels: Int[Array, " held"],
    n_classes: int,
) -> Float[Array, " candidate"]:
    """The mean log p(c | x) of the held-out labels with each candidate added; -inf for one that is constant."""
    spread = _variances(train, variance, targets, n_classes)
    safe = jnp.where(spread > 0, spread, 1)[:, None]
    joint = before[:, :, None] - 0.5 * (jnp.log(2 * math.pi * safe) + jnp.square(held) / safe)
    own = jnp.take_along_axis(joint, labels[None, :, None], axis=0)[0]
    found = jnp.mean(own - jax.nn.logsumexp(joint, axis=0), axis=0)
    return jnp.where(variance > 0, found, -jnp.inf)


@jax.jit(static_argnums=6)
def _add(
    train: Float[Array, "train candidate"],
    held: Float[Array, "class held candidate"],
    variance: Float[Array, " candidate"],
    before: Float[Array, "class held"],
    targets: Int[Array, " train"],
    chosen: Int[Array, ""],
    n_classes: int,
) -> tuple[Float[Array, "train candidate"], Float[Array, "class held candidate"], Float[Array, "class held"]]:
    """The residuals and the likelihood of each class with one neuron added."""
    spread = _variances(train, variance, targets, n_classes)[:, chosen]
    mine, theirs = train[:, chosen], held[:, :, chosen]
    before = before - 0.5 * (jnp.log(2 * math.pi * spread)[:, None] + jnp.square(theirs) / spread[:, None])
    counts = jnp.bincount(targets, length=n_classes)[:, None]
    products = jax.ops.segment_sum(train * mine[:, None], targets, n_classes)
    pooled = (train * mine[:, None]).mean(0)
    slopes = (products + PRIOR_ROWS * pooled) / (counts + PRIOR_ROWS) / spread[:, None]  # [class, candidate]
    return train - mine[:, None] * slopes[targets], held - theirs[:, :, None] * slopes[:, None], before


def _greedy(
    features: Features,
    rows: tuple[np.ndarray, np.ndarray],
    candidates: Int[np.ndarray, " candidate"],
    before: Float[Array, "class held"],
    targets: Int[np.ndarray, " train"],
    labels: Int[np.ndarray, " held"],
    n_greedy: int,
) -> Int[np.ndarray, " neuron"]:
    n_classes = len(features.classes)
    train, held, variance = _start(features, rows, candidates, n_classes)
    of_train, of_held = jnp.asarray(targets), jnp.asarray(labels)
    chosen: list[int] = []
    free = np.ones(len(candidates), bool)
    for _ in range(min(n_greedy, len(candidates))):
        found = np.asarray(_likelihoods(train, held, variance, before, of_train, of_held, n_classes))
        best = int(np.argmax(np.where(free, found, -np.inf)))
        if not free[best] or found[best] == -np.inf:
            break  # what is left is constant
        train, held, before = _add(train, held, variance, before, of_train, jnp.int32(best), n_classes)
        free[best] = False
        chosen.append(best)
    return candidates[chosen] if chosen else np.zeros(0, np.int64)
