import jax
import jax.numpy as jnp
import numpy as np

from jaxred.kernels import moments as kernel

N_ROWS, N_LAYERS, N_NEURONS, TILE = 20, 2, 4, 2


def random_rows(seed=0):
    return np.random.default_rng(seed).normal(3, 2, (N_ROWS, N_NEURONS)).astype(np.float32)


def padded(x, n_unused):
    """All rows at once, with garbage in rows that are not used."""
    block = np.concatenate([x, np.full((n_unused, x.shape[1]), 1e6)]).astype(np.float32)
    return jnp.asarray(block), jnp.arange(len(block)) < len(x)


def sums_of(x, shift, n_unused=0):
    block, used = padded(x, n_unused)
    rows = kernel.add_rows(kernel.no_rows(N_NEURONS, N_LAYERS), block, used, jnp.asarray(shift))
    return rows, kernel.add_products(kernel.no_products(N_NEURONS, TILE, (0, 1)), block, used, jnp.asarray(shift))


def assert_close(one, other, rtol=1e-5, atol=1e-4):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), one, other)


def test_sums_are_those_of_float64():
    x = random_rows()
    u = (x - x[0]).astype(np.float64)
    norms = np.square(u).reshape(N_ROWS, N_LAYERS, -1).sum(2)
    rows, strips = sums_of(x, x[0])
    assert rows.count == N_ROWS
    np.testing.assert_array_equal(rows.low, x.min(0))
    np.testing.assert_array_equal(rows.high, x.max(0))
    assert_close(rows.total, u.sum(0))
    assert_close(rows.norms, norms.T @ norms)
    assert_close(rows.weighted, norms.T @ u)
    assert [strip.shape for strip in strips] == [(2, 4), (2, 2)]
    assert_close(strips[0], u[:, :2].T @ u)
    assert_close(strips[1], u[:, 2:].T @ u[:, 2:])


def test_rows_that_are_not_used_count_for_nothing():
    x = random_rows()
    assert_close(sums_of(x, x[0]), sums_of(x, x[0], n_unused=5), rtol=1e-6, atol=1e-5)


def test_updates_add_up():
    x = random_rows()
    rows, strips = sums_of(x[:8], x[0])
    rest = padded(x[8:], 0)
    twice = kernel.add_rows(rows, *rest, jnp.asarray(x[0])), kernel.add_products(strips, *rest, jnp.asarray(x[0]))
    assert_close(sums_of(x, x[0]), twice)


def test_some_strips_are_those_of_all():
    x = random_rows()
    _, strips = sums_of(x, x[0])
    (last,) = kernel.add_products(kernel.no_products(N_NEURONS, TILE, (1,)), *padded(x, 0), jnp.asarray(x[0]))
    assert_close(last, strips[1])


def test_compiled_updates_equal_plain_ones():
    x, shift = padded(random_rows(), 0), jnp.asarray(random_rows()[0])
    empty = kernel.no_products(N_NEURONS, TILE, (0, 1))
    arguments = kernel.no_rows(N_NEURONS, N_LAYERS), *x, shift
    assert_close(jax.jit(kernel.add_rows)(*arguments), kernel.add_rows(*arguments), rtol=1e-6, atol=1e-5)
    arguments = empty, *x, shift
    assert_close(jax.jit(kernel.add_products)(*arguments), kernel.add_products(*arguments), rtol=1e-6, atol=1e-5)


def test_products_are_true_float32():
    x, shift = padded(random_rows(), 0), jnp.zeros(N_NEURONS)
    for program in (
        jax.make_jaxpr(kernel.add_rows)(kernel.no_rows(N_NEURONS, N_LAYERS), *x, shift),
        jax.make_jaxpr(kernel.add_products)(kernel.no_products(N_NEURONS, TILE, (0, 1)), *x, shift),
    ):
        products = [e for e in program.eqns if e.primitive.name == "dot_general"]
        assert len(products) == 2
        for product in products:
            assert set(product.params["precision"]) == {jax.lax.Precision.HIGHEST}
