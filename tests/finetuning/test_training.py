"""Training: the gradient, the schedule, dropout, what is learned, and which weights are kept."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import small_models
from helpers.small_training import small

from jaxred.config import FinetuneConfig
from jaxred.errors import UserError
from jaxred.finetuning import training
from jaxred.finetuning.batches import epoch_order, padded
from jaxred.finetuning.step import Trainer, optimizer_of


def batch_of(tuning, sentences=8, n_parts=1, room=8):
    return padded(tuning.rows["train"], np.arange(sentences), tuning.tokenizer, room, n_parts)


def relative(tree, other):
    """The norm of a difference of all parameters, relative to theirs."""
    difference = optax.global_norm(jax.tree.map(lambda a, b: jnp.asarray(a) - jnp.asarray(b), dict(tree), dict(other)))
    return float(difference / optax.global_norm(dict(other)))


def same(tree, other):
    assert tree.keys() == other.keys()
    return all(np.array_equal(tree[path], other[path]) for path in tree)


def rate_of(updates: Any) -> float:
    """The step of the only parameter."""
    return float(updates["a", "kernel"][0])


# The gradient


@pytest.mark.parametrize("words", [False, True], ids=["sentences", "words"])
def test_parts_have_the_gradient_of_the_whole(encoder_folder, words):
    tuning = small(encoder_folder, words=words)
    gradient = jax.jit(tuning.trainer.gradient)
    params, step = tuning.trainer.start().params, jnp.zeros((), jnp.int32)
    for sentences in (8, 5):  # of five, the last parts are padding alone
        loss, whole = gradient(params, batch_of(tuning, sentences), step)
        for n_parts in (3,) if words else (3, 8):
            other, parts = gradient(params, batch_of(tuning, sentences, n_parts), step)
            assert abs(float(loss - other)) < 1e-6 * float(loss)
            assert relative(parts, whole) < 1e-6


def test_rows_of_padding_have_no_part_in_it(encoder_folder):
    tuning = small(encoder_folder)
    params, step = tuning.trainer.start().params, jnp.zeros((), jnp.int32)
    (loss, alone), (padded_loss, with_padding) = (
        jax.jit(tuning.trainer.gradient)(params, batch_of(tuning, 3, room=room), step) for room in (3, 8)
    )
    assert abs(float(loss - padded_loss)) < 1e-6 * float(loss)
    assert relative(with_padding, alone) < 1e-6


@pytest.mark.parametrize("clip", [0.0, 0.01, 1e4])
def test_clipping(clip):
    """The first step of Adam is the sign of the gradient; what is clipped shows in its moments."""
    params = {("a", "kernel"): jnp.ones(3), ("b", "bias"): jnp.ones(2)}
    gradient = jax.tree.map(lambda leaf: 2.0 * leaf, params)
    optimizer = optimizer_of(FinetuneConfig(clip_norm=clip), 10)
    _, state = optimizer.update(gradient, optimizer.init(params), params)
    first = optax.tree_utils.tree_get(state, "mu")
    norm = 2 * 5**0.5
    factor = clip / norm if 0 < clip < norm else 1.0
    assert float(optax.global_norm(first)) == pytest.approx(0.1 * norm * factor, rel=1e-6)


def test_biases_and_norms_do_not_decay(encoder_folder):
    params = small(encoder_folder).trainer.start().params
    optimizer = optimizer_of(FinetuneConfig(weight_decay=0.1, learning_rate=0.5), 10)
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    for path, update in updates.items():
        expected = 0 if path[-1] in ("bias", "scale") else -0.5 * 0.1 * params[path]
        np.testing.assert_allclose(update, expected + jnp.zeros_like(params[path]), rtol=1e-6, atol=1e-9)
    assert {path[-1] for path in params} == {"bias", "scale", "kernel", "embedding"}


@pytest.mark.parametrize("n_steps", [1, 7, 50])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_the_rate_rises_and_falls_in_straight_lines(n_steps, warmup):
    """As get_linear_schedule_with_warmup of transformers has it."""
    config = FinetuneConfig(learning_rate=1e-2, warmup_fraction=warmup, clip_norm=0.0, epsilon=1e-12)
    optimizer, params = optimizer_of(config, n_steps), {("a", "kernel"): jnp.ones(1)}
    state, n_warmup = optimizer.init(params), round(warmup * n_steps)
    for step in range(n_steps):
        updates, state = optimizer.update(jax.tree.map(jnp.ones_like, params), state, params)
        falls = max(0.0, (n_steps - step) / max(1, n_steps - n_warmup))
        rate = step / max(1, n_warmup) if step < n_warmup else falls
        assert -rate_of(updates) == pytest.approx(1e-2 * rate, rel=1e-4, abs=1e-9)


@pytest.mark.reference
@pytest.mark.parametrize("warmup", [0.0, 0.06, 0.1, 0.5])
def test_the_schedule_is_that_of_transformers(warmup):
    import torch
    from transformers import get_linear_schedule_with_warmup

    n_steps = 60
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-2)
    schedule = get_linear_schedule_with_warmup(theirs, round(warmup * n_steps), n_steps)
    config = FinetuneConfig(learning_rate=1e-2, warmup_fraction=warmup, clip_norm=0.0, epsilon=1e-12)
    optimizer, params = optimizer_of(config, n_steps), {("a", "kernel"): jnp.ones(1)}
    state = optimizer.init(params)
    for _ in range(n_steps):
        updates, state = optimizer.update(jax.tree.map(jnp.ones_like, params), state, params)
        assert -rate_of(updates) == pytest.approx(schedule.get_last_lr()[0], rel=1e-4, abs=1e-9)
        theirs.step()
        schedule.step()


# Dropout


def test_dropout_is_of_the_seed_and_the_step(encoder_folder):
    losses = {}
    for seed in (1, 2):
        tuning = small(encoder_folder, dropout=True, seed=seed)
        params, batch = small(encoder_folder).trainer.start().params, batch_of(tuning)
        gradient = jax.jit(tuning.trainer.gradient)
        for step in (0, 1):
            losses[seed, step], first = gradient(params, batch, jnp.asarray(step, jnp.int32))
            again, second = gradient(params, batch, jnp.asarray(step, jnp.int32))
            assert float(again) == float(losses[seed, step])
            assert same(first, second)
    assert len({float(loss) for loss in losses.values()}) == 4


def test_parts_drop_other_values(encoder_folder):
    """Two parts of the same sentence."""
    tuning = small(encoder_folder, dropout=True)
    rows, params = tuning.rows["train"], tuning.trainer.start().params
    one = padded(rows, np.zeros(1, int), tuning.tokenizer, 1)
    two = padded(rows, np.zeros(2, int), tuning.tokenizer, 2, 2)
    gradient = jax.jit(tuning.trainer.gradient)
    (loss, _), (other, _) = (gradient(params, batch, jnp.zeros((), jnp.int32)) for batch in (one, two))
    assert float(loss) != float(other)


def test_dropout_is_off_in_evaluation(encoder_folder):
    scores = []
    for dropout in (False, True):
        tuning = small(encoder_folder, dropout=dropout)
        params = tuning.trainer.start().params
        scores.append(training.predict(tuning.trainer, params, tuning.tokenizer, tuning.rows["dev"]))
    np.testing.assert_array_equal(*scores)


def test_predictions_are_in_the_order_of_the_rows(encoder_folder):
    for words in (False, True):
        tuning = small(encoder_folder, words=words)
        params, rows = tuning.trainer.start().params, tuning.rows["train"]
        together = training.predict(tuning.trainer, params, tuning.tokenizer, rows)
        for sentence in (0, 13, 39):
            numbers = rows.of_sentences(np.array([sentence]))[0]
            alone = training.predict(tuning.trainer, params, tuning.tokenizer, rows.subset(np.array([sentence])))
            np.testing.assert_allclose(alone, together[numbers], rtol=1e-5, atol=1e-6)


# Whole trainings


@pytest.mark.parametrize("words", [False, True], ids=["sentences", "words"])
def test_a_task_is_learned(encoder_folder, tmp_path, words):
    tuning = small(encoder_folder, words=words, dropout=True, epochs=4, sizes=(120, 40))
    outcome = tuning.run(tmp_path)
    assert max(outcome.dev) > 0.95
    assert np.mean(outcome.losses[-10:]) < 0.5 * np.mean(outcome.losses[:10])
    assert outcome.n_steps == len(outcome.losses) == 4 * 15


def test_scores_are_learned(encoder_folder, tmp_path):
    outcome = small(encoder_folder, "regression", epochs=6, sizes=(120, 40)).run(tmp_path)
    assert max(outcome.dev) > 0.7  # of Pearson
    assert np.mean(outcome.losses[-10:]) < 0.5 * np.mean(outcome.losses[:10])


@pytest.mark.parametrize("n_layers", [0, 1])
@pytest.mark.parametrize("model_type", ["bert", "modernbert"], ids=["post-norm", "pre-norm"])
def test_a_cut_encoder_is_trained(tmp_path, model_type, n_layers):
    folder = small_models.write_encoder(tmp_path / "source", model_type)
    whole = small(folder, sizes=(16, 8))
    tuning = small(folder, n_layers=n_layers, epochs=1, sizes=(16, 8))
    assert tuning.classifier.encoder.config.n_layers == n_layers
    assert (tuning.classifier.encoder.final_norm is None) == (whole.classifier.encoder.final_norm is None)
    start, outcome = tuning.trainer.start().params, tuning.run(tmp_path / "run")
    assert outcome.params.keys() == start.keys()
    if n_layers:
        n_stacked = {leaf.shape[0] for path, leaf in outcome.params.items() if path[:2] == ("encoder", "layers")}
        assert n_stacked == {n_layers}
    moved = [path for path in start if not np.array_equal(start[path], outcome.params[path])]
    assert any(path[0] == "head" for path in moved)
    assert any(path[:2] == ("encoder", "embeddings") for path in moved)


def test_bfloat16_is_of_the_products_alone(encoder_folder):
    tunings = [small(encoder_folder, compute_dtype=dtype) for dtype in ("float32", "bfloat16")]
    states, losses = [tuning.trainer.start() for tuning in tunings], []
    for sentences in epoch_order(tunings[0].rows["train"].tokens.lengths, 8, 0, 0):
        step = []
        for number, tuning in enumerate(tunings):
            batch = padded(tuning.rows["train"], sentences, tuning.tokenizer, 8)
            states[number], loss = tuning.trainer.step(states[number], batch)
            step.append(float(loss))
        losses.append(step)
    assert {leaf.dtype for leaf in jax.tree.leaves(states[1].params)} == {jnp.dtype("float32")}
    exact, rounded = np.array(losses).T
    np.testing.assert_allclose(rounded, exact, rtol=0.03)
    assert not np.array_equal(rounded, exact)
    scores = [
        training.predict(t.trainer, s.params, t.tokenizer, t.rows["dev"]) for t, s in zip(tunings, states, strict=True)
    ]
    assert np.linalg.norm(scores[1] - scores[0]) < 0.1 * np.linalg.norm(scores[0])


def test_a_loss_that_is_no_number_is_one_sentence(encoder_folder, tmp_path, monkeypatch):
    tuning = small(encoder_folder, learning_rate=1.0, clip_norm=0.0)
    state = tuning.trainer.start()
    bad = {path: leaf * np.float32("nan") for path, leaf in state.params.items()}
    monkeypatch.setattr(tuning.trainer, "start", lambda: state._replace(params=bad))
    with pytest.raises(UserError, match=r"The loss is nan after step 5: lower config\.finetune\.learning_rate=1\.$"):
        tuning.run(tmp_path)
    assert not (tmp_path / "best.safetensors").exists()


def test_the_weights_of_the_best_epoch_are_kept(encoder_folder, tmp_path, monkeypatch):
    seen, dev = [], iter([0.2, 0.9, 0.9, 0.4])

    def evaluate(trainer, params, *_):
        seen.append({path: np.asarray(leaf) for path, leaf in params.items()})
        return next(dev)

    monkeypatch.setattr(training, "evaluate", evaluate)
    outcome = small(encoder_folder, epochs=4).run(tmp_path)
    assert outcome.best_epoch == 2  # the earlier of equal ones
    assert outcome.dev == [0.2, 0.9, 0.9, 0.4]
    assert same(outcome.params, seen[1])
    assert not same(outcome.params, seen[2])


def test_a_score_that_is_no_number_is_never_the_best(encoder_folder, tmp_path, monkeypatch):
    """Such as the correlation of answers that are all the same."""
    dev = iter([float("nan"), 0.3, float("nan")])
    seen = []

    def evaluate(trainer, params, *_):
        seen.append({path: np.asarray(leaf) for path, leaf in params.items()})
        return next(dev)

    monkeypatch.setattr(training, "evaluate", evaluate)
    outcome = small(encoder_folder, epochs=3, sizes=(16, 8)).run(tmp_path)
    assert outcome.best_epoch == 2
    assert same(outcome.params, seen[1])


def test_a_training_is_that_of_its_seed(encoder_folder, tmp_path):
    outcomes = [
        small(encoder_folder, dropout=True, seed=seed).run(tmp_path / str(number))
        for number, seed in enumerate((1, 1, 2))
    ]
    assert same(outcomes[0].params, outcomes[1].params)
    assert outcomes[0].losses == outcomes[1].losses
    assert not same(outcomes[0].params, outcomes[2].params)


def test_the_order_of_a_training_is_that_of_its_epochs(encoder_folder, tmp_path, monkeypatch):
    """Every step's sentences, those of a resumed training too."""
    tuning, steps = small(encoder_folder, epochs=2), []
    real = Trainer.step

    def recorded(trainer, state, batch):
        steps.append(batch.tokens.input_ids.copy())
        return real(trainer, state, batch)

    monkeypatch.setattr(Trainer, "step", recorded)
    tuning.run(tmp_path)
    rows = tuning.rows["train"]
    orders = [
        sentences for epoch in range(2) for sentences in epoch_order(rows.tokens.lengths, 8, tuning.config.seed, epoch)
    ]
    expected = [padded(rows, sentences, tuning.tokenizer, 8).tokens.input_ids for sentences in orders]
    assert len(steps) == len(expected) == 10
    for ours, theirs in zip(steps, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_smaller_batch_than_there_are_parts_trains(encoder_folder, tmp_path):
    outcome = small(encoder_folder, accumulation=8, epochs=1, sizes=(9, 8)).run(tmp_path)
    assert np.isfinite(outcome.losses).all()
    assert all(np.isfinite(leaf).all() for leaf in outcome.params.values())
