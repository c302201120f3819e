"""One request and its answer, as the log and the metrics see them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from embedpipe import telemetry
from embedpipe.api.operations import Operation
from embedpipe.api.reading import headers_of_event
from embedpipe.domain.trace import Span, begin

STAGE = "api"

UNMATCHED = "unmatched"


@dataclass
class Exchange:
    """What is known about the running request. Never a body, a key or a value of the caller's."""

    event: Mapping[str, Any]
    headers: Mapping[str, list[str]]
    span: Span
    started: float = field(default_factory=time.perf_counter)
    operation: Operation | None = None
    tenant_id: str = ""
    code: str | None = None
    job_id: str | None = None

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Exchange:
        """Begin with a gateway's event."""
        headers = headers_of_event(event)
        given = headers.get("traceparent", [])
        return cls(event, headers, begin(given[0] if len(given) == 1 else None))

    @property
    def request_id(self) -> str | None:
        """What the gateway calls the request."""
        found = (self.event.get("requestContext") or {}).get("requestId")
        return found if isinstance(found, str) else None

    def keys(self) -> dict[str, Any]:
        """Give the keys of a log line."""
        job = {"job_id": self.job_id} if self.job_id else {}
        return {
            "request_id": self.request_id,
            **self.span.keys(),
            **job,
            "tenant": self.tenant_id or None,
            "method": self.event.get("httpMethod"),
            "route": self.operation.path if self.operation else UNMATCHED,
        }

    def prefix(self) -> str:
        """Give what the gateway took off the path: `/live` of a stage, nothing of a domain."""
        context = self.event.get("requestContext") or {}
        stage = f"/{context.get('stage')}"
        return stage if str(context.get("path")).startswith(stage + "/") else ""

    def answer_headers(self) -> dict[str, str]:
        """Give the headers that every answer carries."""
        return {
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Trace-Id": self.span.trace_id,
            "traceparent": self.span.traceparent,
        }

    def warn(self, sentence: str) -> None:
        """Log something that went wrong and did not fail the request."""
        telemetry.of(STAGE).logger.warning(sentence, extra=self.keys())

    def failed(self, error: BaseException) -> None:
        """Log an error that is a bug: where it was raised, not what it says."""
        extra = self.keys() | telemetry.error_keys(error)
        telemetry.of(STAGE).logger.error("request failed", extra=extra)

    def end(self, status: int) -> None:
        """Log and count the answer."""
        seconds = time.perf_counter() - self.started
        extra = self.keys() | {"status": status, "ms": round(seconds * 1000, 1)}
        if self.code is not None:
            extra["code"] = self.code
        tell = telemetry.of(STAGE)
        tell.logger.info("request served", extra=extra)
        tell.count(telemetry.REQUESTS)
        tell.count(telemetry.REQUESTS_FAILED, int(status >= 500))
        tell.duration(telemetry.REQUEST_DURATION, seconds)
        tell.measure(telemetry.PAYLOAD_BYTES, len(self.event.get("body") or ""))
