import copy

import jax
import numpy as np
import pytest
from helpers.small_models import write_encoder

from jaxred.config import FinetuneConfig
from jaxred.finetuning.batches import Rows, padded
from jaxred.finetuning.classifier import head_table, load_classifier
from jaxred.finetuning.saving import save_finetuned
from jaxred.finetuning.step import Trainer
from jaxred.finetuning.training import Task
from jaxred.models import checkpoint, heads
from jaxred.models.dropout import DropoutRates
from jaxred.models.loading import ARCHITECTURES
from jaxred.models.tokenization import Tokenizer

TEXTS = ["a fine film", "dull , long and without any point", "the plot is thin but the cast is good", "no"]
CLASSES = ("bad", "good", "odd")
OFF = DropoutRates()


def training_of(folder, words=False, kind="classification", n_layers=-1, rates=OFF, n_steps=10, **settings):
    n_outputs = 1 if kind == "regression" else 3
    classifier, _ = load_classifier(folder, n_outputs, words, n_layers)
    tokenizer = Tokenizer(folder, classifier.encoder.config)
    trainer = Trainer(classifier, rates, FinetuneConfig(**settings), kind, "first", n_steps)
    if words:
        of_words = tokenizer.encode_words([text.split() for text in TEXTS], 30)
        targets = np.arange(len(of_words.word_index), dtype=np.int32) % 3
        return classifier, trainer, tokenizer, Rows(of_words.tokens, targets, of_words)
    targets = np.array([0.5, 2, -1, 3], np.float32) if kind == "regression" else np.array([0, 1, 2, 1], np.int32)
    return classifier, trainer, tokenizer, Rows(tokenizer.encode(TEXTS, None, 30), targets)


def whole_batch(rows, tokenizer, n_parts=1):
    return padded(rows, np.arange(rows.n_sentences), tokenizer, rows.n_sentences, n_parts)


def their_names(trainer, params, words):
    """Parameters, or gradients, under the names of Hugging Face's model with a head."""
    model = trainer.model(params)
    prefix, table = model.encoder.weights.prefix, head_table(model.encoder, words)
    named = {f"{prefix}{name}": array for name, array in checkpoint.state_dict(model.encoder).items()}
    return named | heads.state_dict(model.head, table)


def relative(found, expected):
    return np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-30)


@pytest.mark.reference
@pytest.mark.parametrize("words", [False, True], ids=["sentences", "words"])
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_step_is_that_of_pytorch(model_type, words, tmp_path):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    if words and model_type == "gemma3_text":
        pytest.skip("transformers has no such model")
    source = write_encoder(tmp_path / "source", model_type)
    classifier, trainer, tokenizer, rows = training_of(source, words)
    folder = tmp_path / "saved"
    folder.mkdir()
    save_finetuned(classifier, source, folder, Task("classification", "accuracy", CLASSES), words)
    auto = AutoModelForTokenClassification if words else AutoModelForSequenceClassification
    theirs, loading = auto.from_pretrained(
        folder, attn_implementation="eager", output_loading_info=True, dtype=torch.float32
    )
    assert not loading["unexpected_keys"]
    assert {key.rsplit(".", 1)[-1] for key in loading["missing_keys"]} <= {"mask_emb"}
    theirs.eval()

    batch = whole_batch(rows, tokenizer)
    tokens = batch.tokens
    inputs = {
        "input_ids": torch.tensor(tokens.input_ids[0], dtype=torch.long),
        "attention_mask": torch.tensor(tokens.attention_mask[0], dtype=torch.long),
    }
    if classifier.encoder.config.type_vocab_size:
        inputs["token_type_ids"] = torch.tensor(tokens.token_type_ids[0], dtype=torch.long)
    n_rows = int(batch.weights.sum())

    def backward(model):
        logits = model(**inputs).logits
        if words:
            logits = logits[batch.words.rows[0].astype(int), batch.words.starts[0].astype(int)][:n_rows]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(batch.targets[0][:n_rows], dtype=torch.long))
        loss.backward()
        return logits, loss

    exact = copy.deepcopy(theirs).double()  # of which PyTorch's float32 differs by more than 1e-5 in a few tensors
    backward(exact)
    exact_gradients = {name: p.grad for name, p in exact.named_parameters()}
    logits, loss = backward(theirs)

    state = trainer.start()
    scores = np.asarray(trainer.scores(state.params, batch))[0][:n_rows]
    assert relative(scores, logits.detach().numpy()) < 1e-5
    our_loss, gradient = jax.jit(trainer.gradient)(state.params, batch, state.step)
    assert abs(float(our_loss) - loss.item()) < 1e-5 * abs(loss.item())
    ours, parameters = their_names(trainer, gradient, words), dict(theirs.named_parameters())
    frozen = {  # rows of padding, of which PyTorch takes no gradient; the made-up tokenizers have text there
        f"{name}.weight": module.padding_idx
        for name, module in theirs.named_modules()
        if getattr(module, "padding_idx", None) is not None
    }
    total = np.sqrt(sum(float((p.grad**2).sum()) for p in parameters.values() if p.grad is not None))
    for name, array in ours.items():
        expected = parameters[name].grad
        if expected is None:
            assert not array.any(), name
            continue
        if name in frozen:
            array[frozen[name]] = 0
        right = exact_gradients[name].numpy()
        right = right if np.isfinite(right).all() else expected.numpy()  # PyTorch's of padding in float64 is NaN
        own_error = np.linalg.norm(expected.numpy() - right)
        bound = max(1e-5 * max(np.linalg.norm(right), 1e-2 * total), 2 * own_error)
        assert np.linalg.norm(array - right) < bound, name

    torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
    torch.optim.AdamW(theirs.parameters(), lr=5e-5, eps=1e-8, weight_decay=0.0).step()
    norm = np.sqrt(sum(float((array**2).sum()) for array in jax.tree.leaves(gradient)))
    start = their_names(trainer, trainer.start().params, words)
    state, _ = trainer.step(state, batch)
    for name, array in their_names(trainer, state.params, words).items():
        expected = parameters[name].detach().numpy()
        if name in frozen:
            array[frozen[name]] = expected[frozen[name]]
        # Adam divides by |gradient| + 1e-8: of one that is 0 but for rounding (a key's bias, which attention does not
        # see), the step is chance, up to the rate.
        right = exact_gradients[name]
        is_chance = np.zeros(array.shape, bool) if right is None else np.nan_to_num(np.abs(right.numpy()), nan=1) < 1e-6
        clipped = ours[name] * min(1, 1 / norm)
        own = start[name] - 5e-5 * clipped / (np.abs(clipped) + 1e-8)  # Adam's first step of our own gradient
        assert relative(np.where(is_chance, array, own), own) < 1e-6, name
        assert relative(np.where(is_chance, expected, array), expected) < 1e-5, name
