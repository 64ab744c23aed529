"""Neurons by what class-conditional Gaussians of them say of the labels (Torroba Hennigen et al. 2020).

p(x | c) is a Gaussian of the chosen neurons, with mean and covariance of class c's training rows. Starting with none,
the neuron is added with which sum over dev rows of log p(c | x) is largest. A Gaussian of one more neuron is that of
the others times that of the new one's residual after regressing it on them, within each class: so the residuals of all
candidates are kept, for training and dev rows, and a step takes the part along the new neuron off them (Gram-Schmidt);
all candidates are scored at once.

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
TRAIN_ROWS, DEV_ROWS = 10_000, 2_000  # samples, where there are more
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
    random = np.random.default_rng(0)
    rows = {split: _sample(len(features.targets[split]), most, random) for split, most in _MOST.items()}
    train, dev = (features.targets[split][rows[split]] for split in _MOST)
    prior = np.log((np.bincount(train, minlength=n_classes) + 1) / (len(train) + n_classes)).astype(np.float32)
    alone = np.empty(n_neurons)
    start = jnp.broadcast_to(jnp.asarray(prior)[:, None], (n_classes, len(dev)))
    for first in range(0, n_neurons, _COLUMNS):
        columns = np.arange(first, min(first + _COLUMNS, n_neurons))
        state = _start(features, rows, columns, n_classes)
        alone[columns] = _likelihoods(*state, start, jnp.asarray(train), jnp.asarray(dev), n_classes)
    by_itself = np.argsort(-alone, kind="stable")
    candidates = np.sort(by_itself[:CANDIDATES])
    greedy = _greedy(features, rows, candidates, start, train, dev, n_greedy)
    return np.concatenate([greedy, by_itself[~np.isin(by_itself, greedy)]])


_MOST = {"train": TRAIN_ROWS, "dev": DEV_ROWS}


def _sample(n: int, most: int, random: np.random.Generator) -> Int[np.ndarray, " row"]:
    return np.arange(n) if n <= most else np.sort(random.choice(n, most, replace=False))


def rows_of(matrix: FeatureMatrix, rows: Int[np.ndarray, " row"], columns: Int[np.ndarray, " column"]) -> np.ndarray:
    """Some rows of some columns, copied: [row, column]."""
    taken = np.empty((len(rows), len(columns)), np.float32)
    batch, place = np.divmod(rows, matrix.batch_size)
    for number in np.unique(batch):
        mine = batch == number
        taken[mine] = matrix.blocks[number][np.ix_(columns, place[mine])].T
    return taken


State = tuple[Float[Array, "train candidate"], Float[Array, "class dev candidate"], Float[Array, " candidate"]]


def _start(
    features: Features, rows: dict[str, np.ndarray], columns: Int[np.ndarray, " candidate"], n_classes: int
) -> State:
    """Training rows less their class's mean, dev rows less that of every class, and each neuron's variance."""
    train, dev = (rows_of(features.matrices[split], rows[split], columns) for split in _MOST)
    targets = features.targets["train"][rows["train"]]
    whole = train.mean(0, dtype=np.float64)
    variance = np.square(train - whole).mean(0)
    means = np.tile(whole, (n_classes, 1))  # of a class without rows, that of all
    for class_id in np.unique(targets):
        means[class_id] = train[targets == class_id].mean(0, dtype=np.float64)
    centred = (train - means[targets]).astype(np.float32)
    return (
        jnp.asarray(centred),
        jnp.asarray((dev[None] - means[:, None]).astype(np.float32)),
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
    dev: Float[Array, "class dev candidate"],
    variance: Float[Array, " candidate"],
    before: Float[Array, "class dev"],
    targets: Int[Array, " train"],
    labels: Int[Array, " dev"],
    n_classes: int,
) -> Float[Array, " candidate"]:
    """The mean log p(c | x) of the dev labels with each candidate added; -inf for one that is constant."""
    spread = _variances(train, variance, targets, n_classes)
    safe = jnp.where(spread > 0, spread, 1)[:, None]
    joint = before[:, :, None] - 0.5 * (jnp.log(2 * math.pi * safe) + jnp.square(dev) / safe)
    own = jnp.take_along_axis(joint, labels[None, :, None], axis=0)[0]
    found = jnp.mean(own - jax.nn.logsumexp(joint, axis=0), axis=0)
    return jnp.where(variance > 0, found, -jnp.inf)


@jax.jit(static_argnums=6)
def _add(
    train: Float[Array, "train candidate"],
    dev: Float[Array, "class dev candidate"],
    variance: Float[Array, " candidate"],
    before: Float[Array, "class dev"],
    targets: Int[Array, " train"],
    chosen: Int[Array, ""],
    n_classes: int,
) -> tuple[Float[Array, "train candidate"], Float[Array, "class dev candidate"], Float[Array, "class dev"]]:
    """The residuals and the likelihood of each class with one neuron added."""
    spread = _variances(train, variance, targets, n_classes)[:, chosen]
    mine, theirs = train[:, chosen], dev[:, :, chosen]
    before = before - 0.5 * (jnp.log(2 * math.pi * spread)[:, None] + jnp.square(theirs) / spread[:, None])
    counts = jnp.bincount(targets, length=n_classes)[:, None]
    products = jax.ops.segment_sum(train * mine[:, None], targets, n_classes)
    pooled = (train * mine[:, None]).mean(0)
    slopes = (products + PRIOR_ROWS * pooled) / (counts + PRIOR_ROWS) / spread[:, None]  # [class, candidate]
    return train - mine[:, None] * slopes[targets], dev - theirs[:, :, None] * slopes[:, None], before


def _greedy(
    features: Features,
    rows: dict[str, np.ndarray],
    candidates: Int[np.ndarray, " candidate"],
    before: Float[Array, "class dev"],
    targets: Int[np.ndarray, " train"],
    labels: Int[np.ndarray, " dev"],
    n_greedy: int,
) -> Int[np.ndarray, " neuron"]:
    n_classes = len(features.classes)
    train, dev, variance = _start(features, rows, candidates, n_classes)
    of_train, of_dev = jnp.asarray(targets), jnp.asarray(labels)
    chosen: list[int] = []
    free = np.ones(len(candidates), bool)
    for _ in range(min(n_greedy, len(candidates))):
        found = np.asarray(_likelihoods(train, dev, variance, before, of_train, of_dev, n_classes))
        best = int(np.argmax(np.where(free, found, -np.inf)))
        if not free[best] or found[best] == -np.inf:
            break  # what is left is constant
        train, dev, before = _add(train, dev, variance, before, of_train, jnp.int32(best), n_classes)
        free[best] = False
        chosen.append(best)
    return candidates[chosen] if chosen else np.zeros(0, np.int64)
