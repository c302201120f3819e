"""Many messages through the real worker with the real model, some of them poison.

Run with `make soak`. Prints tables, writes bench/results/soak.json and soak.md; exits with 1 when
anything is not as it must be.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import onnxruntime
from embedpipe.adapters.embedders.session import open_session
from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.messages import EmbedRequested, StoreRequested, decode
from embedpipe.worker import Worker
from rich.console import Console

from bench.engine import machine, report, stop
from bench.engine.child import ROOT
from bench.engine.contest import say
from bench.engine.limit import padded
from bench.engine.mixes import all_mixes
from bench.engine.rig import MODEL_ID, Floats, Ids, Rig, settings_of
from bench.engine.soak_load import LANES, Load, fill

_SAMPLE_S = 2.0
_TIMEOUT_S = 3600.0
_WARM_SHARE = 0.1
_LEAST_COSINE = 0.99999
_TABLE_ROWS = 15
HEADER = ("Seconds", "Messages settled", "RSS, MB", "Tokens held")


@dataclass
class Seen:
    """What came out. Rows are kept of sampled jobs only, so that they are not taken for a leak."""

    sampled: dict[str, list[Ids]]
    rows: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    vectors: dict[str, Floats] = field(default_factory=dict)

    def take(self, body: str) -> None:
        """Note one answer."""
        answer = decode(StoreRequested, body)
        raw = base64.b64decode(answer.vectors)
        self.answers[answer.job_id] += 1
        self.rows[answer.job_id] += len(raw) // (4 * answer.dimensions)
        if answer.job_id in self.sampled:
            vectors = np.frombuffer(raw, dtype="<f4").reshape(-1, answer.dimensions)
            self.vectors[answer.job_id] = vectors


@dataclass(frozen=True)
class Sample:
    """The process at one moment."""

    at_s: float
    settled: int
    rss_mb: float
    held_tokens: int


class Watch:
    """Takes a sample every few seconds."""

    def __init__(self, rig: Rig, worker: Worker, messages: int) -> None:
        self.samples: list[Sample] = []
        self._rig, self._worker, self._messages = rig, worker, messages
        self._began = time.perf_counter()
        self._over = Event()
        self._thread = Thread(target=self._loop, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take the last sample and end."""
        self._over.set()
        self._thread.join()
        self._take()

    def _loop(self) -> None:
        self._take()
        while not self._over.wait(_SAMPLE_S):
            self._take()

    def _take(self) -> None:
        self.samples.append(
            Sample(
                time.perf_counter() - self._began,
                self._messages - self._rig.backlog(),
                rss_mb(),
                self._worker.context.holdings.weight,
            )
        )


def rss_mb() -> float:
    """Memory that this process holds now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def drift(samples: Sequence[Sample], messages: int) -> dict[str, float]:
    """Say how memory changed once a tenth of the messages was settled.

    Examples
    --------
    >>> points = [Sample(0, 0, 100, 0), Sample(1, 10, 150, 0), Sample(2, 100, 160, 0)]
    >>> found = drift(points, 100)
    >>> found["warm_mb"], found["most_mb"], found["drift_mb"]
    (150, 160, 10)
    """
    warm = [one for one in samples if one.settled >= _WARM_SHARE * messages]
    settled = np.array([one.settled for one in warm], dtype=float)
    used = np.array([one.rss_mb for one in warm], dtype=float)
    slope = float(np.polyfit(settled, used, 1)[0]) if len(set(settled)) > 1 else 0.0
    return {
        "warm_mb": warm[0].rss_mb,
        "most_mb": max(one.rss_mb for one in warm),
        "last_mb": warm[-1].rss_mb,
        "drift_mb": max(one.rss_mb for one in warm) - warm[0].rss_mb,
        "mb_per_1000_messages": 1000 * slope,
    }


def soak(models_dir: Path, messages: int) -> dict[str, Any]:
    """Run all messages; give what was found."""
    tokenizer = ModelsDirectory(models_dir).tokenizer(MODEL_ID)
    mix = all_mixes(tokenizer, 60_000)["chunks"]
    seen = Seen({})
    rig = Rig(settings_of(models_dir), lanes=tuple(LANES), sink=seen.take)
    say(f"making {messages:,} messages")
    load = fill(rig, mix, messages)
    seen.sampled = load.sampled
    say(f"{load.chunks:,} chunks, {load.tokens:,} tokens, {len(load.poisons)} poison chunks")
    with rig.running() as worker:
        began = time.perf_counter()
        watch = Watch(rig, worker, messages)
        rig.settled(_TIMEOUT_S)
        seconds = time.perf_counter() - began
        watch.close()
        counters = worker.context.counters.read()
    say("comparing sampled vectors with the bare model's")
    return {
        "messages": messages,
        "chunks": load.chunks,
        "tokens": load.tokens,
        "poisons": len(load.poisons),
        "seconds": seconds,
        "tokens_per_s": load.tokens / seconds,
        "counters": counters,
        "samples": [asdict(sample) for sample in watch.samples],
        "memory": drift(watch.samples, messages),
        "sampled_chunks": sum(map(len, load.sampled.values())),
        "least_cosine": least_cosine(models_dir / MODEL_ID / "model.onnx", load, seen),
        **outcome(rig, load, seen),
    }


def least_cosine(graph: Path, load: Load, seen: Seen) -> float:
    """Compare sampled vectors with those of the bare model, computed one by one."""
    session = open_session(graph, "cpu")
    least = 1.0
    for job_id, rows in load.sampled.items():
        if job_id not in seen.vectors:
            return 0.0
        expected = np.concatenate([session.run(None, padded([row]))[0] for row in rows])
        cosines = (seen.vectors[job_id] * expected).sum(axis=1)
        least = min(least, float((cosines / np.linalg.norm(expected, axis=1)).min()))
    return least


def outcome(rig: Rig, load: Load, seen: Seen) -> dict[str, int]:
    """Count what became of good and of poisoned messages."""
    errors = {job: rig.jobs.error(tenant, job) for job, tenant in load.tenants.items()}
    failed = {job: error.message for job, error in errors.items() if error is not None}
    rejected = Counter(decode(EmbedRequested, body).job_id for body in rig.dlq.bodies())
    good = load.sizes.keys() - load.poisons.keys()
    return {
        "good": len(good),
        "good_answered_once": sum(
            seen.answers[job] == 1 and seen.rows[job] == load.sizes[job] for job in good
        ),
        "good_failed": sum(job in failed or job in rejected for job in good),
        "poison_answered": sum(seen.answers[job] for job in load.poisons),
        "poison_in_dlq": sum(rejected[job] == 1 for job in load.poisons),
        "poison_named": sum(
            failed.get(job, "").endswith(f" chunk {chunk}") for job, chunk in load.poisons.items()
        ),
    }


def verdict(found: dict[str, Any]) -> list[str]:
    """Say what is not as it must be.

    Examples
    --------
    >>> verdict({"good": 2, "good_answered_once": 2, "good_failed": 0, "poisons": 1,
    ...     "poison_answered": 0, "poison_in_dlq": 1, "poison_named": 0, "least_cosine": 1.0})
    ['poison_named: 0, expected 1']
    """
    expected = {
        "good_answered_once": found["good"],
        "good_failed": 0,
        "poison_answered": 0,
        "poison_in_dlq": found["poisons"],
        "poison_named": found["poisons"],
    }
    wrong = [
        f"{name}: {found[name]}, expected {wanted}"
        for name, wanted in expected.items()
        if found[name] != wanted
    ]
    if found["least_cosine"] < _LEAST_COSINE:
        wrong.append(f"least cosine of sampled vectors: {found['least_cosine']:.6f}")
    return wrong


def publish(found: dict[str, Any], console: Console) -> str:
    """Print what was found; give it in Markdown."""
    memory, counters = found["memory"], found["counters"]
    said = (
        f"{found['messages']:,} messages, {found['chunks']:,} chunks, {found['tokens']:,} tokens "
        f"in {found['seconds']:.0f} s ({found['tokens_per_s']:,.0f} tokens/s; "
        f"{counters['passes']:,.0f} inference batches, {counters['failed_passes']:,.0f} failed). "
        f"Good messages answered exactly once: {found['good_answered_once']:,} of "
        f"{found['good']:,}; failed: {found['good_failed']}. Poisoned: {found['poisons']}; in the "
        f"DLQ: {found['poison_in_dlq']}, chunk named: {found['poison_named']}, answered: "
        f"{found['poison_answered']}. {found['sampled_chunks']:,} vectors compared, least cosine "
        f"{found['least_cosine']:.6f}. Memory after a tenth of the messages "
        f"{memory['warm_mb']:.0f} MB, at most {memory['most_mb']:.0f} MB later, "
        f"{memory['last_mb']:.0f} MB at the end; trend {memory['mb_per_1000_messages']:+.2f} MB "
        "per 1,000 messages."
    )
    console.print(said)
    step = max(1, -(-len(found["samples"]) // _TABLE_ROWS))
    chosen = found["samples"][::step]
    if chosen[-1] is not found["samples"][-1]:
        chosen.append(found["samples"][-1])
    rows = [
        [
            f"{one['at_s']:.0f}",
            f"{one['settled']:,}",
            f"{one['rss_mb']:.0f}",
            f"{one['held_tokens']:,}",
        ]
        for one in chosen
    ]
    report.show(console, "Memory of the process", HEADER, rows)
    return said + "\n\n" + report.markdown("Memory of the process:", HEADER, rows)


def main() -> None:
    """Soak, then stop workers in mid-batch; print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--stops", type=int, default=5, help="workers to stop in mid-batch; or 0")
    arguments = parser.parse_args()
    models_dir = Path(os.environ.get("MODELS_DIR", ROOT / ".embedpipe" / "models")).resolve()
    # Each poison chunk makes the runtime print some lines.
    onnxruntime.set_default_logger_severity(4)
    console = Console(width=120)
    result: dict[str, Any] = {"machine": machine.describe()}
    parts = [f"Machine: {machine.sentence(result['machine'])}."]
    result["soak"] = soak(models_dir, arguments.messages)
    parts.append(publish(result["soak"], console))
    wrong = verdict(result["soak"])
    if arguments.stops:
        say(f"stopping {arguments.stops} workers")
        result["stop"] = stop.measure(models_dir, messages=300, stops=arguments.stops)
        parts.append(stop.publish(result["stop"], console))
        wrong += stop.verdict(result["stop"])
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    (results / "soak.json").write_text(json.dumps(result, indent=2) + "\n")
    (results / "soak.md").write_text("\n\n".join(parts) + "\n")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
