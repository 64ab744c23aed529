"""The finished activations of other runs, which `source.tasks` or `source.models` puts together."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from jaxred.activations.store import Store
from jaxred.config import StudyConfig, source_kind, workdirs_of
from jaxred.errors import UserError
from jaxred.io.paths import local
from jaxred.original.importing import STORES, open_stores
from jaxred.runs.kept_moments import training_sums
from jaxred.runs.sweep_folder import MARK, runs_of
from jaxred.runs.workdir import Workdir
from jaxred.statistics.moments import Sums

TASKS, MODELS = "tasks", "models"  # the fields of config.source that put runs together, and the results' names
TOGETHER = (TASKS, MODELS)


@dataclass(frozen=True)
class Finished:
    """A run whose activations are there."""

    name: str  # of its folder, or the folder's path where names are the same
    workdir: Workdir
    config: StudyConfig
    stores: dict[str, Store]

    @property
    def train(self) -> Store:
        return self.stores["train"]

    def sums(self) -> list[Sums]:
        """Sums over two halves of its training rows; kept in its own workdir, as `jaxred redundancy` does."""
        return training_sums(self.stores, self.config, self.workdir)


def open_runs(config: StudyConfig) -> list[Finished]:
    """The runs that `source.tasks` or `source.models` names: folders, or sweeps for all of their runs.

    Raises:
        UserError: if they are not at least two different finished ones.
    """
    kind = source_kind(config)
    texts = [text for named in getattr(config.source, kind) for text in workdirs_of(named)]
    named = [local(text, f"config.source.{kind}") for text in texts]
    paths = [path / run for path in named for run in (runs_of(path) if (path / MARK).is_file() else [""])]
    where = f"config.source.{kind}={','.join(texts)!r}"
    if len(paths) < 2:
        raise UserError(
            f"{where} must name at least two workdirs of finished runs, with a comma between them: pass "
            f"--config=configs/{kind}.py:runs/one,runs/other."
        )
    twice = [path for path, n in Counter(path.resolve() for path in paths).items() if n > 1]
    if twice:
        raise UserError(f"{where} names {twice[0]} more than once: name each workdir once.")
    names = Counter(path.resolve().name for path in paths)
    return [open_run(path, path.resolve().name if names[path.resolve().name] == 1 else str(path)) for path in paths]


def open_run(path: Path, name: str) -> Finished:
    """A run whose activations are there.

    Raises:
        UserError: if they are not.
    """
    workdir, config = Workdir.open(path)
    if source_kind(config) in TOGETHER:
        raise UserError(f"{path} puts other runs together: name those, and not it.")
    if source_kind(config) == STORES:
        stores = open_stores(config)
    else:
        if not workdir.has_activations("train"):
            raise UserError(
                f"{path} holds no activations, as its extraction has not begun: run jaxred study workdir={str(path)!r} "
                "first."
            )
        splits = [split for split in ("train", "dev") if split == "train" or workdir.has_activations(split)]
        stores = {split: Store(workdir.activations(split)) for split in splits}
    for store in stores.values():
        if store.ledger.layers:
            raise UserError(f"{path} has activations of some layers alone ({store}): extract all of them.")
    return Finished(name, workdir, config, stores)
