import io

import pytest

from jaxred.activations.files.hdf5_sink import Sink


class FullDisk(io.BytesIO):
    def write(self, piece):
        raise OSError(28, "No space left on device")


def test_a_failed_write_is_raised_only_when_asked_for():
    sink = Sink(FullDisk())
    sink.raise_failure()
    assert sink.write(b"four") == 4
    assert sink.failed
    with pytest.raises(OSError, match="No space left on device"):
        sink.raise_failure()


def test_after_a_failure_nothing_is_written():
    file = io.BytesIO()
    sink = Sink(file)
    sink.write(b"before")
    sink._error = OSError(28, "No space left on device")
    assert sink.write(b"after") == 5
    assert file.getvalue() == b"before"


def test_a_file_that_is_closed_already_is_no_failure():
    file = io.BytesIO(b"content")
    sink = Sink(file)
    file.close()
    assert sink.seek(3) == 3
    sink.raise_failure()
