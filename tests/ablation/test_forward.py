"""The forward pass with neurons and layers removed: against NumPy in float64, cut encoders, and PyTorch's hooks."""

import numpy as np
import pytest
from helpers.tiny_classifier import NumPyBert, Tiny, random_sets, tiny

from jaxred.ablation import interventions
from jaxred.ablation.forward import Ablation
from jaxred.errors import UserError
from jaxred.finetuning.batches import padded
from jaxred.finetuning.classifier import Classifier
from jaxred.models.loading import ARCHITECTURES
from jaxred.models.tokenization import PaddedBatch

ROUNDING = 2e-5  # of outputs of about 1, over a few layers in float32


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("bert"))


def own_outputs(made: Tiny, model: Classifier | None = None) -> np.ndarray:
    """The model's outputs without any ablation, in padded batches as it is fine-tuned."""
    of_all = padded(made.rows, np.arange(made.rows.n_sentences), made.tokenizer, made.rows.n_sentences)
    batch = PaddedBatch(*(array[0] for array in of_all.tokens))
    words = None if of_all.words is None else type(of_all.words)(*(array[0] for array in of_all.words))
    return np.asarray((model or made.model)(batch, words))[: len(made.rows)]


def sentence(made: Tiny, number: int) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(made.rows.tokens.ids[number]), np.asarray(made.rows.tokens.token_type_ids[number])


@pytest.mark.parametrize("value", ["zero", "mean"])
def test_removed_neurons_and_skipped_layers_are_those_of_numpy(bert, value):
    means = np.random.default_rng(3).normal(size=bert.shape).astype(np.float32)
    sets, plain = random_sets(bert.shape), NumPyBert(bert)
    fills = means if value == "mean" else np.zeros(bert.shape)
    found = Ablation(bert.model, value, means).outputs(bert.batches(), sets)
    for row in range(len(bert.rows)):
        for number in range(len(sets)):
            states = plain.states(*sentence(bert, row), sets.removed[number], sets.skipped[number], fills)
            np.testing.assert_allclose(found[number, row], plain.outputs(states), atol=ROUNDING)
    assert np.abs(found[1:] - found[:1]).max() > 0.1  # they do remove something


def test_the_value_of_another_row_is_that_of_its_token_at_the_same_position(bert):
    sets, plain = random_sets(bert.shape), NumPyBert(bert)
    batches = bert.batches()
    found = Ablation(bert.model, "resample").outputs(batches, sets)
    whole = [plain.states(*sentence(bert, row)) for row in range(len(bert.rows))]
    for row in range(len(bert.rows)):
        errors = []
        for donor in range(len(bert.rows)):  # which one it is, the outputs say: one row fits all sets
            length = len(bert.rows.tokens.ids[row])
            at = np.minimum(np.arange(length), len(bert.rows.tokens.ids[donor]) - 1)
            fills = [states[at] for states in whole[donor]]
            outputs = [
                plain.outputs(plain.states(*sentence(bert, row), sets.removed[i], sets.skipped[i], fills))
                for i in range(len(sets))
            ]
            errors.append(np.abs(np.array(outputs) - found[:, row]).max())
        assert min(errors) < ROUNDING
        assert int(np.argmin(errors)) != row


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_nothing_is_the_model_and_skipped_top_layers_are_the_cut_model(tmp_path, model_type):
    made = tiny(tmp_path, model_type)
    n_layers, hidden = made.shape
    nothing = interventions.remove_neurons([np.zeros(0, int)], n_layers, hidden)
    top = interventions.skip_layers([[n_layers - 1], range(1, n_layers)], n_layers, hidden)
    found = Ablation(made.model).outputs(made.batches(), interventions.together(nothing, top))
    cuts = [made.model.encoder.first_layers(n, keep_norm=True) for n in (n_layers - 2, 0)]
    expected = [own_outputs(made), *(own_outputs(made, Classifier(cut, made.model.head)) for cut in cuts)]
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "xlm-roberta"])
def test_words(tmp_path, model_type):
    made = tiny(tmp_path, model_type, words=True)
    sets = random_sets(made.shape)
    found = Ablation(made.model).outputs(made.batches(), sets)
    np.testing.assert_allclose(found[0], own_outputs(made), atol=ROUNDING)
    cut = made.model.encoder.first_layers(made.shape[0] - 2, keep_norm=True)
    skipped = Ablation(made.model).outputs(
        made.batches(), interventions.skip_layers([[made.shape[0] - 1]], *made.shape)
    )
    np.testing.assert_allclose(skipped[0], own_outputs(made, Classifier(cut, made.model.head)), atol=ROUNDING)
    for value in ("resample", "zero"):
        everything = np.ones((1, *made.shape), bool), np.zeros((1, made.shape[0]), bool)
        gone = Ablation(made.model, value).outputs(made.batches(), interventions.Interventions(*everything))
        assert np.isfinite(gone).all()
        assert (np.ptp(gone[0], axis=0).max() < 1e-6) == (value == "zero")  # of zeros, all words are one


@pytest.mark.parametrize("sets_at_once", [4])
def test_sets_do_not_depend_on_their_company(bert, sets_at_once):
    sets = random_sets(bert.shape, 7, seed=4)
    ablation = Ablation(bert.model, "resample")
    together = ablation.outputs(bert.batches(), sets)
    for number in (0, 3, 6):
        alone = Ablation(bert.model, "resample").outputs(bert.batches(), sets.of([number]))
        np.testing.assert_array_equal(alone[0], together[number])
    ablation.sets_at_once = sets_at_once  # as on an accelerator
    np.testing.assert_allclose(ablation.outputs(bert.batches(), sets), together, atol=ROUNDING)


def test_what_is_kept_of_outputs_is_asked_for(bert):
    sets = random_sets(bert.shape, 3)
    whole = Ablation(bert.model).outputs(bert.batches(), sets)
    classes = Ablation(bert.model).outputs(bert.batches(), sets, lambda outputs: outputs.argmax(-1))
    np.testing.assert_array_equal(classes, whole.argmax(-1))


def test_values_that_are_not_known_are_rejected(bert):
    with pytest.raises(UserError, match="value='noise' is not possible: choose from zero, mean, resample"):
        Ablation(bert.model, "noise")
    with pytest.raises(ValueError, match="needs means of the shape"):
        Ablation(bert.model, "mean")


@pytest.mark.reference
@pytest.mark.parametrize("model_type", ["bert", "gpt2", "distilbert", "llama"])
def test_pytorch_hooks_give_the_same(tmp_path, model_type):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    made = tiny(tmp_path / "encoder", model_type)
    save(made, tmp_path / "tuned")
    rival = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "tuned", dtype=torch.float32)
    rival.eval()
    base = rival.base_model
    layers = next(
        module for name, module in base.named_modules() if name in ("encoder.layer", "h", "transformer.layer", "layers")
    )
    embeddings = getattr(base, "embeddings", None) or base.drop if model_type != "llama" else base.embed_tokens
    places = [embeddings, *layers]
    final = base.ln_f if model_type == "gpt2" else base.norm if model_type == "llama" else None
    if final is not None:
        places[-1] = final
    sets = random_sets(made.shape, 5)
    sets = interventions.Interventions(sets.removed, np.zeros_like(sets.skipped))
    found = Ablation(made.model).outputs(made.batches(), sets)
    for number in range(len(sets)):
        hooks = []
        for place, gone in zip(places, sets.removed[number], strict=True):
            keep = torch.from_numpy(~gone)

            def hook(module, inputs, output, keep=keep):
                del module, inputs
                return (output[0] * keep, *output[1:]) if isinstance(output, tuple) else output * keep

            hooks.append(place.register_forward_hook(hook))
        with torch.inference_mode():
            for row in range(len(made.rows)):
                ids, types = sentence(made, row)
                more = (
                    {"token_type_ids": torch.from_numpy(types.astype(np.int64))[None]} if model_type == "bert" else {}
                )
                logits = rival(torch.from_numpy(ids.astype(np.int64))[None], **more).logits[0].numpy()
                np.testing.assert_allclose(found[number, row], logits, atol=ROUNDING)
        for each in hooks:
            each.remove()


def save(made: Tiny, folder):
    """The model as a folder that transformers loads."""
    from jaxred.finetuning.saving import save_finetuned
    from jaxred.finetuning.training import Task

    folder.mkdir()
    task = Task("classification", "accuracy", ("a", "b", "c"))
    save_finetuned(made.model, made.folder, folder, task, words=False)
