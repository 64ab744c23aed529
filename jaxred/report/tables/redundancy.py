"""The table of general redundancy."""

from jaxred.io.tables import markdown
from jaxred.studies.results import ClustersAt, GeneralRedundancy


def redundancy_table(redundancy: GeneralRedundancy) -> str:
    """Clusters by threshold as a Markdown table."""
    return markdown(redundancy_lines(redundancy))


def redundancy_lines(redundancy: GeneralRedundancy) -> list[list[str]]:
    """Clusters by threshold; the first line is the head."""
    halves = all(e.agreement_of_halves is not None for e in redundancy.thresholds)
    more = ["redundant, of either half", "agreement of halves"] if halves else []
    lines = [["threshold", "clusters", "redundant", *more, "largest", "across layers"]]
    lines += [
        [
            f"{e.threshold:g}",
            f"{e.n_clusters:,}",
            f"{e.redundant_share:.1%}",
            *(_of_halves(e) if halves else []),
            f"{e.largest_cluster:,}",
            f"{e.n_across_layers:,}",
        ]
        for e in redundancy.thresholds
    ]
    return lines


def _of_halves(entry: ClustersAt) -> list[str]:
    shares = entry.redundant_share_of_halves or []
    return [f"{min(shares):.1%} to {max(shares):.1%}", f"{entry.agreement_of_halves:.2f}"]
