import logging

import pytest

from jaxred.io.artifacts import Artifact, get_or_make, of_files


class Thing:
    """Two files, and how often they were made."""

    def __init__(self, root):
        self.root, self.n_made, self.identity = root, 0, "one"
        self.files = [root / "things" / "a", root / "things" / "b"]

    def make(self):
        self.n_made += 1
        for file in self.files:
            file.parent.mkdir(exist_ok=True)
            file.write_text(self.identity)

    def load(self):
        return self.files[0].read_text() if self.files[0].exists() else None

    def get(self):
        artifact = Artifact(self.root, "thing", self.identity, self.files, self.load, "the thing")
        return get_or_make(artifact, self.make, "it is made again")


@pytest.fixture
def thing(tmp_path):
    return Thing(tmp_path)


def test_it_is_made_once_and_again_for_another_identity(thing, caplog):
    caplog.set_level(logging.INFO, "jaxred")
    assert (thing.get(), thing.get(), thing.n_made) == ("one", "one", 1)
    assert "the thing: kept" in caplog.text
    thing.identity = "other"
    assert (thing.get(), thing.get(), thing.n_made) == ("other", "other", 2)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("damage", [None, "", "onE", "one "])
def test_damage_is_named_and_made_again(thing, caplog, number, damage):
    thing.get()
    file = thing.files[number]
    file.unlink() if damage is None else file.write_text(damage)
    assert thing.get() == "one"
    assert thing.n_made == 2
    assert f"{file} " in caplog.text
    assert "it is made again" in caplog.text


def test_a_lost_or_damaged_note_is_damage(thing):
    thing.get()
    note = thing.root / "digests" / "thing.json"
    note.write_text(note.read_text()[:-5])
    thing.get()
    assert thing.n_made == 2
    note.unlink()
    thing.get()
    assert thing.n_made == 3


def test_what_was_killed_before_its_note_is_made_again(thing, monkeypatch):
    thing.get()
    thing.identity = "other"
    monkeypatch.setattr("jaxred.io.digests.record", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        thing.get()
    monkeypatch.undo()
    assert thing.get() == "other"
    assert thing.n_made == 3


def test_files_of_which_nothing_is_loaded_are_known_by_their_note(tmp_path, caplog):
    file, other, made = tmp_path / "figure", tmp_path / "other", []

    def make():
        made.append(1)
        for path in (file, other):
            path.write_text("drawn")
        return [other]

    def get(identity, force=False):
        assert get_or_make(of_files(tmp_path, "figure", identity, [file]), make, "it is drawn again", force)
        return len(made)

    assert (get("one"), get("one"), get("two"), get("two"), get("two", force=True)) == (1, 1, 2, 2, 3)
    assert not caplog.text
    other.write_text("by hand")
    assert get("three") == 4
    assert f"{other} " in caplog.text
    assert "it is drawn again" in caplog.text
    file.unlink()
    assert get("three") == 5
    assert f"{file} is missing" in caplog.text
