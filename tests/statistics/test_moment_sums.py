import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxred.statistics import moment_sums as kernel

N_ROWS, N_LAYERS, N_NEURONS = 20, 2, 4
WHERE = kernel.places(N_NEURONS, at_most=2)


def random_rows(seed=0):
    return np.random.default_rng(seed).normal(3, 2, (N_ROWS, N_NEURONS)).astype(np.float32)


def padded(x, n_unused):
    """All rows at once, with garbage in rows that are not used."""
    block = np.concatenate([x, np.full((n_unused, x.shape[1]), 1e6)]).astype(np.float32)
    return jnp.asarray(block), jnp.arange(len(block)) < len(x)


def sums_of(x, shift, n_unused=0):
    return added(kernel.no_rows(N_NEURONS, N_LAYERS), kernel.no_products(WHERE), *padded(x, n_unused), shift)


def added(rows, products, block, used, shift):
    shifted = kernel.shifted(block, used, jnp.asarray(shift))
    return kernel.add_rows(rows, block, used, shifted), kernel.add_products(products, WHERE, shifted)


def assert_close(one, other, rtol=1e-5, atol=1e-4):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), one, other)


def test_sums_are_those_of_float64():
    x = random_rows()
    u = (x - x[0]).astype(np.float64)
    norms = np.square(u).reshape(N_ROWS, N_LAYERS, -1).sum(2)
    rows, products = sums_of(x, x[0])
    assert rows.count == N_ROWS
    np.testing.assert_array_equal(rows.low, x.min(0))
    np.testing.assert_array_equal(rows.high, x.max(0))
    assert_close(rows.total, u.sum(0))
    assert_close(rows.norms, norms.T @ norms)
    assert_close(rows.weighted, norms.T @ u)
    for place, product in zip(WHERE, products, strict=True):
        assert_close(product, u[:, place.rows].T @ u[:, place.columns])


def test_rows_that_are_not_used_count_for_nothing():
    x = random_rows()
    assert_close(sums_of(x, x[0]), sums_of(x, x[0], n_unused=5), rtol=1e-6, atol=1e-5)


def test_updates_add_up():
    x = random_rows()
    assert_close(sums_of(x, x[0]), added(*sums_of(x[:8], x[0]), *padded(x[8:], 0), x[0]))


@given(st.integers(1, 200), st.integers(1, 50))
def test_places_are_the_upper_half_once(n_neurons, at_most):
    where = kernel.places(n_neurons, at_most)
    covered = np.zeros((n_neurons, n_neurons), int)
    for place in where:
        covered[place.rows, place.columns] += 1
        assert place.is_corner or (place.rows == place.columns and place.bottom - place.top <= at_most)
    np.testing.assert_array_equal(np.triu(covered), np.triu(np.ones_like(covered)))
    for place in where:
        if not place.is_corner:
            covered[place.rows, place.columns] = 0
    assert not np.tril(covered).any()  # below the diagonal there are squares alone


def test_compiled_updates_equal_plain_ones():
    x, shift = padded(random_rows(), 0), jnp.asarray(random_rows()[0])
    arguments = kernel.no_rows(N_NEURONS, N_LAYERS), kernel.no_products(WHERE), *x, shift
    assert_close(jax.jit(added)(*arguments), added(*arguments), rtol=1e-6, atol=1e-5)


def test_products_are_true_float32():
    x, shift = padded(random_rows(), 0), jnp.zeros(N_NEURONS)
    program = jax.make_jaxpr(added)(kernel.no_rows(N_NEURONS, N_LAYERS), kernel.no_products(WHERE), *x, shift)
    products = [e for e in program.eqns if e.primitive.name == "dot_general"]
    assert len(products) == 2 + len(WHERE)
    for product in products:
        assert set(product.params["precision"]) == {jax.lax.Precision.HIGHEST}
