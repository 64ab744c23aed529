"""A run's folder: where everything lies, and to which configuration it belongs.

::

    config.json            the resolved configuration
    finetuned/             the encoder that was fine-tuned on the task, a Hugging Face folder
    training/              checkpoints of a training that is not finished
    before/                the run of the encoder as it was before that
    activations/<split>/   activation stores
    moments/               moments of the training rows
    results/*.json         what the studies found
    results/activations    a fingerprint of the activations that all of it is of
    probes/                their trained probes (orbax)
    figures/*.png          the report's figures
    report.html
    digests/*.json         of all of these files, to know damage

The runs of a sweep are folders of its folder, and keep activations and moments there, in common with the other runs
that need the same ones::

    sweep.json                       the sweep; sweep.md and sweep.csv are its table
    activations/<what>/<split>/      activation stores, by all that decides them
    moments/<what>-<split seed>.npz
    <run>/                           a run's folder, with all the rest
"""

import contextlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any, TypeVar

from jaxred.activations.identity import folder_name
from jaxred.activations.store import read_ledger
from jaxred.config import StudyConfig, differences, from_dict, to_dict
from jaxred.errors import UserError
from jaxred.io import digests
from jaxred.io.files import read_json, write_text
from jaxred.io.locks import lock
from jaxred.io.paths import below, is_url, local
from jaxred.io.result_files import fingerprint, load_result, load_whole, with_digest, without_digest
from jaxred.runs.sweep_folder import MARK, TABLES, sweep_of
from jaxred.studies.results import Result
from jaxred.validation import validate

R = TypeVar("R", bound=Result)

log = logging.getLogger("jaxred")


_FINE_TUNING = "finetuning.json"  # of the results, and of the digests
_MADE = (
    "config.json",
    "report.html",
    "published.json",
    "results/*",
    "figures/*",
    "probes/*",
    "digests/*",
    MARK,
    *TABLES,
)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    if path.exists():
        raise UserError(
            f"{path} holds results of another run and cannot be removed: remove it, or choose another `workdir`."
        )


def locked(path: str | Path) -> contextlib.AbstractContextManager[None]:
    """Holds the lock of a run's or a sweep's folder; `Workdir.claim` says so where it can be none.

    Raises:
        UserError: if another process works there.
    """
    folder = local(path, "workdir")
    if not str(path) or (folder.exists() and not folder.is_dir()):
        return contextlib.nullcontext()
    return lock(folder, leftovers=_MADE)


class Workdir:
    """The folder of one configuration."""

    def __init__(self, path: str | Path):
        self.path = local(path, "workdir")
        self.stores: str | Path = self.path / "activations"
        self.moments = self.path / "moments" / "train.npz"

    @classmethod
    def claim(cls, path: str | Path, config: StudyConfig, overwrite: bool = False) -> "Workdir":
        """Checks the configuration and makes the folder its own.

        With `overwrite`, what a run of another configuration found is removed before the folder changes hands, so that
        no report or table takes it for this one's; activations and moments stay, as their identity says what they are.

        Raises:
            UserError: if the configuration is impossible, or the folder holds a run of another one and `overwrite`
                is not set, or its results cannot be removed.
        """
        validate(config)
        workdir = cls(path)
        if not str(path):
            raise UserError("Pass `workdir=FOLDER`: the folder in which the run keeps what it makes.")
        if workdir.path.exists() and not workdir.path.is_dir():
            raise UserError(f"workdir={str(path)!r} is a file; it must be a folder, or not exist yet.")
        if (workdir.path / MARK).is_file():
            raise UserError(f"{path} holds a sweep: choose another `workdir`, or pass the folder of one of its runs.")
        now = json.loads(json.dumps(to_dict(config)))
        before = workdir.saved_config()
        if before is not None and before != now and workdir.holds_results() and not overwrite:
            changed = "; ".join(differences(before, now))
            raise UserError(
                f"{path} holds a run of another configuration: {changed}. Choose another `workdir`, or pass "
                f"overwrite=True to replace "
                "its results (activations that still fit are kept)."
            )
        if before is not None and before != now:
            workdir._remove_results(but_training=config.finetune.enabled)
        if before != now:
            write_text(workdir.path / "config.json", json.dumps(with_digest(now), indent=2) + "\n")
        workdir._locate(config)
        return workdir

    @classmethod
    def open(cls, path: str | Path) -> tuple["Workdir", StudyConfig]:
        """A folder that a run has filled, to be read, and its configuration.

        Raises:
            UserError: if it is no run's folder.
        """
        workdir = cls(path)
        saved = workdir.saved_config()
        if saved is None:
            raise UserError(
                f"{path} is not the folder of a run: it has no config.json. Name a `workdir` that "
                "jaxred redundancy, jaxred study or jaxred extract has filled."
            )
        config = from_dict(saved)
        workdir._locate(config)
        return workdir, config

    def _locate(self, config: StudyConfig) -> None:
        """Finds what the runs of a sweep have in common in the sweep's folder."""
        sweep, place = sweep_of(self.path), config.extraction.store
        elsewhere = place if is_url(place) or not place else local(place, "config.extraction.store")
        if elsewhere:
            self.stores = elsewhere if sweep is None else below(elsewhere, self.path.relative_to(sweep).as_posix())
        if sweep is not None and not config.finetune.enabled:  # whose encoder is the run's own
            name, split = folder_name(config), [config.task.split_seed, config.task.dev_fraction]
            self.stores = below(elsewhere or sweep / "activations", name)
            self.moments = sweep / "moments" / f"{name}-{fingerprint(split)[:8]}.npz"

    def holds_results(self) -> bool:
        """Whether a run has found anything; activations and moments say themselves what they are of."""
        return any(path.exists() for path in self._findings())

    def _remove_results(self, but_training: bool) -> None:
        """Removes what studies found, and the fine-tuned encoder; or all but that, which says itself what it is of."""
        kept = {self.path / folder / _FINE_TUNING for folder in ("results", digests.FOLDER)} if but_training else set()
        for path in self._findings(but_training):
            if kept & {*path.glob("*")}:
                for inside in {*path.iterdir()} - kept:
                    _remove(inside)
                continue
            _remove(path)

    def _findings(self, but_training: bool = False) -> tuple[Path, ...]:
        of_studies = self.path / "results", self.path / "probes", self.figures, self.report, self.path / digests.FOLDER
        return of_studies if but_training else (*of_studies, self.finetuned, self.training, self.before)

    def claim_results(self, activations: str, overwrite: bool) -> None:
        """Makes sure that no results of other activations stay, which a report or table would take for these.

        Args:
            activations: their fingerprint.
            overwrite: remove results of others.

        Raises:
            UserError: if there are such results, and `overwrite` is not set or they cannot be removed.
        """
        if self._entered() in (None, activations):
            return
        if not overwrite:
            raise UserError(
                f"{self.path / 'results'} holds results of other activations: choose another `workdir`, or pass "
                "overwrite=True to replace them."
            )
        self._remove_results(but_training=True)  # of which the activations may be

    def enter_results(self, activations: str) -> None:
        """Notes which activations the results are of."""
        if self._entered() != activations:
            write_text(self.path / "results" / "activations", f"{activations} {fingerprint(activations)}\n")

    def _entered(self) -> str | None:
        file = self.path / "results" / "activations"
        if not file.is_file():
            return None
        activations, *digest = file.read_text(encoding="utf-8", errors="replace").split() or [""]
        older = not digest and len(activations) == 32  # which wrote no digest
        if not older and digest != [fingerprint(activations)]:
            raise UserError(
                f"{file} is damaged: it does not say any more which activations the results are of. Delete it if they "
                "are of the same ones as now, or else remove the results too."
            )
        return activations

    def saved_config(self) -> dict[str, Any] | None:
        """The configuration that the folder belongs to, what is newer than it at its default; None for a new folder."""
        file = self.path / "config.json"
        try:
            content = read_json(file)
            if isinstance(content, dict) and "digest" in content:  # older versions wrote none
                content = without_digest(content)
        except UserError:
            raise
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"Cannot read {file} ({error}): delete it, or choose another `workdir`.") from error
        if not isinstance(content, dict) or not {"task", "encoder", "probe"} <= set(content):
            raise UserError(f"{file} is not a configuration saved by jaxred: delete it, or choose another `workdir`.")
        try:
            return to_dict(from_dict(content))
        except UserError as error:
            raise UserError(f"{file}: {error} Choose another `workdir`.") from error

    def activations(self, split: str) -> str | Path:
        return below(self.stores, split)

    def has_activations(self, split: str) -> bool:
        """Whether there is a store of a split, finished or not."""
        return read_ledger(self.activations(split)) is not None

    @property
    def finetuned(self) -> Path:
        """The encoder that was fine-tuned on the task, as a Hugging Face folder."""
        return self.path / "finetuned"

    @property
    def before(self) -> Path:
        """The run of the encoder as it was before it was fine-tuned."""
        return self.path / "before"

    @property
    def training(self) -> Path:
        """What a training keeps until it is finished."""
        return self.path / "training"

    def result(self, name: str) -> Path:
        return self.path / "results" / f"{name}.json"

    def kept(self, kind: type[R], identity: str) -> R | None:
        """A result, if it is there, whole and of this identity; a damaged one is named."""
        content = load_whole(self.result(kind.name), identity)
        return None if content is None else self._typed(kind, content)

    def find(self, kind: type[R]) -> R | None:
        """A result of whatever settings; None where there is none.

        Raises:
            UserError: it is damaged, or of another version.
        """
        named = self.find_with_identity(kind)
        return None if named is None else named[0]

    def find_with_identity(self, kind: type[R]) -> tuple[R, str] | None:
        """The same, and what its file says that it is of."""
        content = load_result(self.result(kind.name))
        return None if content is None else (self._typed(kind, content), content["identity"])

    def load(self, kind: type[R]) -> R:
        """The same, of a study that was run.

        Raises:
            UserError: there is no such result, it is damaged, or of another version.
        """
        result = self.find(kind)
        if result is None:
            raise UserError(
                f"{self.path} holds no {kind.name.replace('_', ' ')} results: run jaxred {kind.name.replace('_', '-')} "
                f"workdir={str(self.path)!r} first."
            )
        return result

    def _typed(self, kind: type[R], content: dict[str, Any]) -> R:
        try:
            return kind.from_json(content)
        except ValueError as error:
            raise UserError(
                f"{self.result(kind.name)} is not a result of this version of jaxred ({error}): delete it and run "
                "again."
            ) from error

    def results(self) -> list[Path]:
        """The result files that are there."""
        return sorted((self.path / "results").glob("*.json"))

    def probes(self, name: str) -> Path:
        return self.path / "probes" / name

    @property
    def scratch(self) -> Path:
        """Where files lie that are gone with the process."""
        return self.path / "scratch"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def report(self) -> Path:
        return self.path / "report.html"
