"""A batch becomes its vectors, in parts where memory runs out."""

import jax
import numpy as np
import pytest
from helpers import processes
from helpers.encoder_agreement import random_tiny

from jaxred.activations.encode import Encode, encode_fn
from jaxred.activations.packing import WordSlots
from jaxred.errors import UserError
from jaxred.models.bert import Bert
from jaxred.models.tokenization import PaddedBatch


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    ids = random.integers(1, 12, (5, 8)).astype(np.int32)
    numbers = np.tile([1, 1, 1, 2, 2, 2, 2, 0], (5, 1)).astype(np.int32)
    return PaddedBatch(ids, numbers, np.zeros_like(ids), np.tile([0, 3], (5, 1)).astype(np.int32))


WORDS = WordSlots(*(np.array(each, np.int32) for each in ([0, 4, 2, 3, 1, 0, 0], [1, 2, 4, 0, 5, 3, 0], [1] * 6 + [0])))


def memory_for(monkeypatch, n_rows):
    """A device with memory for so many rows."""
    real, asked = Encode.__call__, []

    def limited(encode, batch, words=None):
        asked.append(len(batch.input_ids))
        if len(batch.input_ids) > n_rows:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")
        return real(encode, batch, words)

    monkeypatch.setattr(Encode, "__call__", limited)
    return asked


@pytest.mark.parametrize(("pooling", "words"), [("cls", None), ("mean", None), ("average", WORDS), ("last", WORDS)])
@pytest.mark.parametrize("n_rows", [1, 3])
def test_where_memory_runs_out_batches_are_halved(batch, monkeypatch, caplog, pooling, words, n_rows):
    encode = encode_fn(random_tiny(Bert), pooling, "float32")
    expected = encode.start(batch, words).result()
    asked = memory_for(monkeypatch, n_rows)
    found = encode.start(batch, words).result()
    real = slice(len(WORDS.rows) - 1) if words is not None else slice(None)
    np.testing.assert_allclose(found[real], expected[real], rtol=1e-5, atol=1e-6)
    assert "the device's memory ran out: batches of" in caplog.text
    asked.clear()
    encode.start(batch, words).result()
    assert max(asked) <= n_rows  # the size that was found is kept to


def test_memory_for_not_even_a_row_is_an_error(batch, monkeypatch):
    memory_for(monkeypatch, 0)
    with pytest.raises(UserError, match=r"no memory for a row of 8 tokens: lower config.extraction.max_length"):
        encode_fn(random_tiny(Bert), "cls", "float32").start(batch).result()


def test_shapes_are_compiled_once_also_ahead(batch, monkeypatch):
    encode = encode_fn(random_tiny(Bert), "cls", "float32")
    lowered = []
    real = encode.function.lower

    class Counted:
        def lower(self, *arguments):
            lowered.append(arguments)
            return real(*arguments)

    monkeypatch.setattr(encode, "function", Counted())
    encode.compile_ahead(batch)
    for vectors in [encode.start(batch) for _ in range(4)]:
        assert vectors.result().shape == (10, 4, 12)
    assert len(lowered) == 1


ON_DEVICES = """
import sys, jax, numpy as np
jax.config.update("jax_platforms", "cpu")
sys.path.insert(0, "tests")
from helpers import processes
from helpers.encoder_agreement import random_tiny
from jaxred.activations import encode as module
from jaxred.activations.packing import WordSlots
from jaxred.models.bert import Bert
from jaxred.models.tokenization import PaddedBatch

module.sharing_devices = jax.local_devices
rows, slots = np.load(sys.argv[1]), WordSlots(*np.load(sys.argv[2]))
batch = PaddedBatch(*(rows[name] for name in PaddedBatch._fields))
found = {}
for pooling, words in (("cls", None), ("mean", None), ("average", slots)):
    encode = module.encode_fn(random_tiny(Bert), pooling, "float32")
    assert encode._mesh.size == 8
    found[pooling] = encode.start(batch, words).result()
    assert len(encode(batch, words).sharding.device_set) == 8
np.savez(sys.argv[3], **found)
"""


@pytest.mark.parametrize("n_rows", [8, 5])
def test_eight_devices_share_the_rows_of_a_batch(batch, tmp_path, n_rows):
    batch = PaddedBatch(*(np.resize(array, (n_rows, *array.shape[1:])) for array in batch))
    np.savez(tmp_path / "rows.npz", **batch._asdict())
    np.save(tmp_path / "words.npy", np.stack(WORDS))
    arguments = [str(tmp_path / name) for name in ("rows.npz", "words.npy", "found.npz")]
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    done = processes.run_program(ON_DEVICES, *arguments, environment=environment)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "found.npz") as found:
        for pooling, words in (("cls", None), ("mean", None), ("average", WORDS)):
            expected = encode_fn(random_tiny(Bert), pooling, "float32").start(batch, words).result()
            real = slice(len(WORDS.rows) - 1) if words is not None else slice(None)
            np.testing.assert_allclose(found[pooling][real], expected[real], rtol=1e-5, atol=1e-6)
