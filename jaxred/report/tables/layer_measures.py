"""The tables of the measures of layers without labels."""

import numpy as np

from jaxred.io.tables import markdown
from jaxred.studies.results import LayerMeasures, OfHalves

TITLES = {
    "block_influence_of_tokens": "Block Influence (tokens)",
    "block_influence": "Block Influence (rows)",
    "angular_distance": "angular distance",
    "cka": "CKA",
    "procrustes": "Procrustes",
    "mutual_knn": "mutual kNN",
    "effective_rank": "effective rank",
    "participation_ratio": "participation ratio",
    "intrinsic_dimension": "intrinsic dimension",
    "from the top": "from the top",
}
TO_PREDECESSOR = ("angular_distance", "cka", "procrustes", "mutual_knn")  # of a layer and the one before it


def layer_lines(result: LayerMeasures) -> list[list[str]]:
    """Every layer's measures, each with the range of the two halves; the first line is the head."""
    own = [name for name in TITLES if name in result.by_layer]
    lines = [["layer", *(TITLES[name] for name in own), *(TITLES[name] for name in TO_PREDECESSOR)]]
    for layer in range(result.n_layers):
        cells = [_cell(result.by_layer[name], (layer,)) for name in own]
        pairs = [_cell(result.by_pair[name], (layer - 1, layer)) if layer else "–" for name in TO_PREDECESSOR]
        lines.append([str(layer), *cells, *pairs])
    return lines


def order_lines(result: LayerMeasures) -> list[list[str]]:
    """The order in which each measure would drop the layers, and how far the orders of two halves agree."""
    head = ["measure", "drops first ... last", "tau of halves"]
    rest = [
        [TITLES[each.measure], " ".join(map(str, each.layers)), number(each.agreement_of_halves)]
        for each in result.orders
    ]
    return [head, *rest]


def agreement_lines(result: LayerMeasures) -> list[list[str]]:
    """How far two orders agree."""
    rest = [
        [" and ".join(TITLES[name] for name in each.measures), number(each.tau), f"{each.overlap:.2f}"]
        for each in result.agreements
    ]
    return [["orders", "tau", "overlap"], *rest]


def block_lines(result: LayerMeasures) -> list[list[str]]:
    """For every number of layers, the block that turns the vectors least."""
    rest = [[str(b.n_layers), f"{b.first} to {b.last}", _with_range(b.distance, b.of_halves)] for b in result.blocks]
    return [["layers", "block", "angular distance"], *rest]


def layer_sections(result: LayerMeasures) -> list[tuple[list[list[str]], str]]:
    """All tables, each with what it says."""
    return [
        (
            layer_lines(result),
            f"Of {result.n_rows:,} training rows; mutual kNN ({result.n_neighbours} neighbours) and intrinsic "
            f"dimension of {result.n_sampled:,} of them. "
            + _of_tokens(result)
            + "In brackets, the same of either half of the sentences; mutual kNN, "
            "Procrustes and ranks depend on the number of rows too, so that halves may both lie on one side. CKA, "
            "Procrustes, mutual kNN and angular distance are of a layer and the one before it; – is not defined.",
        ),
        (order_lines(result), "Tau is Kendall's, between the orders that two halves of the sentences give."),
        (block_lines(result), "For every number of layers, the block that turns the vectors least."),
        (agreement_lines(result), "Overlap is the mean share of the first s layers in common; by chance 0.50."),
    ]


def layer_measures_table(result: LayerMeasures) -> str:
    """All of it as it is printed: Markdown, with notes."""
    text = (1, 2, 2, 1)  # columns of text
    sections = zip(layer_sections(result), text, strict=True)
    return "\n\n".join(f"{markdown(lines, n_text)}\n\n{note}" for (lines, note), n_text in sections)


def _of_tokens(result: LayerMeasures) -> str:
    if not result.n_sentences:
        return ""
    return f"Block Influence (tokens) is over all tokens of {result.n_sentences:,} training sentences. "


def _cell(values: OfHalves, at: tuple[int, ...]) -> str:
    return _with_range(float(values.whole[at]), [float(half[at]) for half in values.halves])


def _with_range(value: float, halves: list[float]) -> str:
    if np.isnan(value):
        return "–"
    known = [half for half in halves if not np.isnan(half)]
    return f"{number(value)} ({number(min(known))} to {number(max(known))})" if known else number(value)


def number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
