import pytest
from helpers.encoder_agreement import random_tiny

from jaxred.models.bert import Bert


@pytest.fixture(scope="session")
def random_bert():
    return lambda: random_tiny(Bert)
