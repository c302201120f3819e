from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from embedpipe.adapters.embedders import loading, machine
from embedpipe.adapters.embedders.loading import LoadReport, ModelLoader, fill
from embedpipe.adapters.embedders.onnx import OnnxEmbedder
from embedpipe.adapters.embedders.plan import Plan, Runtime
from embedpipe.adapters.embedders.pool import ModelPool
from embedpipe.adapters.embedders.tuning_file import FOLDER
from embedpipe.domain.tuning import Arm
from embedpipe.errors import (
    EmbedderUnavailableError,
    ModelFilesError,
    ModelUnavailableError,
    NotFoundError,
)
from embedpipe.models.directory import GRAPH, ModelDirectory
from embedpipe.ports.models import Tuning

from tests.tiny_model import MODEL_ID, a_tiny_model, the_tiny_model

CPU = Runtime("cpu", tune_s=0.05)


def a_directory(model_id: str) -> ModelDirectory:
    if model_id != MODEL_ID:
        raise NotFoundError("there is no such model", code="MODEL_NOT_FOUND")
    return the_tiny_model()


def a_loader(models_dir: Path, runtime: Runtime = CPU, **options: Any) -> ModelLoader:
    return ModelLoader(options.pop("directory", a_directory), models_dir, runtime, **options)


def a_plan(**changes: Any) -> Plan:
    cores = changes.pop("cores", 4)
    return Plan(the_tiny_model(), replace(CPU, **changes), cores)


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The measurements that were made, in order; they take no time."""
    made: list[Plan] = []

    def measured(plan: Plan) -> tuple[Tuning, float]:
        made.append(plan)
        return Tuning(64, 7, streams=2, threads=1, tokens_per_s=99.0), 1.0

    monkeypatch.setattr(loading, "measured", measured)
    return made


def test_a_model_is_measured_at_its_first_load_and_not_again(
    tmp_path: Path, measurements: list[Plan]
) -> None:
    reports: list[LoadReport] = []

    first = a_loader(tmp_path, report=reports.append)(MODEL_ID)
    second = a_loader(tmp_path, report=reports.append)(MODEL_ID)

    assert len(measurements) == 1
    assert [report.how for report in reports] == ["measured", "kept"]
    assert first.embedder.tuning == second.embedder.tuning == reports[0].tuning
    assert first.embedder.tuning.tokens_per_s == 99.0
    assert (first.precision, first.device) == ("fp32", "cpu")
    assert reports[0].memory_bytes == first.memory_bytes > 0
    assert reports[0].load_s > reports[0].warm_up_s > 0


@pytest.mark.parametrize(
    "changes", [{"streams": 1}, {"threads": 3}, {"max_batch_tokens": 99}, {"round_tokens": 999}]
)
def test_other_settings_are_measured_anew(
    tmp_path: Path, measurements: list[Plan], changes: dict[str, Any]
) -> None:
    a_loader(tmp_path)(MODEL_ID)

    a_loader(tmp_path, replace(CPU, **changes))(MODEL_ID)

    assert len(measurements) == 2


def test_another_machine_is_measured_anew(
    tmp_path: Path, measurements: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    a_loader(tmp_path)(MODEL_ID)
    monkeypatch.setattr(machine, "cpu_name", lambda: "another processor")

    a_loader(tmp_path)(MODEL_ID)

    assert len(measurements) == 2


def test_without_time_nothing_is_measured_or_kept(tmp_path: Path, measurements: list[Plan]) -> None:
    reports: list[LoadReport] = []

    loaded = a_loader(tmp_path, Runtime("cpu", tune_s=0), report=reports.append)(MODEL_ID)

    assert measurements == []
    assert not (tmp_path / FOLDER).exists()
    assert reports[0].how == "usual"
    assert loaded.embedder.tuning == Tuning(512, 16, 1, machine.cores())


@pytest.mark.usefixtures("measurements")
def test_what_the_largest_batches_take_is_taken_while_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled: list[Any] = []
    monkeypatch.setattr(loading, "fill", filled.append)

    loaded = a_loader(tmp_path)(MODEL_ID)

    assert filled == [loaded.embedder]


@pytest.mark.usefixtures("measurements")
def test_a_folder_that_cannot_be_written_is_reported_and_the_model_works(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file where the folder should be")
    reports: list[LoadReport] = []

    loaded = a_loader(tmp_path, report=reports.append)(MODEL_ID)

    assert reports[0].problem is not None
    assert loaded.embedder.embed([[2, 3]]).shape == (1, loaded.embedder.model.dimensions)


def test_a_real_measurement_gives_what_the_embedder_then_has(tmp_path: Path) -> None:
    loaded = a_loader(tmp_path)(MODEL_ID)

    tuning = loaded.embedder.tuning
    assert tuning.tokens_per_s > 0
    assert tuning.streams * tuning.threads <= machine.cores()
    assert 64 <= tuning.max_batch_tokens <= 4096


def test_damaged_files_make_the_model_unavailable_in_a_pool(tmp_path: Path) -> None:
    directory = a_tiny_model(tmp_path)
    (directory.path / GRAPH).write_bytes(b"not a graph")
    loader = a_loader(tmp_path, Runtime("cpu", tune_s=0), directory=lambda _: directory)
    pool = ModelPool(loader, expect=loader.expect)

    with pytest.raises(ModelUnavailableError, match="not the pinned file"):
        pool.get(MODEL_ID)


def test_a_pool_loads_prepared_models(tmp_path: Path, measurements: list[Plan]) -> None:
    loader = a_loader(tmp_path)
    pool = ModelPool(loader, expect=loader.expect)

    vectors = pool.get(MODEL_ID).embed([[2, 5, 3]])

    [loaded] = pool.loaded()
    assert vectors.shape == (1, the_tiny_model().info.dimensions)
    assert loaded.tuning.tokens_per_s == 99.0
    assert loaded.memory_bytes >= loader.expect(MODEL_ID) > 0
    with pytest.raises(NotFoundError):
        pool.get("another")


# ---------------------------------------------------------------------------------------- the plan


@pytest.mark.parametrize(
    ("changes", "arms"),
    [
        ({}, [Arm(1, 4), Arm(2, 2), Arm(4, 1)]),
        ({"streams": 2}, [Arm(2, 2)]),
        ({"threads": 3}, [Arm(1, 3)]),
        ({"streams": 3, "threads": 2}, [Arm(3, 2)]),
        ({"streams": 9}, [Arm(9, 1)]),
        ({"threads": 9}, [Arm(1, 9)]),
        ({"provider": "cuda"}, [Arm(1, 1), Arm(2, 1)]),
        ({"provider": "cuda", "streams": 3}, [Arm(3, 1)]),
    ],
)
def test_what_is_given_is_not_measured(changes: dict[str, Any], arms: list[Arm]) -> None:
    plan = a_plan(**changes)

    assert plan.space().arms == arms
    assert (plan.usual().streams, plan.usual().threads) == (arms[0].streams, arms[0].threads)


def test_a_given_budget_is_the_only_one() -> None:
    plan = a_plan(max_batch_tokens=777, round_tokens=512)

    space = plan.space()

    assert (space.budgets, space.usual_budget, space.round_tokens) == ([777], 777, 777)
    assert plan.usual().max_batch_tokens == 777


def test_a_cpu_has_small_budgets_and_a_gpu_large_ones() -> None:
    cpu, gpu = a_plan().space(), a_plan(provider="cuda").space()

    assert (cpu.budgets[0], cpu.budgets[-1], cpu.usual_budget) == (64, 4096, 512)
    assert (gpu.budgets[0], gpu.budgets[-1], gpu.usual_budget) == (1024, 262_144, 16_384)


def test_a_buffer_of_any_size_gives_a_mix_that_is_soon_planned() -> None:
    small, large, larger = (a_plan(round_tokens=tokens) for tokens in (999, 10**6, 10**7))

    assert small.space().round_tokens == 999
    assert large.space().round_tokens == 32_768
    assert large.circumstance() == larger.circumstance() != small.circumstance()


def test_a_large_model_is_not_held_several_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedpipe.adapters.embedders.plan._LARGE_GRAPH_BYTES", 10)

    assert a_plan().space().arms == [Arm(1, 4)]


def test_bfloat16_is_not_for_gpus() -> None:
    plan = a_plan(provider="cuda", precision="bf16")

    with pytest.raises(EmbedderUnavailableError, match="cuda has fp16"):
        plan.open(Tuning())


def test_bfloat16_without_its_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "version", absent)

    with pytest.raises(EmbedderUnavailableError, match=r"install embedpipe\[openvino\]"):
        a_plan(precision="bf16").open(Tuning())


@pytest.mark.parametrize(("provider", "precision"), [("cuda", "fp32"), ("cpu", "bf16")])
def test_other_vectors_than_float32_gives_are_refused(provider: Any, precision: str) -> None:
    class Turned(OnnxEmbedder):
        def embed(self, token_ids: Any) -> Any:
            return super().embed(token_ids)[:, ::-1]

    plan = a_plan(provider=provider, precision=precision)

    plan.check(OnnxEmbedder(plan.directory, provider="cpu"))
    with pytest.raises(ModelFilesError, match=f"{precision} on this device is refused"):
        plan.check(Turned(plan.directory, provider="cpu"))


def test_a_model_on_the_cpu_was_judged_when_it_was_prepared() -> None:
    class Never:
        def embed(self, token_ids: Any) -> Any:
            raise AssertionError

    a_plan().check(Never())  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ filling


class Recorder:
    model = the_tiny_model().info
    tuning = Tuning(max_batch_tokens=100, streams=3)

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.sizes: list[tuple[int, int]] = []

    def embed(self, token_ids: Any) -> Any:
        self.sizes.append((len(token_ids), len(token_ids[0])))
        if self.error:
            raise self.error


def test_every_stream_computes_one_batch_of_the_largest_size() -> None:
    embedder = Recorder()

    fill(embedder)

    assert embedder.sizes == [(6, 16)] * 3


def test_memory_for_less_than_that_is_no_failure_and_another_error_is() -> None:
    fill(Recorder(RuntimeError("Failed to allocate memory")))

    with pytest.raises(RuntimeError, match="broken"):
        fill(Recorder(RuntimeError("broken")))
