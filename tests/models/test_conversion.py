import json

import jax
import numpy as np
import pytest
from helpers import tiny_encoder
from helpers.processes import launch
from safetensors.numpy import load_file

from jaxred.errors import UserError
from jaxred.models import checkpoint, load_encoder
from jaxred.models.bert import Bert
from jaxred.models.conversion import convert
from jaxred.models.xlnet import XLNet, XLNetConfig

ENCODERS = {
    "bert": (Bert, tiny_encoder.CONFIG, "bert."),
    "xlnet": (
        XLNet,
        XLNetConfig(vocab_size=37, hidden_size=12, n_layers=2, n_heads=2, intermediate_size=20),
        "transformer.",
    ),
}


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(params=ENCODERS)
def model(request):
    encoder_type, config, _ = ENCODERS[request.param]
    return tiny_encoder.random_encoder(encoder_type, config)


@pytest.fixture
def tensors(torch, model, tmp_path):
    """The weights under the names of a model with a head, whose last is tied; tmp_path/old has the configuration."""
    checkpoint.save(model, tmp_path / "old")
    (tmp_path / "old" / "tokenizer.json").write_text("{}")
    names = load_file(tmp_path / "old" / "model.safetensors")
    (tmp_path / "old" / "model.safetensors").unlink()
    prefix = ENCODERS[model.config.model_type][2]
    content = {prefix + name: torch.tensor(array) for name, array in names.items()}
    head = "cls.predictions.decoder.weight" if model.config.model_type == "bert" else "lm_loss.weight"
    return {**content, head: next(tensor for name, tensor in content.items() if "word_embedding" in name)}


def assert_same(folder, model):
    for found, expected in zip(jax.tree.leaves(load_encoder(folder)), jax.tree.leaves(model), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.reference
def test_a_file_becomes_safetensors_beside_it(torch, tensors, model, tmp_path):
    torch.save(tensors, tmp_path / "old" / "pytorch_model.bin")
    file = convert(tmp_path / "old", tmp_path / "old")
    assert file == tmp_path / "old" / "model.safetensors"
    assert load_file(file).keys() == tensors.keys()
    assert_same(tmp_path / "old", model)
    assert sorted(path.name for path in (tmp_path / "old").iterdir()) == [
        "config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json"]  # fmt: skip


@pytest.mark.reference
def test_shards_become_one_file_elsewhere_with_configuration_and_tokenizer(torch, tensors, model, tmp_path):
    files = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
    weight_map = {name: files[i % 2] for i, name in enumerate(tensors)}
    for file in files:
        torch.save({name: t for name, t in tensors.items() if weight_map[name] == file}, tmp_path / "old" / file)
    (tmp_path / "old" / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    convert(tmp_path / "old", tmp_path / "new" / "folder")
    assert_same(tmp_path / "new" / "folder", model)
    names = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert names == ["config.json", "model.safetensors", "tokenizer.json"]


@pytest.mark.reference
def test_types_are_kept(torch, tensors, model, tmp_path):
    torch.save({name: tensor.bfloat16() for name, tensor in tensors.items()}, tmp_path / "old" / "pytorch_model.bin")
    convert(tmp_path / "old", tmp_path / "new")
    rounded = jax.tree.map(lambda leaf: leaf.astype("bfloat16").astype("float32"), model)
    assert_same(tmp_path / "new", rounded)


class Opens:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.reference
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, path: {**t, "x": Opens(path / "run")}, "holds more than tensors, or is no PyTorch file"),
        (lambda t, path: {"state_dict": t}, "is not a state_dict: it must hold tensors by name"),
        (lambda t, path: list(t.values()), "is not a state_dict"),
        (lambda t, path: {**t, "epoch": 3}, "is not a state_dict"),
        (lambda t, path: {}, "old does not hold the weights .* is missing"),
        (lambda t, path: dict(list(t.items())[1:]), "does not hold the weights that its config.json describes"),
        (lambda t, path: {**t, "layer.9.adapter": next(iter(t.values()))}, "layer.9.adapter is not a weight of this"),
    ],
)
def test_a_file_that_is_something_else_is_refused_and_leaves_nothing(torch, tensors, tmp_path, change, message):
    tensors.pop(next(name for name in tensors if "lm_loss" in name or "cls." in name))
    torch.save(change(tensors, tmp_path), tmp_path / "old" / "pytorch_model.bin")
    with pytest.raises(UserError, match=message):
        convert(tmp_path / "old", tmp_path / "new")
    assert not (tmp_path / "run").exists()
    assert not list((tmp_path / "new").glob("*"))


@pytest.mark.reference
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half"])
def test_a_broken_file_is_refused(torch, tensors, tmp_path, content):
    (tmp_path / "old" / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(UserError, match=r"old/pytorch_model\.bin (is truncated|holds more than)"):
        convert(tmp_path / "old", tmp_path / "new")


def write_old(folder, **config):
    """A folder whose pytorch_model.bin must not be opened."""
    folder.mkdir()
    raw = {**ENCODERS["xlnet"][1].to_dict(), **config}
    (folder / "config.json").write_text(json.dumps(raw))
    (folder / "pytorch_model.bin").write_bytes(b"not looked at")
    return folder


def test_without_pytorch_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs PyTorch, which is not installed: pip install torch"):
        convert(write_old(tmp_path / "old"), tmp_path / "new")


def test_another_architecture_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"model_type='t5' is not supported: jaxred runs albert, bert, .*xlnet"):
        convert(write_old(tmp_path / "old", model_type="t5"), tmp_path / "new")


def test_nothing_to_convert(tmp_path):
    folder = write_old(tmp_path / "old")
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(UserError, match=r"no weights to convert: neither pytorch_model\.bin nor"):
        convert(folder, folder)


def test_safetensors_that_are_there_are_kept(tmp_path):
    folder = write_old(tmp_path / "old")
    (folder / "model.safetensors").write_bytes(b"mine")
    for target in (folder, tmp_path / "new"):
        with pytest.raises(UserError, match="has safetensors weights already: nothing is to be converted"):
            convert(folder, target)
    assert (folder / "model.safetensors").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{", "is not an index of shards"),
        ("[]", "is not an index of shards"),
        ('{"weight_map": {"a": "../pytorch_model.bin"}}', "a shard must be a file next to the index"),
        ('{"weight_map": {"a": "gone.bin"}}', "names the shard 'gone.bin', which is missing"),
    ],
)
def test_an_index_that_is_not_one(tmp_path, index, message):
    folder = write_old(tmp_path / "old")
    (folder / "pytorch_model.bin").rename(tmp_path / "pytorch_model.bin")
    (folder / "pytorch_model.bin.index.json").write_text(index)
    with pytest.raises(UserError, match=message):
        convert(folder, folder)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["--input is missing"]),
        (["--input=nowhere"], ["nowhere is not a folder"]),
        (["old"], ["'old'", "every option is a flag"]),
        (["--input=nowhere", "--overwrite"], ["--overwrite", "no use here"]),
        (["--inputs=old"], ["inputs"]),
    ],
)
def test_wrong_flags_are_told_in_a_sentence(flags, words):
    done = launch("convert_checkpoint", *flags)
    assert done.returncode == 2
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words)


@pytest.mark.reference
def test_the_launcher_converts(torch, tensors, model, tmp_path):
    torch.save(tensors, tmp_path / "old" / "pytorch_model.bin")
    done = launch("convert_checkpoint", f"--input={tmp_path / 'old'}", f"--output={tmp_path / 'new'}")
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "new" / "model.safetensors") in done.stdout
    assert_same(tmp_path / "new", model)
