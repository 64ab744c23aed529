import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxred.errors import UserError
from jaxred.probing import saved

ARRAYS = {"a": np.arange(600, dtype=np.float32), "b": np.zeros((0, 3))}


@pytest.fixture
def path(tmp_path):
    saved.save(tmp_path / "probe.safetensors", "Kind", ARRAYS, {"n": 3, "names": ["x"]})
    return tmp_path / "probe.safetensors"


def test_what_is_saved_is_loaded(path):
    kind, arrays, facts = saved.load(path, ("Other", "Kind"))
    assert (kind, facts) == ("Kind", {"n": 3, "names": ["x"]})
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


def test_a_change_of_any_byte_is_seen(path):
    content = path.read_bytes()
    for at in range(0, len(content), 97):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(UserError, match=r"is damaged|is not a file that a probe's save\(\) wrote|holds a |version"):
            saved.load(path, ("Kind",))


@pytest.mark.parametrize("length", [0, 5, 60, -1, -1000])
def test_a_file_cut_short_is_seen(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match=r"is damaged|is not a file that a probe's save\(\) wrote"):
        saved.load(path, ("Kind",))


def test_what_is_no_probe_is_refused(path, tmp_path):
    with pytest.raises(UserError, match=r"Cannot read the probe .*No such file"):
        saved.load(tmp_path / "none", ("Kind",))
    with pytest.raises(UserError, match=r"is a folder, but a file of probes is expected"):
        saved.load(tmp_path, ("Kind",))
    with pytest.raises(UserError, match=r"holds a Kind, but Other is expected"):
        saved.load(path, ("Other",))
    save_file(ARRAYS, tmp_path / "model.safetensors", {"format": "pt"})
    for content in (b"\x80\x04pickle", b"{}" * 9, (tmp_path / "model.safetensors").read_bytes()):
        (tmp_path / "foreign").write_bytes(content)
        with pytest.raises(UserError, match=r"foreign is not a file that a probe's save\(\) wrote"):
            saved.load(tmp_path / "foreign", ("Kind",))


def test_a_file_of_a_later_version_is_named(path, monkeypatch):
    monkeypatch.setattr(saved, "VERSION", 2)
    with pytest.raises(UserError, match="of version 1, but this jaxred reads version 2"):
        saved.load(path, ("Kind",))


@pytest.mark.parametrize("classes", [["b", "a"], [3, 1], [True, False], [0.5, 2.0], np.array(["b", "a"], object)])
def test_classes_keep_their_kind(classes):
    classes = np.array(classes)
    again = saved.classes_of(saved.class_facts(classes))
    np.testing.assert_array_equal(again, classes)
    assert again.dtype == classes.dtype


def test_classes_of_another_kind_are_refused():
    with pytest.raises(UserError, match="cannot be saved"):
        saved.class_facts(np.array([b"a"]))
