"""How far each layer moves the vectors of all tokens, summed in a pass of the encoder that keeps nothing else.

Reference: Men et al., "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect" (2024), for Block
Influence; Gromov et al., "The Unreasonable Ineffectiveness of the Deeper Layers" (2024), for the angular distance.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxred.activations.fetching import token_budget
from jaxred.activations.packing import justified_budget, pack
from jaxred.io.processors import n_cores
from jaxred.io.progress import progress_bar
from jaxred.models import Encoder
from jaxred.models.tokenization import PaddedBatch, TokenBatch, Tokenizer

N_HALVES = 2


@dataclass(frozen=True)
class TokenChanges:
    """Means over the real tokens of sentences, special tokens included, of each half of the sentences.

    A token whose vector is zero before or after a layer has no angle there, and is left out of that layer's means.
    """

    n_sentences: int
    n_tokens: Int[np.ndarray, " half"]
    block_influence: Float[np.ndarray, "half layer"]  # of the transformer layers: 1 - cos(h_{l-1}, h_l)
    angular_distance: Float[np.ndarray, "half layer"]  # arccos(cos(h_{l-1}, h_l)) / pi


def token_changes(encoder: Encoder, tokenizer: Tokenizer, tokens: TokenBatch) -> TokenChanges:
    """Block Influence and angular distance of every transformer layer over the tokens of sentences.

    Sentences are packed as extraction packs them; every other one belongs to the other half.

    Args:
        encoder: whose layers are looked at.
        tokenizer: what padding is made of.
        tokens: of at least two sentences.
    """
    n_layers = encoder.config.n_layers
    budget = justified_budget(token_budget(), tokens.lengths)
    graph, state = nnx.split(encoder)
    on_cpu = jax.default_backend() == "cpu"
    options = {"xla_cpu_multi_thread_eigen": False} if on_cpu else None  # a core computes a batch by itself
    sums_of = jax.jit(lambda state, *arrays: _sums(nnx.merge(graph, state), *arrays), compiler_options=options)
    total, count = np.zeros((2, N_HALVES, n_layers)), np.zeros((N_HALVES, n_layers))
    packed = pack(tokens.lengths, budget, tokenizer.longest)

    def of_batch(packing) -> tuple[np.ndarray, np.ndarray]:
        batch = packing.tokens(tokenizer, tokens)
        halves = np.full((packing.shape.n_rows, packing.shape.n_slots + 1), -1, np.int32)  # of the numbers in the mask
        halves[packing.rows, packing.slots + 1] = packing.sentences % N_HALVES
        of_token = np.take_along_axis(halves, np.asarray(batch.attention_mask), axis=1)
        sums, used = sums_of(state, batch, of_token)
        return np.asarray(sums, np.float64), np.asarray(used, np.float64)

    workers = n_cores() if on_cpu else 1
    with ThreadPoolExecutor(workers) as pool, progress_bar(len(tokens.lengths), "token changes", "sentences") as bar:
        for packing, (sums, used) in zip(packed, pool.map(of_batch, packed), strict=True):
            total, count = total + sums, count + used
            bar.update(len(packing.sentences))
    influence, angle = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    n_tokens = np.array([tokens.lengths[half::N_HALVES].sum() for half in range(N_HALVES)])
    return TokenChanges(len(tokens.lengths), n_tokens, influence, angle)


def _sums(
    encoder: Encoder, batch: PaddedBatch, halves: Int[Array, "batch token"]
) -> tuple[Float[Array, "2 half layer"], Int[Array, "half layer"]]:
    """Sums over the tokens of each half of 1 - cos and of the angle as a share of pi, and how many tokens have one."""
    ids, mask, types, _ = (jnp.asarray(array) for array in batch)
    n_layers = encoder.config.n_layers
    step = encoder.steps(mask, types)
    own = halves[None] == jnp.arange(N_HALVES)[:, None, None]

    def following(hidden: Array, index: Array) -> tuple[Array, tuple[Array, Array]]:
        after = step(index, hidden)
        shown = (
            after if encoder.final_norm is None else jnp.where(index == n_layers - 1, encoder.final_norm(after), after)
        )
        (before, has_before), (now, has_now) = _unit(hidden), _unit(shown)
        apart = jnp.sum(jnp.square(now - before), axis=-1)  # |u - v|^2 = 2 (1 - cos), exact also where they are alike
        angle = 2 * jnp.arctan2(jnp.sqrt(apart), jnp.linalg.norm(now + before, axis=-1)) / jnp.pi
        used = own & (has_before & has_now)[None]
        kept = jnp.where(used[None], jnp.stack([apart / 2, angle])[:, None], 0)
        return after, (jnp.sum(kept, axis=(2, 3)), jnp.sum(used, axis=(1, 2)))

    _, (sums, used) = jax.lax.scan(following, encoder.embedded(ids, mask, types), jnp.arange(n_layers))
    return jnp.moveaxis(sums, 0, 2), used.T


def _unit(hidden: Float[Array, "batch token hidden"]) -> tuple[Float[Array, "batch token hidden"], Array]:
    """Vectors of length 1, and which tokens have one."""
    length = jnp.linalg.norm(hidden, axis=-1, keepdims=True)
    return hidden / jnp.where(length > 0, length, 1), length[..., 0] > 0
