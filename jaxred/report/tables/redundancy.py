"""The table of general redundancy."""

from typing import Any

from jaxred.report.values import load, markdown
from jaxred.runs.workdir import Workdir


def redundancy_table(workdir: Workdir) -> str:
    """Clusters by threshold as a Markdown table."""
    redundancy = load(workdir, "redundancy")
    halves = all("agreement_of_halves" in e for e in redundancy["thresholds"])
    more = ["redundant, of either half", "agreement of halves"] if halves else []
    lines = [["threshold", "clusters", "redundant", *more, "largest", "across layers"]]
    lines += [
        [
            f"{e['threshold']:g}",
            f"{e['n_clusters']:,}",
            f"{e['redundant_share']:.1%}",
            *(_of_halves(e) if halves else []),
            f"{e['largest_cluster']:,}",
            f"{e['n_across_layers']:,}",
        ]
        for e in redundancy["thresholds"]
    ]
    return markdown(lines)


def _of_halves(entry: dict[str, Any]) -> list[str]:
    shares = entry["redundant_share_of_halves"]
    return [f"{min(shares):.1%} to {max(shares):.1%}", f"{entry['agreement_of_halves']:.2f}"]
