"""Which columns the probes of a family own, and where the columns are cut into segments."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxred.probing import families
from jaxred.probing.families import layer_family, prefix_family, subset_family


def test_a_layer_family_owns_each_layer_and_each_prefix_of_layers():
    family = layer_family(3, 2)
    expected = [[0, 1], [2, 3], [4, 5], [0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]]
    assert [family.owned(probe).tolist() for probe in range(6)] == expected
    assert family.n_probes == 6


@given(data=st.data())
def test_a_prefix_family_owns_the_first_columns_of_the_order(data):
    order = np.array(data.draw(st.permutations(range(20))))
    sizes = sorted(data.draw(st.sets(st.integers(0, 20), min_size=1)))
    family = prefix_family(order, sizes)
    assert family.n_probes == len(sizes)
    for probe, size in enumerate(sizes):
        np.testing.assert_array_equal(family.owned(probe), order[:size])
        assert len(family.owned(probe)) == size


@given(subsets=st.lists(st.sets(st.integers(0, 9)), min_size=1, max_size=8))
def test_a_subset_family_owns_the_subsets_in_ascending_order(subsets):
    family = subset_family([np.array(list(s), int) for s in subsets], 10)
    assert [family.owned(probe).tolist() for probe in range(len(subsets))] == [sorted(s) for s in subsets]


# Where columns are cut into segments


def cost(family, owned, align, overhead):
    """Blocks of columns that are multiplied for each owner, and the price of the segments."""
    blocks = sum((s.stop - s.start) // align * len(s.owners) for s in family.segments)
    return blocks + overhead * owned.sum() / align * len(family.segments)


@given(data=st.data())
def test_segments_hold_every_owned_column_and_no_other_cut_is_cheaper(data):
    align, n_blocks, n_probes = 4, data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    owned = np.array(data.draw(st.lists(st.booleans(), min_size=24 * 5, max_size=24 * 5))).reshape(24, 5)
    owned = np.sort(owned[: align * n_blocks, :n_probes], axis=0)[::-1]  # prefixes, as families have them
    everywhere = np.arange(len(owned))
    family = families._cut(everywhere, everywhere, owned, align)
    for probe in range(n_probes):
        np.testing.assert_array_equal(family.owned(probe), np.flatnonzero(owned[:, probe]))
    overhead = families.SEGMENT_OVERHEAD["cpu"]
    for chosen in range(2 ** (n_blocks - 1)):
        edges = [0, *(i + 1 for i in range(n_blocks - 1) if chosen >> i & 1), n_blocks]
        other = 0.0
        for first, last in itertools.pairwise(edges):
            owners = owned[first * align : last * align].any(0).sum()
            other += owners * (last - first) + (overhead * owned.sum() / align if owners else 0)
        assert cost(family, owned, align, overhead) <= other + 1e-9


def test_segments_of_a_real_width_are_multiples_of_128():
    order = np.random.default_rng(0).permutation(9984)
    family = prefix_family(order[:8000], [9, 19, 29, 99, 4992, 7000], 9984)
    assert all(s.start % 128 == 0 and s.stop % 128 == 0 for s in family.segments)
    assert len(family.segments) < 6
    assert [len(family.owned(probe)) for probe in range(6)] == [9, 19, 29, 99, 4992, 7000]


def test_layers_are_segments_of_their_own():
    family = layer_family(13, 768)
    assert len(family.segments) == 13
    assert all(mask is None for mask in family.masks)
