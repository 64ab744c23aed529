"""all_results.json where the original's experiment file says, and never over what something else wrote there."""

import contextlib
import hashlib
import json
from pathlib import Path

from jaxred.errors import UserError
from jaxred.io.files import read_json, replace_file, write_text
from jaxred.io.locks import lock
from jaxred.original.all_results import ORIGINALS
from jaxred.runs.workdir import Workdir


def locked(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Holds the lock of the folder in which `all_results.json` is to be published.

    Raises:
        UserError: if another process works there.
    """
    return lock(folder, leftovers=["all_results.json"])


def published_stage(stages: tuple[str, ...]) -> str | None:
    """The stage of a run whose results are published: of several, the first."""
    return next((stage for stage in ORIGINALS if stage in stages), None)


def check(folder: Path, workdir: Workdir, stage: str, overwrite: bool) -> None:
    """Refuses early what `publish` would refuse.

    Raises:
        UserError: if `folder` holds an all_results.json that this stage of this workdir did not write, or not so.
    """
    target = folder / "all_results.json"
    if overwrite or not target.exists():
        return
    source = workdir.result(ORIGINALS[stage][0])
    if target.is_file() and source.is_file() and target.read_bytes() == source.read_bytes():
        return
    if target.is_dir() or _sha256(target) not in _record(workdir).get(stage, []):
        raise UserError(
            f"{target} is there and was not written by this workdir's {stage.replace('_', ' ')}: move it away, name "
            "another output_directory in the experiment file, or pass overwrite=True to replace it."
        )


def publish(folder: Path, workdir: Workdir, stage: str, overwrite: bool) -> Path | None:
    """Copies the stage's all_results.json to `folder`, if the stage made one; leaves an equal file alone.

    Returns:
        The file, or None if there is nothing to publish.

    Raises:
        UserError: as `check`, or if the folder cannot be written.
    """
    source, target = workdir.result(ORIGINALS[stage][0]), folder / "all_results.json"
    if not source.exists():
        return None
    content = source.read_bytes()
    if target.is_file() and target.read_bytes() == content:
        return target
    check(folder, workdir, stage, overwrite)
    record = _record(workdir)
    record[stage] = [*record.get(stage, []), hashlib.sha256(content).hexdigest()]
    write_text(workdir.path / "published.json", json.dumps(record, indent=1) + "\n")
    replace_file(target, lambda file: file.write(content))
    return target


def _record(workdir: Workdir) -> dict[str, list[str]]:
    """Fingerprints of what each stage of the workdir has published."""
    try:
        content = read_json(workdir.path / "published.json")
        return {stage: list(map(str, names)) for stage, names in content.items()}
    except UserError:
        raise
    except (OSError, ValueError, AttributeError, TypeError):  # then nothing that is there is taken for its own
        return {}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
