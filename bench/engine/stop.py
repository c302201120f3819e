"""Stop a worker in the middle of its batches, again and again, and count what that cost.

Run with `python -m bench.engine.stop`; `make soak` runs it as well.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.messages import StoreRequested, decode
from rich.console import Console

from bench.engine import machine, report
from bench.engine.child import ROOT
from bench.engine.mixes import all_mixes
from bench.engine.remote_ports import serve_ports
from bench.engine.rig import MODEL_ID, Rig, settings_of

_MESSAGE_CHUNKS = 8
_AFTER_S = (0.5, 2.5)
_START_S = 60.0
_EXIT_S = 60.0
_FINISH_S = 300.0
HEADER = ("Stop", "Held at the signal", "Seconds to exit", "Status", "Hidden after", "Answered")


@dataclass(frozen=True)
class Stop:
    """What one stop found.

    Attributes
    ----------
    held
        Messages in the worker's hands when the signal was sent.
    hidden
        Messages still hidden after the exit: they would be missing until their visibility ends.
    answered
        Messages answered so far, by all workers.
    """

    held: int
    seconds: float
    status: int
    hidden: int
    answered: int


class Stopping:
    """One queue, and one worker process after another."""

    def __init__(self, models_dir: Path, messages: int) -> None:
        self._models_dir = str(models_dir)
        self._socket_name = ""
        self._rig = Rig(settings_of(models_dir))
        self._draw = random.Random(3)
        tokenizer = ModelsDirectory(models_dir).tokenizer(MODEL_ID)
        ids = all_mixes(tokenizer, 40_000)["log-normal"].ids
        self._sent = []
        for number in range(messages):
            at = number * _MESSAGE_CHUNKS % (len(ids) - _MESSAGE_CHUNKS)
            message = self._rig.jobs.message(ids[at : at + _MESSAGE_CHUNKS])
            self._sent.append(message.job_id)
            self._rig.send(message)

    def run(self, stops: int) -> dict[str, Any]:
        """Stop so many workers, let the last one finish, and count."""
        objects = {
            "queue": self._rig.queues["normal"],
            "answers": self._rig.answers,
            "jobs": self._rig.jobs.port,
        }
        self._socket_name = serve_ports(objects)
        done = [self._stop() for _ in range(stops)]
        self._finish()
        answers = Counter(decode(StoreRequested, body).job_id for body in self._rig.answers.bodies)
        return {
            "messages": len(self._sent),
            "stops": [asdict(stop) for stop in done],
            "lost": sum(job_id not in answers for job_id in self._sent),
            "sent_twice": sum(count > 1 for count in answers.values()),
            "in_dlq": self._rig.dlq.backlog(),
        }

    def _stop(self) -> Stop:
        queue, answers = self._rig.queues["normal"], self._rig.answers
        answered = answers.count
        child = self._start()
        # In the middle of its work: something was answered, much is not.
        answers.wait_for(min(answered + 1, len(self._sent)), _START_S)
        time.sleep(self._draw.uniform(*_AFTER_S))
        held, began = queue.in_flight, time.perf_counter()
        child.send_signal(signal.SIGTERM)
        status = child.wait(_EXIT_S)
        seconds = time.perf_counter() - began
        return Stop(held, seconds, status, queue.in_flight, answers.count)

    def _finish(self) -> None:
        child = self._start()
        try:
            self._rig.settled(_FINISH_S)
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(_EXIT_S)

    def _start(self) -> subprocess.Popen[str]:
        log = ROOT / ".embedpipe" / "bench" / "stoppable.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as stream:
            child = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "bench.engine.stoppable",
                    self._socket_name,
                    self._models_dir,
                ],
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                cwd=ROOT,
            )
        assert child.stdout is not None
        with child.stdout:
            if child.stdout.readline() != "ready\n":
                child.kill()
                child.wait()
                raise SystemExit(f"the worker did not start; see {log.relative_to(ROOT)}")
        return child


def measure(models_dir: Path, *, messages: int, stops: int) -> dict[str, Any]:
    """Stop workers; give what `publish` prints."""
    return Stopping(models_dir, messages).run(stops)


def publish(result: dict[str, Any], console: Console) -> str:
    """Print the table; give it in Markdown."""
    title = (
        f"SIGTERM in mid-batch: {result['messages']:,} messages, {len(result['stops'])} stops; "
        f"sent twice {result['sent_twice']}, lost {result['lost']}, in the DLQ {result['in_dlq']}"
    )
    rows = [_cells(number, stop) for number, stop in enumerate(result["stops"], 1)]
    report.show(console, title, HEADER, rows)
    return report.markdown(title, HEADER, rows)


def verdict(result: dict[str, Any]) -> list[str]:
    """Say what is not as it must be."""
    wrong = [f"{name}: {result[name]}" for name in ("lost", "sent_twice", "in_dlq") if result[name]]
    wrong += [f"exit status {stop['status']}" for stop in result["stops"] if stop["status"]]
    wrong += [f"hidden after a stop: {s['hidden']}" for s in result["stops"] if s["hidden"]]
    return wrong


def _cells(number: int, stop: dict[str, Any]) -> Sequence[str]:
    return [
        str(number),
        str(stop["held"]),
        f"{stop['seconds']:.2f}",
        str(stop["status"]),
        str(stop["hidden"]),
        str(stop["answered"]),
    ]


def main() -> None:
    """Measure, print, write; exit with 1 when something was lost or done twice."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine.stop", description=__doc__)
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--stops", type=int, default=5)
    arguments = parser.parse_args()
    models_dir = Path(os.environ.get("MODELS_DIR", ROOT / ".embedpipe" / "models")).resolve()
    described = machine.describe()
    result = measure(models_dir, messages=arguments.messages, stops=arguments.stops)
    table = publish(result, Console(width=120))
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    said = f"Machine: {machine.sentence(described)}."
    (results / "stop.json").write_text(json.dumps({"machine": described} | result, indent=2) + "\n")
    (results / "stop.md").write_text(f"{said}\n\n{table}\n")
    if wrong := verdict(result):
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
