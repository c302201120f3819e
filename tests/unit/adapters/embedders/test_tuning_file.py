from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from embedpipe.adapters.embedders.tuning_file import FOLDER, Circumstance, TuningFiles
from embedpipe.ports.models import Tuning

TUNING = Tuning(max_batch_tokens=256, overhead_tokens=20, streams=2, threads=1, tokens_per_s=9876.5)
HERE = Circumstance(
    model_id="all-MiniLM-L6-v2",
    fingerprint="f" * 64,
    graph_sha256="a" * 64,
    precision="fp32",
    provider="cpu",
    runtime="onnxruntime 1.31.1",
    device="Some CPU avx2",
    cores=2,
    given="",
)


def a_text(**changes: Any) -> str:
    return json.dumps(
        {"circumstance": asdict(HERE), "tuning": asdict(TUNING), "share": 1.0, **changes}
    )


def the_file(models_dir: Path) -> Path:
    [path] = (models_dir / FOLDER).iterdir()
    return path


def test_what_is_kept_is_given_again(tmp_path: Path) -> None:
    files = TuningFiles(tmp_path)

    assert files.write(HERE, TUNING) is None

    assert TuningFiles(tmp_path).read(HERE) == TUNING
    assert files.all() == [(asdict(HERE), TUNING)]
    assert the_file(tmp_path).name.startswith("all-MiniLM-L6-v2.cpu.fp32.")


def test_nothing_kept_gives_nothing(tmp_path: Path) -> None:
    files = TuningFiles(tmp_path / "not there")

    assert files.read(HERE) is None
    assert files.all() == []


@pytest.mark.parametrize("name", [name for name in asdict(HERE) if name != "cores"])
def test_another_circumstance_is_another_measurement(tmp_path: Path, name: str) -> None:
    files = TuningFiles(tmp_path)
    files.write(HERE, TUNING)
    changes: dict[str, Any] = {name: "other"}

    assert files.read(replace(HERE, **changes)) is None
    assert files.read(replace(HERE, cores=3)) is None
    assert files.read(HERE) == TUNING


def test_a_later_measurement_takes_the_place_of_an_earlier(tmp_path: Path) -> None:
    files = TuningFiles(tmp_path)
    files.write(HERE, TUNING)

    files.write(HERE, replace(TUNING, streams=1))

    assert files.read(HERE) == replace(TUNING, streams=1)
    assert the_file(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "{}",
        a_text(tuning={**asdict(TUNING), "streams": 0}),
        a_text(tuning={**asdict(TUNING), "streams": "2"}),
        a_text(tuning={**asdict(TUNING), "more": 1}),
        a_text(share=1.5),
        a_text(circumstance={**asdict(HERE), "cores": 3}),
        a_text()[:-9],
    ],
)
def test_a_file_that_is_damaged_or_of_something_else_counts_as_none(
    tmp_path: Path, text: str
) -> None:
    files = TuningFiles(tmp_path)
    files.write(HERE, TUNING)
    the_file(tmp_path).write_text(text)

    assert files.read(HERE) is None
    assert files.all() == [] or '"cores": 3' in text


@pytest.mark.parametrize(
    ("share", "age_s", "is_given"),
    [(1.0, 1e9, True), (0.85, 1e9, True), (0.5, 1800, True), (0.5, 7200, False)],
)
def test_what_was_measured_on_a_busy_machine_is_not_kept_for_good(
    tmp_path: Path, share: float, age_s: float, is_given: bool
) -> None:
    TuningFiles(tmp_path).write(HERE, TUNING, share=share)

    later = TuningFiles(tmp_path, now=lambda: the_file(tmp_path).stat().st_mtime + age_s)

    assert later.read(HERE) == (TUNING if is_given else None)


def test_a_folder_that_cannot_be_written_is_told_and_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file where the folder should be")
    files = TuningFiles(tmp_path)

    problem = files.write(HERE, TUNING)

    assert problem is not None
    assert problem.startswith("what was measured is not kept: ")
    assert files.read(HERE) is None


def test_a_write_that_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    files = TuningFiles(tmp_path)
    monkeypatch.setattr(Path, "replace", fail)

    problem = files.write(HERE, TUNING)

    assert problem == "what was measured is not kept: No space left on device"
    assert list((tmp_path / FOLDER).iterdir()) == []
