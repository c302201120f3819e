"""What of this machine the process may use."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
_STATM = Path("/proc/self/statm")
_CGROUP = Path("/sys/fs/cgroup")
_NAME_KEYS = ("model name", "Hardware", "Processor", "CPU part")


def cores() -> int:
    """Give how many cores the process may use: its affinity, and its container's share of time."""
    try:
        number = len(os.sched_getaffinity(0))
    except AttributeError:
        number = os.cpu_count() or 1
    quota = _quota()
    return number if quota is None else max(1, min(number, math.ceil(quota)))


def cpu_name() -> str:
    """Give the name of the processor with what it can do, as far as it is told."""
    try:
        lines = _CPU_INFO.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    told = dict(reversed([_pair(line) for line in lines if ":" in line]))
    name = next((told[key] for key in _NAME_KEYS if key in told), platform.processor())
    # A virtual machine's processor may have one name and fewer instructions.
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in _flags(told)]
    return " ".join([name or platform.machine(), *wide])


def has_bf16() -> bool:
    """Say whether the processor computes with bfloat16 itself."""
    return any(flag in cpu_name().split() for flag in ("avx512_bf16", "amx_bf16"))


def resident_bytes() -> int:
    """Give the memory that the process takes, 0 where that is not told."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _quota() -> float | None:
    """Give the cores' worth of time that the container may use, None where it is not limited."""
    try:
        limit, period = (_CGROUP / "cpu.max").read_text().split()
    except (OSError, ValueError):
        limit, period = _quota_v1()
    if not limit.isdecimal() or not period.isdecimal() or not int(period):
        return None
    return int(limit) / int(period)


def _quota_v1() -> tuple[str, str]:
    try:
        folder = _CGROUP / "cpu"
        limit = (folder / "cpu.cfs_quota_us").read_text().strip()
        return limit, (folder / "cpu.cfs_period_us").read_text().strip()
    except OSError:
        return "", ""


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()


def _flags(told: dict[str, str]) -> set[str]:
    return set(told.get("flags", told.get("Features", "")).split())
