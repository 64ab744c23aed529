"""How many directions a layer uses, from the eigenvalues of its covariance."""

import numpy as np
from jaxtyping import Float

from jaxred.statistics.layer_products import cross_product
from jaxred.statistics.moments import Moments


def spectra(moments: Moments) -> Float[np.ndarray, "layer neuron"]:
    """The eigenvalues of each layer's sum of (x - mean)(x - mean)^T, ascending; none is below 0.

    What is below float32 rounding of the largest is set to 0: it is rounding of the kept products.
    """
    values = np.array([np.linalg.eigvalsh(cross_product(moments, layer, layer)) for layer in range(moments.n_layers)])
    least = np.finfo(np.float32).eps * values.max(1, keepdims=True, initial=0)
    return np.where(values > least, values, 0)


def effective_rank(eigenvalues: Float[np.ndarray, "layer neuron"]) -> Float[np.ndarray, " layer"]:
    """Exp of the entropy of the normalised eigenvalues (Roy and Vetterli 2007); NaN where all are 0."""
    total = eigenvalues.sum(1, keepdims=True)
    shares = np.divide(eigenvalues, total, out=np.full_like(eigenvalues, np.nan), where=total > 0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.exp(-(shares * logs).sum(1))


def participation_ratio(eigenvalues: Float[np.ndarray, "layer neuron"]) -> Float[np.ndarray, " layer"]:
    """(sum of eigenvalues)^2 / sum of their squares; NaN where all are 0."""
    squares = np.square(eigenvalues).sum(1)
    total = np.square(eigenvalues.sum(1))
    return np.divide(total, squares, out=np.full_like(total, np.nan), where=squares > 0)
