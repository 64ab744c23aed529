"""Activations on an S3 server: the same as on a disk, whatever goes wrong on the way."""

import dataclasses

import numpy as np
import pytest
from helpers.s3_server import BUCKET, S3Server
from helpers.tiny_encoder import extract, sentences, study_config, write_task

from jaxred.activations.store import Store, StoreWriter, damaged_files, read_ledger
from jaxred.errors import UserError
from jaxred.runs import study
from jaxred.runs.verification import verify
from jaxred.runs.workdir import Workdir

URL = f"s3://{BUCKET}/run"


@pytest.fixture
def server(monkeypatch):
    started = S3Server()
    for name, value in {
        "AWS_ENDPOINT_URL": started.url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    for key in started.names():  # of another test, as the servers of one process share what they hold
        started.client.delete_object(Bucket=BUCKET, Key=key)
    yield started
    started.close()


@pytest.fixture(scope="module")
def config(encoder_folder, tmp_path_factory):
    texts = {"train": sentences(24), "test": sentences(8, seed=1)}
    return study_config(encoder_folder, write_task(tmp_path_factory.mktemp("task"), texts), window_rows=6)


@pytest.fixture(scope="module")
def expected(tmp_path_factory, config):
    stores = extract(config, Workdir(tmp_path_factory.mktemp("undisturbed")).stores)
    return {split: (store.matrix(), store.ledger) for split, store in stores.items()}


def assert_whole(expected):
    for split, (matrix, ledger) in expected.items():
        found = Store(f"{URL}/{split}")
        np.testing.assert_array_equal(found.matrix(), matrix)
        assert found.ledger == ledger
        found.verify()


def test_the_same_as_on_a_disk(server, config, expected):
    extract(config, URL)
    assert_whole(expected)
    assert {key.split("/")[1] for key in server.names()} == {"train", "test"}
    assert not [key for key in server.names() if "unfinished" in key or "finished/" in key]
    n_requests = next(server.numbers)
    extract(config, URL)  # is kept
    assert next(server.numbers) - n_requests < 40


FAULTS = {
    "5xx": lambda number, method: {3: "503", 11: "500", 20: "503"}.get(number, ""),
    "cut": lambda number, method: "cut" if number in (5, 23) and method == "GET" else "",
    "slow": lambda number, method: "slow" if number % 9 == 4 else "",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_on_the_way_change_nothing(server, config, expected, fault):
    server.fault = FAULTS[fault]
    extract(config, URL)
    server.fault = lambda number, method: ""
    assert_whole(expected)


@pytest.mark.parametrize("at", [0, 9, 30])
def test_credentials_that_are_refused_are_one_sentence_and_leave_nothing_that_is_read(server, config, expected, at):
    server.fault = lambda number, method: "403" if number >= at else ""
    with pytest.raises(UserError, match=r"(Cannot|cannot) .*(PERMISSION_DENIED|403|AccessDenied)"):
        extract(config, URL)
    server.fault = lambda number, method: ""
    for split in expected:
        present = read_ledger(f"{URL}/{split}")
        if present is not None and not present.finished:
            with pytest.raises(UserError, match="not finished"):
                Store(f"{URL}/{split}")
    extract(config, URL)
    assert_whole(expected)


def test_what_stopped_is_gone_on_with_and_what_is_lost_mended(server, config, expected, monkeypatch):
    real, written = StoreWriter.write, []

    def stops(self, index, *arguments):
        written.append(index)
        if len(written) == 3:
            raise KeyboardInterrupt
        real(self, index, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "write", stops)
        with pytest.raises(KeyboardInterrupt):
            extract(config, URL)
        extract(config, URL)
    assert written[:3] == [0, 1, 2]
    assert written[3] in (1, 2)
    server.client.delete_object(Bucket=BUCKET, Key="run/train/hidden_states/c/2/1/0")
    extract(config, URL)
    assert_whole(expected)


def test_a_flipped_bit_is_found_and_mended(server, config, expected, tmp_path):
    config = dataclasses.replace(config, extraction=dataclasses.replace(config.extraction, store=URL))
    study.run_stages(config, str(tmp_path), False, ())
    key = "run/train/hidden_states/c/1/0/0"
    raw = bytearray(server.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    raw[20] ^= 1
    server.client.put_object(Bucket=BUCKET, Key=key, Body=bytes(raw))
    assert "hidden_states/c/1/0/0" in damaged_files(f"{URL}/train", read_ledger(f"{URL}/train"))
    verify(config, str(tmp_path))
    study.run_stages(config, str(tmp_path), False, ())
    assert_whole(expected)


def test_a_study_keeps_its_results_here_and_its_activations_there(server, config, expected, tmp_path):
    config = dataclasses.replace(config, extraction=dataclasses.replace(config.extraction, store=URL))
    study.run_stages(config, str(tmp_path / "run"), False, ("redundancy",))
    assert not (tmp_path / "run" / "activations").exists()
    assert (tmp_path / "run" / "results" / "redundancy.json").is_file()
    assert_whole(expected)
    workdir, saved = Workdir.open(tmp_path / "run")
    assert workdir.activations("train") == f"{URL}/train"
    assert saved.extraction.store == URL


def test_a_storage_that_cannot_be_written_is_refused(config, tmp_path):
    for place in ("ftp://host/run", "http://host/run"):
        wrong = dataclasses.replace(config, extraction=dataclasses.replace(config.extraction, store=place))
        with pytest.raises(UserError, match=r"config\.extraction\.store='.*' is not possible"):
            study.run_stages(wrong, str(tmp_path), False, ())


def test_a_folder_may_be_named_too(config, expected, tmp_path):
    elsewhere = dataclasses.replace(config.extraction, store=str(tmp_path / "disk"))
    study.run_stages(dataclasses.replace(config, extraction=elsewhere), str(tmp_path / "run"), False, ())
    np.testing.assert_array_equal(Store(tmp_path / "disk" / "train").matrix(), expected["train"][0])
