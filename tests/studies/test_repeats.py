"""Repeats against as many studies without repeats."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from helpers import small_study

from jaxred.activations.store import Ledger, Store, StoreWriter
from jaxred.config import StudyConfig
from jaxred.errors import UserError
from jaxred.io.result_files import plain
from jaxred.probing.features import SPLITS, load_features
from jaxred.runs import repeats
from jaxred.runs.kept_moments import training_moments
from jaxred.runs.workdir import Workdir
from jaxred.studies import cluster_sweep, minimal_neurons, pipeline
from jaxred.studies.repeats import spread
from jaxred.studies.results import Spread

N_REPEATS = 3
STUDIES = {
    "pipeline": (
        lambda features, config: pipeline.pipeline(
            features,
            lambda: small_study.correlation_of(features),
            config.probe,
            config.clustering,
            config.selection,
        ),
        pipeline.together,
    ),
    "cluster_sweep": (
        lambda features, config: cluster_sweep.cluster_sweep(
            features, small_study.correlation_of(features), config.probe, config.clustering
        ),
        cluster_sweep.together,
    ),
    "minimal_neurons": (
        lambda features, config: minimal_neurons.minimal_neurons(features, config.probe, config.selection),
        minimal_neurons.together,
    ),
}


def without_repeats(config, repeat):
    """What repeat r is by definition."""
    mine = copy.deepcopy(config)
    mine.repeats = 1
    mine.task.split_seed += repeat
    mine.probe.seed += repeat
    mine.clustering.seed += repeat
    return mine


@pytest.fixture(scope="module")
def features():
    return small_study.made_up_task()


@pytest.fixture(scope="module", params=sorted(STUDIES))
def study(request, features):
    """A study repeated three times, and three studies."""
    config = small_study.study_config(N_REPEATS)
    run, together = STUDIES[request.param]
    singles = [run(features, without_repeats(config, repeat)) for repeat in range(N_REPEATS)]
    contents = [run(features, one)[0] for one in repeats.configs(config)]
    return request.param, together(contents), [result for result, _ in singles]


def assert_spread(spread, runs):
    assert spread.runs == runs
    assert spread.mean == pytest.approx(np.mean(runs), rel=1e-12)
    assert spread.sd == pytest.approx(np.std(runs, ddof=1), rel=1e-12)


def assert_spread_of_scores(spread, entries, oracles):
    for split in SPLITS:
        assert_spread(getattr(spread, split), [entry.overall(split) for entry in entries])
    assert spread.beats_constant == sum(entry.beats_constant for entry in entries)
    means = np.mean([entry.draws["test"] for entry in entries], axis=0)
    assert spread.interval == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), rel=1e-9)
    lost = np.mean([e.draws["test"] - o.draws["test"] for e, o in zip(entries, oracles, strict=True)], axis=0)
    assert spread.to_oracle.interval == pytest.approx(tuple(np.quantile(lost, [0.025, 0.975])), rel=1e-9, abs=1e-12)
    mean = np.mean([e.overall("test") - o.overall("test") for e, o in zip(entries, oracles, strict=True)])
    assert spread.to_oracle.difference == pytest.approx(mean, rel=1e-12, abs=1e-15)


def test_the_first_repeat_is_the_study_without_repeats(study):
    _, together, singles = study
    alone = singles[0].to_json()
    assert "repeats" not in alone
    assert together.repeats.n == N_REPEATS
    assert plain(replace(together, repeats=None).to_json()) == plain(alone)


def test_every_repeat_is_a_study_of_its_own(study):
    name, together, singles = study
    spread, runs = together.repeats, singles
    oracles = [run.oracle for run in runs]
    assert spread.n == N_REPEATS
    assert_spread_of_scores(spread.oracle, oracles, oracles)
    records = [entry for run in runs for entry in run.training.values()]
    assert spread.training.probes == len(records)
    assert spread.training.not_converged == sum(not entry.converged for entry in records)
    assert spread.oracle.train.sd > 0  # else the seeds would not be told apart
    if name == "cluster_sweep":
        assert len(spread.thresholds) == len(runs[0].thresholds) == 3
        for i, entry in enumerate(spread.thresholds):
            assert_spread_of_scores(entry, [run.thresholds[i].scores for run in runs], oracles)
            assert_spread(entry.n_clusters, [run.thresholds[i].n_clusters for run in runs])
    if name == "minimal_neurons":
        assert_spread(spread.n_minimal, [run.n_minimal for run in runs])
        assert_spread_of_scores(spread.minimal_scores, [run.minimal_scores for run in runs], oracles)
        assert spread.findings == sum(run.finding for run in runs)
        sets = [set(run.minimal_neurons) for run in runs]
        assert spread.in_every_run == len(sets[0] & sets[1] & sets[2])
        assert sum(spread.neurons_by_layer.values()) == pytest.approx(np.mean([len(one) for one in sets]))
    if name == "pipeline":
        for part in ("independent", "incremental"):
            for i, entry in enumerate(getattr(spread, part)):
                assert_spread_of_scores(entry, [getattr(run, part)[i] for run in runs], oracles)
        for i, entry in enumerate(spread.layer_selection):
            mine = [run.layer_selection[i] for run in runs]
            assert entry.delta == mine[0].delta
            assert_spread(entry.top_layer, [one.top_layer for one in mine])
            assert_spread_of_scores(entry.scores, [one.scores for one in mine], oracles)
        assert len(spread.selection) == len(runs[0].selection) == 4
        for i, entry in enumerate(spread.selection):
            mine = [run.selection[i] for run in runs]
            for key in ("delta_layers", "delta_neurons", "threshold"):
                assert getattr(entry, key) == getattr(mine[0], key)
            for key in ("top_layer", "n_minimal", "n_candidates"):
                assert_spread(getattr(entry, key), [getattr(one, key) for one in mine])
            assert entry.findings == sum(one.finding for one in mine)
            for key in ("base", "minimal_scores"):
                assert_spread_of_scores(getattr(entry, key), [getattr(one, key) for one in mine], oracles)


@pytest.mark.parametrize("redrawn", [True, False])
def test_a_repeat_takes_the_seeds_plus_its_number_and_all_else_as_it_is(redrawn):
    config = replace(small_study.study_config(N_REPEATS), repeat_split=redrawn)
    before = copy.deepcopy(config)
    found = repeats.configs(config)
    seeds = [(c.task.split_seed - 7361, c.probe.seed, c.clustering.seed, c.repeats) for c in found]
    assert seeds == [(r if redrawn else 0, 3 + r, 11 + r, 1) for r in range(N_REPEATS)]
    for mine in found:
        same = {"probe": replace(mine.probe, seed=3), "clustering": replace(mine.clustering, seed=11)}
        same["task"] = replace(mine.task, split_seed=7361)
        assert replace(mine, repeats=N_REPEATS, **same) == before
    assert config == before
    assert repeats.configs(replace(config, repeats=1)) == [replace(before, repeats=1)]


# Splits


def stores_of(folder, n_rows=60, words=False):
    """Stores of train and test, of sentences of one row or of words of sentences of three."""
    stores, rng = {}, np.random.default_rng(0)
    for split in ("train", "test"):
        sentence = np.arange(n_rows, dtype=np.int32) // (3 if words else 1)
        shape = {"n_rows": n_rows, "n_layers": 2, "hidden_size": 3}
        identity = {"store": split}
        extra = {"rows": "word"} if words else {}
        ledger = Ledger(identity, **shape, dtype="float32", window_rows=n_rows, label_names=["no", "yes"], **extra)
        labels = (np.arange(n_rows) % 2).astype(np.int32)
        word_index = np.arange(n_rows, dtype=np.int32) % 3 if words else None
        writer = StoreWriter(folder / split, ledger, labels, sentence, word_index=word_index)
        writer.write(0, rng.normal(size=(n_rows, 2, 3)).astype(np.float32))
        writer.flush()
        stores[split] = Store(folder / split)
    return stores


@pytest.mark.parametrize("words", [False, True])
def test_repeats_draw_dev_from_train_again_of_words_by_sentences(tmp_path, words):
    stores, config = stores_of(tmp_path, words=words), StudyConfig(repeats=4)
    loaded = repeats.run_each(stores, config, tmp_path / "scratch", lambda one, load: load())
    devs = [tuple(sorted(features.data_split.dev_idx.tolist())) for features in loaded]
    assert len(set(devs)) == 4
    for one, features in zip(repeats.configs(config), loaded, strict=True):
        expected = load_features(stores, one.task, one.probe)
        np.testing.assert_array_equal(features.data_split.all_idx, expected.data_split.all_idx)
        np.testing.assert_array_equal(features.matrices["train"], expected.matrices["train"])
        assert stores["train"].has_words == words
        sentence = stores["train"].sentence_index()
        train, dev = (set(sentence[rows]) for rows in features.data_split[1:])
        assert not train & dev
    fixed = replace(config, repeat_split=False)
    same = repeats.run_each(stores, fixed, tmp_path / "scratch", lambda one, load: load())
    assert all(features is same[0] for features in same)
    assert tuple(sorted(same[0].data_split.dev_idx.tolist())) == devs[0]


def test_a_dev_file_stays_in_every_repeat(tmp_path):
    stores = stores_of(tmp_path)
    stores["dev"] = stores["test"]
    loaded = repeats.run_each(stores, StudyConfig(repeats=3), tmp_path, lambda one, load: load())
    assert all(features is loaded[0] and features.data_split is None for features in loaded)


def test_a_class_that_another_split_takes_out_of_train_is_reported_with_the_way_out(tmp_path, monkeypatch):
    stores = stores_of(tmp_path)

    def load(stores, task, probe, scratch, by_rows):
        if task.split_seed != 7361:
            raise UserError("A label was never seen in train: fix the labels.")
        return load_features(stores, task, probe, scratch, by_rows)

    monkeypatch.setattr(repeats, "load_features", load)
    text = r"Repeat 2 of 3 draws dev from train again\. A label was never .*`config\.repeat_split=False`\."
    with pytest.raises(UserError, match=text):
        repeats.run_each(stores, StudyConfig(repeats=3), tmp_path, lambda one, load: load())


def test_moments_of_a_repeat_are_those_of_its_own_training_rows_and_leave_the_studys(tmp_path):
    stores = stores_of(tmp_path)
    config = StudyConfig(repeats=2)
    workdir = Workdir.claim(tmp_path / "run", config)
    kept = set()
    for one in repeats.configs(config):
        found = training_moments(stores, one, workdir, config).correlation()
        rows = load_features(stores, one.task, one.probe).data_split.train_idx
        values = np.concatenate([stores["train"].layer(layer)[rows] for layer in range(2)], axis=1)
        np.testing.assert_allclose(found, np.corrcoef(values.T.astype(np.float64)), rtol=0, atol=1e-5)
        kept.add(workdir.moments.read_bytes())
    assert len(kept) == 1


def test_a_single_run_has_no_deviation():
    assert spread([0.25]) == Spread(0.25, 0.0, [0.25])
    assert_spread(spread(np.float32([0.5, 0.25, 1])), [0.5, 0.25, 1.0])
