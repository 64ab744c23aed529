import zipfile

import numpy as np
import pytest
from blake3 import blake3

from jaxred.activations.files import numpy_arrays
from jaxred.activations.files.numpy_arrays import open_array
from jaxred.errors import UserError

VALUES = np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float32)


def refused(path):
    with pytest.raises(UserError) as caught:
        list(open_array(path).read())
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("first", [0, 3, 6])
def test_pieces_are_what_numpy_saved(tmp_path, monkeypatch, save, dtype, first):
    monkeypatch.setattr(numpy_arrays, "_PIECE_BYTES", 24)
    path = tmp_path / ("a.npy" if save is np.save else "a.npz")
    arguments = {"arr": VALUES.astype(dtype)} if save is np.save else {"hidden_states": VALUES.astype(dtype)}
    save(path, **arguments)
    array = open_array(path)
    assert (array.n_rows, array.n_layers, array.hidden_size, array.labels) == (7, 2, 3, None)
    assert array.digest == blake3(path.read_bytes()).hexdigest()
    pieces = list(array.read(first))
    assert len(pieces) > 1 or first == 6
    np.testing.assert_array_equal(np.concatenate(pieces), VALUES.astype(dtype).astype(np.float32)[first:])


def test_one_layer_may_go_without_its_axis(tmp_path):
    np.save(tmp_path / "a.npy", VALUES[:, 0])
    np.testing.assert_array_equal(next(open_array(tmp_path / "a.npy").read()), VALUES[:, :1])


@pytest.mark.parametrize(
    ("labels", "expected"), [(["a", "b"], ["a", "b"]), ([1, 0], ["1", "0"]), ([1.5, 2], [1.5, 2.0])]
)
def test_labels_are_names_or_scores(tmp_path, labels, expected):
    np.savez(tmp_path / "a.npz", hidden_states=VALUES[:2], labels=labels)
    found = open_array(tmp_path / "a.npz").labels
    assert found is not None
    assert found.tolist() == expected


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    trapped = np.array([Trap(), Trap()], object)
    np.save(tmp_path / "a.npy", trapped, allow_pickle=True)
    assert "holds an array of objects, which is a pickle" in refused(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", hidden_states=VALUES[:2], labels=trapped)
    assert "holds an array of objects, which is a pickle" in refused(tmp_path / "a.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.zeros(3, np.float32), "the activations are (3,) of float32"),
        (np.zeros((2, 3), np.int32), "the activations are (2, 1, 3) of int32"),
        (np.zeros((0, 2, 3), np.float32), "the activations are (0, 2, 3) of float32"),
        (np.asfortranarray(VALUES), "the activations lie in Fortran's order"),
    ],
)
def test_other_arrays_are_refused(tmp_path, values, found):
    np.save(tmp_path / "a.npy", values)
    assert found in refused(tmp_path / "a.npy")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_a_value_that_is_no_number_is_named(tmp_path, monkeypatch, value):
    monkeypatch.setattr(numpy_arrays, "_PIECE_BYTES", 24)
    values = VALUES.astype(np.float64)
    values[5, 1, 2] = value
    np.save(tmp_path / "a.npy", values)
    assert f": the value of row 5, layer 1, neuron 2 is {values[5, 1, 2]}" in refused(tmp_path / "a.npy")


def test_arrays_that_do_not_fit_together_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, other=VALUES)
    assert " has no array 'hidden_states' of activations, but 'other'" in refused(path)
    np.savez(path, hidden_states=VALUES, labels=["a"] * 6)
    assert ": labels is of shape (6,), but hidden_states has 7 rows" in refused(path)
    np.savez(path, hidden_states=VALUES, word_index=np.arange(7) - 1)
    assert ": word_index is of int64, but whole numbers of at least 0" in refused(path)
    np.savez(path, hidden_states=VALUES, labels=[np.nan] * 7)
    assert ": labels are of float64, but texts, or finite numbers" in refused(path)


def test_damage_is_told(tmp_path):
    assert " does not exist" in refused(tmp_path / "none.npy")
    (tmp_path / "a.npz").write_bytes(b"PK")
    assert "cannot be read as .npz" in refused(tmp_path / "a.npz")
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01")
    assert "cannot be read as .npy" in refused(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", hidden_states=VALUES)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        start = archive.getinfo("hidden_states.npy").header_offset
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[start + 250] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    assert "cannot be read as .npz (Bad CRC-32" in refused(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["sentence_index", "word_index"])
@pytest.mark.parametrize("value", [2**31, 2**32, 2**63])
def test_positions_that_int32_cannot_hold(tmp_path, name, value):
    states = np.ones((2, 1, 3), np.float32)
    np.savez(tmp_path / "a.npz", hidden_states=states, **{name: np.array([0, value], np.uint64)})
    with pytest.raises(UserError, match=rf"a\.npz: {name} is up to {value}, but positions of at most 2147483647"):
        open_array(tmp_path / "a.npz")


@pytest.mark.skipif(np.finfo(np.longdouble).max == np.finfo(np.float64).max, reason="no longer type here")
def test_scores_that_float64_cannot_hold(tmp_path):
    scores = np.array([1, np.longdouble(10) ** 400])
    np.savez(tmp_path / "a.npz", hidden_states=np.ones((2, 1, 3), np.float32), labels=scores)
    with pytest.raises(UserError, match="finite numbers, are expected"):
        open_array(tmp_path / "a.npz")
