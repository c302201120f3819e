"""LocalStack as a process on loopback, and a command that is run beside it.

`python -m tests.localstack COMMAND …` runs the command with LOCALSTACK_ENDPOINT_URL set, and ends
as it ended. Where LocalStack does not start, the build fails and a laptop says that it skips.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from tests.ministack import free_port

ROOT = Path(__file__).resolve().parents[1]
VARIABLE = "LOCALSTACK_ENDPOINT_URL"
START_S = 90.0
STOP_S = 30.0


class NotStartedError(Exception):
    """LocalStack does not run here; the message says why."""


def endpoint_url() -> str | None:
    """Give the LocalStack that the tests are to use, None when they use none."""
    return os.environ.get(VARIABLE) or None


def backends(*names: str) -> list[str]:
    """Give the backends of a suite: LocalStack among them when there is one."""
    return [*names, "localstack"] if endpoint_url() else [*names]


@contextmanager
def localstack(directory: Path) -> Iterator[str]:
    """Run LocalStack; give its URL.

    Raises
    ------
    NotStartedError
        It is not installed, or does not answer in time.
    """
    port = free_port()
    with (directory / "localstack.log").open("wb") as log:
        process = subprocess.Popen(
            [ROOT / "scripts" / "localstack", str(port), directory / "files"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for_sqs(url, process, directory / "localstack.log")
            assert _listens_on(process.pid) == {("127.0.0.1", port)}
            yield url
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _listens_on(pid: int) -> set[tuple[str, int]]:
    """Give where a process takes connections: nobody else is to reach it."""
    connections = psutil.Process(pid).net_connections(kind="inet")
    return {
        (one.laddr.ip, one.laddr.port) for one in connections if one.status == psutil.CONN_LISTEN
    }


def _wait_for_sqs(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until SQS and S3 answer real calls: its health page says yes earlier."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    session = boto3.Session("test", "test", region_name="us-east-1")
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=20)
    sqs = session.client("sqs", endpoint_url=url, config=config)
    s3 = session.client("s3", endpoint_url=url, config=config)
    deadline = time.monotonic() + START_S
    try:
        while True:
            try:
                sqs.list_queues(MaxResults=1)
                s3.list_buckets()
                return
            except (BotoCoreError, ClientError) as exc:
                if process.poll() is not None or time.monotonic() > deadline:
                    said = log.read_text(errors="replace")[-2000:]
                    raise NotStartedError(f"{type(exc).__name__}\n{said}") from None
                time.sleep(0.1)
    finally:
        sqs.close()
        s3.close()


def main(command: Sequence[str]) -> int:
    """Run a command beside LocalStack; give its exit code."""
    with tempfile.TemporaryDirectory(prefix="localstack-") as directory:
        try:
            with localstack(Path(directory)) as url:
                return subprocess.run(command, env={**os.environ, VARIABLE: url}).returncode
        except NotStartedError as exc:
            print(f"LocalStack does not start here: {exc}", file=sys.stderr)  # noqa: T201
            if os.environ.get("CI"):
                return 1
            print("SKIPPED: nothing was tested against LocalStack", file=sys.stderr)  # noqa: T201
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
