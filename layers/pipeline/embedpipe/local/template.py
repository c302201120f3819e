"""Reads `template.yaml`: what is deployed is also what runs here, attribute for attribute."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from embedpipe.local import intrinsics
from embedpipe.local.errors import LocalCloudError

REGION = "us-east-1"
ACCOUNT = "000000000000"

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_RATE = re.compile(r"rate\((\d+) (second|minute|hour|day)s?\)")


@dataclass(frozen=True)
class Queue:
    """An SQS queue: its logical id, its name and its attributes as SQS takes them, unresolved."""

    logical_id: str
    name: str
    properties: Mapping[str, Any]

    @property
    def arn(self) -> str:
        """Amazon resource name, as the emulators form it."""
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{self.name}"


@dataclass(frozen=True)
class EventSource:
    """An event source mapping from a queue to a function."""

    queue: str
    logical_id: str = ""
    batch_size: int = 10
    window_s: float = 0.0
    max_concurrency: int = 5
    reports_failures: bool = False

    @property
    def uuid(self) -> str:
        """Its id, the same with every start."""
        return str(uuid5(NAMESPACE_URL, self.logical_id or self.queue))


@dataclass(frozen=True)
class Schedule:
    """A rate at which a function is invoked, with a constant event if one is given."""

    name: str
    rate_s: float
    input: str | None = None


@dataclass(frozen=True)
class FunctionTemplate:
    """A Lambda function as the template describes it."""

    logical_id: str
    code: str
    handler: str
    timeout_s: float
    memory_mb: int
    environment: Mapping[str, str]
    event_sources: list[EventSource] = field(default_factory=list)
    schedules: list[Schedule] = field(default_factory=list)

    @property
    def name(self) -> str:
        """`ChunkFunction` is `chunk`."""
        return self.logical_id.removesuffix("Function").lower()


class Template:
    """The parts of a SAM template that the local cloud plays."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._resources: Mapping[str, Any] = document.get("Resources", {})
        self.queues = {
            logical_id: Queue(logical_id, _queue_name(logical_id), resource.get("Properties", {}))
            for logical_id, resource in self._of_type("AWS::SQS::Queue")
        }
        arns = {f"{queue.logical_id}.Arn": queue.arn for queue in self.queues.values()}
        # An alias stands for the function: here runs one version of each.
        aliases = {f"{name}.Alias": name for name in self._resources}
        self._resolver = intrinsics.Resolver(
            document, {**arns, **aliases, **{name: name for name in self._resources}}
        )

    @classmethod
    def load(cls, path: Path) -> Template:
        """Read a file. Raises LocalCloudError when there is none."""
        if not path.is_file():
            raise LocalCloudError(
                f"{path} is missing",
                "run inside a checkout of embedpipe, or give its root with --project",
            )
        return cls(intrinsics.load(path))

    def queue_attributes(self, logical_id: str) -> dict[str, str]:
        """Give a queue's attributes as CreateQueue takes them; keys and encryption left out."""
        resolved = self._resolver.resolve(dict(self.queues[logical_id].properties))
        return {
            name: intrinsics.as_text(value)
            for name, value in resolved.items()
            if name in _QUEUE_ATTRIBUTES
        }

    def functions(self) -> dict[str, FunctionTemplate]:
        """Give every function by its name, event sources and schedules included."""
        functions = [
            self._function(logical_id, resource)
            for logical_id, resource in self._of_type("AWS::Serverless::Function")
        ]
        return {function.name: function for function in functions}

    def event_source_ids(self) -> dict[str, str]:
        """Give the id of every event source mapping by its logical id."""
        return {
            source.logical_id: source.uuid
            for function in self.functions().values()
            for source in function.event_sources
        }

    def binary_media_types(self) -> list[str]:
        """Give the content types whose bodies API Gateway passes on in base64."""
        for _, resource in self._of_type("AWS::Serverless::Api"):
            found = resource.get("Properties", {}).get("BinaryMediaTypes", [])
            return [str(item).replace("~1", "/") for item in found]
        return []

    def _function(self, logical_id: str, resource: Mapping[str, Any]) -> FunctionTemplate:
        shared = self._document.get("Globals", {}).get("Function", {})
        merged = {**shared, **resource.get("Properties", {})}
        properties = self._resolver.resolve(
            {key: merged.get(key) for key in ("CodeUri", "Handler", "Timeout", "MemorySize")}
        )
        variables = {
            **shared.get("Environment", {}).get("Variables", {}),
            **resource.get("Properties", {}).get("Environment", {}).get("Variables", {}),
        }
        events = merged.get("Events", {})
        return FunctionTemplate(
            logical_id=logical_id,
            code=str(properties["CodeUri"]),
            handler=str(properties["Handler"] or "app.lambda_handler"),
            timeout_s=float(properties["Timeout"] or 3),
            memory_mb=int(properties["MemorySize"] or 128),
            environment=self._environment(variables),
            event_sources=list(self._event_sources(logical_id, events)),
            schedules=list(self._schedules(events)),
        )

    def _environment(self, variables: Mapping[str, Any]) -> dict[str, str]:
        """Keep the constants and parameter defaults; addresses are the local cloud's to give."""
        resolver = intrinsics.Resolver(self._document, {})
        resolved = {name: resolver.resolve(value) for name, value in variables.items()}
        return {
            name: intrinsics.as_text(value)
            for name, value in resolved.items()
            if value is not intrinsics.UNKNOWN
        }

    def _event_sources(self, logical_id: str, events: Mapping[str, Any]) -> Iterator[EventSource]:
        for name, event in events.items():
            if event["Type"] == "SQS":
                yield self._event_source(logical_id + name, event["Properties"], "Queue")
        for name, resource in self._of_type("AWS::Lambda::EventSourceMapping"):
            properties = resource["Properties"]
            target = str(self._resolver.resolve(properties["FunctionName"]))
            if target.split(".")[0] == logical_id:
                yield self._event_source(name, properties, "EventSourceArn")

    def _event_source(
        self, name: str, properties: Mapping[str, Any], queue_key: str
    ) -> EventSource:
        values = self._resolver.resolve(dict(properties))
        queue_name = str(values[queue_key]).rpartition(":")[2]
        [queue] = [one.logical_id for one in self.queues.values() if one.name == queue_name]
        return EventSource(
            queue=queue,
            logical_id=name,
            batch_size=int(values.get("BatchSize", 10)),
            window_s=float(values.get("MaximumBatchingWindowInSeconds", 0)),
            max_concurrency=int(values.get("ScalingConfig", {}).get("MaximumConcurrency", 5)),
            reports_failures="ReportBatchItemFailures" in values.get("FunctionResponseTypes", []),
        )

    def _schedules(self, events: Mapping[str, Any]) -> Iterator[Schedule]:
        for name, event in events.items():
            if event["Type"] not in ("Schedule", "ScheduleV2"):
                continue
            properties = self._resolver.resolve(event["Properties"])
            expression = properties.get("Schedule") or properties.get("ScheduleExpression", "")
            # A cron schedule is for a time of day, and a laptop is rarely up for it.
            if match := _RATE.fullmatch(str(expression).strip()):
                yield Schedule(name, int(match[1]) * _SECONDS[match[2]], properties.get("Input"))

    def _of_type(self, kind: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for logical_id, resource in self._resources.items():
            if resource.get("Type") == kind:
                yield logical_id, resource


_QUEUE_ATTRIBUTES = frozenset(
    {
        "DelaySeconds",
        "MaximumMessageSize",
        "MessageRetentionPeriod",
        "ReceiveMessageWaitTimeSeconds",
        "RedriveAllowPolicy",
        "RedrivePolicy",
        "VisibilityTimeout",
    }
)


def _queue_name(logical_id: str) -> str:
    """`ChunkQueue` is `embedpipe-chunk`, `ChunkDlq` is `embedpipe-chunk-dlq`."""
    words = re.findall(r"[A-Z][a-z0-9]*", logical_id.removesuffix("Queue"))
    return "-".join(["embedpipe", *(word.lower() for word in words)])
