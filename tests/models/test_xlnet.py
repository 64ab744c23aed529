import dataclasses
import functools
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import encoder_agreement
from helpers.encoder_agreement import (
    assert_equals_pytorch,
    assert_hugging_face_defaults,
    assert_layers_agree,
    assert_same_vectors,
    assert_same_weights,
    pytorch_hidden_states,
    randomise,
    relative_error,
)
from safetensors.numpy import load_file, save_file

from jaxred.errors import UserError
from jaxred.models import checkpoint, load_encoder
from jaxred.models.tokenization import Tokenizer
from jaxred.models.xlnet import XLNet, XLNetConfig, relative_positions

TINY = encoder_agreement.TINY[XLNet]

forward = jax.jit(XLNet.__call__)
random_xlnet = functools.partial(encoder_agreement.random_tiny, XLNet)
random_batch = functools.partial(encoder_agreement.random_batch, TINY)


# The configuration -------------------------------------------------------------------------------------------------


def test_absent_keys_have_hugging_face_defaults():
    from transformers import XLNetConfig as Theirs

    assert_hugging_face_defaults(XLNetConfig, Theirs())


def test_config_round_trip():
    odd = dataclasses.replace(TINY, attn_type="uni", clamp_len=7, same_length=True, hidden_act="relu", pad_token_id=1)
    assert XLNetConfig.from_dict(odd.to_dict(), Path("config.json")) == odd


def test_the_real_configuration_is_read(xlnet_tokenizer_folder):
    raw = json.loads((xlnet_tokenizer_folder / "config.json").read_text())
    config = XLNetConfig.from_dict(raw, Path("config.json"))
    assert (config.hidden_size, config.n_layers, config.n_heads, config.intermediate_size) == (768, 12, 12, 3072)


@pytest.mark.parametrize(
    "settings",
    [
        {"mem_len": 512, "reuse_len": 256, "use_mems_eval": True, "use_mems_train": True},
        {"dropout": 0.5, "summary_type": "first", "start_n_top": 1},
        {"untie_r": False},
        {"bi_data": False, "d_head": 6, "mem_len": None},
        {"d_head": None},
    ],
)
def test_settings_without_effect_are_accepted(settings):
    assert XLNetConfig.from_dict({**TINY.to_dict(), **settings}, Path("config.json")) == TINY


def test_other_names_of_the_same_settings_are_read():
    names = {"n_token": "vocab_size", "hidden_size": "d_model", "num_hidden_layers": "n_layer"}
    raw = {**TINY.to_dict(), **{name: TINY.to_dict()[key] for name, key in names.items()}}
    for key in names.values():
        del raw[key]
    raw["num_attention_heads"] = raw.pop("n_head")
    assert XLNetConfig.from_dict(raw, Path("config.json")) == TINY


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"bi_data": True}, "bi_data=True is not supported: jaxred runs XLNet with bi_data=False only"),
        ({"attn_type": "both"}, "attn_type='both' is not possible: it must be one of bi, uni"),
        ({"ff_activation": "gelu_novel"}, "ff_activation='gelu_novel' is not possible: it must be one of .*gelu, "),
        ({"d_model": 100, "n_head": 12}, "d_model=100 does not divide into n_head=12"),
        ({"d_model": 9, "n_head": 3}, "d_model=9 is not possible: it must be even"),
        ({"d_head": 32}, "d_head=32 is not possible: it must be d_model / n_head = 64"),
        ({"clamp_len": "far"}, "clamp_len='far' is not possible: it must be a whole number of at least -1"),
        ({"same_length": 1}, "same_length=1 is not possible: it must be true or false"),
        ({"n_layer": -1}, "n_layer=-1 is not possible"),
        ({"layer_norm_eps": 0}, "layer_norm_eps=0 is not possible"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_run_are_named(setting, message):
    with pytest.raises(UserError, match=rf"^some/config\.json: {message}"):
        XLNetConfig.from_dict(setting, Path("some/config.json"))


# Agreement with PyTorch --------------------------------------------------------------------------------------------

CASES = {
    "base": {},
    "one_layer_one_head": {"n_layer": 1, "n_head": 1},
    "three_heads": {"d_model": 18, "n_head": 3, "d_inner": 17, "vocab_size": 41},
    "odd_head": {"d_model": 30, "n_head": 6},
    "head_of_one": {"d_model": 6, "n_head": 6},
    "deep": {"n_layer": 7},
    "wide": {"d_model": 96, "n_head": 8, "d_inner": 200},
    "several_blocks": {"d_model": 256, "n_head": 4, "d_inner": 500, "n_layer": 2},
    "relu_eps": {"ff_activation": "relu", "layer_norm_eps": 1e-5},
    "large_eps": {"layer_norm_eps": 0.1},
    "gelu_new": {"ff_activation": "gelu_new"},
    "silu": {"ff_activation": "silu"},
    "clamp_1": {"clamp_len": 1},
    "clamp_3": {"clamp_len": 3},
    "clamp_beyond": {"clamp_len": 50},
    "clamp_0_clamps_nothing": {"clamp_len": 0},
    "uni": {"attn_type": "uni"},
    "uni_clamped": {"attn_type": "uni", "clamp_len": 2, "n_head": 2},
    "uni_same_length": {"attn_type": "uni", "same_length": True},
    "bi_same_length": {"same_length": True},
    "tied": {"untie_r": False},
    "tied_clamped": {"untie_r": False, "clamp_len": 4, "n_head": 2},
    "tied_uni": {"untie_r": False, "attn_type": "uni"},
    "memories_unused": {"mem_len": 3, "reuse_len": 2},
    "one_token": {"tokens": 1},
    "two_tokens": {"tokens": 2},
    "long": {"tokens": 67, "n_layer": 2},
    "long_clamped": {"tokens": 67, "n_layer": 2, "clamp_len": 20},
}


@pytest.mark.reference
@pytest.mark.parametrize("case", CASES)
def test_every_layer_equals_pytorch(case, tmp_path):
    pytest.importorskip("torch")
    from transformers import XLNetConfig as TheirConfig
    from transformers import XLNetModel

    settings = {"vocab_size": 60, "d_model": 24, "n_layer": 3, "n_head": 4, "d_inner": 40, "tokens": 11, **CASES[case]}
    seed, n_tokens = list(CASES).index(case), settings.pop("tokens")
    theirs = randomise(XLNetModel(TheirConfig(**settings)), seed)
    if not settings.get("untie_r", True):
        for layer in theirs.layer[1:]:
            for name in ("r_w_bias", "r_r_bias", "r_s_bias"):
                getattr(layer.rel_attn, name).data.copy_(getattr(theirs.layer[0].rel_attn, name).data)
    theirs.save_pretrained(tmp_path)
    ours = load_encoder(tmp_path)
    batch = encoder_agreement.random_batch(ours.config, n_rows=5, n_tokens=n_tokens, seed=seed)
    # With attn_type uni and a mask, transformers 5.23 adds a batch's masks into the mask of one row, and fails.
    expected = pytorch_hidden_states(theirs, batch, rows_alone=ours.config.attn_type == "uni")
    found = forward(ours, *batch)
    assert_layers_agree(found, expected, batch[1], 2e-6)
    assert_layers_agree(found, expected, np.ones_like(batch[1]), 2e-6)  # at padding too


@pytest.fixture(scope="module")
def full_size(tmp_path_factory, xlnet_tokenizer_folder):
    """PyTorch's XLNet of xlnet-base-cased's size with random weights, jaxred's, and the real tokenizer."""
    torch = pytest.importorskip("torch")
    from transformers import XLNetConfig as TheirConfig
    from transformers import XLNetModel

    torch.manual_seed(0)
    theirs = XLNetModel(TheirConfig.from_pretrained(xlnet_tokenizer_folder)).eval()  # as it is initialised
    folder = tmp_path_factory.mktemp("full_size")
    theirs.save_pretrained(folder)
    ours = load_encoder(folder)
    return theirs, ours, Tokenizer(xlnet_tokenizer_folder, ours.config)


@pytest.mark.reference
@pytest.mark.shared
@pytest.mark.parametrize("task", ["sst2", "mrpc", "rte"])
def test_full_size_equals_pytorch_on_real_sentences(full_size, glue_dev, task):
    theirs, ours, tokenizer = full_size
    examples = glue_dev[task][:40:4]
    pairs = None if examples[0].pair is None else [example.pair for example in examples]
    tokens = tokenizer.encode([example.text for example in examples], pairs, max_length=128)
    batch = tokenizer.pad(tokens, range(len(examples)), length=int(tokens.lengths.max()) + 3, n_rows=len(examples))
    expected, found = pytorch_hidden_states(theirs, batch), np.asarray(forward(ours, *batch[:3]))
    assert_layers_agree(found, expected, batch.attention_mask, 1e-5)
    assert_layers_agree(found, expected, (slice(None), -1), 1e-5)  # <cls>


@pytest.mark.reference
@pytest.mark.shared
def test_full_size_same_vectors_alone_in_a_batch_and_padded(full_size, glue_dev):
    _, ours, tokenizer = full_size
    tokens = tokenizer.encode([glue_dev["mrpc"][0].text], [glue_dev["mrpc"][0].pair or ""], max_length=128)
    batches = ((1, 0, 128), (4, 2, tokens.ids[0].size), (3, 1, 128))
    assert_same_vectors(ours, tokens.ids[0], tokens.token_type_ids[0], batches)


# Positions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attn_type", ["bi", "uni"])
@pytest.mark.parametrize("clamp_len", [-1, 0, 4])
def test_relative_positions_are_sines_and_cosines_of_distances(attn_type, clamp_len):
    n = 9
    encodings = relative_positions(dataclasses.replace(TINY, attn_type=attn_type, clamp_len=clamp_len), n)
    distances = np.arange(n, -1 if attn_type == "uni" else -n, -1)
    assert len(encodings) == len(distances) == (n + 1 if attn_type == "uni" else 2 * n)
    distances = np.clip(distances, -clamp_len, clamp_len) if clamp_len > 0 else distances
    angles = distances[:, None] / 10000 ** (np.arange(0, 12, 2) / 12)
    np.testing.assert_allclose(encodings, np.concatenate([np.sin(angles), np.cos(angles)], 1), rtol=0, atol=2e-6)


@pytest.mark.reference
@pytest.mark.parametrize("size", [12, 768, 1024])
def test_relative_positions_are_pytorchs_at_any_distance(size):
    """To the last bits of float32, where an encoding of exact frequencies is 3e-5 away."""
    torch = pytest.importorskip("torch")
    from transformers import XLNetConfig as TheirConfig
    from transformers import XLNetModel

    theirs = XLNetModel(TheirConfig(vocab_size=5, d_model=size, n_layer=0, n_head=2, d_inner=4))
    expected = theirs.relative_positional_encoding(512, 512)[:, 0].numpy()
    found = relative_positions(dataclasses.replace(TINY, hidden_size=size), 512)
    assert torch.get_default_dtype() == torch.float32
    assert relative_error(found, expected) <= 2e-6


# What must not change a sentence's vectors -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [{"clamp_len": 4}, {"attn_type": "uni"}, {"hidden_size": 384, "n_heads": 6, "intermediate_size": 1536}],
    ids=["tiny", "uni", "wide"],
)
def test_same_vectors_alone_in_a_batch_and_padded(fields):
    ids, _, types = random_batch(n_tokens=23)
    batches = ((8, 3, 24), (3, 1, 128)) if "hidden_size" in fields else ((4, 3, 23), (1, 0, 32))
    assert_same_vectors(random_xlnet(**fields), ids[0], types[0], batches)


def test_only_whether_segments_differ_matters():
    ids, mask, types = random_batch()
    found = forward(random_xlnet(), ids, mask, np.array([7, 3, 5, 0, 1], np.int32)[types])
    np.testing.assert_array_equal(found, forward(random_xlnet(), ids, mask, types))


def test_with_attention_to_what_came_before_later_tokens_do_not_matter():
    ids, mask, types = random_batch()
    changed = ids.copy()
    changed[:, -1] = (ids[:, -1] + 1) % 37
    model = random_xlnet(attn_type="uni")
    before, after = (np.asarray(forward(model, x, mask, types)) for x in (ids, changed))
    np.testing.assert_array_equal(before[:, :, :-1], after[:, :, :-1])
    assert not np.array_equal(before[:, :, -1], after[:, :, -1])


# Parameters and checkpoints ----------------------------------------------------------------------------------------


def test_number_of_parameters():
    layer = 5 * 12 * 12 + 3 * 12 + 2 * 12 + 2 * (12 + 12) + (12 * 20 + 20) + (20 * 12 + 12)
    assert random_xlnet().n_parameters(2) == 37 * 12 + 2 * layer


def test_layer_0_is_the_word_embeddings():
    model, (ids, mask, types) = random_xlnet(), random_batch()
    np.testing.assert_array_equal(forward(model, ids, mask, types)[0], model.embeddings.word.embedding[ids])


def test_tensors_are_shaped_as_hugging_face_has_them(tmp_path):
    checkpoint.save(random_xlnet(), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    assert len(tensors) == 1 + 3 * 17
    assert tensors["layer.1.rel_attn.q"].shape == tensors["layer.1.rel_attn.o"].shape == (12, 2, 6)
    assert tensors["layer.2.ff.layer_1.weight"].shape == (20, 12)


@pytest.mark.parametrize("n_shards", [1, 3])
def test_prefix_heads_and_shards_are_accepted(tmp_path, n_shards):
    checkpoint.save(random_xlnet(), tmp_path)
    heads = ("lm_loss.weight", "lm_loss.bias", "sequence_summary.summary.weight", "logits_proj.bias",
             "classifier.weight", "qa_outputs.bias", "start_logits.dense.bias", "end_logits.LayerNorm.weight",
             "answer_class.dense_0.weight", "transformer.mask_emb")  # fmt: skip
    tensors = {f"transformer.{name}": tensor for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    tensors |= {name: np.zeros(3, np.float32) for name in heads}
    (tmp_path / "model.safetensors").unlink()
    files = [f"model-{i}.safetensors" for i in range(n_shards)]
    weight_map = {name: files[i % n_shards] for i, name in enumerate(tensors)}
    for file in files:
        save_file({name: tensor for name, tensor in tensors.items() if weight_map[name] == file}, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert_same_weights(load_encoder(tmp_path), random_xlnet())


@pytest.mark.reference
@pytest.mark.parametrize("head", ["XLNetLMHeadModel", "XLNetForSequenceClassification", "XLNetForQuestionAnswering"])
def test_models_with_heads_as_transformers_saves_them(tmp_path, head):
    pytest.importorskip("torch")
    import transformers

    theirs = transformers.XLNetConfig(vocab_size=37, d_model=12, n_layer=3, n_head=2, d_inner=20)
    model = randomise(getattr(transformers, head)(theirs), seed=1)
    model.save_pretrained(tmp_path)
    batch = random_batch()
    expected = pytorch_hidden_states(model.transformer, batch)
    assert relative_error(forward(load_encoder(tmp_path), *batch), expected) <= 2e-6


@pytest.mark.reference
def test_export_is_read_by_transformers(tmp_path):
    pytest.importorskip("torch")
    from transformers import XLNetModel

    checkpoint.save(random_xlnet(), tmp_path)
    theirs, report = XLNetModel.from_pretrained(tmp_path, output_loading_info=True)
    assert set(report.pop("missing_keys")) == {"mask_emb"}  # of the second stream, which jaxred does not have
    assert not any(report.values())
    batch = random_batch()
    assert relative_error(forward(random_xlnet(), *batch), pytorch_hidden_states(theirs.eval(), batch)) <= 2e-6


def test_the_weights_of_another_architecture_are_refused(tmp_path, encoder_folder):
    checkpoint.save(random_xlnet(), tmp_path)
    (tmp_path / "model.safetensors").write_bytes((encoder_folder / "model.safetensors").read_bytes())
    with pytest.raises(UserError) as error:
        load_encoder(tmp_path)
    assert "embeddings.LayerNorm.bias is not a weight of this model" in str(error.value)
    assert "layer.0.ff.layer_1.bias is missing" in str(error.value)


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(20))
def test_random_configurations_equal_pytorch(seed, tmp_path):
    pytest.importorskip("torch")
    import transformers

    rng = np.random.default_rng(seed)
    n_heads = int(rng.integers(1, 6))
    config = transformers.XLNetConfig(
        vocab_size=int(rng.integers(20, 60)),
        d_model=2 * n_heads * int(rng.integers(1, 5)),
        n_layer=int(rng.integers(1, 5)),
        n_head=n_heads,
        d_inner=int(rng.integers(1, 50)),
        ff_activation=str(rng.choice(["gelu", "relu", "gelu_new", "silu"])),
        attn_type="bi",  # with uni, PyTorch takes no batches
        clamp_len=int(rng.choice([-1, -1, 5])),
    )
    assert_equals_pytorch(transformers.XLNetModel(config), tmp_path, seed, padding_side="left")
