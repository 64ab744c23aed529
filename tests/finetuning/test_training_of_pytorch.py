"""Fifty steps of jaxred and of PyTorch on the same batches."""

import numpy as np
import pytest
from helpers.small_models import write_encoder
from helpers.small_training import CLASSES, OFF

from jaxred.config import FinetuneConfig
from jaxred.finetuning.batches import Rows, epoch_order, padded
from jaxred.finetuning.classifier import load_classifier
from jaxred.finetuning.saving import save_finetuned
from jaxred.finetuning.step import Trainer
from jaxred.finetuning.training import Task
from jaxred.models.tokenization import Tokenizer

N_STEPS = 50
SUBJECTS = ("the film", "A plot", "its Ending", "nobody's café", "Überraschung", "the cast", "a very slow film")
TEXTS = [
    f"{subject} {verb} {how}" for subject in SUBJECTS for verb in ("is", "was") for how in ("fine", "slow -- slow")
]


@pytest.mark.reference
@pytest.mark.parametrize("model_type", ["bert", "xlnet", "distilbert", "modernbert"])
def test_fifty_steps_are_those_of_pytorch(model_type, tmp_path):
    import torch
    from transformers import AutoModelForSequenceClassification, get_linear_schedule_with_warmup

    source = write_encoder(tmp_path / "source", model_type)
    config = FinetuneConfig(learning_rate=3e-3, warmup_fraction=0.1, weight_decay=0.05, clip_norm=0.5)
    classifier, _ = load_classifier(source, 2, False)
    (tmp_path / "saved").mkdir()
    save_finetuned(classifier, source, tmp_path / "saved", Task("classification", "accuracy", CLASSES), False)
    theirs = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "saved", attn_implementation="eager", dtype=torch.float32
    ).eval()  # no dropout
    decaying = {True: [], False: []}
    norms = {id(p) for module in theirs.modules() if "Norm" in type(module).__name__ for p in module.parameters()}
    for name, parameter in theirs.named_parameters():
        decaying[not (name.endswith("bias") or id(parameter) in norms)].append(parameter)
    groups = [{"params": decaying[True], "weight_decay": 0.05}, {"params": decaying[False], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=3e-3, eps=1e-8)
    schedule = get_linear_schedule_with_warmup(optimizer, 5, N_STEPS)

    tokenizer = Tokenizer(source, classifier.encoder.config)
    targets = np.array(["fine" in text for text in TEXTS], np.int32)
    rows = Rows(tokenizer.encode(TEXTS, None, 30), targets)
    trainer = Trainer(classifier, OFF, config, "classification", "first", N_STEPS)
    state, ours, expected = trainer.start(), [], []
    orders = (batch for epoch in range(100) for batch in epoch_order(rows.tokens.lengths, 8, 0, epoch))
    for _, sentences in zip(range(N_STEPS), orders, strict=False):
        batch = padded(rows, sentences, tokenizer, 8)
        state, loss = trainer.step(state, batch)
        ours.append(float(loss))
        n = len(sentences)
        inputs = {"input_ids": batch.tokens.input_ids, "attention_mask": batch.tokens.attention_mask}
        if classifier.encoder.config.type_vocab_size:
            inputs["token_type_ids"] = batch.tokens.token_type_ids
        tensors = {name: torch.tensor(array[0][:n], dtype=torch.long) for name, array in inputs.items()}
        logits = theirs(**tensors).logits
        their_loss = torch.nn.functional.cross_entropy(logits, torch.tensor(batch.targets[0][:n], dtype=torch.long))
        optimizer.zero_grad()
        their_loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        optimizer.step()
        schedule.step()
        expected.append(their_loss.item())
    assert np.mean(ours[-5:]) < 0.97 * np.mean(ours[:5])  # something is learned
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-3)
