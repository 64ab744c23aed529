"""The vectors of words against a plain loop over sentences in PyTorch, with the tokenizers that users have."""

import json

import numpy as np
import pytest
from helpers.encoder_agreement import randomise
from helpers.tiny_encoder import extract, row_error

from jaxred.config import EncoderConfig, ExtractionConfig, StudyConfig, TaskConfig
from jaxred.data import load_task

N_SENTENCES = 500
MAX_LENGTH = 40  # so that some sentences are truncated
POOLINGS = {"last": lambda span: span[:, -1], "first": lambda span: span[:, 0], "average": lambda span: span.mean(1)}


def small(name, tokenizer_folder, folder):
    """A small random model of PyTorch's, saved beside a real tokenizer."""
    transformers = pytest.importorskip("transformers")
    if name == "bert":
        config = transformers.BertConfig(
            vocab_size=30522, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
        )
        model = transformers.BertModel(config, add_pooling_layer=False)
    else:
        config = transformers.XLNetConfig(vocab_size=32000, d_model=32, n_layer=2, n_head=4, d_inner=48)
        model = transformers.XLNetModel(config)
    model = randomise(model, 0)
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"):
        if (tokenizer_folder / file).is_file():
            (folder / file).write_bytes((tokenizer_folder / file).read_bytes())
    assert json.loads((folder / "config.json").read_text())["model_type"] == name
    return model


def plain_loop(model, folder, sentences, pooling):
    """A row for every word all of whose tokens are there: [row, layer, neuron], and (sentence, word) of each."""
    torch = pytest.importorskip("torch")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows, places = [], []
    for number, sentence in enumerate(sentences):
        words = list(sentence.words)
        options = {"is_split_into_words": True, "return_tensors": "pt", "return_token_type_ids": True}
        whole = tokenizer(words, **options)
        cut = tokenizer(words, truncation=True, max_length=MAX_LENGTH, **options)
        with torch.inference_mode():
            states = model(**cut, output_hidden_states=True).hidden_states
        hidden = torch.stack(states)[:, 0].numpy()
        complete = [word for word in whole.word_ids() if word is not None]
        mine = cut.word_ids()
        for word in sorted(set(complete)):
            at = [position for position, other in enumerate(mine) if other == word]
            if len(at) == complete.count(word):
                rows.append(POOLINGS[pooling](hidden[:, at]))
                places.append((number, word))
    return np.stack(rows), places


@pytest.mark.reference
@pytest.mark.shared
@pytest.mark.parametrize("name", ["bert", "xlnet"])
def test_word_vectors_of_ewt_are_pytorchs(name, request, labelling_data, tmp_path):
    pytest.importorskip("torch")
    fixture = {"bert": "minilm_folder", "xlnet": "xlnet_tokenizer_folder"}[name]
    folder = tmp_path / "encoder"
    folder.mkdir()
    model = small(name, request.getfixturevalue(fixture), folder)
    task = TaskConfig(name="ud_pos", data_dir=str(labelling_data["ud_pos"]))
    sentences = load_task(task).splits["test"][:N_SENTENCES]
    text = tmp_path / "task"
    text.mkdir()
    for split, n in (("train", 5), ("test", N_SENTENCES)):
        blocks = ["".join(map("{}\t{}\n".format, s.words, s.labels)) for s in sentences[:n]]
        (text / f"{split}.tsv").write_text("\n".join(blocks))
    for pooling in POOLINGS:
        config = StudyConfig(
            task=TaskConfig(name="columns", data_dir=str(text), separator="tab", fallback_label="NOUN"),
            encoder=EncoderConfig(path=str(folder)),
            extraction=ExtractionConfig(word_pooling=pooling, max_length=MAX_LENGTH, token_budget=8192),
        )
        store = extract(config, tmp_path / pooling / "activations")["test"]
        rows, places = plain_loop(model, folder, sentences, pooling)
        assert list(zip(store.sentence_index().tolist(), store.word_index().tolist(), strict=True)) == places
        assert store.ledger.notes["words_truncated"] > 0
        n_words = sum(len(sentence.words) for sentence in sentences)
        assert n_words == store.n_rows + store.ledger.notes["words_truncated"]
        labels = [sentences[sentence].labels[word] for sentence, word in places]
        assert store.labels().tolist() == labels
        assert row_error(store.matrix(), rows.reshape(len(rows), -1)) < 2e-6
