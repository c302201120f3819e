"""What the worker did, once a minute: a line of the log, and metrics."""

from __future__ import annotations

from dataclasses import asdict

from embedpipe import telemetry
from embedpipe.worker.context import Context
from embedpipe.worker.counters import Counts

_MS_PER_S = 1000.0


class Meter:
    """Tells what happened since it told last.

    Metrics are one line on standard output in the embedded metric format, which CloudWatch reads
    whoever brings it. Counts are exact, zeros too, so that a worker that idles is told from one
    that is gone; of durations and sizes a sample is printed.
    """

    def __init__(self, context: Context) -> None:
        self._counters = context.counters
        self._cache = context.ports.cache
        self._logger = context.logger
        self._telemetry = telemetry.of("embed")
        self._told: dict[str, float] = asdict(Counts())
        self._told_cache = (0, 0)

    def report(self, sentence: str, *, always: bool = False) -> None:
        """Log all counts when one has changed, and print the metrics."""
        counts = self._counters.read()
        if always or counts != self._told:
            self._logger.info(sentence, extra={name: round(n, 3) for name, n in counts.items()})
        self._print(counts)
        self._told = counts

    def _print(self, counts: dict[str, float]) -> None:
        new = {name: count - self._told[name] for name, count in counts.items()}
        hits, misses = self._new_in_cache()
        measure = self._telemetry.measure
        measure(telemetry.MESSAGES_PROCESSED, new["done"] + new["unwanted"])
        measure(telemetry.MESSAGES_FAILED, new["retried"] + new["rejected"])
        measure(telemetry.MESSAGES_REJECTED, new["rejected"])
        measure(telemetry.CHUNKS_EMBEDDED, new["chunks"] + new["remote_chunks"])
        measure(telemetry.TOKENS, new["tokens"])
        measure(telemetry.CACHE_HITS, hits)
        measure(telemetry.CACHE_MISSES, misses)
        measure(telemetry.REQUESTS, new["requests"])
        measure(telemetry.REQUESTS_FAILED, new["failed_requests"])
        if new["padded_tokens"]:
            measure(telemetry.PADDING_EFFICIENCY, round(new["tokens"] / new["padded_tokens"], 4))
        self._print_sampled()
        self._telemetry.flush()

    def _print_sampled(self) -> None:
        sampled = self._counters.sampled()
        measure, values = self._telemetry.measure, sampled.values
        measure(telemetry.REQUESTS_ACTIVE, sampled.most_active)
        measure(telemetry.BATCH_SIZE, *values.get("batch", ()))
        measure(telemetry.PAYLOAD_BYTES, *values.get("payload_bytes", ()))
        measure(telemetry.STAGE_LATENCY, *map(_ms, values.get("work_s", ())))
        measure(telemetry.REQUEST_DURATION, *map(_ms, values.get("request_s", ())))

    def _new_in_cache(self) -> tuple[int, int]:
        if self._cache is None:
            return 0, 0
        counts = self._cache.counts()
        before, self._told_cache = self._told_cache, (counts.hits, counts.misses)
        return counts.hits - before[0], counts.misses - before[1]


def _ms(seconds: float) -> float:
    return round(seconds * _MS_PER_S, 1)
