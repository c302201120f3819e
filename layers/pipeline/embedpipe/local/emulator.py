"""The emulator of SQS and S3: MiniStack as a process of its own, or one that runs elsewhere."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from embedpipe.local.errors import LocalCloudError
from embedpipe.local.process import Child, Guard
from embedpipe.local.template import REGION, Template

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

START_TIMEOUT_S = 60.0
# Emulators take any credentials; real ones must not get near them.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


class Emulator:
    """MiniStack on loopback; its queues and objects survive a graceful stop, and only that."""

    def __init__(self, state: Path, port: int, *, guard: Guard, log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
            "PERSIST_STATE": "1",
            "STATE_DIR": str(state / "state"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(state / "s3"),
            # Where it looks for Docker, and must find none: nothing of it is used here.
            "DOCKER_HOST": f"unix://{state}/no-docker.sock",
            "TMPDIR": str(state),
        }
        (state / "s3").mkdir(parents=True, exist_ok=True)
        self.child = Child(
            "emulator",
            [sys.executable, "-m", "ministack"],
            guard=guard,
            log=log,
            environment=environment,
            cwd=state,
            grace_s=20.0,
        )

    def start(self) -> None:
        """Start it; `wait_for_sqs` says when it serves."""
        self.child.start()


def client(service: str, endpoint_url: str, *, read_timeout_s: float = 30.0) -> Any:
    """Make a client of an emulator."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(
            connect_timeout=2,
            read_timeout=read_timeout_s,
            retries={"mode": "standard", "total_max_attempts": 2},
            s3={"addressing_style": "path"},
        ),
    )


def wait_for_sqs(endpoint_url: str, child: Child | None = None) -> SQSClient:
    """Wait until SQS answers a real call: health endpoints say yes too early.

    Raises
    ------
    LocalCloudError
        It does not, in a minute, or its process has ended.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    sqs: SQSClient = client("sqs", endpoint_url)
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            sqs.list_queues(MaxResults=1)
            return sqs
        except (BotoCoreError, ClientError) as exc:
            if child is not None and child.exit_code() is not None:
                message = f"the emulator ended with {child.exit_code()}"
                raise LocalCloudError(message, "see emulator.log in the logs directory") from None
            if time.monotonic() > deadline:
                message = f"SQS does not answer at {endpoint_url} ({type(exc).__name__})"
                raise LocalCloudError(message, "start it, or leave --endpoint-url out") from None
            time.sleep(0.1)


def create_queues(sqs: SQSClient, template: Template) -> dict[str, str]:
    """Make every queue of the template, or bring it up to date; give URLs by logical id."""
    urls: dict[str, str] = {}
    endpoint = urlsplit(sqs.meta.endpoint_url)
    # A queue names its DLQ, so DLQs come first.
    for logical_id in sorted(
        template.queues, key=lambda name: "RedrivePolicy" in template.queue_attributes(name)
    ):
        name = template.queues[logical_id].name
        attributes: Any = template.queue_attributes(logical_id)
        try:
            url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
            sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
        except sqs.exceptions.QueueDoesNotExist:
            url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        # An emulator may answer with a host that does not resolve, or the port of its last run.
        parts = urlsplit(url)._replace(scheme=endpoint.scheme, netloc=endpoint.netloc)
        urls[logical_id] = parts.geturl()
    return urls


def create_bucket(endpoint_url: str, name: str) -> None:
    """Make the bucket unless it is there."""
    from botocore.exceptions import ClientError

    s3 = client("s3", endpoint_url)
    try:
        s3.head_bucket(Bucket=name)
    except ClientError:
        s3.create_bucket(Bucket=name)
