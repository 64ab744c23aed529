import pytest
from agreement import random_tiny

from jaxred.models.bert import Bert


@pytest.fixture(scope="session")
def random_bert():
    return lambda: random_tiny(Bert)
