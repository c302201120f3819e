"""LocalStack as a process on loopback, and a command that is run beside it.

`python -m tests.localstack COMMAND …` runs the command with LOCALSTACK_ENDPOINT_URL set, and ends
as it ended. Where LocalStack does not start, the build fails and a laptop says that it skips.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from tests.lambdas.rie import the_emulator
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
def localstack(directory: Path, *, files: Path | None = None, **variables: str) -> Iterator[str]:
    """Run LocalStack; give its URL.

    Parameters
    ----------
    directory
        Where its log goes.
    files
        Where everything else goes, if not there.
    variables
        Settings beside those of scripts/localstack, which leave all but SQS and S3 out.

    Raises
    ------
    NotStartedError
        It is not installed, or does not answer in time.
    """
    port = free_port()
    with (directory / "localstack.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(ROOT / "scripts" / "localstack", str(port), files or directory / "files"),
                *(f"{name}={value}" for name, value in variables.items()),
            ],
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


def for_stacks(directory: Path, **functions: str) -> dict[str, str]:
    """Give the settings with which LocalStack deploys templates and runs their functions.

    Parameters
    ----------
    directory
        Gets the entry point by which LocalStack finds `tests/stacks/process_executor.py`.
    functions
        Variables that every function gets beside its own.
    """
    module = "process_executor"
    info = directory / f"{module}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        f"[localstack.lambda.runtime_executor]\nprocess = {module}:ProcessExecutorPlugin\n"
    )
    shutil.copy(ROOT / "tests" / "stacks" / f"{module}.py", directory)
    return {
        "SERVICES": "",
        # Where it unpacks code, for each function and layer.
        "TMPDIR": str(directory),
        "SQS_DISABLE_CLOUDWATCH_METRICS": "0",
        # AWS measures queues once a minute. Alarms are evaluated each minute here, too.
        "SQS_CLOUDWATCH_METRICS_REPORT_INTERVAL": "5",
        "PYTHONPATH": str(directory),
        # The newer engine follows references from resources whose condition is false, and refuses.
        "PROVIDER_OVERRIDE_CLOUDFORMATION": "engine-legacy",
        "LAMBDA_RUNTIME_EXECUTOR": "process",
        "PROCESS_EXECUTOR_RIE": str(the_emulator()),
        "PROCESS_EXECUTOR_PYTHON": sys.executable,
        **{f"PROCESS_EXECUTOR_SET_{name}": value for name, value in functions.items()},
        # Else it looks once a second, and after a while without messages once in ten.
        "LAMBDA_EVENT_SOURCE_MAPPING_POLL_INTERVAL_SEC": "0.1",
        "LAMBDA_EVENT_SOURCE_MAPPING_MAX_BACKOFF_ON_EMPTY_POLL_SEC": "1",
        "LAMBDA_RUNTIME_ENVIRONMENT_TIMEOUT": "60",
    }


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
