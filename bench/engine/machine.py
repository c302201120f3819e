"""Which machine a figure was taken on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_PACKAGES = ("onnxruntime", "tokenizers", "numpy")


def describe() -> dict[str, Any]:
    """Give what makes figures differ: cores, their kind, versions, and who else is at work."""
    cpu = _cpu()
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "arch": platform.machine(),
        "cpu": cpu.get("model name", "unknown"),
        "flags": [flag for flag in _FLAGS if flag in cpu.get("flags", "").split()],
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "load_before": round(os.getloadavg()[0], 2),
    }


def sentence(machine: dict[str, Any]) -> str:
    """Give it as one line of text."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return (
        f"{machine['cpus']} cores ({machine['cpu']}, {machine['arch']}; "
        f"{', '.join(machine['flags'])}), Python {machine['python']}, {versions}; "
        f"load {machine['load_before']} before the run"
    )


def _cpu() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().split("\n\n")[0].splitlines() if path.exists() else []
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
