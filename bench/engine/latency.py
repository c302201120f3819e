"""How long somebody waits behind others: a tenant behind another's flood, a request behind a queue.

Run with `python -m bench.engine.latency`. Prints tables, writes bench/results/latency.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

from embedpipe.messages import StoreRequested, decode
from embedpipe.worker import Worker
from rich.console import Console

from bench.engine import machine, report
from bench.engine.child import ROOT, Child
from bench.engine.contest import say
from bench.engine.mixes import Mix, all_mixes
from bench.engine.queues import FairQueue
from bench.engine.rig import MODEL_ID, Ids, Rig, settings_of
from bench.engine.waits import figures

_FLOOD_MESSAGE_CHUNKS = 16
_COLD_TRIALS = 5
_STEADY_S = 3.0
_TIMEOUT_S = 300.0


@dataclass
class Waiting:
    """Who waits for the answer of which job."""

    events: dict[str, Event] = field(default_factory=dict)

    def answered(self, body: str) -> None:
        """Wake whoever waits for it."""
        if self.events and (event := self.events.pop(decode(StoreRequested, body).job_id, None)):
            event.set()


class Flood:
    """A tenant that keeps so many chunks queued, whatever is computed meanwhile."""

    def __init__(self, rig: Rig, ids: Sequence[Ids], chunks: int, *, size: int) -> None:
        self._rig, self._ids, self._size = rig, ids, size
        self._messages = max(1, chunks // size)
        self._sent = 0
        self._over = Event()

    @contextmanager
    def kept_up(self) -> Iterator[None]:
        """Send until the end of the block."""
        self.fill()
        thread = Thread(target=self._keep, name="flood")
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def fill(self) -> None:
        """Bring the queue up to its length."""
        for _ in range(self._messages - self._rig.backlog()):
            at = self._sent * self._size % len(self._ids)
            rows = self._ids[at : at + self._size]
            self._rig.send(self._rig.jobs.message(rows, tenant="flood"))
            self._sent += 1

    def _keep(self) -> None:
        while not self._over.wait(0.2):
            self.fill()


class Scene:
    """A worker, a flood, and somebody with one chunk.

    Parameters
    ----------
    lane
        Where the single chunk goes; the flood is in `normal`.
    size
        Chunks in each message of the flood.
    """

    def __init__(
        self,
        models_dir: Path,
        mix: Mix,
        *,
        is_fair: bool = False,
        lane: str = "normal",
        size: int = _FLOOD_MESSAGE_CHUNKS,
    ) -> None:
        self._waiting = Waiting()
        settings = settings_of(models_dir)
        self.rig = Rig(settings, lanes=sorted({"normal", lane}), sink=self._waiting.answered)
        if is_fair:
            self.rig.queues["normal"] = FairQueue(
                "embed", visibility_s=settings.visibility_s, dlq=self.rig.dlq
            )
        self._lane, self._ids, self._size = lane, mix.ids, size
        self._draw = random.Random(7)

    def trials(self, chunks: int, trials: int) -> dict[str, Any]:
        """Send single chunks at moments of chance into the flood."""
        flood = Flood(self.rig, self._ids, chunks, size=self._size)
        waits: list[float] = []
        passes: list[float] = []
        with self.rig.running() as worker, flood.kept_up():
            time.sleep(_STEADY_S)
            before = worker.context.counters.read()
            for number in range(trials):
                time.sleep(self._draw.uniform(0.05, 0.4))
                wait_s, batches = self._trial(worker, self._ids[number % len(self._ids)])
                waits.append(wait_s)
                passes.append(batches)
            after = worker.context.counters.read()
        busy = {name: after[name] - before[name] for name in ("passes", "embed_s", "tokens")}
        return {
            "seconds": figures(waits),
            "batches": figures(passes),
            "batch_s": busy["embed_s"] / max(busy["passes"], 1),
            "batch_tokens": busy["tokens"] / max(busy["passes"], 1),
        }

    def behind_all(self, chunks: int) -> tuple[float, float]:
        """Queue the flood, then the single chunk, then start; give the seconds and batches."""
        Flood(self.rig, self._ids, chunks, size=self._size).fill()
        message = self.rig.jobs.message([self._ids[0]], tenant="single")
        event = self._waiting.events[message.job_id] = Event()
        self.rig.send(message, self._lane)
        worker = self.rig.prepared()
        passes, began = worker.context.counters.read()["passes"], time.perf_counter()
        with self.rig.at_work(worker):
            if not event.wait(_TIMEOUT_S):
                raise TimeoutError("the single chunk was never computed")
            wait_s = time.perf_counter() - began
            return wait_s, worker.context.counters.read()["passes"] - passes

    def _trial(self, worker: Worker, ids: Ids) -> tuple[float, float]:
        message = self.rig.jobs.message([ids], tenant="single")
        event = self._waiting.events[message.job_id] = Event()
        counters = worker.context.counters
        passes, began = counters.read()["passes"], time.perf_counter()
        self.rig.send(message, self._lane)
        if not event.wait(_TIMEOUT_S):
            raise TimeoutError("the single chunk was never computed")
        return time.perf_counter() - began, counters.read()["passes"] - passes


def cold(make: Callable[[], Scene], chunks: int, trials: int) -> dict[str, Any]:
    """Start a worker on a full queue, again and again.

    Each time on a new queue: what was delivered before is computed alone.
    """
    found = [make().behind_all(chunks) for _ in range(trials)]
    return {
        "seconds": figures([seconds for seconds, _ in found]),
        "batches": figures([batches for _, batches in found]),
    }


def synchronous(
    models_dir: Path, mixes: dict[str, Mix], chunks: int, requests: int
) -> dict[str, Any]:
    """Time requests of one query each, first with nothing queued, then beside a flood."""
    rig = Rig(settings_of(models_dir), sink=lambda _: None)
    bodies = [
        {
            "model_id": MODEL_ID,
            "fingerprint": rig.model.fingerprint,
            "inputs": [text],
            "kind": "query",
        }
        for text in mixes["queries"].texts[:requests]
    ]
    found: dict[str, Any] = {}
    with rig.running() as worker:
        log = ROOT / ".embedpipe" / "bench" / "caller.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        child = Child(
            [sys.executable, "-m", "bench.engine.caller"], {"port": worker.endpoint.port}, log=log
        )
        try:
            child.ask({"bodies": bodies[:5]})
            found["idle"] = figures(child.ask({"bodies": bodies})["seconds"])
            flood = Flood(rig, mixes["log-normal"].ids, chunks, size=_FLOOD_MESSAGE_CHUNKS)
            with flood.kept_up():
                time.sleep(_STEADY_S)
                before = worker.context.counters.read()
                found["beside"] = figures(child.ask({"bodies": bodies}, timeout_s=300)["seconds"])
                after = worker.context.counters.read()
        finally:
            child.close()
    queued = after["passes"] - after["sync_passes"] - before["passes"] + before["sync_passes"]
    found["queued_batches"] = queued
    found["batch_s"] = (after["embed_s"] - before["embed_s"]) / (after["passes"] - before["passes"])
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine.latency", description=__doc__)
    parser.add_argument("--chunks", type=int, default=5_000, help="chunks queued ahead")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--requests", type=int, default=200)
    arguments = parser.parse_args()
    models_dir = Path(os.environ.get("MODELS_DIR", ROOT / ".embedpipe" / "models")).resolve()
    described = machine.describe()
    mixes = _mixes(models_dir)
    flood = mixes["log-normal"]
    chunks, trials = arguments.chunks, arguments.trials
    starts = min(trials, _COLD_TRIALS)
    scenes: dict[str, Callable[[], dict[str, Any]]] = {
        "worker at work, queue fair to its tenants": lambda: Scene(
            models_dir, flood, is_fair=True
        ).trials(chunks, trials),
        "worker at work, lane of its own (high)": lambda: Scene(
            models_dir, flood, lane="high"
        ).trials(chunks, trials),
        "worker starts, queue in order of arrival": lambda: cold(
            lambda: Scene(models_dir, flood), chunks, starts
        ),
        "the same, messages of one chunk": lambda: cold(
            lambda: Scene(models_dir, flood, size=1), chunks, starts
        ),
    }
    result: dict[str, Any] = {"machine": described, "chunks": arguments.chunks, "fairness": {}}
    for name, scene in scenes.items():
        say(f"one chunk behind {arguments.chunks:,}: {name}")
        result["fairness"][name] = scene()
    say("synchronous requests")
    result["synchronous"] = synchronous(models_dir, mixes, arguments.chunks, arguments.requests)
    _publish(result)


def _mixes(models_dir: Path) -> dict[str, Mix]:
    from embedpipe.adapters.tokenizer import ModelsDirectory

    return all_mixes(ModelsDirectory(models_dir).tokenizer(MODEL_ID), 40_000)


def _publish(result: dict[str, Any]) -> None:
    console = Console(width=140)
    title = f"One chunk behind {result['chunks']:,} of another tenant"
    header = ["Where", "Trials", "Seconds p50", "p95", "max", "Batches p50", "p95", "One batch, ms"]
    rows = [
        [
            name,
            f"{one['seconds']['count']}",
            *[f"{one['seconds'][key]:.3f}" for key in ("p50", "p95", "max")],
            *[f"{one['batches'][key]:.0f}" for key in ("p50", "p95")],
            f"{1000 * one['batch_s']:.0f}" if "batch_s" in one else "",
        ]
        for name, one in result["fairness"].items()
    ]
    report.show(console, title, header, rows)
    asked = result["synchronous"]
    title_2 = "One query over HTTP, milliseconds"
    header_2 = ["Queue", "Requests", "p50", "p95", "max", "One batch, ms"]
    rows_2 = [
        [
            label,
            f"{asked[key]['count']}",
            *[f"{1000 * asked[key][share]:.1f}" for share in ("p50", "p95", "max")],
            f"{1000 * asked['batch_s']:.0f}" if key == "beside" else "",
        ]
        for key, label in (("idle", "empty"), ("beside", f"{result['chunks']:,} chunks"))
    ]
    report.show(console, title_2, header_2, rows_2)
    said = f"Machine: {machine.sentence(result['machine'])}."
    console.print(said)
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    (results / "latency.json").write_text(json.dumps(result, indent=2) + "\n")
    tables = [report.markdown(title, header, rows), report.markdown(title_2, header_2, rows_2)]
    (results / "latency.md").write_text("\n\n".join([said, *tables]) + "\n")


if __name__ == "__main__":
    main()
