"""Every architecture from text to activations and a study, with its own kind of tokenizer."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from helpers import tiny_encoder
from helpers.encoder_agreement import forward, tiny_config
from helpers.processes import launch
from helpers.trained_tokenizers import write_tokenizer

import jaxred
from jaxred.activations.store import Store
from jaxred.errors import UserError
from jaxred.models import checkpoint, load_encoder
from jaxred.models.distilbert import DistilBert, DistilBertConfig
from jaxred.models.loading import ARCHITECTURES, architecture
from jaxred.models.tokenization import Tokenizer
from jaxred.models.xlnet import XLNet, XLNetConfig

TEXTS = [
    f"{subject} {verb} {how}{end}"
    for subject in ("the film", "A plot", "its Ending", "nobody's café", "Überraschung")
    for verb in ("is", "was", "seems", "stays")
    for how in ("fine", "dull", "rather slow -- very slow", "over-long")
    for end in (".", " !")
]
LABELS = [str("fine" in text or "slow" in text) for text in TEXTS]


CONFIG = jaxred.StudyConfig(
    extraction=jaxred.ExtractionConfig(max_length=16, token_budget=512), probe=jaxred.ProbeConfig(epochs=1)
)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_from_text_to_a_study(model_type, tmp_path):
    encoder_type, folder = architecture(model_type), tmp_path / "encoder"
    n_tokens = write_tokenizer(folder, model_type, TEXTS)
    config = dataclasses.replace(tiny_config(model_type), vocab_size=n_tokens)
    if any(field.name == "pad_token_id" for field in dataclasses.fields(config)):
        config = dataclasses.replace(config, pad_token_id=2)  # the tokenizer's, where it has one
    checkpoint.save(tiny_encoder.random_encoder(encoder_type, config), folder)
    causal = config.tokens.sentence_position is None
    pooling = "last" if causal else "mean"
    settings = dataclasses.replace(CONFIG, extraction=dataclasses.replace(CONFIG.extraction, pooling=pooling))
    run = jaxred.study(
        TEXTS[:120], LABELS[:120], model=folder, test=(TEXTS[120:], LABELS[120:]), config=settings,
        workdir=tmp_path / "run", stages="pipeline",
    )  # fmt: skip
    assert run.to_frame()["n_neurons"].max() == 36
    stored = Store(tmp_path / "run" / "activations" / "test").matrix().reshape(40, 3, 12)
    tokens = Tokenizer(folder, config).encode(TEXTS[120:], None, 16)
    ids, types = tokens.ids[31][None], tokens.token_type_ids[31][None]
    alone = np.asarray(forward(load_encoder(folder), ids, np.ones(ids.shape, bool), types))[:, 0]
    expected = alone[:, -1] if causal else alone.mean(1)
    assert tiny_encoder.row_error(stored[31][None], expected[None]) <= 1e-6
    in_memory = jaxred.hidden_states(TEXTS[120:], folder, pooling=pooling, max_length=16)
    assert tiny_encoder.row_error(np.asarray(in_memory), stored) <= 1e-6
    if causal:
        with pytest.raises(UserError, match=r"pooling='cls' is not possible with .*: .*; choose last .* or mean"):
            jaxred.hidden_states(TEXTS, folder)


def assert_rows_are_of_each_sentence_alone(folder, workdir, examples, max_length):
    """The stored vectors, extracted in batches, are the last or first token's of the model without padding."""
    model = load_encoder(folder)
    tokens = Tokenizer(folder, model.config).encode(
        [example[0] for example in examples],
        [example[1] for example in examples] if examples[0][1] else None,
        max_length,
    )
    call = jax.jit(lambda ids, mask, types: model(ids, mask, types))
    found = Store(workdir / "activations" / "test").matrix().reshape(-1, model.config.n_layers + 1, 12)
    last = model.config.tokens.sentence_position == "last"
    for i in (0, len(examples) // 2, len(examples) - 1):
        ids, types = tokens.ids[i][None], tokens.token_type_ids[i][None]
        alone = np.asarray(call(ids, np.ones(ids.shape, bool), types))[:, 0, -1 if last else 0]
        assert tiny_encoder.row_error(found[i], alone) <= 1e-6


@pytest.mark.shared
@pytest.mark.parametrize(("launcher", "task"), [("pipeline", "sst2"), ("extract", "rte")])
def test_a_tiny_xlnet_with_the_real_tokenizer(xlnet_tokenizer_folder, glue_dev, tmp_path, launcher, task):
    config = XLNetConfig(vocab_size=32000, hidden_size=12, n_layers=2, n_heads=2, intermediate_size=20)
    checkpoint.save(tiny_encoder.random_encoder(XLNet, config), tmp_path / "xlnet")
    for name in ("tokenizer.json", "spiece.model"):
        shutil.copy(xlnet_tokenizer_folder / name, tmp_path / "xlnet")
    folder, examples = tmp_path / "task", glue_dev[task][:150]
    folder.mkdir()
    for split, mine in (("train", examples[:120]), ("dev", examples[120:])):
        header = "index\tsentence1\tsentence2\tlabel" if examples[0].pair else "sentence\tlabel"
        lines = ["\t".join(filter(None, (e.pair and str(i), e.text, e.pair, e.label))) for i, e in enumerate(mine)]
        (folder / f"{split}.tsv").write_text("\n".join([header, *lines]) + "\n")
    done = launch(
        launcher,
        f"--config=configs/glue.py:{task}",
        f"--config.task.data_dir={folder}",
        f"--config.encoder.path={tmp_path / 'xlnet'}",
        "--config.extraction.max_length=48",
        "--config.probe.epochs=2",
        f"--workdir={tmp_path / 'run'}",
    )
    assert done.returncode == 0, done.stderr
    if launcher == "pipeline":
        assert any("Oracle" in line and "0–2" in line for line in done.stdout.splitlines())
        assert json.loads((tmp_path / "run" / "results" / "pipeline.json").read_text())["task"]["rows"]["test"] == 30
    pairs = [(example.text, example.pair) for example in examples[120:]]
    assert_rows_are_of_each_sentence_alone(tmp_path / "xlnet", tmp_path / "run", pairs, 48)


def test_a_tiny_distilbert(encoder_folder, tmp_path):
    config = DistilBertConfig(
        vocab_size=40, hidden_size=12, n_layers=2, n_heads=2, intermediate_size=20, max_position_embeddings=32
    )
    checkpoint.save(tiny_encoder.random_encoder(DistilBert, config), tmp_path / "distilbert")
    shutil.copy(encoder_folder / "vocab.txt", tmp_path / "distilbert")
    texts = tiny_encoder.sentences(100)
    tiny_encoder.write_task(tmp_path / "task", {"train": texts[:80], "test": texts[80:]})
    done = launch(
        "extract",
        "--config=configs/parallel.py",
        f"--config.task.data_dir={tmp_path / 'task'}",
        f"--config.encoder.path={tmp_path / 'distilbert'}",
        "--config.extraction.max_length=16",
        f"--workdir={tmp_path / 'run'}",
    )
    assert done.returncode == 0, done.stderr
    pairs = [(text, None) for text in texts[80:]]
    assert_rows_are_of_each_sentence_alone(tmp_path / "distilbert", tmp_path / "run", pairs, 16)
