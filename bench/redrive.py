"""Redrive of a dead-letter queue on MiniStack: its pace, and what a mover that is killed loses.

    python -m bench.redrive [--entries 5000] [--rate 200] [--kills 3] [--out FILE]

Two runs. The first moves all entries undisturbed and is measured. The second moves as many again,
the mover killed with SIGKILL in between; the next one goes on once the lease of the dead one is
over. Afterwards every body must be in the source queue, byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embedpipe.adapters.postgres import PostgresDatabase
from embedpipe.adapters.sealing import sealer_of
from embedpipe.adapters.sqs import SqsQueue
from embedpipe.adapters.sqs_dead_letters import SqsDeadLetters
from embedpipe.domain.audit import Act, Actor
from embedpipe.stages.redrive import Mover
from embedpipe.stages.requeue import Pace

from tests.ministack import ministack
from tests.postgres import PostgresServer

BODY_BYTES = 2048


@dataclass
class Run:
    """What one run came to; seconds are those in which a mover moved."""

    entries: int
    per_second: int
    kills: int
    moved: int
    seconds: float
    pace: float
    off_percent: float
    distinct_bodies: int
    lost: int
    changed: int
    sent_twice: int
    left_in_dlq: int


@dataclass(frozen=True)
class Place:
    """Where a run happens: a child process is told so."""

    endpoint_url: str
    dlq_url: str
    source_url: str
    conninfo: str


def sqs_client(endpoint_url: str) -> Any:
    """Give a client of the emulator."""
    import boto3
    from botocore.config import Config

    session = boto3.Session("test", "test", region_name="us-east-1")
    return session.client(
        "sqs", endpoint_url=endpoint_url, config=Config(parameter_validation=False)
    )


def mover_of(place: Place) -> Mover:
    """Give a mover, as an API function would have it."""
    client = sqs_client(place.endpoint_url)
    letters = SqsDeadLetters(
        lambda: client, place.dlq_url, stage="chunk", sources={"chunk": place.source_url}
    )
    database = PostgresDatabase(place.conninfo, min_size=1, max_size=2)
    return Mover(letters, database, sealer_of(None), {}, Pace(50, 200))


def move(place: Place) -> None:
    """Go on with the redrive until it is over; this is what is killed."""
    mover = mover_of(place)
    while (redrive := mover.advance(lambda: True)) is not None and redrive.is_open:
        time.sleep(0.2)


def a_body(number: int) -> str:
    """Give a body that no serializer would write again."""
    filling = hashlib.sha256(str(number).encode()).hexdigest() * (BODY_BYTES // 64)
    return f'{{"n": {number} ,\n\t"text" : "{filling}" }}'


def fill(place: Place, entries: int) -> None:
    """Put entries into the DLQ."""
    client = sqs_client(place.endpoint_url)
    for start in range(0, entries, 10):
        client.send_message_batch(
            QueueUrl=place.dlq_url,
            Entries=[
                {"Id": str(number), "MessageBody": a_body(number), "MessageGroupId": "acme"}
                for number in range(start, min(start + 10, entries))
            ],
        )


def drained(place: Place) -> Counter[str]:
    """Take all bodies from the source queue."""
    queue = SqsQueue(sqs_client(place.endpoint_url), place.source_url, stage="chunk")
    found: Counter[str] = Counter()
    while batch := queue.receive(wait_s=0):
        found.update(one.body for one in batch)
        queue.ack(batch)
    return found


def run(place: Place, *, entries: int, rate: int, kills: int) -> Run:
    """Redrive once, and look what came of it."""
    fill(place, entries)
    mover = mover_of(place)
    act = Act(Actor("default", "bench"), "dlq.redrive", "chunk", "bench")
    mover.database.requeues.grant("chunk", 10_000, rate=rate, burst=1)
    mover.start(rate, act)
    seconds = 0.0
    for life in range(kills + 1):
        child = subprocess.Popen(
            [sys.executable, "-m", "bench.redrive", "--move", json.dumps(asdict(place))]
        )
        before, began = moved(mover), time.perf_counter()
        while moved(mover) == before and child.poll() is None:
            time.sleep(0.005)
            began = time.perf_counter()
        first, share = moved(mover), entries * (life + 1) // (kills + 1)
        while child.poll() is None and (life == kills or moved(mover) < share):
            time.sleep(0.02)
            if moved(mover) > first:
                ended = time.perf_counter()
                first = moved(mover)
        seconds += ended - began
        if life < kills:
            os.kill(child.pid, signal.SIGKILL)
        child.wait()
    count = moved(mover)
    found = drained(place)
    expected = {a_body(number) for number in range(entries)}
    pace = count / seconds
    return Run(
        entries=entries,
        per_second=rate,
        kills=kills,
        moved=count,
        seconds=round(seconds, 2),
        pace=round(pace, 1),
        off_percent=round(100 * (pace / rate - 1), 2),
        distinct_bodies=len(found),
        lost=len(expected - set(found)),
        changed=len(set(found) - expected),
        sent_twice=sum(found.values()) - len(found),
        left_in_dlq=mover.letters.depth().total,
    )


def moved(mover: Mover) -> int:
    """Say how many messages the redrive has moved."""
    redrive = mover.database.redrives.newest("chunk")
    return redrive.moved if redrive else 0


def main() -> int:
    """Run both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=5000)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--move", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.move:
        move(Place(**json.loads(given.move)))
        return 0
    runs = []
    server = PostgresServer()
    with tempfile.TemporaryDirectory() as directory, ministack(Path(directory)) as url:
        client = sqs_client(url)
        names = [server.create_database(), server.create_database()]
        for kills, name in zip((0, given.kills), names, strict=True):
            place = Place(
                url,
                client.create_queue(QueueName=f"{name}-dlq")["QueueUrl"],
                client.create_queue(QueueName=name)["QueueUrl"],
                server.conninfo(name, "embedpipe_app"),
            )
            runs.append(run(place, entries=given.entries, rate=given.rate, kills=kills))
    server.close()
    for name in asdict(runs[0]):
        print(f"{name:16}", *(f"{getattr(one, name)!s:>10}" for one in runs))
    if given.out:
        given.out.write_text(json.dumps([asdict(one) for one in runs], indent=2) + "\n")
    is_good = all(one.lost == one.changed == one.left_in_dlq == 0 for one in runs)
    return 0 if is_good and abs(runs[0].off_percent) <= 5 else 1


if __name__ == "__main__":
    sys.exit(main())
