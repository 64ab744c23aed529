from pathlib import Path

import pytest

from jaxred.io import memory
from jaxred.io.memory import available_bytes

INFINITE = float("inf")


@pytest.fixture
def system(monkeypatch, tmp_path):
    """Writes what a system says of itself, by path."""
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def group(folder, limit, usage, of_files, version=2):
    """The files of a control group; a third of the pages of files has been used of late."""
    names = memory._VERSION_1 if version == 1 else memory._VERSION_2
    stat = f"cache 99\n{names[2][0]} {of_files - of_files // 3}\n{names[2][1]} {of_files // 3}\nshmem 7\n"
    return {f"{folder}/{names[0]}": f"{limit}\n", f"{folder}/{names[1]}": f"{usage}\n", f"{folder}/memory.stat": stat}


FREE = {"meminfo": "MemTotal:  99 kB\nMemFree:  5 kB\nMemAvailable:     10 kB\n"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FREE["meminfo"], 10240),
        ("MemTotal:  99 kB\n", INFINITE),
        ("MemAvailable:  much kB\n", INFINITE),
    ],
)
def test_free_memory_is_what_the_system_says_is_available(system, text, expected):
    system({"meminfo": text})
    assert available_bytes() == expected


def test_a_system_that_says_nothing_sets_no_limit(system):
    assert available_bytes() == INFINITE


def test_a_container_leaves_its_limit_less_what_is_used_but_for_pages_of_files(system):
    system(FREE | {"own": "0::/\n"} | group("groups", 8000, 5000, 3000))
    assert available_bytes() == 6000


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("inner", "outer", "expected"), [(4000, 9000, 3000), (9000, 4000, 2000), ("max", "max", 10240)]
)
def test_the_least_that_a_group_or_one_around_it_leaves(system, version, inner, outer, expected):
    if version == 1:  # which says a number larger than any memory
        inner, outer = (2**63 - 4096 if limit == "max" else limit for limit in (inner, outer))
    root = "groups/memory" if version == 1 else "groups"
    own = "5:cpu,cpuacct:/other\n4:memory:/slurm/job\n" if version == 1 else "0::/slurm/job\n"
    system(FREE | {"own": own})
    system(group(f"{root}/slurm/job", inner, 1300, 300, version) | group(f"{root}/slurm", outer, 2300, 300, version))
    system(group(f"{root}/other", 1, 1, 0, version))
    assert available_bytes() == expected


def test_in_a_container_the_own_group_may_be_the_root(system):
    system(
        FREE | {"own": "4:memory:/docker/0123\n0::/docker/0123\n"} | group("groups/memory", 3000, 1000, 0, version=1)
    )
    assert available_bytes() == 2000


@pytest.mark.parametrize("own", ["", "nothing\n", "0::\n", "a:b", ":::::", "0::/../../..\n"])
def test_what_cannot_be_read_sets_no_limit(system, own):
    system(
        FREE | {"own": own, "groups/memory.max": "much\n", "groups/memory.current": "1\n", "groups/memory.stat": "a"}
    )
    assert available_bytes() == 10240


def test_groups_end_at_their_root(system):
    system(FREE | {"own": "0::/\n"} | group(".", 10, 5, 0))
    system({"groups/memory.max": "10", "groups/memory.current": "5", "groups/memory.stat": "cache 1\n"})
    assert available_bytes() == 10240


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux says what is free")
def test_this_machine_has_free_memory():
    assert 2**20 < available_bytes() < INFINITE
