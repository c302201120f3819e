from __future__ import annotations

import os
from pathlib import Path

import pytest
from embedpipe.adapters.embedders import machine


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A container's folder of limits, for a process that may run on eight cores."""
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


@pytest.mark.usefixtures("group")
def test_without_a_limit_the_cores_are_those_it_may_run_on() -> None:
    assert machine.cores() == 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("6400000 100000", 8),
        ("0 0", 8),
        ("", 8),
        ("nonsense", 8),
    ],
)
def test_a_container_may_have_less(group: Path, text: str, expected: int) -> None:
    (group / "cpu.max").write_text(text + "\n")

    assert machine.cores() == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", 8), ("300000", 3)])
def test_older_containers_say_it_in_two_files(group: Path, quota: str, expected: int) -> None:
    (group / "cpu").mkdir()
    (group / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
    (group / "cpu" / "cpu.cfs_period_us").write_text("100000\n")

    assert machine.cores() == expected


def test_a_system_without_affinity_counts_all_cores(
    group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)

    assert machine.cores() == 6


@pytest.mark.parametrize(
    ("text", "name", "is_bf16"),
    [
        ("model name\t: A CPU\nflags\t: fpu avx2 avx512f avx512_bf16\n\n", "avx512_bf16", True),
        ("model name\t: A CPU\nflags\t: fpu avx2\n\nmodel name\t: Another\n", "A CPU avx2", False),
    ],
)
def test_a_processor_is_named_with_what_it_can_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str, is_bf16: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "_CPU_INFO", tmp_path / "cpuinfo")

    assert machine.cpu_name().startswith("A CPU avx2")
    assert machine.cpu_name().endswith(name)
    assert machine.has_bf16() is is_bf16


def test_a_processor_that_is_not_told_has_some_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_CPU_INFO", tmp_path / "none")

    assert machine.cpu_name()


def test_the_memory_of_the_process_is_known_where_the_system_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statm = tmp_path / "statm"
    statm.write_text("100 25 3 1 0 9 0\n")
    monkeypatch.setattr(machine, "_STATM", statm)

    assert machine.resident_bytes() == 25 * os.sysconf("SC_PAGE_SIZE")

    monkeypatch.setattr(machine, "_STATM", tmp_path / "none")
    assert machine.resident_bytes() == 0
