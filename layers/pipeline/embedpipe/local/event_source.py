"""What a Lambda event source mapping does for an SQS queue: poll, invoke, delete what succeeded.

It knows nothing of what the messages mean. A message that a function did not succeed with is left
alone: it comes back when its visibility ends, or when the function itself has changed that.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from embedpipe.local.errors import InvocationError, ThrottledError
from embedpipe.local.sqs_event import failed_ids, record, within_limit
from embedpipe.local.template import EventSource

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

logger = logging.getLogger(__name__)

# A long poll cannot be interrupted, so this is also how long a stop may take.
POLL_S = 2
RECEIVE_MAX = 10
# How often one that is switched off looks for the end.
_GLANCE_S = 0.5


class Invocable(Protocol):
    """A function that can be invoked."""

    def invoke(self, event: Any) -> Any:
        """Run it on one event."""
        ...


class Poller:
    """One event source mapping with `concurrency` pollers, each of which invokes by itself.

    Switched off, it receives nothing, and finishes what it has received.
    """

    def __init__(
        self,
        source: EventSource,
        *,
        sqs: SQSClient,
        queue_url: str,
        queue_arn: str,
        function: Invocable,
        concurrency: int = 1,
    ) -> None:
        self._source = source
        self._sqs = sqs
        self._queue_url = queue_url
        self._queue_arn = queue_arn
        self._function = function
        self._stopping = threading.Event()
        self._enabled = threading.Event()
        self._enabled.set()
        self._busy = 0
        self._lock = threading.Lock()
        self.name = name = queue_arn.rpartition(":")[2]
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True)
            for number in range(min(concurrency, source.max_concurrency))
        ]

    @property
    def is_enabled(self) -> bool:
        """Whether it receives."""
        return self._enabled.is_set()

    def set_enabled(self, is_enabled: bool) -> None:
        """Have it receive, or not."""
        if is_enabled:
            self._enabled.set()
        else:
            self._enabled.clear()

    def describe(self) -> dict[str, Any]:
        """Say what it is and does, as Lambda does."""
        with self._lock:
            idle_state = "Disabling" if self._busy else "Disabled"
        return {
            "State": "Enabled" if self.is_enabled else idle_state,
            "EventSourceArn": self._queue_arn,
            "BatchSize": self._source.batch_size,
            "MaximumBatchingWindowInSeconds": int(self._source.window_s),
        }

    def start(self) -> None:
        """Start polling."""
        for thread in self._threads:
            thread.start()

    def ask_to_stop(self) -> None:
        """Receive no more."""
        self._stopping.set()

    def join(self, timeout_s: float) -> None:
        """Wait until what was received is settled, up to a limit."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))

    def poll_once(self) -> int:
        """Receive one batch, invoke, delete what succeeded; give how many were received."""
        messages = self._gather()
        if self._stopping.is_set():
            self._release(messages)
            return 0
        for batch in within_limit(messages):
            self._delete(self._invoke(batch))
        return len(messages)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not self._enabled.wait(_GLANCE_S):
                continue
            try:
                with self._polling():
                    # Whoever switches it off from here on is told that it is not idle.
                    if self.is_enabled:
                        self.poll_once()
            except (BotoCoreError, ClientError) as exc:
                logger.warning("queue %s: %s", self._queue_arn, type(exc).__name__)
                self._stopping.wait(1.0)

    @contextmanager
    def _polling(self) -> Iterator[None]:
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def _gather(self) -> list[MessageTypeDef]:
        """Fill a batch until it is full or its window is over."""
        messages = self._receive(min(RECEIVE_MAX, self._source.batch_size), POLL_S)
        window_ends = time.monotonic() + self._source.window_s
        while messages and len(messages) < self._source.batch_size:
            remaining_s = window_ends - time.monotonic()
            if remaining_s <= 0 or self._stopping.is_set() or not self.is_enabled:
                break
            missing = self._source.batch_size - len(messages)
            messages += self._receive(min(RECEIVE_MAX, missing), min(POLL_S, int(remaining_s)))
        return messages

    def _receive(self, count: int, wait_s: int) -> list[MessageTypeDef]:
        answer = self._sqs.receive_message(
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=count,
            WaitTimeSeconds=wait_s,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return answer.get("Messages", [])

    def _invoke(self, batch: Sequence[MessageTypeDef]) -> list[MessageTypeDef]:
        """Invoke the function; give the messages that it is done with."""
        event = {"Records": [record(message, self._queue_arn) for message in batch]}
        try:
            response = self._function.invoke(event)
        except (InvocationError, ThrottledError) as exc:
            logger.warning("%d messages of %s: %s", len(batch), self._queue_arn, exc)
            return []
        ids = [message["MessageId"] for message in batch]
        failed = failed_ids(response, ids) if self._source.reports_failures else set()
        return [message for message in batch if message["MessageId"] not in failed]

    def _delete(self, messages: Sequence[MessageTypeDef]) -> None:
        for start in range(0, len(messages), RECEIVE_MAX):
            group = messages[start : start + RECEIVE_MAX]
            self._sqs.delete_message_batch(
                QueueUrl=self._queue_url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                    for number, message in enumerate(group)
                ],
            )

    def _release(self, messages: Sequence[MessageTypeDef]) -> None:
        for message in messages:
            self._sqs.change_message_visibility(
                QueueUrl=self._queue_url,
                ReceiptHandle=message["ReceiptHandle"],
                VisibilityTimeout=0,
            )
