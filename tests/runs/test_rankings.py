"""Rankings of runs: by the command, kept, in the report, and where a ranking needs classes."""

import dataclasses

import numpy as np
import pytest
from helpers import tiny_encoder
from helpers.small_training import separable

from jaxred.config import StudyConfig
from jaxred.errors import UserError
from jaxred.runs import report, study
from jaxred.studies.results import MinimalNeuronsResult, PipelineResult, RankingsResult
from jaxred.validation import validate


@pytest.fixture(scope="module")
def config(encoder_folder, tmp_path_factory):
    texts = {split: separable(n, seed) for seed, (split, n) in enumerate((("train", 60), ("test", 20)))}
    sentences, labels = ({split: rows[part] for split, rows in texts.items()} for part in (0, 1))
    config = StudyConfig()
    config.encoder.path = str(encoder_folder)
    config.extraction = dataclasses.replace(config.extraction, max_length=12)
    config.probe = dataclasses.replace(config.probe, epochs=2, batch_size=32)
    config.selection = dataclasses.replace(config.selection, fractions=(0.25, 0.5), deltas=((3.0, 1.0),))
    config.clustering = dataclasses.replace(config.clustering, thresholds=(-1.0,))
    task = tiny_encoder.write_task(tmp_path_factory.mktemp("task"), sentences, labels)
    config.task = dataclasses.replace(config.task, name="parallel", data_dir=str(task))
    return config


def test_rankings_are_kept_and_shown(config, tmp_path):
    folder = study.run_stages(config, str(tmp_path / "run"), False, ("rankings",))
    made = folder.result("rankings").stat().st_mtime_ns
    study.run_stages(config, str(tmp_path / "run"), False, ("rankings",))
    assert folder.result("rankings").stat().st_mtime_ns == made
    assert len(folder.load(RankingsResult).curves) == 6
    lines = folder.result("rankings").with_suffix(".csv").read_text().splitlines()
    assert lines[0].startswith("ranking,n_neurons,dev,test")
    assert len(lines) == 1 + 6 * 2
    report.write(folder)
    assert "Rankings of neurons" in folder.report.read_text()
    assert (folder.figures / "ranking_overlap.png").exists()


@pytest.mark.parametrize("ranking", ["probeless", "gaussian", "average_precision", "variance", "random"])
def test_searches_take_the_ranking_that_is_named(config, ranking, tmp_path):
    named = dataclasses.replace(config, selection=dataclasses.replace(config.selection, ranking=ranking))
    folder = study.run_stages(named, str(tmp_path / "run"), False, ("pipeline", "minimal_neurons"))
    order = np.asarray(folder.load(MinimalNeuronsResult).ranking)
    np.testing.assert_array_equal(np.sort(order), np.arange(len(order)))
    choice = folder.load(PipelineResult).selection[0]
    candidates = order[np.isin(order, choice.ranking)]
    np.testing.assert_array_equal(choice.ranking, candidates)


def test_what_cannot_be_is_named(config):
    wrong = dataclasses.replace(config, selection=dataclasses.replace(config.selection, ranking="best"))
    with pytest.raises(UserError, match=r"selection\.ranking='best'.*weights, probeless, gaussian"):
        validate(wrong)
    scores = dataclasses.replace(config.task, kind="regression", metric="pearson")
    classes = dataclasses.replace(config.selection, ranking="gaussian")
    with pytest.raises(UserError, match="needs classes, and the task has scores: choose weights, variance or random"):
        validate(dataclasses.replace(config, task=scores, selection=classes))
