"""What `sam build` made, invoked by the SAM CLI in containers.

`sam local` sets only those variables of a function that its template declares, so a template is
derived whose functions declare what this world is. Containers reach it at the address of Docker's
bridge; everything itself stays on loopback.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedpipe.local import intrinsics
from embedpipe.local.emulator import CREDENTIALS
from embedpipe.local.process import Child, Guard

from tests.lambdas.case import Case
from tests.lambdas.deployed import PATIENCE
from tests.lambdas.rie import FunctionError, read_answer
from tests.lambdas.world import World
from tests.ministack import free_port
from tests.sqs_events import EVENTS, event

#: The first one builds an image with the layer in it.
INVOKE_S = 900.0
LOOPBACK = "127.0.0.1"
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "DOCKER_HOST")


@dataclass(frozen=True)
class SamCli:
    """The SAM CLI over one template.

    Attributes
    ----------
    program
        `sam`, from its own environment.
    endpoint_url
        For it and for the functions, as containers reach it. It asks who we are: without an answer
        that would take it 8 s.
    """

    program: Path
    template: Path
    runtime: str
    endpoint_url: str

    def invoke(self, case: Case) -> Any:
        """Run `sam local invoke`. Its exit status says nothing: an error is an answer to it."""
        function = f"{case.function.capitalize()}Function"
        command = self.command("invoke", function, "--event", str(EVENTS / f"{case.event}.json"))
        done = subprocess.run(
            command,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=INVOKE_S,
            check=False,
        )
        lines = done.stdout.strip().splitlines()
        if done.returncode != 0 or not lines:
            raise FunctionError("NoAnswer", f"status {done.returncode}: {done.stderr[-1500:]}")
        return read_answer(lines[-1])

    def command(self, verb: str, *arguments: str) -> list[str]:
        """Give the command line of a verb of `sam local`."""
        return [
            str(self.program),
            "local",
            verb,
            *arguments,
            "--template",
            str(self.template),
            "--skip-pull-image",
            "--parameter-overrides",
            f"PythonRuntime={self.runtime}",
        ]

    def environment(self) -> dict[str, str]:
        """Give its environment: a variable of this name wins over what a template declares."""
        kept = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        return {
            **kept,
            **CREDENTIALS,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_CONTAINER_CONNECTION_TIMEOUT": "120",
        }


def derive_template(built: Path, world: World, host: str) -> Path:
    """Write a template beside the one that `sam build` wrote; give its path.

    Parameters
    ----------
    host
        Where containers find what is on our loopback.
    """
    document = intrinsics.load(built)
    document["Globals"]["Function"].pop("Environment")
    for name, function in world.functions().items():
        variables = in_container(world, world.variables(name), host)
        properties = document["Resources"][function.logical_id]["Properties"]
        properties["Environment"] = {"Variables": variables}
        properties["Timeout"] = int(function.timeout_s) * PATIENCE
    derived = built.with_name("local.json")
    derived.write_text(json.dumps(document, indent=1, default=str))
    return derived


def in_container(world: World, variables: Mapping[str, str], host: str) -> dict[str, str]:
    """Give variables as a container needs them: another host, models from the bucket."""
    told = {name: value.replace(LOOPBACK, host) for name, value in variables.items()}
    if "MODELS_DIR" in told:
        told["MODELS_DIR"] = "/tmp/models"
        told["MODELS_URI"] = world.models_uri
    return told


def ports(world: World) -> list[int]:
    """Give the ports that functions connect to."""
    addresses = world.addresses
    urls = [
        addresses.endpoint_url,
        addresses.database_url,
        addresses.worker_url,
        addresses.lambda_url,
    ]
    return [port for url in urls if (port := urllib.parse.urlsplit(url).port)]


@contextmanager
def start_api(sam: SamCli, log: Path) -> Iterator[str]:
    """Run `sam local start-api`; give its URL."""
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    guard = Guard()
    command = sam.command("start-api", "--port", str(port), "--warm-containers", "LAZY")
    # Stopped by SIGTERM and not by SIGINT, which it may ignore; its containers go with it.
    child = Child(
        "start-api",
        command,
        guard=guard,
        log=log,
        environment=sam.environment(),
        grace_s=60.0,
    )
    try:
        child.start()
        _wait_for(url, child, log)
        yield url
    finally:
        child.stop()
        guard.close()


def request(url: str, case: Case) -> dict[str, Any]:
    """Make of an event the request that it stands for; give the answer as a function would."""
    wanted = event(case.event)
    query = urllib.parse.urlencode(wanted["queryStringParameters"] or {})
    target = f"{url}{wanted['path']}" + (f"?{query}" if query else "")
    body = wanted["body"].encode() if wanted["body"] is not None else None
    headers = {key: value for key, value in wanted["headers"].items() if key != "Host"}
    asked = urllib.request.Request(target, body, headers, method=wanted["httpMethod"])
    try:
        with urllib.request.urlopen(asked, timeout=INVOKE_S) as answer:
            return {"statusCode": answer.status, "body": answer.read().decode()}
    except urllib.error.HTTPError as exc:
        with exc:
            return {"statusCode": exc.code, "body": exc.read().decode()}


def _wait_for(url: str, child: Child, log: Path) -> None:
    deadline = time.monotonic() + INVOKE_S
    while child.is_running and time.monotonic() < deadline:
        if "Running on http" in log.read_text(errors="replace"):
            return
        time.sleep(0.2)
    raise RuntimeError(f"start-api does not start at {url}: {log.read_text()[-1500:]}")
