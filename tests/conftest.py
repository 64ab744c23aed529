import pytest
import tiny_encoder


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory):
    """A Hugging Face folder with a tiny random BERT and its vocabulary."""
    return tiny_encoder.write_encoder(tmp_path_factory.mktemp("encoder"))
