"""What a benchmark's numbers are numbers of."""

import platform
from pathlib import Path
from typing import Any

import jax

from jaxred.io.memory import available_bytes
from jaxred.io.processors import n_cores


def describe() -> dict[str, Any]:
    """Processor, cores, free memory, device and versions, for the benchmark's JSON."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = [
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "cores": n_cores(),
        "available_gigabytes": round(min(available_bytes(), 2**60) / 1e9, 1),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
    }
