import numpy as np
import pytest
from helpers.small_store import N_ROWS, VALUES, write_store
from helpers.tiny_encoder import contents

from jaxred.activations.store import Store
from jaxred.errors import UserError


def test_a_store_can_lie_in_any_kvstore(tmp_path):
    url = tmp_path.as_uri() + "/here"
    np.testing.assert_array_equal(write_store(url).matrix(), VALUES.reshape(N_ROWS, -1))
    assert contents(tmp_path / "here")
    assert Store(tmp_path / "here").ledger == Store(url + "/").ledger


def test_an_unknown_kind_of_storage():
    with pytest.raises(UserError, match=r"Cannot open the activation store nowhere://x"):
        Store("nowhere://x")
