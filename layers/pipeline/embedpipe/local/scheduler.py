"""Invokes functions at a rate, as EventBridge does."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from embedpipe.local.errors import InvocationError, ThrottledError
from embedpipe.local.event_source import Invocable
from embedpipe.local.template import ACCOUNT, REGION, Schedule

logger = logging.getLogger(__name__)

# The first run comes soon: what a crash left behind should not wait for a whole period.
FIRST_AFTER_S = 10.0


class Scheduler:
    """One schedule of one function; a run that takes longer than the period delays the next."""

    def __init__(
        self, schedule: Schedule, function: Invocable, *, first_after_s: float = FIRST_AFTER_S
    ) -> None:
        self._schedule = schedule
        self._function = function
        self._first_after_s = min(first_after_s, schedule.rate_s)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=schedule.name, daemon=True)

    def start(self) -> None:
        """Start the clock."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Begin no further run."""
        self._stopping.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the run in progress, up to a limit."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        wait_s = self._first_after_s
        while not self._stopping.wait(wait_s):
            wait_s = self._schedule.rate_s
            try:
                self._function.invoke(scheduled_event(self._schedule))
            except ThrottledError:
                return
            except InvocationError as exc:
                logger.warning("schedule %s: %s", self._schedule.name, exc)


def scheduled_event(schedule: Schedule) -> Any:
    """Give the constant input of a schedule, or the event that EventBridge sends without one."""
    if schedule.input is not None:
        return json.loads(schedule.input)
    return {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": [f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{schedule.name}"],
        "detail": {},
    }
