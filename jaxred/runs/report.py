"""The figures, the page and the tables of a run, from its results."""

import logging
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import jaxred
from jaxred.config import from_dict, recorded_task
from jaxred.errors import UserError
from jaxred.io.artifacts import get_or_make, of_files
from jaxred.io.files import write_text
from jaxred.io.result_files import fingerprint
from jaxred.io.tables import as_csv, latex, markdown
from jaxred.original.importing import IMPORTED, STORES
from jaxred.probing.probe_files import load_probes
from jaxred.report import page, tables
from jaxred.report.neuron_table import neuron_table
from jaxred.runs.workdir import Workdir, locked
from jaxred.studies.results import RESULTS, ControlsResult, NeuronExamples, ProbeStudy, Result

log = logging.getLogger("jaxred")

VECTOR_FORMATS = ("pdf", "svg")
NOTED = "report"  # the name under which the digests of the page and its figures are kept
TABLES = "tables"  # and those of the tables
_VERSIONS = ("jax", "numpy", "tensorstore")


def results_of(workdir: Workdir) -> dict[str, Result]:
    """The results that are there, by name.

    Raises:
        UserError: if there is none.
    """
    return _read(workdir)[0]


def _read(workdir: Workdir) -> tuple[dict[str, Result], str]:
    """The results that are there, and the identity of what is shown of them."""
    read = {name: workdir.find_with_identity(kind) for name, kind in RESULTS.items()}
    present = {name: result for name, result in read.items() if result is not None}
    if not present:
        raise UserError(f"{workdir.path} holds no results: run jaxred study workdir={str(workdir.path)!r} first.")
    identities = {name: identity for name, (_, identity) in present.items()}
    return {name: result for name, (result, _) in present.items()}, fingerprint([jaxred.__version__, identities])


def write(workdir: Workdir, force: bool = False, also: Sequence[str] = ()) -> None:
    """Draws the figures and writes report.html and the tables, unless they already show these results.

    Args:
        workdir: whose results are shown.
        force: even where the report shows them already.
        also: formats out of `VECTOR_FORMATS` that the figures are written in as well as PNG.

    Raises:
        UserError: if the workdir holds no results.
    """
    with locked(workdir.path):
        results, identity = _read(workdir)
        _write_tables(workdir, results, identity)
        _write_page(workdir, results, identity, force, also)


def _write_page(workdir: Workdir, results: dict[str, Result], identity: str, force: bool, also: Sequence[str]) -> None:
    def make() -> list[Path]:
        from jaxred.report import figures  # here, because importing matplotlib takes a second

        files = figures.draw(workdir.figures, results, also)
        images = {name: path.read_bytes() for name, path in files.items()}
        write_text(workdir.report, page.html(results, images, _described(workdir, results), identity))
        return [*files.values(), *(path.with_suffix(f".{form}") for form in also for path in files.values())]

    shown = of_files(workdir.path, NOTED, identity, [workdir.report])
    get_or_make(shown, make, "the report and its figures are made again", force)


def _write_tables(workdir: Workdir, results: dict[str, Result], identity: str) -> None:
    """Of the main study results/table.md, .csv and .tex and results/neurons.csv; of every other, its own table."""
    study = page.main_study(results)
    texts, found = {}, results.get("controls")
    controls = found if isinstance(found, ControlsResult) else None
    for name, result in results.items():
        stem = "table" if result is study else f"{name}_table"
        lines = tables.lines(result, controls)
        texts |= {
            f"{stem}.md": markdown(lines) + "\n",
            f"{stem}.csv": as_csv(tables.numbers(result, controls)),
            f"{stem}.tex": latex(lines),
        }
    files = [workdir.result(name).with_name(name) for name in texts]
    neurons = workdir.result("neurons").with_suffix(".csv")
    with_neurons = study is not None and bool(study.minimal_sets) and workdir.probes(study.name).is_dir()

    def make() -> None:
        for file in files:
            write_text(file, texts[file.name])
        if study is not None and with_neurons:
            write_text(neurons, as_csv(_neurons(workdir, study, results)))

    made = [*files, *([neurons] if with_neurons else [])]
    get_or_make(of_files(workdir.path, TABLES, identity, made), make, "the tables are made again")


def _neurons(workdir: Workdir, study: ProbeStudy, results: dict[str, Result]) -> Iterable[Sequence[object]]:
    examples = results.get(NeuronExamples.name)
    oracle = load_probes(workdir.probes(study.name))[study.oracle_probe]
    return neuron_table(study, oracle, examples if isinstance(examples, NeuronExamples) else None)


def _program() -> list[str]:
    """What was run, as a user would type it."""
    path = Path(sys.argv[0])
    return ["jaxred", path.stem.replace("_", "-")] if path.parent.name == "launch" else [path.name or "python"]


def _described(workdir: Workdir, results: dict[str, Result]) -> page.Run:
    config = workdir.saved_config() or {}
    task = recorded_task(from_dict(config)).name if config else ""
    pipeline_encoder = getattr(results.get("pipeline"), "encoder", None)
    path = pipeline_encoder.path if pipeline_encoder else config.get("encoder", {}).get("path", "")
    versions = ", ".join(f"{name} {version(name)}" for name in _VERSIONS)
    return page.Run(
        name=workdir.path.name,
        config=config,
        imported=task in IMPORTED,
        encoder="imported activations" if task == STORES else path,
        version=jaxred.__version__,
        command=shlex.join([*_program(), *sys.argv[1:]]),
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        machine=f"Python {platform.python_version()}, {versions}; {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores",
    )
