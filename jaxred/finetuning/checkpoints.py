"""The state of a training on disk, by orbax: the last one saved is there whole, or the one before it."""

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from blake3 import blake3

from jaxred.errors import UserError
from jaxred.finetuning.step import TrainState
from jaxred.io.reasons import reason_of

log = logging.getLogger("jaxred")


class Checkpoints:
    """Saves the state of a training from time to time, in the background, and gives back the last one."""

    def __init__(self, folder: Path, identity: str, seconds: int):
        """Opens a folder, and makes it where it is not there.

        Args:
            folder: of the checkpoints.
            identity: of the training; checkpoints of another are removed.
            seconds: that must have passed between two that `save_sometimes` saves.
        """
        import orbax.checkpoint as ocp  # here, because importing it takes seconds

        logging.getLogger("absl").setLevel(logging.ERROR)
        self._ocp, self._folder, self._seconds, self._last = ocp, folder, seconds, time.monotonic()
        options = ocp.CheckpointManagerOptions(max_to_keep=1, cleanup_tmp_directories=True)
        with self._reported():
            self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
            self._identity = identity

    def save(self, state: TrainState, progress: dict[str, Any]) -> None:
        """Saves the state; what is being saved before is finished first."""
        ocp = self._ocp
        step, tree = int(state.step), _tree(state)
        known = {"identity": self._identity, "digest": _digest(tree), **progress}
        with self._reported():
            if step in self._manager.all_steps():
                self._manager.delete(step)
            self._manager.save(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardSave(tree), progress=ocp.args.JsonSave(known)),
            )
        self._last = time.monotonic()

    def save_sometimes(self, state: TrainState, progress: dict[str, Any]) -> None:
        """Saves the state where enough time has passed."""
        if time.monotonic() - self._last >= self._seconds:
            self.save(state, progress)

    def restore(self, start: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """The last state that was saved and what is known of the training; None where there is none.

        Args:
            start: a state of the same structure.
        """
        ocp = self._ocp
        step = self._manager.latest_step()
        if step is None:
            return None
        try:
            progress = self._manager.restore(step, args=ocp.args.Composite(progress=ocp.args.JsonRestore()))["progress"]
            if progress.pop("identity") != self._identity:
                self._remove()
                return None
            abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _tree(start))
            arguments = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
            restored = self._manager.restore(step, args=arguments)["state"]
            if _digest(restored) != progress.pop("digest"):
                raise ValueError("its numbers are not those that were saved")
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s cannot be read (%s): training starts again", self._folder, str(error).split("\n")[0])
            self._remove()
            return None
        leaves = [restored.get(str(number), leaf) for number, leaf in enumerate(jax.tree.leaves(start))]
        log.info("fine-tuning: resumed after step %d", step)
        return jax.tree.unflatten(jax.tree.structure(start), leaves), progress

    def _remove(self) -> None:
        for step in self._manager.all_steps():
            self._manager.delete(step)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        """Waits for what is being saved, of a training that was interrupted too; the next one in this process needs the
        folder, and Python does not end well while orbax writes.
        """
        with contextlib.suppress(Exception) if kind is not None else self._reported():
            self._manager.wait_until_finished()
        with contextlib.suppress(Exception) if kind is not None else self._reported():
            self._manager.close()

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"Cannot save the state of the training to {self._folder} ({reason_of(error)}). Make room or choose "
                "another `workdir`, and run again: it resumes from what was saved before."
            ) from error


def _tree(state: TrainState) -> dict[str, Any]:
    """The leaves of a state by number, as orbax takes them: without those of no size, such as the layers of none."""
    leaves = enumerate(jax.tree.leaves(state))
    return {str(number): np.asarray(leaf) for number, leaf in leaves if leaf.size}


def _digest(tree: dict[str, Any]) -> str:
    """Of the numbers of a state; orbax notices no change of what is not compressed."""
    digest = blake3(max_threads=blake3.AUTO)
    for name in sorted(tree):
        digest.update(np.ascontiguousarray(tree[name]).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
