"""Perplexity of causal models, with and without neurons, against PyTorch and against single texts."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import small_models
from helpers.tiny_classifier import random_sets
from scipy.special import logsumexp

from jaxred.ablation.batches import token_batches
from jaxred.ablation.forward import Ablation
from jaxred.ablation.language import LanguageModel, has_next_token, load_language_model
from jaxred.ablation.scoring import answers, perplexities
from jaxred.ablation.study import PERPLEXITY, TestRows, ablate, largest_share
from jaxred.errors import UserError
from jaxred.models import load_encoder
from jaxred.models.tokenization import Tokenizer
from jaxred.probing.resampling import draw

TEXTS = small_models.TEXTS[:11]


@pytest.fixture(scope="module", params=["gpt2", "llama", "gemma2"])
def made(request, tmp_path_factory):
    folder = small_models.write_encoder(tmp_path_factory.mktemp(request.param), request.param)
    encoder = load_encoder(folder)
    tokenizer = Tokenizer(folder, encoder.config)
    vocabulary, hidden = encoder.embeddings.word.embedding[...].shape
    output = np.random.default_rng(0).normal(0, 0.5, (vocabulary, hidden)).astype(np.float32)
    model = LanguageModel(encoder, jnp.asarray(output), soft_cap=3.0 if request.param == "gemma2" else 0.0)
    return model, tokenizer.encode(TEXTS, None, small_models.MAX_LENGTH), tokenizer


def plain(model, tokens):
    """The loss of every next token, one text at a time, in float64."""
    losses = []
    for ids, types in zip(tokens.ids, tokens.token_type_ids, strict=True):
        ids = np.asarray(ids)
        arrays = ids[None], np.ones((1, len(ids)), bool), np.asarray(types)[None]
        hidden = np.asarray(model.encoder(*map(jnp.asarray, arrays))[-1, 0], np.float64)
        scores = hidden @ np.asarray(model.output[...], np.float64).T
        if model.soft_cap:
            scores = model.soft_cap * np.tanh(scores / model.soft_cap)
        losses.append((logsumexp(scores, axis=1) - scores[np.arange(len(ids)), np.roll(ids, -1)])[:-1])
    return np.concatenate(losses)


def test_losses_are_those_of_single_texts(made):
    model, tokens, tokenizer = made
    batches, following, sentences = token_batches(tokens, tokenizer, 96)
    found = answers(Ablation(model), batches, random_sets(shape_of(model), 1), regression=True)[0]
    np.testing.assert_allclose(found, plain(model, tokens), rtol=2e-5)
    assert len(following) == len(sentences) == len(found)
    np.testing.assert_array_equal(following[sentences == 3], np.asarray(tokens.ids[3])[1:])


def shape_of(model):
    return model.encoder.config.n_layers + 1, model.encoder.config.hidden_size


def test_a_model_without_neurons_has_other_losses_and_each_set_is_by_itself(made):
    model, tokens, tokenizer = made
    batches, _, _ = token_batches(tokens, tokenizer, 96)
    sets = random_sets(shape_of(model), 4)
    together = answers(Ablation(model), batches, sets, regression=True)
    alone = answers(Ablation(model), batches, sets.of([2]), regression=True)
    np.testing.assert_allclose(together[2], alone[0], rtol=1e-6, atol=1e-6)
    assert np.abs(together[2] - together[0]).max() > 1e-3


def test_next_tokens_are_of_the_same_text():
    mask = jnp.array([[1, 1, 2, 2, 2, 0, 0], [1, 1, 1, 1, 1, 1, 1]])
    expected = [[1, 0, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0]]
    np.testing.assert_array_equal(np.asarray(has_next_token(mask)), np.array(expected, bool))


def test_perplexity_is_of_tokens_and_resampled_by_text():
    losses = np.log(np.array([[2.0, 8.0, 4.0], [3.0, 3.0, 3.0]]))
    resamples = draw(3, 40, np.array([0, 0, 1]))
    found = perplexities(losses, resamples)
    np.testing.assert_allclose(found.scores, [4.0, 3.0])
    np.testing.assert_allclose(found.resampled[:, 1], 3.0)
    assert {round(value, 6) for value in found.resampled[:, 0]} <= {4.0}  # both texts have the mean of all


def test_less_is_better():
    shares, whole = np.array([0, 0.1, 0.5]), np.array([10.0, 10.0])
    scores = np.array([[10.0, 10.05, 10.4], [10.0, 9.0, 10.2]])
    np.testing.assert_array_equal(largest_share(shares, scores, whole, 1.0, less_is_better=True), [0.1, 0.1])
    np.testing.assert_array_equal(largest_share(shares, scores, whole, 3.0, less_is_better=True), [0.1, 0.5])


def test_a_language_model_is_ablated(made):
    model, tokens, tokenizer = made
    batches, following, sentences = token_batches(tokens, tokenizer, 96)
    n_neurons = np.prod(shape_of(model))
    test = TestRows(batches, following, 0, PERPLEXITY, "texts", sentences)
    result = ablate(Ablation(model), test, {"first": np.arange(n_neurons)}, shares=(0.0, 0.5), n_draws=2)
    assert result.whole == pytest.approx(float(np.exp(plain(model, tokens).mean())), rel=1e-5)
    shares = np.unique(following, return_counts=True)[1] / len(following)
    assert result.constant == pytest.approx(float(np.exp(-(shares * np.log(shares)).sum())))
    assert not result.finding  # a random model is worse than the tokens' shares
    assert result.can_go == []


def test_what_is_no_language_model_is_named(tmp_path):
    folder = small_models.write_encoder(tmp_path / "bert", "bert")
    with pytest.raises(UserError, match=r"config\.ablation\.score='perplexity' is of causal models"):
        load_language_model(folder)
    tied = small_models.write_encoder(tmp_path / "gpt2", "gpt2")
    assert load_language_model(tied).output is None


@pytest.mark.reference
@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_perplexity_is_pytorchs(model_type, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder = small_models.write_encoder(tmp_path / model_type, model_type)
    model = load_language_model(folder)
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    reference.tie_weights()
    with torch.no_grad():
        embeddings = torch.tensor(np.array(model.encoder.embeddings.word.embedding[...], np.float32))
        reference.get_output_embeddings().weight.copy_(embeddings)
    tokenizer = Tokenizer(folder, model.encoder.config)
    tokens = tokenizer.encode(TEXTS, None, small_models.MAX_LENGTH)
    losses = []
    for ids in tokens.ids:
        given = torch.tensor(np.asarray(ids, np.int64))[None]
        with torch.no_grad():
            logits = reference(given).logits[0, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits, given[0, 1:], reduction="none").numpy())
    batches, _, _ = token_batches(tokens, tokenizer, 96)
    found = answers(Ablation(model), batches, random_sets(shape_of(model), 1), regression=True)[0]
    np.testing.assert_allclose(found, np.concatenate(losses), rtol=1e-5)
