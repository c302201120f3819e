"""What `GET /metrics` of the local cloud says beyond the API's gauges, for Prometheus.

CloudWatch reads the metrics that functions print from their logs. Here they are added up the same
way, and the page of each worker is passed on with the worker's name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import httpx

from embedpipe import telemetry

#: Metrics of which each value counts: given as a sum and a count.
DISTRIBUTIONS = frozenset(
    {
        telemetry.STAGE_LATENCY,
        telemetry.REQUEST_DURATION,
        telemetry.BATCH_SIZE,
        telemetry.PAYLOAD_BYTES,
    }
)
#: What the API measures when it is asked, or a worker's page has, and what cannot be added up.
LEFT_OUT = frozenset(
    {*telemetry.GAUGES.values(), telemetry.REQUESTS_ACTIVE, telemetry.PADDING_EFFICIENCY}
)
_IN_SECONDS = {telemetry.STAGE_LATENCY, telemetry.REQUEST_DURATION}
_WORKER_TIMEOUT_S = 1.0
_MARK = b'"_aws"'
#: More than CloudWatch takes in one event, 1 MiB: no line of metrics is longer.
_LONGEST_BYTES = 1_048_577


class Totals:
    """Adds up the metrics that logs gain from now on.

    Parameters
    ----------
    logs
        The directory; files that come later are read from their beginning.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._read = {path: path.stat().st_size for path in logs.glob("*.log")}
        self._sums: dict[tuple[str, str], float] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._lock = Lock()

    def text(self) -> str:
        """Read what is new, and give all totals."""
        with self._lock:
            for line in self._new_lines():
                self._add(line)
            return "".join(self._families())

    def _new_lines(self) -> Iterator[bytes]:
        for path in sorted(self._logs.glob("*.log")):
            start = self._read.get(path, 0)
            with path.open("rb") as log:
                if log.seek(0, 2) < start:
                    start = 0
                log.seek(start)
                self._read[path] = start
                for line in _whole_lines(log):
                    self._read[path] += len(line)
                    if _MARK in line:
                        yield line

    def _add(self, line: bytes) -> None:
        try:
            root = json.loads(line)
            [directive] = root["_aws"]["CloudWatchMetrics"]
            names = [metric["Name"] for metric in directive["Metrics"]]
            found = {(name, root["stage"]): root[name] for name in names if name not in LEFT_OUT}
        except (ValueError, KeyError, TypeError):
            return
        for key, values in found.items():
            self._sums[key] = self._sums.get(key, 0.0) + sum(values)
            self._counts[key] = self._counts.get(key, 0) + len(values)

    def _families(self) -> Iterator[str]:
        for name in sorted({name for name, _ in self._sums}):
            stages = sorted(stage for one, stage in self._sums if one == name)
            is_summary = name in DISTRIBUTIONS
            full = prometheus_name(name)
            yield f"# TYPE {full} {'summary' if is_summary else 'counter'}\n"
            for stage in stages:
                total = self._sums[name, stage] / (1000 if name in _IN_SECONDS else 1)
                if is_summary:
                    yield f'{full}_sum{{stage="{stage}"}} {total:.9g}\n'
                    yield f'{full}_count{{stage="{stage}"}} {self._counts[name, stage]}\n'
                else:
                    yield f'{full}{{stage="{stage}"}} {total:.17g}\n'


def _whole_lines(log: BinaryIO) -> Iterator[bytes]:
    """Give lines one by one, however much was written; what is too long for metrics in pieces."""
    for line in iter(partial(log.readline, _LONGEST_BYTES), b""):
        if not line.endswith(b"\n") and len(line) < _LONGEST_BYTES:
            # The last line is not whole yet.
            return
        yield line


def prometheus_name(name: str) -> str:
    """Give the name of a metric as Prometheus has it: `StageLatency` in seconds, for one."""
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    if name in _IN_SECONDS:
        return f"embedpipe_{snake}_seconds"
    return f"embedpipe_{snake}" if name in DISTRIBUTIONS else f"embedpipe_{snake}_total"


def of_workers(pages: Mapping[str, str]) -> str:
    """Put the pages of several workers together, each line with its worker's name."""
    families: dict[str, list[str]] = {}
    for worker, page in pages.items():
        family: list[str] = []
        for line in page.splitlines():
            if line.startswith("#"):
                family = families.setdefault(line, [])
            elif line:
                name, _, value = line.partition(" ")
                family.append(f'{name}{{worker="{worker}"}} {value}')
    return "".join(f"{line}\n" for head, lines in families.items() for line in (head, *lines))


class Scraped:
    """What is added to the API's own page.

    Parameters
    ----------
    workers
        Where each worker's page is, by the worker's name.
    """

    def __init__(self, logs: Path, workers: Mapping[str, str]) -> None:
        self._totals = Totals(logs)
        self._workers = dict(workers)

    def text(self, active_requests: int) -> str:
        """Give totals, workers, and how many requests the gateway has in work."""
        return (
            "# TYPE embedpipe_requests_active gauge\n"
            f'embedpipe_requests_active{{stage="api"}} {active_requests}\n'
            + self._totals.text()
            + of_workers(dict(_pages(self._workers.items())))
        )


def _pages(workers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for name, url in workers:
        try:
            # No proxy of the environment: they are on loopback.
            answer = httpx.get(url, timeout=_WORKER_TIMEOUT_S, trust_env=False)
        except httpx.HTTPError:
            # What does not answer is left out.
            continue
        if answer.is_success:
            yield name, answer.text
