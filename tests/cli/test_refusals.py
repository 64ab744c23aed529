"""What the system refuses: a full disk, special files, sizes that nothing justifies. One sentence, and nothing left."""

import errno
import json
import os
import subprocess
import zipfile

import numpy as np
import pytest

from jaxred.activations.files import hdf5, json_lines, numpy_arrays
from jaxred.activations.files.exporting import to_file
from jaxred.activations.matrix import _mapped
from jaxred.activations.packing import justified_budget
from jaxred.activations.store import Ledger, Store, StoreWriter, read_ledger
from jaxred.cli.refusals import refusal
from jaxred.data.lines import read_lines
from jaxred.errors import UserError
from jaxred.io import files
from jaxred.models import pretrained
from jaxred.models.bert import BertConfig
from jaxred.original import experiment
from jaxred.probing import Probe
from jaxred.probing.probe_files import save_probes


@pytest.fixture
def small_disk(tmp_path):
    """A disk of a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a file system can be mounted by root alone")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def store(folder, n_rows=400, n_layers=4, hidden_size=200):
    values = np.random.default_rng(0).random((n_rows, n_layers, hidden_size), np.float32)
    plan = Ledger({}, n_rows, n_layers, hidden_size, "float32", n_rows, ["a"])
    writer = StoreWriter(folder, plan, np.zeros(n_rows, np.int32), np.arange(n_rows, dtype=np.int32))
    writer.write(0, values)
    writer.flush()
    return Store(folder)


@pytest.mark.parametrize("suffix", [".json", ".hdf5", ".npy", ".npz"])
@pytest.mark.parametrize("filled", [0, 900_000, 1_040_000])
def test_an_export_to_a_full_disk_is_told_and_leaves_nothing(small_disk, tmp_path, suffix, filled):
    (small_disk / "other").write_bytes(b"x" * filled)
    text = tmp_path / "text.word"
    text.write_text("a b\n" * 400)
    made = store(tmp_path / "store")
    with pytest.raises(UserError, match="No space left on device"):
        to_file(made, small_disk / f"out{suffix}", text if suffix in (".json", ".hdf5") else None)
    assert os.listdir(small_disk) == ["other"]


def test_probes_on_a_full_disk_are_told_without_a_traceback(small_disk, capfd):
    weights = np.random.default_rng(0).random((2, 200_000), np.float32)
    probe = Probe(
        columns=np.arange(200_000), weights=weights, bias=np.zeros(2, np.float32), losses=np.zeros(1, np.float32)
    )

    with pytest.raises(UserError, match="No space left on device"):
        save_probes(small_disk / "probes" / "pipeline", {"p": probe})
    assert os.listdir(small_disk) == []
    assert "Traceback" not in capfd.readouterr().err


def test_a_scratch_file_that_does_not_fit_is_an_error_and_no_crash(small_disk):
    with pytest.raises(OSError, match="No space left"):
        _mapped((1000, 1000), small_disk / "scratch")


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_what_never_answers_is_not_opened(tmp_path, kind):
    def special(name):
        path = tmp_path / name
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        else:
            path.mkdir()
        return path

    opened = [
        (read_lines, special("a.word")),
        (json_lines.survey, special("a.json")),
        (lambda path: hdf5.survey(path, ["a"]), special("a.hdf5")),
        (numpy_arrays.open_array, special("a.npy")),
        (numpy_arrays.open_array, special("a.npz")),
        (experiment.load, special("experiment.json")),
        (lambda path: pretrained.read_config(path.parent), special("config.json")),
        (lambda path: read_ledger(path.parent), special("ledger.json")),
    ]
    for function, path in opened:
        with pytest.raises(UserError, match=f"{path.name} is a (folder|named pipe|device), but "):
            function(path)


def test_a_file_larger_than_memory_is_not_read(tmp_path):
    path = tmp_path / "a.word"
    with path.open("wb") as file:
        file.truncate(2**43)
    with pytest.raises(UserError, match=r"a\.word has 8,796.1 GB, but it is read whole"):
        read_lines(path)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000])
def test_json_nested_too_deeply_is_no_json(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="nested too deeply"):
        files.read_json(path)
    with pytest.raises(UserError):
        experiment.load(path)
    with pytest.raises(UserError):
        json_lines.survey(path)


def header(shape, dtype="<f4"):
    import io

    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


@pytest.mark.parametrize("shape", [(10**12, 2, 3), (2, 10**9, 10**6), (3, 1, 2)])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_header_that_promises_more_than_follows_is_told(tmp_path, shape, suffix):
    path, content = tmp_path / f"a{suffix}", header(shape) + b"\0" * 20
    if suffix == ".npy":
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("hidden_states.npy", content)
    with pytest.raises(UserError, match="by its header, which are"):
        numpy_arrays.open_array(path)


def archive_of(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"hidden_states": header((2, 1, 1)) + b"\0" * 8, **members}.items():
            archive.writestr(f"{name}.npy", content)
    return path


def test_labels_that_promise_or_inflate_are_told(tmp_path):
    promised = archive_of(tmp_path / "a.npz", labels=header((2,), "<U100000000"))
    with pytest.raises(UserError, match=r"labels is .* by its header"):
        numpy_arrays.open_array(promised)
    inflated = archive_of(tmp_path / "b.npz", labels=header((2,), "<U1000000") + b"a\0\0\0" * 2_000_000)
    with pytest.raises(UserError, match="the label of row 0 has 1,000,000 characters"):
        numpy_arrays.open_array(inflated)


def test_odd_members_of_an_archive_are_told(tmp_path):
    path = archive_of(tmp_path / "a.npz")
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\1\2") + 8] |= 1  # encrypted, says the directory
    path.write_bytes(raw)
    with pytest.raises(UserError, match="is encrypted"):
        numpy_arrays.open_array(path)


@pytest.mark.parametrize(
    ("key", "value"), [("hidden_size", 10**20), ("vocab_size", 10**9), ("num_hidden_layers", 10**6)]
)
def test_sizes_beyond_any_model_are_told(tmp_path, key, value):
    with pytest.raises(UserError, match=f"{key}={value} is not possible"):
        BertConfig.from_dict({key: value}, tmp_path / "config.json")


def test_a_token_budget_is_cut_to_the_tokens_that_are_there():
    lengths = np.full(600, 20)
    assert justified_budget(10**9, lengths) == 16384
    assert justified_budget(2048, lengths) == 2048
    assert justified_budget(10**9, lengths[:1]) == 2048


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "a/b cannot be used (No space left on device): make"),
        (OSError(errno.EACCES, "Permission denied", "a"), "allow it for the user"),
        (OSError(errno.EROFS, "Read-only file system", "a"), "a place that can be written"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a"), "shorter name"),
        (OSError(errno.EIO, "Input/output error", "a"), "check the disk"),
        (MemoryError("Unable to allocate 9 GiB"), "not enough memory (Unable to allocate 9 GiB)"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"), "The device has not enough memory"),
        (RuntimeError("can't start new thread"), "No more threads"),
    ],
)
def test_a_refusal_of_the_system_is_a_sentence(error, found):
    sentence = refusal(error)
    assert sentence is not None
    assert found in sentence
    assert sentence.endswith("What was finished is kept; run again to resume.")


def test_a_bug_is_no_refusal():
    assert refusal(RuntimeError("what is this")) is None
    assert refusal(OSError("of a library")) is None


def test_a_store_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr("jaxred.activations.store.ledger.ANSWER_SECONDS", 1)
    with pytest.raises(UserError, match="it gave no answer in 1 seconds"):
        read_ledger("http://nowhere.invalid/store")


def test_a_configuration_that_its_checkpoint_contradicts_takes_no_memory(tmp_path):
    from safetensors.numpy import save_file

    from jaxred.models import load_encoder

    sizes = {"vocab_size": 10**7, "hidden_size": 10**6, "num_attention_heads": 1, "num_hidden_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", **sizes}))
    save_file({"embeddings.word_embeddings.weight": np.zeros((3, 2), np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="does not hold the weights"):
        load_encoder(tmp_path)
