import pytest
from agreement import random_tiny

from jaxred import pretrained
from jaxred.errors import UserError
from jaxred.models.bert import Bert


@pytest.fixture(scope="session")
def random_bert():
    return lambda: random_tiny(Bert)


@pytest.fixture(scope="session")
def minilm_folder():
    try:
        return pretrained.resolve("all-MiniLM-L6-v2")
    except UserError as error:
        pytest.skip(str(error))
