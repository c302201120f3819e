"""`embedpipe metrics` and `embedpipe stats`: how fast the stages are, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from embedpipe.cli import output
from embedpipe.cli.operations import calls, words
from embedpipe.cli.operations.options import Window, seconds_of
from embedpipe.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Url

COLUMNS = ("stage", "#processed", "#failed", "#rate", "#p50", "#p95", "#p99")
MORE = ("#slowest", "#waiting", "#oldest")
# In characters: below, there is no room for more.
WIDE = 100


def metrics_command(
    window: Window = "1h",
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Show how much each stage did lately, and how fast."""
    found = _metrics(window, url, data_dir)
    if as_json:
        output.emit_json(found)
        return
    console = output.console()
    columns = (*COLUMNS, *(MORE if console.width >= WIDE else ()))
    rows = [_row(name, stage)[: len(columns)] for name, stage in found["stages"].items()]
    console.print(output.table(f"the last {words.age(found['window_s'])}", columns, rows))


def stats_command(
    window: Window = "1h",
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Count jobs, tokens and cost."""
    found = _metrics(window, url, data_dir)
    if as_json:
        kept = ("window_s", "jobs", "tokens", "cost_usd", "dlq", "outbox", "workers", "ts")
        output.emit_json({name: found[name] for name in kept})
    else:
        output.console().print(output.pairs("", list(_figures(found))))


def _metrics(window: str, url: str | None, data_dir: Any) -> dict[str, Any]:
    asked = {"window_seconds": seconds_of(window, "--window")}
    with calls.connect(url, data_dir) as api:
        found: dict[str, Any] = api.call("GET", "/embeddings/metrics", params=asked)
    return found


def _row(name: str, stage: dict[str, Any]) -> list[str]:
    latency = stage["latency_s"]
    return [
        name,
        words.number(stage["processed"]),
        words.warned(stage["failed"]),
        words.rate(stage["rate_per_s"]),
        *(words.latency(latency[name]) for name in ("p50", "p95", "p99", "max")),
        "?" if stage["queue_depth"] is None else words.number(stage["queue_depth"]),
        words.age(stage["queue_age_s"]),
    ]


def _figures(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    jobs, latency = found["jobs"], found["jobs"]["latency_s"]
    ended = ("succeeded", "failed", "cancelled")
    still = {name: count for name, count in jobs["by_status"].items() if name not in ended}
    yield "open jobs", words.listed(still)
    done = {name: jobs[name] for name in ended}
    yield f"last {words.age(found['window_s'])}", words.listed(done, "no job ended")
    yield "rate", words.rate(jobs["per_s"])
    if latency["p50"] is not None:
        spread = (f"{words.latency(latency[name])} ({name})" for name in ("p50", "p95", "p99"))
        yield "a job takes", ", ".join(spread)
    yield "tokens", words.number(found["tokens"])
    yield "cost", f"$ {found['cost_usd']:,.4f}"
    yield "dead letters", words.listed(found["dlq"])
    outbox, workers = found["outbox"], found["workers"]
    oldest = f", the oldest for {words.age(outbox['oldest_age_s'])}" if outbox["rows"] else ""
    yield (
        "outbox",
        (words.counted(outbox["rows"], "message") if outbox["rows"] else "empty") + oldest,
    )
    yield "workers", f"{workers['active']:,} active, {workers['stalled']:,} stalled"
