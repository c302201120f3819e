"""One run: start, load and faults, quiet, verdict."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg

from tests.chaos import checker, plan, report
from tests.chaos.api import Api
from tests.chaos.book import Book
from tests.chaos.client import Client
from tests.chaos.clock import Clock
from tests.chaos.nemeses import Infrastructure, Nemesis, Processes
from tests.chaos.operating import Operator
from tests.chaos.profile import Profile
from tests.chaos.reader import Reader
from tests.chaos.world import ADMIN_KEY, World
from tests.invariants import watch

_TELL_S = 10.0
_VACUUM_S = 60.0
#: A run may take so many times as long as it was planned to.
_SLOWEST = 3.0


class Run:
    """A run in a directory of its own; `stop` leaves nothing running, at any time."""

    def __init__(self, profile: Profile, directory: Path, quiet_s: float) -> None:
        self.profile = profile
        self.book = Book()
        self._quiet_s = quiet_s
        self.world = World(directory, profile.seed)
        self._nemeses: list[Nemesis] = []
        self._client: Client | None = None
        self._clock = Clock(self._open_jobs)
        self._reader: Reader | None = None
        self._operator: Operator | None = None
        self._infrastructure = Infrastructure(self.world, self.book)
        self._started = self._told = self._vacuumed = time.monotonic()

    def result(self) -> tuple[dict[str, float], dict[str, list[dict[str, Any]]]]:
        """Do all of it; give what the report shows, and what is wrong."""
        world = self.world
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
            "CPU s per job": round(sum(cpu_s.values()) / max(1, counts["accepted"]), 3),
            "left when quiet": sum(left.values()),
            **{f"CPU s {name}": round(used, 1) for name, used in sorted(cpu_s.items())},
            **{f"MB {name}": most for name, most in sorted(world.zygote.rss_mb.items())},
        }
        return shown, found

    def stop(self) -> None:
        """Stop everything that was started."""
        self._infrastructure.stopping.set()
        self._clock.stop()
        if self._operator is not None:
            self._operator.stopping.set()
        if self._client is not None:
            self._client.stop()
        for nemesis in self._nemeses:
            nemesis.stopping.set()
        self.world.stop()

    def _start_load(self) -> None:
        world, book, seed = self.world, self.book, self.profile.seed
        api = Api(world.functions["api"])
        keys = {**world.keys, "": ADMIN_KEY}
        submissions = plan.submissions(self.profile)
        self._client = Client(api, keys, book, submissions, clock=self._clock, seed=seed)
        dimensions = world.model.info.dimensions
        self._reader = Reader(api, keys, book, seed=seed, dimensions=dimensions)
        processes = Processes(world, book, seed)
        self._operator = Operator(api, ADMIN_KEY, book, seed)
        acts = {
            "pause": self._operator.pause,
            "requeue": self._operator.requeue,
            "kill": processes.kill,
            "term": processes.terminate,
            "zombie": processes.freeze,
            "postgres": self._infrastructure.crash_postgres,
            "network": self._infrastructure.network,
            "queue": self._infrastructure.stall_queue,
        }
        planned = plan.faults(self.profile)
        self._nemeses = [
            Nemesis(name, planned[name], act, book=book, clock=self._clock)
            for name, act in acts.items()
        ]
        self._clock.start()
        self._client.start()
        self._reader.start()
        for nemesis in self._nemeses:
            nemesis.start()

    def _wait_for_the_end(self) -> None:
        """Wait for client and nemeses; on a slow machine that takes longer than planned."""
        assert self._client is not None
        deadline = self._started + _SLOWEST * self.profile.seconds + 60
        while time.monotonic() < deadline:
            told = time.monotonic()
            is_asked = self._client.join(_TELL_S)
            is_done = all(nemesis.is_done for nemesis in self._nemeses)
            if not is_asked or not is_done:
                time.sleep(max(0.0, 1.0 - (time.monotonic() - told)))
            if is_asked and is_done:
                return
            if time.monotonic() >= self._told + _TELL_S:
                self._tell()
            if time.monotonic() >= self._vacuumed + _VACUUM_S:
                self._vacuum()

    def _open_jobs(self) -> int | None:
        """Count the jobs that are not over; None while the database is down."""
        try:
            with psycopg.connect(self.world.owner_url, connect_timeout=2) as connection:
                row = connection.execute(
                    "SELECT count(*) FROM jobs WHERE finished_at IS NULL"
                ).fetchone()
        except psycopg.OperationalError:
            return None
        return row[0] if row else None

    def _heal(self) -> None:
        self._clock.stop()
        self._infrastructure.stopping.set()
        assert self.world.proxies is not None
        for name in ("postgres", "sqs"):
            self.world.proxies.act(name, "heal")
        assert self._operator is not None
        self._operator.stopping.set()
        if self.book.counts["pauses"]:
            self._operator.resume_all()

    def _vacuum(self) -> None:
        """Do what the server does by itself where crashes do not make it forget what is due."""
        self._vacuumed = time.monotonic()
        with (
            suppress(psycopg.OperationalError),
            psycopg.connect(self.world.owner_url, autocommit=True) as connection,
        ):
            connection.execute("VACUUM (ANALYZE)")

    def _tell(self) -> None:
        self._told = time.monotonic()
        counts = self.book.counts
        names = ("SIGKILL", "zombies", "PostgreSQL crashes", "network faults", "searches with hits")
        said = ", ".join(f"{counts[name]} {name}" for name in names)
        seconds = time.monotonic() - self._started
        # Not while the database is down.
        with self.world.postgres_lock, psycopg.connect(self.world.owner_url) as connection:
            rows = connection.execute("SELECT status, count(*) FROM jobs GROUP BY 1").fetchall()
        jobs = " ".join(f"{status} {count}" for status, count in sorted(rows))
        wrong = len(self.book.violations)
        report.say(f"{seconds:5.0f} s: {jobs}; {said}; {wrong} wrong")

    def _cpu_s(self) -> dict[str, float]:
        """Give the processor time by role, of those that have ended, and of the servers."""
        world = self.world
        assert world.proxies is not None
        used = {name: float(seconds) for name, seconds in world.zygote.cpu_s.items()}
        pids = {
            "harness": os.getpid(),
            "zygote": world.zygote.pid,
            "proxies": world.proxies.pid,
            "ministack": world.emulator.child.pid,
        }
        for name, pid in pids.items():
            used[name] = sum(psutil.Process(pid).cpu_times()[:2])
        postgres = psutil.Process(world.postgres.child.pid if world.postgres.child else None)
        # Of the server since its last crash.
        used["postgres"] = sum(postgres.cpu_times()[:4])
        return used
