import json

import pytest

from jaxred.errors import UserError
from jaxred.runs.publishing import check, publish, published_stage
from jaxred.runs.workdir import Workdir


@pytest.fixture
def workdir(tmp_path):
    folder = Workdir(tmp_path / "run")
    folder.result("all_results").parent.mkdir(parents=True)
    folder.result("all_results").write_text('{"baseline": 1}')
    return folder


def test_results_are_copied_where_they_belong(workdir, tmp_path):
    target = publish(tmp_path / "new" / "out", workdir, "pipeline", False)
    assert target == tmp_path / "new" / "out" / "all_results.json"
    assert target.read_text() == '{"baseline": 1}'


def test_the_workdir_may_be_the_place(workdir):
    assert publish(workdir.path, workdir, "pipeline", False) == workdir.path / "all_results.json"


def test_an_equal_file_is_left_alone(workdir, tmp_path):
    target = publish(tmp_path, workdir, "pipeline", False)
    assert target is not None
    before = target.stat().st_mtime_ns
    publish(tmp_path, workdir, "pipeline", False)
    assert target.stat().st_mtime_ns == before


def test_own_results_are_replaced_and_others_are_not(workdir, tmp_path):
    publish(tmp_path, workdir, "pipeline", False)
    workdir.result("all_results").write_text('{"baseline": 2}')
    check(tmp_path, workdir, "pipeline", False)
    publish(tmp_path, workdir, "pipeline", False)
    assert json.loads((tmp_path / "all_results.json").read_text()) == {"baseline": 2}
    workdir.result("all_results_cluster_sweep").write_text("{}")
    with pytest.raises(UserError, match="was not written by this workdir's cluster sweep: move it away"):
        publish(tmp_path, workdir, "cluster_sweep", False)
    (tmp_path / "all_results.json").write_text("the original's")
    for refuse in (check, publish):
        with pytest.raises(UserError, match="is there and was not written by this workdir's pipeline"):
            refuse(tmp_path, workdir, "pipeline", False)
    assert (tmp_path / "all_results.json").read_text() == "the original's"
    check(tmp_path, workdir, "pipeline", True)
    publish(tmp_path, workdir, "pipeline", True)
    assert json.loads((tmp_path / "all_results.json").read_text()) == {"baseline": 2}


def test_a_stage_without_results_publishes_nothing(workdir, tmp_path):
    assert publish(tmp_path, workdir, "minimal_neurons", False) is None
    assert not (tmp_path / "all_results.json").exists()


def test_the_first_of_several_stages_is_published():
    assert published_stage(("redundancy", "pipeline", "cluster_sweep")) == "pipeline"
    assert published_stage(("cluster_sweep",)) == "cluster_sweep"
    assert published_stage(("redundancy",)) is None


@pytest.mark.parametrize("record", ["", "[]", '{"pipeline": 3}', '{"pipeline": ["0"]}', None])
def test_a_damaged_record_takes_nothing_of_others_and_knows_an_equal_file(workdir, tmp_path, record):
    publish(tmp_path, workdir, "pipeline", False)
    place = workdir.path / "published.json"
    place.unlink() if record is None else place.write_text(record)
    check(tmp_path, workdir, "pipeline", False)
    assert publish(tmp_path, workdir, "pipeline", False) == tmp_path / "all_results.json"
    (tmp_path / "all_results.json").write_text("changed")
    with pytest.raises(UserError, match="was not written by this workdir's pipeline"):
        check(tmp_path, workdir, "pipeline", False)
