"""Agglomerative clustering of a square of distances, in the memory of that square.

`agglomerate` merges the same clusters in the same order as `scipy.cluster.hierarchy.linkage`, which takes a condensed
matrix in float64 and works on a copy of it: 16 bytes per pair, in addition to the square that they were made
of. Here rows of the square are read and written whole, by NumPy's vector instructions, and it may be of float32.
"""

import numpy as np
from jaxtyping import Float

LINKAGES = ("average", "complete", "single")
MIRRORED = 256  # rows that are copied below the diagonal at once; chains of neighbours may be circles if halves differ


def agglomerate(distances: Float[np.ndarray, "point point"], linkage: str) -> Float[np.ndarray, "merge 4"]:
    """SciPy's linkage matrix of points whose distances are given.

    Sums are taken in the type of the square. In float64 the result is SciPy's to the last bit. In float32, complete and
    single linkage, which only compare, are exact; a height of average linkage is off by some 1e-7, and clusters whose
    distances differ by less may be merged in another order.

    Args:
        distances: finite; negative numbers are as good as any. Only what is above the diagonal counts. It is used up:
            other numbers are left in it.
        linkage: average, complete or single.

    References:
        Murtagh (1983), for the chain of nearest neighbours; Müllner (2011), arXiv:1109.2378, for both algorithms and
        how ties are broken.
    """
    if linkage not in LINKAGES:
        raise ValueError(f"linkage {linkage!r} is not one of {LINKAGES}")
    for start in range(0, len(distances), MIRRORED):
        stop = start + MIRRORED
        own = np.triu(distances[start:stop, start:stop], 1)
        distances[start:stop, start:stop] = own + own.T
        distances[stop:, start:stop] = distances[start:stop, stop:].T
    np.fill_diagonal(distances, np.inf)
    merges, heights = _spanning_tree(distances) if linkage == "single" else _neighbour_chain(distances, linkage)
    return _labelled(merges, heights)


def _neighbour_chain(
    distances: Float[np.ndarray, "point point"], linkage: str
) -> tuple[list[tuple[int, int]], Float[np.ndarray, " merge"]]:
    """Follows nearest neighbours until two are each other's, and merges these.

    A merged cluster takes the row of the later of its parts. Other rows hear of it when they are read again, which is
    seldom, for a column is read and written ten times as slowly as a row. The other part's row is not read any more,
    and its column is passed over by adding infinity to a copy of a row.
    """
    n_points, number = len(distances), distances.dtype.type
    sizes = [1] * n_points
    gone = np.zeros(n_points, distances.dtype)  # infinite for clusters that were merged into others
    row = np.empty_like(gone)
    merged, every = np.empty(n_points - 1, int), np.arange(n_points - 1)  # the cluster that each merge made
    latest = np.full(n_points, -1)  # the merge that made a cluster
    n_seen = [0] * n_points  # how many merges a row has heard of
    merges, heights = [], np.empty(n_points - 1)
    chain: list[int] = []
    first = 0

    def distances_of(cluster: int) -> Float[np.ndarray, " point"]:
        unheard = slice(n_seen[cluster], len(merges))
        if unheard.start < unheard.stop:
            there = merged[unheard]
            there = there[latest[there] == every[unheard]]  # not those that were merged again
            distances[cluster, there] = distances[there, cluster]
            n_seen[cluster] = unheard.stop
        return distances[cluster]

    for merge in range(n_points - 1):
        if not chain:
            while not sizes[first]:
                first += 1
            chain.append(first)
        while True:
            np.add(distances_of(chain[-1]), gone, out=row)
            nearest = int(row.argmin())
            if len(chain) > 1 and row[nearest] >= row[chain[-2]]:  # of equals the one before, or chains may be circles
                break
            chain.append(nearest)
        one, other = sorted((chain.pop(), chain.pop()))
        left, right = distances_of(one), distances_of(other)
        heights[merge] = right[one]
        if linkage == "average":  # in SciPy's order of operations
            np.multiply(left, number(sizes[one]), out=row)
            right *= number(sizes[other])
            right += row
            right /= number(sizes[one] + sizes[other])
        else:
            np.maximum(right, left, out=right)
        merges.append((one, other))
        merged[merge], latest[other], latest[one] = other, merge, -1
        n_seen[other] = merge + 1
        sizes[one], sizes[other] = 0, sizes[one] + sizes[other]
        gone[one] = np.inf
    return merges, heights


def _spanning_tree(
    distances: Float[np.ndarray, "point point"],
) -> tuple[list[tuple[int, int]], Float[np.ndarray, " merge"]]:
    """Single linkage is the minimum spanning tree (Gower and Ross 1969), grown from the first point by Prim's way."""
    nearest = np.full(len(distances), np.inf, distances.dtype)  # of each point to the tree
    reached = np.zeros(len(distances), distances.dtype)  # infinite for points of the tree
    merges, heights = [], np.empty(len(distances) - 1)
    point = 0
    for merge in range(len(distances) - 1):
        reached[point] = np.inf
        np.minimum(nearest, distances[point], out=nearest)
        following = int((nearest + reached).argmin())
        heights[merge] = nearest[following]
        merges.append((point, following))
        point = following
    return merges, heights


def _labelled(merges: list[tuple[int, int]], heights: Float[np.ndarray, " merge"]) -> Float[np.ndarray, "merge 4"]:
    """Merges by height, clusters named as SciPy does: the one that merge i makes is number n + i."""
    n_points = len(merges) + 1
    parent = list(range(2 * n_points - 1))
    sizes = [1] * n_points

    def cluster_of(point: int) -> int:
        while parent[point] != point:
            parent[point] = parent[parent[point]]
            point = parent[point]
        return point

    matrix = np.empty((n_points - 1, 4))
    for step, merge in enumerate(np.argsort(heights, kind="stable").tolist()):
        one, other = sorted(map(cluster_of, merges[merge]))
        parent[one] = parent[other] = n_points + step
        sizes.append(sizes[one] + sizes[other])
        matrix[step] = one, other, heights[merge], sizes[-1]
    return matrix
