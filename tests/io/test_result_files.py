import json

import numpy as np
import pytest

from jaxred.errors import UserError
from jaxred.io.result_files import FORMAT, fingerprint, load_result, plain, save_result


def test_a_result_comes_back(tmp_path):
    path = tmp_path / "results" / "pipeline.json"
    content = {"scores": {"oracle": 0.5}, "neurons": [3, 1, 2], "name": "Grüße", "done": True}
    save_result(path, "ab12", content)
    saved = load_result(path, "ab12")
    assert saved == {"format": FORMAT, "identity": "ab12", **content}
    assert load_result(path) == saved
    save_result(path, "cd34", {"scores": {}})
    assert load_result(path, "cd34") == {"format": FORMAT, "identity": "cd34", "scores": {}}
    assert [file.name for file in path.parent.iterdir()] == ["pipeline.json"]


def test_no_flipped_bit_is_read_as_another_result(tmp_path):
    path = tmp_path / "result.json"
    save_result(path, "ab12", {"scores": [0.25, -1e-7, None, True], "name": "Grüße", "sizes": {"12": 3}})
    saved, whole = load_result(path), path.read_bytes()
    found, said = [], []
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            found.append(load_result(path))
        except UserError as error:
            said.append(str(error))
    assert all(str(path) in sentence for sentence in said)
    assert all(content == saved for content in found)  # such as where a space has become a line break
    assert len(found) < len(whole) / 4


def test_a_result_that_was_laid_out_anew_is_the_same(tmp_path):
    path = tmp_path / "result.json"
    save_result(path, "ab12", {"scores": np.array([0.1, 3], np.float32), "b": {"z": 1, "a": 2}})
    saved = load_result(path)
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert load_result(path) == saved


def test_an_older_result_is_made_again_by_its_stage_and_rejected_by_name_elsewhere(tmp_path):
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps({"format": 1, "identity": "ab12", "n": 3}))
    assert load_result(path, "ab12") is None
    with pytest.raises(UserError, match=r"pipeline\.json is a result of an older version of jaxred"):
        load_result(path)


def test_there_is_no_result(tmp_path):
    assert load_result(tmp_path / "none.json") is None
    assert load_result(tmp_path / "none.json", "ab12") is None


def test_a_result_of_something_else_is_none(tmp_path):
    save_result(tmp_path / "result.json", "ab12", {})
    assert load_result(tmp_path / "result.json", "ab13") is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, np.float32(np.nan)])
def test_what_json_cannot_say_is_null(tmp_path, bad):
    save_result(
        tmp_path / "result.json", "ab12", {"r": bad, "all": [1.5, bad], "array": np.array([[bad], [2]]), "t": (bad,)}
    )

    def refuse(name):
        raise AssertionError(name)

    saved = json.loads((tmp_path / "result.json").read_text(), parse_constant=refuse)
    assert len(saved.pop("digest")) == 64
    assert saved == {
        "format": FORMAT,
        "identity": "ab12",
        "r": None,
        "all": [1.5, None],
        "array": [[None], [2.0]],
        "t": [None],
    }


@pytest.mark.parametrize("text", ["", "{", "nonsense", "\xff\xfe\xff"])
def test_a_damaged_result_is_told(tmp_path, text):
    (tmp_path / "result.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"Cannot read the result .*result\.json \(.+\): delete it and run again\."):
        load_result(tmp_path / "result.json", "ab12")


def test_half_a_result_is_told(tmp_path):
    path = tmp_path / "result.json"
    save_result(path, "ab12", {"scores": [0.25] * 20})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="Cannot read the result"):
        load_result(path, "ab12")


@pytest.mark.parametrize(
    "content", [[], None, 3, "text", {}, {"format": FORMAT}, {"identity": "ab12"}, {"format": 99, "identity": "ab12"}]
)
def test_a_file_that_is_no_result_is_told(tmp_path, content):
    (tmp_path / "result.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="is not a result of this version of jaxred: delete it and run again"):
        load_result(tmp_path / "result.json", "ab12")


def test_a_folder_in_its_place_is_told(tmp_path):
    with pytest.raises(UserError, match="is a folder, but a JSON file is expected there"):
        load_result(tmp_path)
    with pytest.raises(UserError, match="Cannot write"):
        save_result(tmp_path, "ab12", {})


def test_plain_values():
    value = plain(
        {
            1: np.float32(0.5),
            "i": np.int64(3),
            "b": np.bool_(True),
            "t": (1, [2.0]),
            "s": "x",
            "n": None,
            "a": np.eye(2),
        }
    )
    assert value == {"1": 0.5, "i": 3, "b": True, "t": [1, [2.0]], "s": "x", "n": None, "a": [[1, 0], [0, 1]]}
    assert {key: type(item) for key, item in value.items()} == {
        "1": float, "i": int, "b": bool, "t": list, "s": str, "n": type(None), "a": list,
    }  # fmt: skip


def test_fingerprints_tell_contents_apart():
    content = {"probe": {"l1": 1e-5, "l2": 0.0}, "neurons": [1, 2, 3]}
    same = {"neurons": np.array([1, 2, 3]), "probe": {"l2": np.float64(0), "l1": 1e-5}}
    assert fingerprint(content) == fingerprint(same)
    assert len(fingerprint(content)) == 32
    others = [
        {**content, "neurons": [1, 3, 2]}, {**content, "neurons": [1, 2]}, {**content, "neurons": ["1", 2, 3]},
        {**content, "probe": {"l1": 1e-5, "l2": 1e-5}}, {"probe": content["probe"]}, [content], None,
    ]  # fmt: skip
    assert len({fingerprint(other) for other in (content, *others)}) == 1 + len(others)
