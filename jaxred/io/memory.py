"""How much memory a process may still take: what the machine has free, and what its container or batch job leaves."""

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_OWN_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
# Names of a control group's limit, of what it uses, and of the pages of files that it can give back at once.
_VERSION_1 = "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")
_VERSION_2 = "memory.max", "memory.current", ("inactive_file", "active_file")


def available_bytes() -> float:
    """The memory that is free for this process; infinite where it is unknown.

    The least of what is free on the machine and of what the limits of the process's control groups leave, which are
    how Docker, Kubernetes, Slurm and systemd share machines.
    """
    return min([_free_on_machine(), *(_left_in_group(folder, version) for folder, version in _groups())])


def _free_on_machine() -> float:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        return 1024 * float(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    except (OSError, StopIteration, ValueError):
        return float("inf")


def _groups() -> list[tuple[Path, tuple[str, str, tuple[str, str]]]]:
    """The folders of this process's control groups that limit memory, and of those that they are in."""
    try:
        lines = _OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    groups = []
    for line in lines:
        _, controllers, group = line.split(":", 2) if line.count(":") > 1 else ("", line, "")
        if controllers and "memory" not in controllers.split(","):
            continue
        root, version = (_GROUPS / "memory", _VERSION_1) if controllers else (_GROUPS, _VERSION_2)
        own = root / group.lstrip("/")  # in a container it may be the name that the machine has for the root
        groups += [(folder, version) for folder in (own, *own.parents) if folder.is_relative_to(root)]
    return groups


def _left_in_group(folder: Path, version: tuple[str, str, tuple[str, str]]) -> float:
    limit, usage, of_files = version
    try:
        total = int((folder / limit).read_text(encoding="ascii"))  # "max", where there is none
        used = int((folder / usage).read_text(encoding="ascii"))
        parts = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        return float(total - used + sum(int(parts[name]) for name in of_files))
    except (OSError, ValueError, KeyError):
        return float("inf")
