import errno
import os
import stat
import sys

import numpy as np
import pytest

from jaxred.errors import UserError
from jaxred.io import files
from jaxred.io.files import glimpse, replace_file, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_made_with_its_folders(tmp_path):
    write_text(tmp_path / "a" / "b" / "new.txt", "Grüße\r\n")
    assert (tmp_path / "a" / "b" / "new.txt").read_bytes() == "Grüße\r\n".encode()
    assert names(tmp_path / "a" / "b") == ["new.txt"]


def test_a_file_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with path.open() as reader:

        def write(file):
            file.write(b"new")
            file.flush()
            assert path.read_text() == "old"

        replace_file(path, write)
        assert reader.read() == "old"  # whoever had it open still has the old one, whole
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file"]


def test_a_file_reaches_the_disk_before_its_name(tmp_path, monkeypatch):
    steps = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(files.os, name, lambda *args, name=name, real=real: (steps.append(name), real(*args)))
    write_text(tmp_path / "file", "text")
    assert steps == ["fsync", "replace"]


@pytest.mark.parametrize("old", [None, "old"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OSError("the disk is gone")])
def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path, old, error):
    path = tmp_path / "file"
    if old:
        path.write_text(old)

    def write(file):
        file.write(b"half of")
        raise error

    with pytest.raises(UserError, match=rf"^Cannot write .*file \({error.strerror or error}\)\. Make room or choose"):
        replace_file(path, write)
    assert names(tmp_path) == (["file"] if old else [])
    assert not old or path.read_text() == old


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_every_step_may_fail(tmp_path, monkeypatch, step):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(UserError, match="Input/output error"):
        write_text(tmp_path / "file", "new")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_folders_made_for_a_file_that_fails_are_removed(tmp_path):
    def write(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "old").mkdir()
    for place in ("old/new/newer/file", "new/file", "old/file"):
        with pytest.raises(UserError, match="No space left"):
            replace_file(tmp_path / place, write)
        assert names(tmp_path) == ["old"], place
        assert names(tmp_path / "old") == [], place


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()])
def test_whatever_else_goes_wrong_leaves_what_was_there_and_nothing_beside_it(tmp_path, error):
    (tmp_path / "file").write_text("old")

    def write(file):
        file.write(b"half of")
        raise error

    with pytest.raises(type(error)):
        replace_file(tmp_path / "file", write)
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_places_that_cannot_be_written_are_told(tmp_path):
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    for path in (tmp_path / "file" / "below", tmp_path / "folder"):
        with pytest.raises(UserError, match=rf"^Cannot write {path} \(.+\)\. Make room or choose another place\.$"):
            write_text(path, "text")
    assert names(tmp_path) == ["file", "folder"]


@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_file_may_be_read_by_whom_the_umask_allows(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "file", "text")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


# Telling files apart --------------------------------------------------------------------------------------------------


def test_a_glimpse_of_a_small_file_sees_every_byte(tmp_path):
    content = bytes(range(40))
    seen = set()
    for i in range(len(content)):
        (tmp_path / "file").write_bytes(content[:i] + b"\xff" + content[i + 1 :])
        seen.add(glimpse(tmp_path / "file"))
    (tmp_path / "file").write_bytes(content)
    assert len(seen | {glimpse(tmp_path / "file")}) == 41
    (tmp_path / "other").write_bytes(content)
    assert glimpse(tmp_path / "other") == glimpse(tmp_path / "file")


@pytest.mark.parametrize("size", [65, 100, 1001])
def test_a_glimpse_of_a_large_file_sees_its_size_its_head_its_tail_and_pieces_between(tmp_path, monkeypatch, size):
    monkeypatch.setattr(files, "N_PIECES", 8)
    monkeypatch.setattr(files, "PIECE", 8)
    path = tmp_path / "file"

    def changed(i):
        content = bytearray(size)
        content[i] = 1
        path.write_bytes(content)
        return glimpse(path)

    path.write_bytes(bytes(size))
    unchanged = glimpse(path)
    path.write_bytes(bytes(size + 1))
    assert glimpse(path) != unchanged
    noticed = [i for i in range(size) if changed(i) != unchanged]
    assert {0, 7, size - 8, size - 1} <= set(noticed)
    assert max(np.diff(noticed)) <= -(-(size - 8) // 7) - 8 + 1
    assert len(noticed) == min(64, size)
