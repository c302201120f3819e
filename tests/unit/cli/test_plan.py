"""`embedpipe plan`: what it prints, what it takes, and that its books say where they come from."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from embedpipe.cli.main import app
from embedpipe.cli.plan.books import BookError, load, shipped
from embedpipe.domain.capacity.choices import Compute
from typer.testing import CliRunner

from bench.service_times import Load, figures

ROOT = Path(__file__).parents[3]
RUNNER = CliRunner()


def planned(*arguments: str) -> dict[str, Any]:
    result = RUNNER.invoke(app, ["plan", "--documents", "100000", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def template() -> dict[str, Any]:
    read = yaml.load((ROOT / "template.yaml").read_text(), template_loader())
    return dict(read["Resources"])


def template_loader() -> type[yaml.SafeLoader]:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda *_: None)
    return Loader


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


def test_alarms_are_paid_for_as_the_template_has_them() -> None:
    figures, resources = shipped("figures.yaml"), template()
    metrics: Counter[str | None] = Counter()
    for resource in resources.values():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            several = resource["Properties"].get("Metrics", [{"MetricStat": {}}])
            metrics[resource.get("Condition")] += sum("MetricStat" in one for one in several)
    tracking = resources["EmbedBacklogPolicy"]["Properties"][
        "TargetTrackingScalingPolicyConfiguration"
    ]["CustomizedMetricSpecification"]["Metrics"]

    basic = metrics[None] + metrics["CreateEmbedService"]
    basic += 2 * sum("MetricStat" in one for one in tracking)

    assert figures["alarm_metrics_basic"] == basic
    assert figures["alarm_metrics_all"] == basic + metrics["AllAlarms"]
    assert figures["composite_alarms"] == count_of("AWS::CloudWatch::CompositeAlarm")
    assert (
        f"{figures['alarm_metrics_all']:g} metrics of alarms instead of {basic}, "
        f"and {figures['composite_alarms']:g} composite alarms"
    ) in (ROOT / "docs" / "cost.md").read_text()


def count_of(kind: str, **properties: str) -> int:
    return sum(
        resource["Type"] == kind and properties.items() <= resource["Properties"].items()
        for resource in template().values()
    )


def test_secrets_and_endpoints_are_paid_for_as_the_template_has_them() -> None:
    figures = shipped("figures.yaml")

    assert figures["secrets"] == count_of("AWS::SecretsManager::Secret")
    assert figures["endpoints"] == count_of("AWS::EC2::VPCEndpoint", VpcEndpointType="Interface")


def test_metrics_are_paid_for_as_the_page_of_metrics_has_them() -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    printed: Counter[str] = Counter()
    for line in page.splitlines():
        if line.startswith("| `") and line.count("|") == 6:
            names, _, stages, by, _ = line.removeprefix("|").split("|", 4)
            for stage in re.findall(r"\w+", stages):
                by_whom = "maintenance" if by.strip() == "maintenance" else stage
                printed[by_whom] += len(re.findall(r"`\w+`", names))

    figures = shipped("figures.yaml")

    assert figures["metrics_of_maintenance"] == printed["maintenance"]
    assert figures["metrics_of_tasks"] == printed["embed"]
    assert figures["metrics_of_functions"] == printed["chunk"] + printed["store"]
    assert figures["metrics_of_requests"] == printed["api"]
    assert f"there are {sum(printed.values())} metrics" in page


def test_metrics_of_the_gateway_are_those_of_its_methods() -> None:
    resources = template()
    events = resources["ApiFunction"]["Properties"]["Events"].values()

    [settings] = resources["Api"]["Properties"]["MethodSettings"]

    assert settings["MetricsEnabled"] is True
    assert shipped("figures.yaml")["metrics_of_gateway"] == 5 * len(events)


def test_tokens_that_a_task_holds_are_the_template_s() -> None:
    document = yaml.load((ROOT / "template.yaml").read_text(), template_loader())
    computes, figures = document["Mappings"]["Computes"], shipped("figures.yaml")

    for compute, row in computes.items():
        assert row["BufferTokens"] == figures[f"{compute.partition('-')[0]}_buffer_tokens"]
    assert (
        planned("--compute", "cpu-spot")["parameters"] | {"EmbedBufferTokens": "131072"}
        == (planned("--compute", "cpu-spot")["parameters"])
    )
    assert set(computes) == {one.value for one in Compute}


@pytest.mark.parametrize("option", ["--documents", "--tokens", "--peak", "--queries"])
def test_what_is_absurd_is_refused_at_once(option: str) -> None:
    result = RUNNER.invoke(app, ["plan", "--documents", "1", option, "1e300"])

    assert result.exit_code == 2
    assert option in result.stderr


def test_the_most_that_can_be_asked_for_is_answered() -> None:
    made = planned("--documents", "1e12", "--per", "hour", "--tokens", "1e8", "--peak", "10000")

    assert made["possible"] is False
