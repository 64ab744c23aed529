"""The folder of a reduced model: read as it was written, or not at all."""

import json
import shutil

import numpy as np
import pytest
from helpers import small_models
from helpers.encoder_agreement import forward, relative_error
from helpers.small_models import TEXTS, random_model
from safetensors.numpy import load_file

import jaxred
from jaxred.errors import UserError
from jaxred.io.result_files import as_json, with_digest, without_digest
from jaxred.reduced import folder as reduced_folder

FILES = [
    "reduced.json", "head.safetensors", "head.npz", "README.md", "encoder/config.json", "encoder/model.safetensors",
    "encoder/tokenizer.json", "encoder/tokenizer_config.json",
]  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return small_models.write_encoder(tmp_path_factory.mktemp("source") / "encoder", "bert")


@pytest.fixture(scope="module")
def model(source):
    return random_model(source, 1, pooling="mean")


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    return model.save(tmp_path_factory.mktemp("saved") / "small")


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def test_the_folder_has_what_it_should(saved, model):
    found = {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()}
    assert found == {*FILES}
    assert {path.stat().st_mode & 0o777 for path in saved.rglob("*") if path.is_file()} == {
        (saved / "reduced.json").stat().st_mode & 0o777
    }
    config = json.loads((saved / "encoder/config.json").read_text())
    assert (config["num_hidden_layers"], config["architectures"], config["dtype"]) == (1, ["BertModel"], "float32")
    assert not any("layer.1." in name for name in load_file(saved / "encoder/model.safetensors"))
    head = np.load(saved / "head.npz", allow_pickle=False)
    for name, array in load_file(saved / "head.safetensors").items():
        np.testing.assert_array_equal(array, head[name])
    assert head["classes"].tolist() == model.classes
    card = (saved / "README.md").read_text()
    assert card == str(model.card)
    for line in ("0.750 [0.700, 0.800]", "0.800 ± 0.020", "Made by jaxred 0.1.0 on 2026-11-01"):
        assert line in card


def test_a_loaded_model_is_saved_again(copied, model, tmp_path):
    again = jaxred.load_reduced(jaxred.load_reduced(copied).save(tmp_path / "again"))
    shutil.rmtree(copied)
    assert again.card == model.card
    assert again.predict(TEXTS[:4]) == model.predict(TEXTS[:4])


@pytest.mark.parametrize("name", FILES)
def test_a_changed_or_missing_file_is_rejected(name, copied):
    content = (copied / name).read_bytes()
    place = len(content) // 2
    (copied / name).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(UserError, match=r"changed since it was written|cannot be read|is not of a reduced model"):
        jaxred.load_reduced(copied)
    (copied / name).write_bytes(content[:-5])
    with pytest.raises(UserError, match=r"changed since it was written|cannot be read"):
        jaxred.load_reduced(copied)
    (copied / name).unlink()
    with pytest.raises(UserError, match=r"is missing|it has no reduced.json"):
        jaxred.load_reduced(copied)


def changed_index(folder, change):
    content = without_digest(json.loads((folder / "reduced.json").read_text()))
    change(content)
    (folder / "reduced.json").write_text(as_json(with_digest(content)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content.update(version=2), "of version 2, but this jaxred reads version 1"),
        (lambda content: content.update(format="x"), "is not of a reduced model"),
        (lambda content: content["files"].pop("head.safetensors"), "it does not list head.safetensors"),
        (lambda content: content["files"].update({"../x": "0"}), "leads out of the folder"),
        (lambda content: content["files"].update({"/etc/passwd": "0"}), "leads out of the folder"),
        (lambda content: content["card"].pop("facts"), "is not what jaxred wrote"),
        (lambda content: content["card"]["facts"].update(classes=["a"]), "head's weights are of shape"),
        (lambda content: content.update(files=[]), "is not what jaxred wrote"),
    ],
)
def test_an_index_that_says_what_cannot_be_is_rejected(change, words, copied):
    changed_index(copied, change)
    with pytest.raises(UserError, match=words):
        jaxred.load_reduced(copied)


@pytest.mark.parametrize("name", ["reduced.json", "encoder/model.safetensors", "encoder"])
def test_links_out_of_the_folder_are_not_followed(name, copied, tmp_path):
    shutil.move(copied / name, tmp_path / "elsewhere")
    (copied / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="leads out of the folder"):
        jaxred.load_reduced(copied)


def test_a_folder_that_is_reached_by_a_link_is_read(copied, tmp_path, model):
    (tmp_path / "link").symlink_to(copied)
    assert jaxred.load_reduced(tmp_path / "link").card == model.card


@pytest.mark.parametrize(("path", "words"), [("nowhere", "is not a folder"), (".", "is no reduced model")])
def test_what_is_no_reduced_model_is_named(path, words, tmp_path):
    with pytest.raises(UserError, match=words):
        jaxred.load_reduced(tmp_path / path)


def test_nothing_is_overwritten_unasked(copied, model, tmp_path):
    with pytest.raises(UserError, match=r"holds a reduced model: .* overwrite=True"):
        model.save(copied)
    (copied / "README.md").write_text("x")
    model.save(copied, overwrite=True)
    assert jaxred.load_reduced(copied).card == model.card
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    for path in (tmp_path / "mine", tmp_path / "mine" / "thesis.tex"):
        with pytest.raises(UserError, match="is there, and is no reduced model"):
            model.save(path, overwrite=True)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "x"


def test_a_folder_is_whole_or_not_there(copied, model, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    monkeypatch.setattr(reduced_folder, "save_folder", full)
    for path, overwrite in ((tmp_path / "new", False), (copied, True)):
        with pytest.raises(UserError, match="No space left on device"):
            model.save(path, overwrite)
    assert not (tmp_path / "new").exists()
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


# The encoder's folder for others


@pytest.mark.reference
@pytest.mark.parametrize(
    "model_type", ["bert", "gpt2", "modernbert", "albert", "mpnet", "distilbert", "xlnet", "gemma2"]
)
def test_transformers_reads_the_encoder(model_type, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    model = random_model(small_models.write_encoder(tmp_path / "source", model_type), 1, pooling="last")
    place = model.save(tmp_path / "small") / "encoder"
    theirs, report = transformers.AutoModel.from_pretrained(place, output_loading_info=True)
    assert not report["unexpected_keys"]
    assert not [name for name in report["missing_keys"] if "pooler" not in name and name != "mask_emb"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    tokens = tokenizer(TEXTS[0], return_tensors="pt")
    ours = model.tokenizer.encode(TEXTS[:1], None, 16)
    np.testing.assert_array_equal(tokens["input_ids"][0, :16], ours.ids[0][: tokens["input_ids"].shape[1]])
    with torch.inference_mode():
        states = theirs(input_ids=torch.tensor(ours.ids[0][None]).long(), output_hidden_states=True,
                        **({"token_type_ids": torch.tensor(ours.token_type_ids[0][None]).long()}
                           if model.encoder.config.type_vocab_size else {})).hidden_states  # fmt: skip
    found = np.asarray(forward(model.encoder, ours.ids[0][None], np.ones((1, len(ours.ids[0])), bool),
                               ours.token_type_ids[0][None]))  # fmt: skip
    assert relative_error(found[0], states[0].numpy()) <= 2e-6
    if model_type not in ("gpt2", "modernbert", "gemma2"):  # which normalise the last ones, and a cut encoder does not
        assert relative_error(found[-1], states[-1].numpy()) <= 2e-6
