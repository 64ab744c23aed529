"""A training that dies resumes to the same weights; what cannot be read or written is said in a sentence."""

import glob
import logging
import random
import signal
import time

import numpy as np
import pytest
from helpers import processes, small_training
from helpers.small_training import LONG, small

from jaxred.errors import UserError
from jaxred.finetuning.checkpoints import Checkpoints
from jaxred.finetuning.step import Trainer
from jaxred.finetuning.training import Best


@pytest.fixture(scope="module")
def undisturbed(encoder_folder, tmp_path_factory):
    outcome = small(encoder_folder, **LONG).run(tmp_path_factory.mktemp("undisturbed"))
    assert outcome.n_steps == 57
    assert outcome.resumed_at is None
    return outcome


def assert_same(outcome, expected):
    assert outcome.params.keys() == expected.params.keys()
    for path, array in expected.params.items():
        np.testing.assert_array_equal(outcome.params[path], array)
    assert (outcome.losses, outcome.dev, outcome.best_epoch) == (expected.losses, expected.dev, expected.best_epoch)


class Died(BaseException):
    """Stands for the end of a process."""


def steps_until(monkeypatch, number):
    """Lets a process die at the so-manieth step."""
    real, n_steps = Trainer.step, 0

    def counted(trainer, state, batch):
        nonlocal n_steps
        n_steps += 1
        if n_steps == number:
            raise Died
        return real(trainer, state, batch)

    monkeypatch.setattr(Trainer, "step", counted)


@pytest.mark.parametrize("seed", range(3))
def test_stopped_at_random_steps_it_ends_in_the_same_weights(encoder_folder, tmp_path, monkeypatch, undisturbed, seed):
    draw = random.Random(seed)
    for _ in range(3):
        with monkeypatch.context() as patch:
            steps_until(patch, draw.randint(1, 30))
            with pytest.raises(Died):
                small(encoder_folder, **LONG).run(tmp_path)
    assert_same(small(encoder_folder, **LONG).run(tmp_path), undisturbed)


def test_a_resumed_training_does_only_the_rest(encoder_folder, tmp_path, monkeypatch, undisturbed):
    with monkeypatch.context() as patch:
        steps_until(patch, 45)
        with pytest.raises(Died):
            small(encoder_folder, **LONG).run(tmp_path)
    outcome = small(encoder_folder, **LONG).run(tmp_path)
    assert outcome.resumed_at == 38  # the end of the second epoch; the next is saved after 16 more
    assert_same(outcome, undisturbed)
    again = small(encoder_folder, **LONG).run(tmp_path)
    assert again.resumed_at == 57
    assert_same(again, undisturbed)


def test_seconds_must_pass_between_two_within_an_epoch(encoder_folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        steps_until(patch, 37)
        with pytest.raises(Died):
            small(encoder_folder, **LONG).run(tmp_path, seconds=1000)
    assert small(encoder_folder, **LONG).run(tmp_path).resumed_at == 19


def test_killed_at_any_moment_it_ends_in_the_same_weights(encoder_folder, tmp_path, compilations, undisturbed):
    """One folder, killed again and again: while the state is saved in the background, before the weights of an epoch
    are kept, and after a resumed epoch."""
    for moment in (("step", 18), ("best", 1), ("step", 20)):
        process = processes.start(small_training.run_and_die, encoder_folder, tmp_path, compilations, *moment)
        process.join(120)
        assert process.exitcode == -signal.SIGKILL, moment
    saved = {int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()}
    assert max(saved) >= 16
    outcome = small(encoder_folder, **LONG).run(tmp_path)
    assert outcome.resumed_at is not None
    assert outcome.resumed_at >= 16
    assert_same(outcome, undisturbed)


@pytest.mark.parametrize("whole", [False, True], ids=["while the first is saved", "after the first is whole"])
def test_killed_from_outside_it_ends_in_the_same_weights(encoder_folder, tmp_path, compilations, undisturbed, whole):
    process = processes.start(small_training.slowly, encoder_folder, tmp_path, compilations)
    until = time.monotonic() + 120
    name = "[0-9]*[0-9]" if whole else "*"  # orbax gives a checkpoint its step's name when it is whole
    while not glob.glob(str(tmp_path / "checkpoints" / name)) and process.is_alive() and time.monotonic() < until:
        time.sleep(0.002)
    time.sleep(random.Random(whole).uniform(0, 0.3))
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    outcome = small(encoder_folder, **LONG).run(tmp_path)
    assert_same(outcome, undisturbed)
    assert not whole or outcome.resumed_at is not None


@pytest.fixture
def stopped(encoder_folder, tmp_path, monkeypatch):
    """The folder of a training that was stopped, with its checkpoint's files."""
    with monkeypatch.context() as patch:
        steps_until(patch, 30)
        with pytest.raises(Died):
            small(encoder_folder, **LONG).run(tmp_path)
    return tmp_path


def damages(folder):
    """Ways in which a checkpoint may be damaged, by name."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]

    def cut(path):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def flip(path):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)

    biggest = max(files, key=lambda path: path.stat().st_size)
    progress = next(path for path in files if "progress" in str(path) and path.name == "metadata")
    return {
        "progress is no JSON": lambda: progress.write_text("{"),
        "progress is another object": lambda: progress.write_text("[1]"),
        "progress is gone": progress.unlink,
        "arrays are cut": lambda: cut(biggest),
        "arrays are flipped": lambda: flip(biggest),
        "arrays are gone": biggest.unlink,
    }


@pytest.mark.parametrize(
    "damage",
    [
        "progress is no JSON", "progress is another object", "progress is gone",
        "arrays are cut", "arrays are flipped", "arrays are gone",
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_is_started_again_with_a_warning(encoder_folder, stopped, damage, undisturbed, caplog):
    (step,) = (path for path in (stopped / "checkpoints").iterdir() if path.name.isdigit())
    damages(step)[damage]()
    with caplog.at_level(logging.WARNING, "jaxred"):
        outcome = small(encoder_folder, **LONG).run(stopped)
    assert outcome.resumed_at is None
    (message,) = [record.getMessage() for record in caplog.records if record.name == "jaxred"]
    assert "checkpoints cannot be read" in message
    assert message.endswith("training starts again")
    assert "\n" not in message
    assert_same(outcome, undisturbed)


def test_a_checkpoint_of_another_training_is_not_taken(encoder_folder, stopped, undisturbed):
    outcome = small(encoder_folder, **LONG).run(stopped, identity="another")
    assert outcome.resumed_at is None
    assert_same(outcome, undisturbed)


def test_best_weights_that_are_gone_are_made_again(encoder_folder, stopped, undisturbed):
    (stopped / "best.safetensors").unlink()
    assert_same(small(encoder_folder, **LONG).run(stopped), undisturbed)


def test_no_more_than_one_state_is_kept(stopped):
    assert len([path for path in (stopped / "checkpoints").iterdir() if path.name.isdigit()]) == 1


def full(*_, **__):
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_a_sentence(encoder_folder, tmp_path, monkeypatch, undisturbed):
    import orbax.checkpoint as ocp

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", full)
        with pytest.raises(UserError, match=r"Cannot save the state .* No space left on device\)\. Make room") as error:
            small(encoder_folder, **LONG).run(tmp_path)
        assert "\n" not in str(error.value)
    assert_same(small(encoder_folder, **LONG).run(tmp_path), undisturbed)


def test_a_disk_that_is_full_in_the_background_is_a_sentence(encoder_folder, tmp_path, monkeypatch):
    """Orbax writes the files of a state while the next steps are done."""
    from orbax.checkpoint._src.serialization import type_handlers

    monkeypatch.setattr(type_handlers.NumpyHandler, "_background_serialize", full)
    with pytest.raises(UserError, match=r"Cannot save the state .* No space left on device\)\. Make room"):
        small(encoder_folder, **LONG).run(tmp_path)


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot save the state of the training"):
        Checkpoints(tmp_path / "file" / "checkpoints", "one", 0)


def test_best_weights_come_back_as_they_were(tmp_path):
    params = {
        ("encoder", "layers", "kernel"): np.arange(6, dtype=np.float32).reshape(2, 3),
        ("head", "bias"): np.ones(2),
    }
    best = Best(tmp_path / "best.safetensors")
    best.keep(params)
    loaded = best.load()
    assert loaded.keys() == params.keys()
    for path, array in params.items():
        np.testing.assert_array_equal(loaded[path], array)
