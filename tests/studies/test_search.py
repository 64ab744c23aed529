"""The search for a minimal set; where its logic is tested, scores are made up and nothing is trained."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import made_up_scores, small_study
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from jaxred.probing import Probe
from jaxred.probing.families import subset_family
from jaxred.probing.features import Features
from jaxred.probing.ranking import rank_neurons
from jaxred.studies import search as search_module
from jaxred.studies.scoring import fit_and_score
from jaxred.studies.search import AUTO_OPERATIONS, Search, search, stops_early, waves
from jaxred.studies.selection import MINIMAL_FRACTIONS, accepted, minimal_set_sizes

N_NEURONS = 40
FEATURES = Features({}, {"train": np.zeros(100, np.int32)}, ("no", "yes"), 4, 10, None)
GRIDS = st.lists(st.integers(0, N_NEURONS), min_size=1, max_size=25, unique=True).map(sorted)


def entry(dev):
    return made_up_scores.scored(dev, dev / 2)


PROBE = small_study.study_config().probe


def base_probe(seed=0):
    columns = np.random.default_rng(seed).permutation(N_NEURONS)
    weights = np.random.default_rng(seed + 1).normal(size=(N_NEURONS, 2)).astype(np.float32)
    return Probe(columns, weights, np.zeros(2, np.float32), np.ones(2, np.float32))


def made_up_search(dev_of_size, sizes, deltas, mode, base=0.8):
    """A search whose retrained probes score what is given by size; and the waves that it trained."""
    told = []

    def fake(family, features, probe, oracle):
        owned = [family.owned(i) for i in range(family.n_probes)]
        probes = [
            Probe(columns, np.zeros((len(columns), 2), np.float32), np.zeros(2, np.float32), np.ones(1, np.float32))
            for columns in owned
        ]
        return SimpleNamespace(probe=lambda i: probes[i]), [entry(dev_of_size[len(columns)]) for columns in owned]

    def progress(tried, planned):
        told.append(tried)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_module, "fit_and_score", fake)
        scores = entry(base)
        return search(base_probe(), scores, scores, sizes, deltas, FEATURES, PROBE, accepted, mode, progress), told


# Waves


@given(GRIDS)
@example([0])
@example(minimal_set_sizes(9984, 9984, MINIMAL_FRACTIONS))
def test_waves_are_the_sizes_in_order_each_as_much_work_as_all_before_it(sizes):
    found = waves(sizes)
    assert [size for wave in found for size in wave] == sizes
    for number, wave in enumerate(found):
        enough = max(sum(size for before in found[:number] for size in before), sum(sizes) / 16)
        assert wave
        assert sum(wave[:-1]) <= enough  # no longer than it must be
        assert sum(wave) > enough or number == len(found) - 1


def test_the_grid_of_the_original_is_few_waves():
    assert len(waves(minimal_set_sizes(9984, 9984, MINIMAL_FRACTIONS))) <= 6
    assert waves([]) == []


# Stopping early


@settings(deadline=None, max_examples=60)
@given(
    sizes=GRIDS,
    scores=st.lists(st.sampled_from([0.0, 0.5, 0.78, 0.79, 0.792, 0.8, 0.9]), min_size=41, max_size=41),
    deltas=st.lists(st.sampled_from([0.0, 1.0, 2.0, 10.0, 100.0]), min_size=1, max_size=3),
)
def test_a_search_that_stops_early_chooses_what_the_full_one_does(sizes, scores, deltas):
    full, _ = made_up_search(scores, sizes, deltas, "full")
    early, told = made_up_search(scores, sizes, deltas, "early")
    assert list(full.sizes) == list(full.probes) == sizes
    assert list(early.sizes) == list(early.probes) == sizes[: len(early.sizes)]
    assert sum(told) == len(early.sizes)
    for delta in deltas:
        assert early.choose(delta, FEATURES) == full.choose(delta, FEATURES)


def test_it_stops_at_the_wave_in_which_the_last_delta_is_met():
    sizes = list(range(1, 41))
    scores = [0.0] * 5 + [0.795] * 15 + [0.81] * 21
    ends = np.cumsum([len(wave) for wave in waves(sizes)])

    def n_tried(*deltas):
        return len(made_up_search(scores, sizes, deltas, "early")[0].sizes)

    assert n_tried(1.0) == min(end for end in ends if end >= 5)
    assert n_tried(0.0) == n_tried(1.0, 0.0) == min(end for end in ends if end >= 20)
    assert n_tried(1.0) < n_tried(0.0) < 40


@pytest.mark.parametrize("mode", ["full", "early"])
def test_where_nothing_is_accepted_every_size_is_tried_and_all_candidates_are_taken(mode):
    sizes = [0, 3, 10, 30]
    found, told = made_up_search([0.1] * 41, sizes, [1.0], mode)
    assert list(found.sizes) == sizes
    assert sum(told) == 4
    chosen = found.choose(1.0, FEATURES)
    assert chosen.n_neurons == N_NEURONS
    assert chosen.scores == entry(0.8)
    assert sorted(chosen.neurons) == [divmod(neuron, 10) for neuron in range(N_NEURONS)]


def test_sets_are_prefixes_of_the_bases_columns_by_salience():
    base = base_probe()
    found, _ = made_up_search([0.9] * 41, [2, 7], [1.0], "full")
    order = base.columns[rank_neurons(base.weights).order]
    np.testing.assert_array_equal(found.ranking, order)
    for size, probe in found.probes.items():
        np.testing.assert_array_equal(probe.columns, order[:size])
    chosen = found.choose(1.0, FEATURES)
    assert chosen.n_neurons == 2
    assert chosen.neurons == [divmod(int(neuron), 10) for neuron in order[:2]]


def test_a_set_may_be_empty():
    found = Search(np.arange(4), entry(0.8), {0: entry(0.79), 2: entry(0.8)}, {}, accepted)
    chosen = found.choose(5.0, FEATURES)
    assert (chosen.n_neurons, chosen.neurons, chosen.scores) == (0, [], entry(0.79))


@pytest.mark.parametrize(("dev", "scores"), [(0.795, 0.795), (0.1, 0.8)])
def test_all_candidates_score_what_the_base_does_unless_they_are_an_accepted_size(dev, scores):
    """And not what a probe retrained on them does that was not accepted."""
    found, _ = made_up_search([0.1] * N_NEURONS + [dev], [3, N_NEURONS], [1.0], "full")
    chosen = found.choose(1.0, FEATURES)
    assert (chosen.n_neurons, chosen.scores) == (N_NEURONS, entry(scores))


@pytest.mark.parametrize("seed", range(2))
def test_trained_probes_are_chosen_alike_early_and_in_full(seed):
    features = small_study.made_up_task(seed)
    trained, scored = fit_and_score(subset_family([np.arange(features.n_neurons)], features.n_neurons), features, PROBE)
    sizes = list(range(0, 24, 3))
    deltas = [0.0, 2.0, 10.0]

    def choices(mode, deltas):
        base = trained.probe(0), scored[0], scored[0]
        found = search(*base, sizes, deltas, features, PROBE, accepted, mode)
        return [found.choose(delta, features) for delta in deltas], len(found.sizes)

    full, n_full = choices("full", deltas)
    assert n_full == len(sizes)
    assert choices("early", deltas)[0] == full
    assert choices("early", [100.0])[1] < n_full


# Whether to stop early


def test_early_and_full_are_obeyed_and_auto_goes_by_the_work():
    small, large = [1], [10**9]
    for mode, expected in (("full", (False, False)), ("early", (True, True)), ("auto", (False, True))):
        assert (stops_early(small, FEATURES, PROBE, mode), stops_early(large, FEATURES, PROBE, mode)) == expected


@settings(deadline=None)
@given(columns=st.integers(1, 10**7), rows=st.integers(1, 300), n_classes=st.integers(2, 5), epochs=st.integers(1, 20))
def test_the_work_is_that_of_every_epoch_over_every_row_and_class(columns, rows, n_classes, epochs):
    work = 4 * columns * n_classes * rows * epochs
    assume(work != AUTO_OPERATIONS)
    features = Features({}, {"train": np.zeros(rows, np.int32)}, tuple("abcde"[:n_classes]), 4, 10, None)
    probe = replace(PROBE, epochs=epochs)
    assert stops_early([columns // 2, columns - columns // 2], features, probe, "auto") == (work > AUTO_OPERATIONS)
