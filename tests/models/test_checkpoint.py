import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from helpers.tiny_encoder import split_into_shards
from safetensors.numpy import load_file, save_file

from jaxred.errors import UserError
from jaxred.models import checkpoint, load_encoder


@pytest.fixture
def folder(tmp_path, random_bert):
    """A valid checkpoint, to be broken."""
    checkpoint.save(random_bert(), tmp_path / "model")
    return tmp_path / "model"


def rewrite(folder, change):
    """Replaces the tensors of a checkpoint by change(tensors)."""
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors), folder / "model.safetensors")


def assert_same(model, other):
    leaves, others = jax.tree.leaves(model), jax.tree.leaves(other)
    assert len(leaves) == len(others) == 21
    for leaf, expected in zip(leaves, others, strict=True):
        np.testing.assert_array_equal(leaf, expected)


# Weights that are read ---------------------------------------------------------------------------------------------


def test_round_trip_is_bit_exact(folder, random_bert):
    model = load_encoder(folder)
    assert_same(model, random_bert())
    assert model.config == random_bert().config


@pytest.mark.parametrize("n_layers", [0, 2])
def test_round_trip_of_a_cut_model(tmp_path, random_bert, n_layers):
    cut = random_bert().first_layers(n_layers)
    checkpoint.save(cut, tmp_path)
    assert_same(load_encoder(tmp_path), cut)


def test_state_dict_is_hugging_face_s(random_bert):
    model = random_bert()
    tensors = checkpoint.state_dict(model)
    assert len(tensors) == 5 + 3 * 16
    intermediate = tensors["encoder.layer.1.intermediate.dense.weight"]
    assert intermediate.shape == (20, 12)
    np.testing.assert_array_equal(intermediate, model.layers.feed_forward.intermediate.kernel[1].T)
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float32)}


@pytest.mark.reference
def test_export_is_read_by_transformers(folder, random_bert):
    torch = pytest.importorskip("torch")
    from transformers import BertModel

    theirs, report = BertModel.from_pretrained(folder, add_pooling_layer=False, output_loading_info=True)
    assert not any(report.values())
    weights = {name: weight.numpy() for name, weight in theirs.state_dict().items()}
    assert weights.keys() == checkpoint.state_dict(random_bert()).keys()
    for name, tensor in checkpoint.state_dict(random_bert()).items():
        np.testing.assert_array_equal(weights[name], tensor)
    assert torch.get_default_dtype() == torch.float32


def test_bfloat16_kernels_are_exported_in_float32(folder, tmp_path):
    model = load_encoder(folder, compute_dtype="bfloat16")
    checkpoint.save(model, tmp_path / "rounded")
    assert_same(load_encoder(tmp_path / "rounded", compute_dtype="bfloat16"), model)
    assert load_encoder(tmp_path / "rounded").layers.attention.query.kernel.dtype == jnp.float32


def test_task_heads_prefix_and_buffers_are_accepted(folder, random_bert):
    def as_task_model(tensors):
        heads = ("bert.pooler.dense.weight", "cls.predictions.bias", "cls.seq_relationship.weight", "classifier.weight",
                 "qa_outputs.bias")  # fmt: skip
        return {
            **{f"bert.{name}": tensor for name, tensor in tensors.items()},
            **{name: np.zeros(3, np.float32) for name in heads},
            "bert.embeddings.position_ids": np.arange(16)[None],
        }

    rewrite(folder, as_task_model)
    assert_same(load_encoder(folder), random_bert())


def test_pooler_without_prefix_is_accepted(folder, random_bert):
    rewrite(folder, lambda tensors: {**tensors, "pooler.dense.bias": np.zeros(12, np.float32)})
    assert_same(load_encoder(folder), random_bert())


def test_old_names_of_layer_norms_are_accepted(folder, random_bert):
    def old(name):
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    rewrite(folder, lambda tensors: {old(name): tensor for name, tensor in tensors.items()})
    assert_same(load_encoder(folder), random_bert())


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floats_become_float32(folder, random_bert, dtype):
    rewrite(folder, lambda tensors: {name: tensor.astype(dtype) for name, tensor in tensors.items()})
    expected = jax.tree.map(lambda leaf: leaf.astype(dtype).astype(np.float32), random_bert())
    assert_same(load_encoder(folder), expected)


def test_shards(folder, random_bert):
    split_into_shards(folder)
    assert_same(load_encoder(folder), random_bert())


# Prefixes of wrappers ----------------------------------------------------------------------------------------------

WRAPPERS = ["module.", "_orig_mod.", "model.", "module._orig_mod.", "backbone.encoder.", "0.auto_model."]


@pytest.mark.parametrize("inner", ["", "bert."])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_common_prefix_is_read_and_said(folder, random_bert, caplog, wrapper, inner):
    rewrite(folder, lambda tensors: {f"{wrapper}{inner}{name}": values for name, values in tensors.items()})
    with caplog.at_level("INFO", "jaxred"):
        assert_same(load_encoder(folder), random_bert())
    assert f"without their prefix {wrapper!r}" in caplog.text


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_nothing_is_said_of_names_without_a_wrapper(folder, caplog, prefix):
    rewrite(folder, lambda tensors: {f"{prefix}{name}": values for name, values in tensors.items()})
    with caplog.at_level("INFO", "jaxred"):
        load_encoder(folder)
    assert "prefix" not in caplog.text


def test_old_spellings_and_heads_under_a_prefix(folder, random_bert):
    def wrap(tensors):
        old = {n.replace("LayerNorm.weight", "LayerNorm.gamma"): values for n, values in tensors.items()}
        return {**{f"module.bert.{n}": v for n, v in old.items()}, "module.classifier.weight": np.zeros(3, np.float32)}

    rewrite(folder, wrap)
    assert_same(load_encoder(folder), random_bert())


def test_a_missing_weight_under_a_prefix(folder):
    rewrite(folder, lambda tensors: {f"model.{name}": values for name, values in list(tensors.items())[1:]})
    with pytest.raises(UserError, match=r"config\.json describes: [\w.]+ is missing\.$"):
        load_encoder(folder)


def test_two_encoders_under_two_prefixes(folder):
    rewrite(
        folder, lambda tensors: {f"{who}.{n}": v.copy() for n, v in tensors.items() for who in ("query", "passage")}
    )
    with pytest.raises(UserError, match=r"2 encoders, under the prefixes passage\., query\.: save a checkpoint of one"):
        load_encoder(folder)


# Weights that do not fit -------------------------------------------------------------------------------------------


def test_one_error_lists_all_that_differs(folder):
    def change(tensors):
        del tensors["embeddings.LayerNorm.bias"], tensors["encoder.layer.1.output.dense.weight"]
        tensors["encoder.layer.2.output.dense.bias"] = np.zeros(13, np.float32)
        tensors["embeddings.LayerNorm.weight"] = np.zeros(12, np.int64)
        tensors["encoder.layer.3.output.dense.bias"] = tensors["encoder.layer.9.adapter"] = np.zeros(1, np.float32)
        return tensors

    rewrite(folder, change)
    with pytest.raises(UserError) as error:
        load_encoder(folder)
    assert str(error.value) == (
        f"{folder} does not hold the weights that its config.json describes: "
        "encoder.layer.3.output.dense.bias is not a weight of this model; "
        "encoder.layer.9.adapter is not a weight of this model; "
        "embeddings.LayerNorm.bias is missing; "
        "encoder.layer.1.output.dense.weight is missing; "
        "embeddings.LayerNorm.weight has type I64, not one of F64, F32, F16, BF16; "
        "encoder.layer.2.output.dense.bias has shape (13,), not (12,)."
    )


def test_a_long_list_of_differences_is_capped(folder):
    rewrite(folder, lambda tensors: {f"part{i}": np.zeros(1, np.float32) for i in range(500)})
    with pytest.raises(UserError) as error:
        load_encoder(folder)
    assert "part0 is not a weight of this model" in str(error.value)
    assert "and so for 497 more names" in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "model.safetensors.index.json"])
def test_a_git_lfs_pointer_is_named(folder, name):
    if "index" in name:
        (folder / "model.safetensors").unlink()
    (folder / name).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{64 * '0'}\nsize 90868376\n")
    with pytest.raises(UserError, match=rf"{name} is a git-lfs pointer .*: run `git lfs pull`"):
        load_encoder(folder)


def test_a_transposed_kernel_is_another_shape(folder):
    name = "encoder.layer.0.output.dense.weight"
    rewrite(folder, lambda tensors: {**tensors, name: np.zeros((20, 12), np.float32)})
    with pytest.raises(UserError, match=rf"{name} has shape \(20, 12\), not \(12, 20\)"):
        load_encoder(folder)


def test_a_weight_under_two_names(folder):
    name = "embeddings.LayerNorm.bias"
    rewrite(folder, lambda tensors: {**tensors, f"bert.{name}": tensors[name]})
    with pytest.raises(UserError, match=rf"holds {name} twice, as (bert\.)?{name} and as (bert\.)?{name}\."):
        load_encoder(folder)


# Files that are not what they should be ---------------------------------------------------------------------------


def test_an_architecture_that_is_not_known(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(
        UserError, match=r"config\.json.* model_type='t5' is not supported: jaxred runs .*bert.*jaxred convert"
    ):
        load_encoder(tmp_path)


@pytest.mark.parametrize("size", [0, 4, 200, -1])
def test_a_truncated_file(folder, size):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=r"model\.safetensors is truncated or not a safetensors file"):
        load_encoder(folder)


# The encoder -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_layers", [0, 2, 3])
def test_load_encoder_cuts(folder, random_bert, n_layers):
    model = load_encoder(folder, n_layers=n_layers)
    assert_same(model, random_bert().first_layers(n_layers))
    assert model.config.n_layers == n_layers


@pytest.mark.parametrize("n_layers", [4, -2])
def test_load_encoder_refuses_layers_that_do_not_exist(folder, n_layers):
    message = rf"config\.encoder\.n_layers={n_layers}: a layer that does not exist; the model has 3"
    with pytest.raises(UserError, match=message):
        load_encoder(folder, n_layers=n_layers)


def test_loading_leaves_nothing_abstract(folder):
    state = nnx.state(load_encoder(folder))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
