"""HDF5 files that ask for other files are rejected by name, whatever the way; links that stay in the file are read."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from jaxred.activations.files import hdf5
from jaxred.errors import UserError

TEXTS = [f"sentence {i}" for i in range(4)]
VALUES = np.random.default_rng(0).normal(size=(4, 2, 1, 8)).astype("f4")


def write(path, last, index=True):
    """Four sentences, the last of them as `last(file, name)` writes it."""
    with h5py.File(path, "w") as file:
        for i in range(3):
            file[str(i)] = VALUES[i]
        last(file, "3")
        if index:
            file[hdf5.INDEX] = [json.dumps({text: str(i) for i, text in enumerate(TEXTS)})]
    return path


@pytest.fixture
def other(tmp_path):
    """Another file, whose dataset must not be read."""
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["secret"] = VALUES[3]
    (tmp_path / "raw").write_bytes(VALUES[3].tobytes())
    return tmp_path / "other.hdf5"


def link(other):
    return lambda file, name: file.__setitem__(name, h5py.ExternalLink(str(other), "/secret"))


def link_to_link(other):
    def make(file, name):
        file.create_group("inside")["door"] = h5py.ExternalLink(str(other), "/")
        file["inside"]["next"] = h5py.SoftLink("door/secret")
        file[name] = h5py.SoftLink("/inside/next")

    return make


def virtual(other):
    def make(file, name):
        layout = h5py.VirtualLayout((2, 1, 8), "f4")
        layout[:] = h5py.VirtualSource(str(other), "secret", (2, 1, 8))
        file.create_virtual_dataset(name, layout)

    return make


def external_raw(other):
    return lambda file, name: file.create_dataset(name, (2, 1, 8), "f4", external=[(other.with_name("raw"), 0, 64)])


WAYS = {"link": link, "link_to_link": link_to_link, "virtual": virtual, "external_raw": external_raw}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("there", [True, False])
def test_what_lies_in_another_file_is_rejected_by_name(tmp_path, other, way, there):
    path = write(tmp_path / "all.hdf5", WAYS[way](other))
    named = "raw" if way == "external_raw" else "other.hdf5"
    if not there:
        (tmp_path / named).unlink()
    with pytest.raises(UserError, match=rf"all\.hdf5: .*'3' .* another file, '.*{named}'"):
        hdf5.survey(path, TEXTS)


@pytest.mark.parametrize("way", WAYS)
def test_the_index_too(tmp_path, other, way):
    with h5py.File(other, "a") as file:
        file["secret_index"] = file["secret"]
    path = write(tmp_path / "all.hdf5", lambda file, name: file.__setitem__(name, VALUES[3]), index=False)
    with h5py.File(path, "a") as file:
        WAYS[way](other)(file, hdf5.INDEX)
    with pytest.raises(UserError, match=r"'sentence_to_index' .* another file"):
        hdf5.survey(path, TEXTS)


def test_links_inside_the_file_are_read(tmp_path):
    def inside(file, name):
        file.create_group("group")["here"] = VALUES[3]
        file["group"]["again"] = h5py.SoftLink("here")
        file[name] = h5py.SoftLink("/group/again")

    path = write(tmp_path / "all.hdf5", inside)
    found = list(hdf5.read(path, hdf5.survey(path, TEXTS)))
    np.testing.assert_array_equal(np.stack(found), VALUES.swapaxes(1, 2))


@pytest.mark.parametrize("target", ["/3", "/nothing", "nothing/here"])
def test_links_that_lead_nowhere(tmp_path, target):
    path = write(tmp_path / "all.hdf5", lambda file, name: file.__setitem__(name, h5py.SoftLink(target)))
    with pytest.raises(UserError, match=r"all\.hdf5: .*'3'"):
        hdf5.survey(path, TEXTS)


def test_a_file_that_is_open_elsewhere_is_not_called_cut_short(tmp_path):
    path = write(tmp_path / "all.hdf5", lambda file, name: file.__setitem__(name, VALUES[3]))
    program = "import h5py, sys; file = h5py.File(sys.argv[1], 'a'); print('open', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(UserError, match="is open for writing in another process") as error:
            hdf5.survey(path, TEXTS)
        assert "cut short" not in str(error.value)
    finally:
        holder.communicate(b"\n")
    assert len(hdf5.survey(path, TEXTS).tokens) == 4


def test_a_file_whose_writer_was_killed(tmp_path):
    path = write(tmp_path / "all.hdf5", lambda file, name: file.__setitem__(name, VALUES[3]))
    program = (
        "import h5py, os, sys; f = h5py.File(sys.argv[1], 'w', libver='latest'); f['x'] = 1; f.flush(); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", program, path], check=False)
    with pytest.raises(UserError, match="open for writing elsewhere, or whoever wrote it was killed"):
        hdf5.survey(path, TEXTS)
