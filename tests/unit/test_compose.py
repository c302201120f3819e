from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from embedpipe import settings
from embedpipe.cli.main import app
from embedpipe.local.directory import WORKER_ENVIRONMENT
from embedpipe.local.variables import QUEUES
from typer.main import get_command

ROOT = Path(__file__).parents[2]

#: What the compose specification knows of a service, as far as it is used here.
KEYS = {
    "build", "cap_drop", "command", "depends_on", "environment", "healthcheck", "image", "init",
    "network_mode", "ports", "read_only", "restart", "security_opt", "shm_size",
    "stop_grace_period", "tmpfs", "volumes",
}  # fmt: skip
HEALTH_KEYS = {"test", "interval", "timeout", "retries", "start_period"}
OWN = {"embedpipe-gateway:local", "embedpipe-embed:cpu"}
ELSEWHERE = {"POSTGRES_PASSWORD", "SINGLE_USER_API_KEY"}


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return found


SERVICES: dict[str, dict[str, Any]] = compose()["services"]


def options_of(verb: str) -> set[str]:
    command: Any = get_command(app)
    return {name for option in command.commands[verb].params for name in option.opts}


def test_the_services_are_those_of_the_pipeline() -> None:
    assert set(SERVICES) == {"localstack", "postgres", "gateway", "embed"}
    assert set(compose()) == {"name", "services", "volumes"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_says_nothing_that_compose_does_not_know(name: str) -> None:
    service = SERVICES[name]

    assert set(service) <= KEYS
    assert set(service["healthcheck"]) <= HEALTH_KEYS
    assert service["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_images_are_pinned_and_what_is_not_ours_is_not_built(name: str) -> None:
    image = SERVICES[name]["image"]

    assert re.fullmatch(r"[a-z/-]+:[\w.-]+", image)
    assert not image.endswith(":latest")
    assert (image in OWN) == ("build" in SERVICES[name])


def test_localstack_is_the_version_that_the_tests_run_on() -> None:
    version = SERVICES["localstack"]["image"].rpartition(":")[2]

    assert f"localstack-core[runtime]=={version}\n" in (
        ROOT / "requirements" / "localstack.in"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_no_secret_is_written_down() -> None:
    text = (ROOT / "compose.yaml").read_text()
    variables = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    values = re.findall(r"(?:PASSWORD|TOKEN|SECRET|KEY): *(.*)", text)

    assert variables == ELSEWHERE
    assert all(value.startswith("${") for value in values)
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_gateway_is_started_with_options_that_it_has() -> None:
    program, verb, *arguments = SERVICES["gateway"]["command"]

    assert (program, verb) == ("embedpipe", "up")
    assert {argument.partition("=")[0] for argument in arguments} <= options_of("up")
    assert "--workers=0" in arguments
    assert "--endpoint-url=http://localstack:4566" in arguments


def test_the_variables_of_the_gateway_are_settings() -> None:
    known = {
        field.alias
        for kind in (settings.ApiSettings, settings.MaintenanceSettings)
        for field in kind.model_fields.values()
    }

    assert set(SERVICES["gateway"]["environment"]) <= known


def test_the_embed_task_is_the_deployed_image_and_takes_what_the_gateway_writes() -> None:
    embed = SERVICES["embed"]

    assert (ROOT / embed["build"]["dockerfile"]).is_file()
    assert (ROOT / "functions" / "embed_gpu" / embed["build"]["args"]["REQUIREMENTS"]).is_file()
    assert f"/data/{WORKER_ENVIRONMENT}" in embed["command"][-1]
    assert embed["network_mode"] == "service:gateway"
    assert embed["volumes"] == ["data:/data:ro"]
    assert (embed["read_only"], embed["cap_drop"]) == (True, ["ALL"])
    assert "EMBED_QUEUE_URL" in QUEUES


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_a_service_waits_for_is_there_and_says_when_it_is_ready(name: str) -> None:
    waits = SERVICES[name].get("depends_on", {})

    assert all("healthcheck" in SERVICES[other] for other in waits)
    assert all(wait == {"condition": "service_healthy"} for wait in waits.values())


def test_the_files_that_are_copied_into_the_gateway_are_there() -> None:
    lines = SERVICES["gateway"]["build"]["dockerfile_inline"].splitlines()
    copied = [name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]]

    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("name", ["embed", "gateway"])
def test_programs_within_are_python(name: str) -> None:
    service = SERVICES[name]
    programs = [service["command"], service["healthcheck"]["test"][1:]]

    for program in programs:
        if program[:2] == ["python", "-c"]:
            compile(program[2], name, "exec")
