"""One run: start, load and faults, quiet, verdict."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import psutil  # type: ignore[import-untyped]

from tests.chaos import checker, plan, report
from tests.chaos.api import Api
from tests.chaos.book import Book
from tests.chaos.client import Client
from tests.chaos.nemeses import Infrastructure, Nemesis, Processes
from tests.chaos.profile import Profile
from tests.chaos.reader import Reader
from tests.chaos.world import ADMIN_KEY, World
from tests.invariants import watch

_TELL_S = 10.0


class Run:
    """A run in a directory of its own; `stop` leaves nothing running, at any time."""

    def __init__(self, profile: Profile, directory: Path, quiet_s: float) -> None:
        self.profile = profile
        self.book = Book()
        self._quiet_s = quiet_s
        self.world = World(directory, profile.seed)
        self._nemeses: list[Nemesis] = []
        self._client: Client | None = None
        self._reader: Reader | None = None
        self._infrastructure = Infrastructure(self.world, self.book)
        self._started = time.monotonic()

    def result(self) -> tuple[dict[str, float], dict[str, list[dict[str, Any]]]]:
        """Do all of it; give what the report shows, and what is wrong."""
        world, profile = self.world, self.profile
        world.start()
        with psycopg.connect(world.owner_url) as connection:
            watch(connection)
        self._started = time.monotonic()
        self._start_load()
        self._wait_for_the_end()
        for nemesis in self._nemeses:
            nemesis.stop()
        self._heal()
        loaded_s = time.monotonic() - self._started
        left = checker.wait_until_quiet(world, self._quiet_s)
        assert self._reader is not None
        self._reader.stop()
        quiet_s = time.monotonic() - self._started - loaded_s
        cpu_s = self._cpu_s()
        counts, found = checker.check(world, self.book)
        if left:
            found["left when quiet"] = [left]
        counts = report.merged(self.book.counts, counts)
        counts["accepted"] = len(self.book.accepted)
        shown = report.summary(counts, found)
        shown |= {
            "seconds under faults": round(loaded_s, 1),
            "seconds until quiet": round(quiet_s, 1),
            "jobs per s": round(counts["accepted"] / loaded_s, 1),
            "CPU s per job": round(cpu_s / max(1, counts["accepted"]), 3),
            "left when quiet": sum(left.values()),
        }
        del profile
        return shown, found

    def stop(self) -> None:
        """Stop everything that was started."""
        self._infrastructure.stopping.set()
        if self._client is not None:
            self._client.stop()
        for nemesis in self._nemeses:
            nemesis.stopping.set()
        self.world.stop()

    def _start_load(self) -> None:
        world, book, seed = self.world, self.book, self.profile.seed
        api = Api(world.functions["api"])
        keys = {**world.keys, "": ADMIN_KEY}
        self._client = Client(api, keys, book, plan.submissions(self.profile), seed=seed)
        dimensions = world.model.info.dimensions
        self._reader = Reader(api, keys, book, seed=seed, dimensions=dimensions)
        processes = Processes(world, book, seed)
        acts = {
            "kill": processes.kill,
            "term": processes.terminate,
            "zombie": processes.freeze,
            "postgres": self._infrastructure.crash_postgres,
            "network": self._infrastructure.network,
            "queue": self._infrastructure.stall_queue,
        }
        planned = plan.faults(self.profile)
        self._nemeses = [Nemesis(name, planned[name], act, book) for name, act in acts.items()]
        self._client.start()
        self._reader.start()
        for nemesis in self._nemeses:
            nemesis.start()

    def _wait_for_the_end(self) -> None:
        """Wait for client and nemeses; half as long again as planned at the most."""
        assert self._client is not None
        deadline = self._started + 1.5 * self.profile.seconds + 30
        while time.monotonic() < deadline:
            is_asked = self._client.join(_TELL_S)
            self._tell()
            if is_asked and all(nemesis.is_done for nemesis in self._nemeses):
                return

    def _heal(self) -> None:
        self._infrastructure.stopping.set()
        assert self.world.proxies is not None
        for name in ("postgres", "sqs"):
            self.world.proxies.act(name, "heal")

    def _tell(self) -> None:
        counts = self.book.counts
        names = ("SIGKILL", "zombies", "PostgreSQL crashes", "network faults", "searches with hits")
        said = ", ".join(f"{counts[name]} {name}" for name in names)
        seconds = time.monotonic() - self._started
        with psycopg.connect(self.world.owner_url) as connection:
            rows = connection.execute("SELECT status, count(*) FROM jobs GROUP BY 1").fetchall()
        jobs = " ".join(f"{status} {count}" for status, count in sorted(rows))
        wrong = len(self.book.violations)
        print(f"{seconds:5.0f} s: {jobs}; {said}; {wrong} wrong", flush=True)

    def _cpu_s(self) -> float:
        """Give the processor time of all processes, those that have ended included."""
        own = psutil.Process()
        total = sum(own.cpu_times()[:4])
        for child in own.children(recursive=True):
            try:
                total += sum(child.cpu_times()[:4])
            except psutil.Error:
                continue
        return float(total)


def threads_left() -> list[str]:
    """Name the threads that are not daemons and not the main one."""
    return [
        thread.name
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread()
    ]
