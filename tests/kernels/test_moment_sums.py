import jax
import jax.numpy as jnp
import numpy as np

from jaxred.kernels import moments as kernel


def sums_of(x, shift, n_unused=0):
    """All rows at once, with garbage in rows that are not used."""
    block = np.concatenate([x, np.full((n_unused, x.shape[1]), 1e6)]).astype(np.float32)
    used = np.arange(len(block)) < len(x)
    return kernel.update(kernel.start(jnp.asarray(shift, jnp.float32)), jnp.asarray(block), jnp.asarray(used))


def random_rows(seed=0):
    return np.random.default_rng(seed).normal(3, 2, (20, 4)).astype(np.float32)


def test_finished_sums_are_the_mean_and_the_centred_products():
    x = random_rows()
    for shift in (np.zeros(4), x[0], x.mean(0)):
        mean, products, constant = kernel.finish(sums_of(x, shift))
        centred = x - x.mean(0, dtype=np.float64)
        np.testing.assert_allclose(mean, x.mean(0), rtol=1e-6)
        np.testing.assert_allclose(products, centred.T @ centred, rtol=1e-4, atol=1e-4)
        assert not np.asarray(constant).any()


def test_rows_that_are_not_used_count_for_nothing():
    x = random_rows()
    plain, padded = sums_of(x, x[0]), sums_of(x, x[0], n_unused=5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-5), plain, padded)
    assert padded.count == 20
    np.testing.assert_array_equal(padded.high, x.max(0))
    np.testing.assert_array_equal(padded.low, x.min(0))


def test_updates_add_up():
    x = random_rows()
    twice = kernel.update(sums_of(x[:8], x[0]), jnp.asarray(x[8:]), jnp.ones(12, bool))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4), sums_of(x, x[0]), twice)


def test_a_constant_neuron_has_exact_zeros():
    x = random_rows()
    x[:, 2] = 0.1
    _, products, constant = kernel.finish(sums_of(x, x.mean(0) + 0.05))
    assert np.asarray(constant).tolist() == [False, False, True, False]
    assert (np.asarray(products)[2] == 0).all()
    assert (np.asarray(products)[:, 2] == 0).all()
    assert (np.diagonal(products)[[0, 1, 3]] > 0).all()


def test_products_are_true_float32():
    x = random_rows()
    program = jax.make_jaxpr(kernel.update)(kernel.start(jnp.zeros(4)), jnp.asarray(x), jnp.ones(20, bool))
    products = [e for e in program.eqns if e.primitive.name == "dot_general"]
    assert len(products) == 1
    assert set(products[0].params["precision"]) == {jax.lax.Precision.HIGHEST}


def test_compiled_updates_equal_plain_ones():
    x = random_rows()
    empty = kernel.start(jnp.asarray(x[0]))
    arguments = (empty, jnp.asarray(x), jnp.ones(20, bool))
    plain, compiled = kernel.update(*arguments), jax.jit(kernel.update)(*arguments)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-5), plain, compiled)
