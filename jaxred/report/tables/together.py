"""The tables of several tasks under one model, and of two models."""

import numpy as np

from jaxred.io.tables import markdown
from jaxred.report.values import span
from jaxred.studies.results import SeveralTasks, TwoModels


def tasks_table(result: SeveralTasks) -> str:
    """Several tasks' curves, their summed windows and their agreement as Markdown tables."""
    return "\n\n".join(f"{markdown(lines)}\n\n{note}" for lines, note in tasks_lines(result))


def tasks_lines(content: SeveralTasks) -> list[tuple[list[list[str]], str]]:
    """The tables of several tasks together, each with what it says."""
    tasks, pooled, pairs = content.tasks, content.pooled, content.pairs
    columns = [*tasks, *([pooled] if pooled else [])]
    names = [*(task.run for task in tasks), *(["all rows pooled"] if pooled else [])]
    curve = [["threshold", *names, "mean redundant"]]
    windows = [["window", *names[: len(tasks)], "sum"]]
    for i, entry in enumerate(content.mean):
        at_threshold = [column.thresholds[i] for column in columns]
        cells = [f"{e.n_clusters:,} ({e.redundant_share:.1%})" for e in at_threshold]
        share = entry.redundant_share
        curve.append([f"{entry.threshold:g}", *cells, f"{share.mean:.1%} ± {share.sd:.1%}"])
    for window, total in enumerate(content.windows, 1):
        windows.append([f"{window}", *(f"{task.windows[window - 1]:,}" for task in tasks), f"{total:,}"])
    rows = ", ".join(f"{name} {column.n_rows:,}" for name, column in zip(names, columns, strict=True))
    why = f" Rows are not pooled: {content.why_not_pooled}." if content.why_not_pooled else ""
    found = [
        (curve, f"Clusters (share of redundant neurons). Rows: {rows}.{why}"),
        (
            windows,
            f"Clusters at threshold {content.window_threshold:g} by their window: the layers from their lowest to "
            "their highest.",
        ),
    ]
    head = ["threshold", "agreement of tasks", "agreement of halves", "same clusters", "of several neurons"]
    agreement = [head]
    for i, entry in enumerate(content.mean):
        at_threshold = [pair.thresholds[i] for pair in pairs]
        halves = [task.thresholds[i].agreement_of_halves for task in tasks]
        cells = [
            span([e.agreement for e in at_threshold]),
            span(halves),
            span([e.n_same for e in at_threshold], ",.0f"),
        ]
        several = span([e.share_of_several for e in at_threshold], ".1%")
        agreement.append([f"{entry.threshold:g}", *cells, several])
    moved = span([pair.cka_differs_by for pair in pairs])
    found.append(
        (
            agreement,
            "Agreement is the adjusted Rand index between the clusterings of two tasks and, to be compared with it, of "
            "two halves of one task's sentences. Same clusters are the same set of neurons in both tasks, also as a "
            "share of the clusters of several neurons. Lowest to highest over "
            f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''} and {len(tasks)} tasks. The layers' CKA differs by at "
            f"most {moved} between two tasks.",
        )
    )
    return found


def models_table(result: TwoModels) -> str:
    """Two models' CKA and shared clusters as Markdown tables."""
    return "\n\n".join(f"{markdown(lines)}\n\n{note}" for lines, note in models_lines(result))


def models_lines(content: TwoModels) -> list[tuple[list[list[str]], str]]:
    """The tables of two models, each with what it says."""
    first, second = (model.name for model in content.models)
    cka = [["layer", *map(str, range(len(content.cka[0]))), "most alike"]]
    for layer, (row, best) in enumerate(zip(content.cka, content.most_alike, strict=True)):
        cells = ["–" if np.isnan(value) else f"{value:.2f}" for value in row]
        cka.append([str(layer), *cells, "–" if best is None else str(best)])
    moved = content.halves_move_cka_by
    note = "" if moved is None else f" Two halves of the sentences differ by at most {moved:.3f}."
    found = [
        (
            cka,
            f"Linear CKA between the layers of {first} (down) and of {second} (across), over {content.n_rows:,} "
            f"rows (–: constant layer).{note}",
        )
    ]
    alone = all(entry.agreement is not None for entry in content.thresholds)
    more = ["agreement", "same clusters", "of several neurons"] if alone else []
    shared = [["threshold", "clusters of both together", "shared", f"neurons of {first}", f"of {second}", *more]]
    for entry in content.thresholds:
        shares = [f"{share:.1%}" for share in entry.shared_share_of_neurons]
        line = [f"{entry.threshold:g}", f"{entry.n_clusters:,}", f"{entry.n_shared:,}", *shares]
        if alone:
            several = span([entry.share_of_several], ".1%")
            line += [f"{entry.agreement:.2f}", f"{entry.n_same:,}", several]
        shared.append(line)
    note = "The neurons of both models are clustered together; shared clusters have neurons of both."
    if alone:
        note += (
            " Agreement (adjusted Rand index) and same clusters compare the clusterings of either model alone, neuron "
            "by neuron, which means something where one was made from the other."
        )
    found.append((shared, note))
    return found
