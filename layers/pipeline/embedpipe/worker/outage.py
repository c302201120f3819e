"""Waiting out a service that does not answer: one log line per change, growing pauses."""

from __future__ import annotations

import random
from collections.abc import Callable
from threading import Lock

from aws_lambda_powertools import Logger

from embedpipe import telemetry
from embedpipe.domain.lanes import LANES, NORMAL
from embedpipe.errors import PipelineError, error_code

_BASE_S = 0.5
_CAP_S = 30.0


class Outage:
    """Whether one kind of call works.

    Parameters
    ----------
    operation
        What is logged and shown by /health, such as `receive`.
    """

    def __init__(
        self,
        operation: str,
        logger: Logger,
        *,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.operation = operation
        self._logger = logger
        self._uniform = uniform
        self._failures = 0
        self._lock = Lock()

    @property
    def is_on(self) -> bool:
        """Whether the last call failed."""
        return self._failures > 0

    def failed(self, error: Exception) -> float:
        """Note a failed call; give the seconds to wait, never near zero."""
        with self._lock:
            self._failures += 1
            failures = self._failures
        if failures == 1:
            keys = {"operation": self.operation, "error_code": error_code(error)}
            if not isinstance(error, PipelineError):
                keys |= telemetry.error_keys(error)
            self._logger.warning("calls fail", extra=keys)
        ceiling = min(_CAP_S, _BASE_S * 2.0 ** min(failures - 1, 16))
        return ceiling * self._uniform(0.5, 1.0)

    def answered(self) -> None:
        """Note a call that went well."""
        with self._lock:
            failures, self._failures = self._failures, 0
        if failures:
            self._logger.info(
                "calls work again", extra={"operation": self.operation, "failed_calls": failures}
            )


class Outages:
    """One `Outage` for each kind of call that the worker makes; `receive` has one for each lane."""

    def __init__(self, logger: Logger) -> None:
        self.receive = {
            lane: Outage("receive" if lane == NORMAL else f"receive_{lane}", logger)
            for lane in LANES
        }
        self.claim_check = Outage("claim_check", logger)
        self.fence = Outage("fence", logger)
        self.extend = Outage("extend", logger)
        self.ledger = Outage("ledger", logger)
        self.send = Outage("send", logger)
        self.settle = Outage("settle", logger)
        self.ack = Outage("ack", logger)
        self.controls = Outage("controls", logger)
        self.heartbeat = Outage("heartbeat", logger)
        self.recheck = Outage("recheck", logger)

    def on(self) -> list[str]:
        """Name the calls that fail now."""
        each = [
            self.claim_check,
            self.fence,
            self.ledger,
            self.extend,
            self.send,
            self.settle,
            self.ack,
        ]
        each += [self.controls, self.heartbeat, self.recheck, *self.receive.values()]
        return sorted(outage.operation for outage in each if outage.is_on)
