import numpy as np
import pytest
import tiny_encoder

from jaxred.errors import UserError
from jaxred.models import checkpoint
from jaxred.models.bert import Bert, BertConfig

TINY = BertConfig(
    vocab_size=37,
    hidden_size=12,
    n_layers=3,
    n_heads=2,
    intermediate_size=20,
    max_position_embeddings=16,
)


@pytest.fixture
def tiny_config():
    return TINY


@pytest.fixture(scope="session")
def random_bert():
    """A BERT whose every parameter, biases and norms included, is random and matters."""

    def build(config=TINY, seed=0):
        return tiny_encoder.random_encoder(Bert, config, seed)

    return build


@pytest.fixture(scope="session")
def random_batch():
    """Ids, mask and token types of sentence pairs of random lengths, the first row full."""

    def build(config=TINY, n_rows=4, n_tokens=9, seed=0):
        rng = np.random.default_rng(seed)
        ids = rng.integers(0, config.vocab_size, (n_rows, n_tokens)).astype(np.int32)
        lengths = np.append(n_tokens, rng.integers(1, n_tokens + 1, n_rows - 1))
        mask = np.arange(n_tokens) < lengths[:, None]
        types = (np.arange(n_tokens) >= lengths[:, None] // 2).astype(np.int32) % config.type_vocab_size
        return ids, mask, types

    return build


@pytest.fixture(scope="session")
def minilm_folder():
    try:
        return checkpoint.resolve("all-MiniLM-L6-v2")
    except UserError as error:
        pytest.skip(str(error))
