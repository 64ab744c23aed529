import json

import h5py
import numpy as np
import pytest
from blake3 import blake3
from helpers.made_up_lines import same
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.activations.files import hdf5
from jaxred.errors import UserError

LAYERS, SIZE = 2, 3


def values(n_tokens, seed=0):
    return np.random.default_rng(seed).normal(size=(n_tokens, LAYERS, SIZE)).astype(np.float32)


def write(path, texts, vectors, index=None, keys=None):
    """A file as contextual-repr-analysis writes it; vectors are [token, layer, neuron]."""
    index = {text: str(i) for i, text in enumerate(texts)} if index is None else index
    with h5py.File(path, "w") as file:
        for key, array in zip(keys or map(str, range(len(vectors))), vectors, strict=True):
            file.create_dataset(key, data=array.swapaxes(0, 1))
        file.create_dataset("sentence_to_index", (1,), dtype=h5py.string_dtype())[0] = json.dumps(index)
    return path


def read(path, texts, **options):
    return list(hdf5.read(path, hdf5.survey(path, texts), **options))


def refused(path, texts=("a",), **options):
    with pytest.raises(UserError) as caught:
        read(path, texts, **options)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


@given(st.lists(st.sampled_from(["a", "b c", "d  e", "f\tg", "é 🙂"]), min_size=1, max_size=8), st.integers(0, 8))
@settings(max_examples=40, deadline=None)
def test_rows_are_found_whatever_stands_twice(tmp_path_factory, texts, first):
    vectors = [values(1 + seed % 3, seed) for seed in range(len(texts))]
    path = write(tmp_path_factory.mktemp("h5") / "a.hdf5", [" ".join(text.split()) for text in texts], vectors)
    found = hdf5.survey(path, texts)
    assert found.tokens == [len(vector) for vector in vectors]
    assert found.n_duplicates == sum(texts.count(text) > 1 for text in texts)
    same(list(hdf5.read(path, found, first)), vectors[first:])


def test_a_survey_has_the_shape_and_the_digest(tmp_path):
    path = write(tmp_path / "a.hdf5", ["a", "b"], [values(1), values(2)])
    found = hdf5.survey(path, ["a", "b"])
    assert (found.n_layers, found.hidden_size, found.keys) == (LAYERS, SIZE, ["0", "1"])
    assert found.digest == blake3(path.read_bytes()).hexdigest()


def test_sentences_in_another_order_are_found_by_their_text(tmp_path):
    vectors = [values(1, 0), values(2, 1), values(3, 2)]
    path = write(tmp_path / "a.hdf5", ["a", "b", "c"], vectors)
    same(read(path, ["c", "a", "b"]), [vectors[2], vectors[0], vectors[1]])


def test_sentences_that_were_collapsed_share_what_is_left(tmp_path):
    vectors = [values(1, 0), values(2, 1)]
    path = write(tmp_path / "a.hdf5", ["a", "b"], vectors)
    same(read(path, ["a", "b", "a"]), [vectors[0], vectors[1], vectors[0]])
    assert hdf5.survey(path, ["a", "b", "a"]).n_duplicates == 2


def test_one_layer_may_go_without_its_axis(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["0"] = np.arange(6, dtype=np.float64).reshape(2, 3)
        file["sentence_to_index"] = json.dumps({"a b": "0"})
    same(read(tmp_path / "a.hdf5", ["a b"]), [np.arange(6).reshape(2, 1, 3)])


def test_a_file_without_its_index_is_refused(tmp_path):
    path = write(tmp_path / "a.hdf5", ["a"], [values(1)])
    with h5py.File(path, "a") as file:
        del file["sentence_to_index"]
    assert "has no dataset 'sentence_to_index', by which sentences are found" in refused(path)


@pytest.mark.parametrize("index", ["not json", "[]", "{}", b"\xff", np.zeros(0)])
def test_an_index_that_cannot_be_read_is_refused(tmp_path, index):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["sentence_to_index"] = index
    assert refused(tmp_path / "a.hdf5").startswith(": 'sentence_to_index' cannot be read (")


def test_a_sentence_without_a_dataset_is_named(tmp_path):
    path = write(tmp_path / "a.hdf5", ["a"], [values(1)])
    assert "has 1 sentences and no dataset for sentence 2 of 2, 'b'" in refused(path, ["a", "b"])
    write(path, ["a"], [values(1)], index={"a": "7"})
    assert "no dataset for sentence 1 of 1, 'a'" in refused(path)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((LAYERS, 1, 4), np.float32), "'1' has 2 layers x 4 neurons, but '0' has 2 x 3"),
        (np.zeros((1, 1, SIZE), np.float32), "'1' has 1 layers x 3 neurons, but '0' has 2 x 3"),
        (np.zeros(3, np.float32), "'1' is (3,) of float32, but (layers, tokens, neurons)"),
        (np.zeros((LAYERS, 1, SIZE), np.int32), "'1' is (2, 1, 3) of int32, but (layers, tokens, neurons)"),
        (np.zeros((0, 1, SIZE), np.float32), "'1' is (0, 1, 3) of float32"),
    ],
)
def test_a_wrong_shape_is_named(tmp_path, array, found):
    path = write(tmp_path / "a.hdf5", ["a", "b"], [values(1), array.swapaxes(0, 1) if array.ndim == 3 else array[None]])
    if array.ndim == 1:
        with h5py.File(path, "a") as file:
            del file["1"]
            file["1"] = array
    assert refused(path, ["a", "b"]).startswith(f": dataset {found}")


def test_a_group_is_no_dataset(tmp_path):
    path = write(tmp_path / "a.hdf5", ["a"], [values(1)])
    with h5py.File(path, "a") as file:
        del file["0"]
        file.create_group("0")
    assert refused(path).startswith(": dataset '0' is a group")


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (1e39, "inf")])
def test_a_value_that_is_not_finite_is_named(tmp_path, value, shown):
    bad = values(2).astype(np.float64)
    bad[1, 0, 2] = value
    path = write(tmp_path / "a.hdf5", ["a", "b b"], [values(1), bad])
    assert f": dataset '1' holds {shown} at token 1, layer 0, neuron 2" in refused(path, ["a", "b b"])


def test_a_sentence_task_needs_one_token(tmp_path):
    path = write(tmp_path / "a.hdf5", ["a", "b c"], [values(1), values(2)])
    assert ": dataset '1' has 2 tokens, of which none is known" in refused(path, ["a", "b c"], sentences_only=True)


def test_a_file_that_is_missing_or_not_hdf5_is_named(tmp_path):
    assert " does not exist" in refused(tmp_path / "none.hdf5")
    assert " is a folder, but a file of activations is expected" in refused(tmp_path)
    (tmp_path / "a.hdf5").write_text("{}")
    assert " cannot be read as HDF5 (" in refused(tmp_path / "a.hdf5")
    path = write(tmp_path / "b.hdf5", ["a"], [values(1)])
    path.write_bytes(path.read_bytes()[:-200])
    assert " cannot be read as HDF5 (" in refused(path)


def test_a_file_that_changes_while_it_is_read_is_named(tmp_path):
    path = write(tmp_path / "a.hdf5", ["a"], [values(1)])
    found = hdf5.survey(path, ["a"])
    write(path, ["a"], [values(2)])
    with pytest.raises(UserError, match="was changed while it was read"):
        list(hdf5.read(path, found))
    write(path, ["a", "b"], [values(1), values(1)])
    reading = hdf5.read(path, hdf5.survey(path, ["a", "b"]))
    next(reading)
    with path.open("ab") as file:
        file.write(b" ")
    with pytest.raises(UserError, match="was changed while it was read"):
        list(reading)
    found = hdf5.survey(path, ["a", "b"])
    path.unlink()
    with pytest.raises(UserError, match=r"cannot be read any more \(No such file"):
        list(hdf5.read(path, found))


def test_large_numbers_whose_squares_are_none_are_read(tmp_path):
    large = np.full((1, 2, 3), 3e38, np.float32)
    path = write(tmp_path / "a.hdf5", ["a"], [large])
    (found,) = hdf5.read(path, hdf5.survey(path, ["a"]))
    np.testing.assert_array_equal(found.ravel(), large.ravel())


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", ">f8"])
@pytest.mark.parametrize(
    "how", [{}, {"chunks": True}, {"compression": "gzip"}, {"chunks": True, "shuffle": True, "fletcher32": True}]
)
@pytest.mark.parametrize("user_block", [0, 512])
def test_numbers_are_read_however_they_lie(tmp_path, dtype, how, user_block):
    vectors = [values(1 + seed, seed).astype(np.float16) for seed in range(4)]
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w", userblock_size=user_block) as file:
        for i, array in enumerate(vectors):  # the third of another type than the others
            stored = array.swapaxes(0, 1).astype("<f8" if i == 2 else dtype)
            file.create_dataset(str(i), data=stored, **how)
        file["sentence_to_index"] = json.dumps({str(i): str(i) for i in range(4)})
    texts = [str(i) for i in range(4)]
    found = hdf5.survey(path, texts)
    in_one_piece = [not how and dtype[0] == "<" and (i != 2 or dtype == "<f8") for i in range(4)]
    assert [offset >= 0 for offset in found.offsets] == in_one_piece
    same(list(hdf5.read(path, found)), vectors)


def test_what_was_never_written_reads_as_the_file_says(tmp_path):
    """Such a dataset has no place in the file; HDF5's fill value, zero, stands for its numbers."""
    path = write(tmp_path / "a.hdf5", ["a", "b"], [values(1), values(0)])
    with h5py.File(path, "a") as file:
        del file["0"]
        file.create_dataset("0", (LAYERS, 2, SIZE), np.float32)
    same(read(path, ["a", "b"]), [np.zeros((2, LAYERS, SIZE)), values(0)])


def test_half_precision_stays_half_precision(tmp_path):
    half = values(2).astype(np.float16)
    assert read(write(tmp_path / "a.hdf5", ["a"], [half]), ["a"])[0].dtype == np.float16


def test_a_damaged_dataset_is_named(tmp_path):
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("0", data=values(9).swapaxes(0, 1), compression="gzip", fletcher32=True)
        file["sentence_to_index"] = json.dumps({"a": "0"})
        where = file["0"].id.get_chunk_info(0).byte_offset
    raw = bytearray(path.read_bytes())
    raw[where + 20] ^= 1
    path.write_bytes(raw)
    assert ": dataset '0' cannot be read (" in refused(path)


@given(st.lists(st.sampled_from(["a", "b c", "a (Occurrence 2)", "a (Occurrence 3)"]), min_size=1, max_size=9))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_found_by_occurrence(tmp_path_factory, texts):
    """Even where a text looks like another one's occurrence, and where the file holds more than is asked for."""
    path = tmp_path_factory.mktemp("h5") / "a.hdf5"
    vectors = [values(1 + seed % 3, seed) for seed in range(len(texts))]
    with path.open("w+b") as opened:
        writer = hdf5.Writer(opened)
        for text, mine in zip([*texts, "more"], [*vectors, values(1)], strict=True):
            writer.add(text, [], mine)
        writer.close()
    same(read(path, texts), vectors)
    with h5py.File(path) as file:
        assert len(json.loads(file["sentence_to_index"][0])) == len(texts) + 1


def test_neurox_names_sentences_by_their_pieces(tmp_path):
    """Its index then has other texts, and sentences are found by their row."""
    vectors = [values(2, 0), values(1, 1)]
    path = write(tmp_path / "a.hdf5", ["play##ing well", "yes"], [v.astype(np.float16) for v in vectors])
    same(read(path, ["playing well", "yes"]), [v.astype(np.float16) for v in vectors])


@pytest.mark.parametrize("shape", [(2, 10**9, 768), (2, 1, 10**13)])
def test_a_sentence_that_memory_has_no_room_for_is_refused_unread(tmp_path, shape):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        chunks = (1, min(shape[1], 64), min(shape[2], 64))
        file.create_dataset("0", shape, np.float32, chunks=chunks, compression="gzip")
        file["sentence_to_index"] = json.dumps({"a": "0"})
    assert (tmp_path / "a.hdf5").stat().st_size < 10**5
    text = refused(tmp_path / "a.hdf5")
    assert f"dataset '0' is {shape}" in text
    assert "free memory" in text
