import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxred.statistics.shared_clusters import same_clusters

clusterings = st.integers(1, 12).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 4), min_size=n, max_size=n)] * 2)
).map(lambda both: [np.unique(names, return_inverse=True)[1] + 1 for names in both])  # fmt: skip


def sets_of(labels):
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in labels}


@given(both=clusterings)
def test_clusters_are_counted_as_sets(both):
    one, other = both
    mine, theirs = sets_of(one), sets_of(other)
    found = same_clusters(one, other)
    assert found.n_same == len(mine & theirs)
    several = [{cluster for cluster in clusters if len(cluster) > 1} for clusters in (mine, theirs)]
    assert found.n_same_of_several == len(several[0] & several[1])
    n_several = len(several[0]) + len(several[1])
    assert found.share_of_several == (2 * found.n_same_of_several / n_several if n_several else None)


@given(both=clusterings)
def test_names_and_order_do_not_matter(both):
    one, other = both
    assert same_clusters(one, one.max() + 1 - one).n_same == one.max()
    assert same_clusters(one, other) == same_clusters(other, one)
