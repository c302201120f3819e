"""`embedpipe plan`: what it prints, what it takes, and that its books say where they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from embedpipe.cli.main import app
from embedpipe.cli.plan.books import BookError, load, shipped
from typer.testing import CliRunner

from bench.service_times import Load, figures

ROOT = Path(__file__).parents[3]
RUNNER = CliRunner()


def planned(*arguments: str) -> dict[str, Any]:
    result = RUNNER.invoke(app, ["plan", "--documents", "100000", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def template() -> dict[str, Any]:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda *_: None)
    read = yaml.load((ROOT / "template.yaml").read_text(), Loader)
    return dict(read["Resources"])


def test_tables_say_what_each_component_needs_and_costs() -> None:
    result = RUNNER.invoke(app, ["plan", "--documents", "100000", "--tokens", "800"])

    assert result.exit_code == 0
    for word in ("chunk", "GPU instance", "Aurora capacity", "NAT gateway", "total", "Cheaper"):
        assert word in result.stdout
    assert "ChunkMaximumConcurrency=2" in result.stdout
    assert "Assumed" in result.stdout


def test_sources_are_printed_when_asked_for() -> None:
    result = RUNNER.invoke(app, ["plan", "--documents", "1", "--sources"])

    assert "gpu_tokens_per_s" in result.stdout
    assert "no GPU was at hand" in result.stdout


def test_json_has_the_total_of_its_lines() -> None:
    made = planned()

    total = sum(line["monthly_usd"] for line in made["lines"])
    assert made["monthly_usd"] == pytest.approx(total)
    assert sum(made["components"].values()) == pytest.approx(total)


def test_documents_of_a_day_are_a_month_s_thirtieth() -> None:
    made = planned("--per", "day")

    assert made["workload"]["documents"] == pytest.approx(100_000 * 730 / 24)


def test_what_is_assumed_is_marked_with_its_reason() -> None:
    assumed = planned()["assumed"]

    assert "no GPU was at hand" in assumed["gpu_tokens_per_s"]["assumption"]


def test_a_plan_that_cannot_be_kept_says_so() -> None:
    made = planned("--slo", "0.1", "--tokens", "100000")

    assert made["possible"] is False


def test_an_overlap_as_large_as_a_chunk_is_refused() -> None:
    result = RUNNER.invoke(app, ["plan", "--documents", "1", "--overlap", "256"])

    assert result.exit_code == 2
    assert "--overlap must be smaller" in result.stderr


def test_figures_of_yours_take_the_place_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"gpu_tokens_per_s": 1000, "chunk_ms": {"value": 9, "unit": "ms"}}))

    made = planned("--measured", str(path))

    assert made["embedding"]["tokens_per_s"] == 1000
    assert "gpu_tokens_per_s" not in made["assumed"]


def test_what_the_benchmark_writes_is_taken(tmp_path: Path) -> None:
    loads = [
        Load(500, 1, tokens=140, chunks=1, batches=1, store_ms=1.5, row_bytes=4600),
        Load(8000, 1, tokens=2560, chunks=11, batches=1, store_ms=3.5, row_bytes=47_000),
    ]
    path = tmp_path / "service_times.json"
    path.write_text(json.dumps({"loads": [], "figures": figures(loads)}))

    found = load(path).figures

    assert found["store_ms_per_chunk"] == 0.2
    assert found.row("row_bytes_per_chunk").source.startswith("bench.service_times on ")


def test_dearer_regions_leave_alone_what_is_no_price() -> None:
    usual, dearer = load().prices, load(price_factor=1.2).prices

    assert dearer["secrets"] == pytest.approx(1.2 * usual["secrets"])
    assert dearer["sqs_requests_free"] == usual["sqs_requests_free"]
    assert dearer["managed_instances_fee"] == usual["managed_instances_fee"]


@pytest.mark.parametrize("text", ["gpu_tokens: 3\n", "[]\n", "chunk_ms: many\n", "{\n"])
def test_a_file_that_cannot_be_meant_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)

    with pytest.raises(BookError):
        load(path)
    result = RUNNER.invoke(app, ["plan", "--documents", "1", "--figures", str(path)])
    assert result.exit_code == 2


@pytest.mark.parametrize("name", ["figures.yaml", "prices.yaml"])
def test_every_row_has_a_unit_a_source_and_a_date(name: str) -> None:
    book = shipped(name)

    for key in book:
        row = book.row(key)
        assert row.value >= 0, key
        assert row.unit, key
        assert len(row.source) > 3, key
        assert row.date.startswith("20"), key


def test_figures_of_the_template_are_its_own() -> None:
    figures, resources = shipped("figures.yaml"), template()

    for name in ("Chunk", "Store", "Api", "Maintenance"):
        memory = resources[f"{name}Function"]["Properties"].get("MemorySize", 1024)
        assert figures[f"{name.lower()}_memory_mb"] == memory
    alarm = resources["EmbedIdleAlarm"]["Properties"]
    assert figures["idle_minutes"] == alarm["EvaluationPeriods"]
    assert (
        figures["poll_wait_s"]
        == (resources["ChunkQueue"]["Properties"]["ReceiveMessageWaitTimeSeconds"])
    )


def test_no_fewer_alarms_and_secrets_are_paid_for_than_the_template_makes() -> None:
    figures, resources = shipped("figures.yaml"), template()

    metrics = 0
    for resource in resources.values():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            several = resource["Properties"].get("Metrics", [{"MetricStat": {}}])
            metrics += sum("MetricStat" in one for one in several)
    secrets = [one for one in resources.values() if one["Type"] == "AWS::SecretsManager::Secret"]
    assert figures["alarm_metrics_all"] >= metrics
    assert figures["secrets"] >= len(secrets)
