import pytest

from jaxred.activations.files.hdf5_sink import Sink


def test_a_failed_write_is_raised_only_when_asked_for(tmp_path):
    with open("/dev/full", "wb", buffering=0) as file:
        sink = Sink(file)
        sink.raise_failure()
        assert sink.write(b"four") == 4
        assert sink.failed
        with pytest.raises(OSError, match="No space left on device"):
            sink.raise_failure()


def test_after_a_failure_nothing_is_written(tmp_path):
    with (tmp_path / "file").open("wb", buffering=0) as file:
        sink = Sink(file)
        sink.write(b"before")
        sink._error = OSError(28, "No space left on device")
        assert sink.write(b"after") == 5
    assert (tmp_path / "file").read_bytes() == b"before"


def test_a_file_that_is_closed_already_is_no_failure(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        sink = Sink(file)
    assert sink.seek(3) == 3
    sink.raise_failure()
