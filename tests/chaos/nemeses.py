"""What breaks things, each kind in a thread of its own that follows its part of the plan."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable

from tests.chaos.book import Book
from tests.chaos.clock import Clock
from tests.chaos.plan import Fault
from tests.chaos.processes import Process
from tests.chaos.world import World

Act = Callable[[Fault], None]
#: The share of signals that go to a process that is not stopped.
_SPARED = 0.97


class Nemesis:
    """One thread; acts at the planned times, late rather than never, until it is stopped."""

    def __init__(self, name: str, plan: list[Fault], act: Act, *, book: Book, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._plan = plan
        self._act = act
        self._book = book
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"nemesis-{name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End when what is broken is whole again."""
        self.stopping.set()
        self._thread.join(60)

    @property
    def is_done(self) -> bool:
        """Whether all that was planned has happened."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        for fault in self._plan:
            if self._clock.wait_until(fault.at_s, self.stopping):
                return
            try:
                self._act(fault)
            # A nemesis that fails breaks nothing more, and floors will not be reached.
            except Exception as error:  # noqa: BLE001
                self._book.violate(f"nemesis {self.name}: {type(error).__name__}: {error}")


class Processes:
    """Signals to processes of all roles."""

    def __init__(self, world: World, book: Book, seed: int) -> None:
        self._world = world
        self._book = book
        self._drawn = random.Random(f"{seed}/victims")
        self._frozen: set[int] = set()
        self._lock = threading.Lock()

    def victim(self, role: str) -> Process:
        """Choose a process; mostly one that is not stopped, so that zombies wake up."""
        processes: list[Process] = list(
            self._world.workers if role == "embed" else self._world.functions[role].environments
        )
        with self._lock:
            if self._drawn.random() < _SPARED:
                processes = [one for one in processes if one.pid not in self._frozen] or processes
            return self._drawn.choice(processes)

    def kill(self, fault: Fault) -> None:
        """SIGKILL, whatever it is doing."""
        self._send(fault, signal.SIGKILL, "SIGKILL")

    def terminate(self, fault: Fault) -> None:
        """SIGTERM: a worker stops in order, an environment just ends."""
        self._send(fault, signal.SIGTERM, "SIGTERM")

    def _send(self, fault: Fault, number: int, name: str) -> None:
        for _ in range(50):
            if self.victim(fault.target).signal(number):
                self._book.count(name)
                self._book.count(f"{name} {fault.target}")
                return
            time.sleep(0.02)

    def freeze(self, fault: Fault) -> None:
        """SIGSTOP past the lease, then SIGCONT, while the other faults go on."""
        for _ in range(50):
            victim = self.victim(fault.target)
            pid = victim.pid
            if pid not in self._frozen and victim.signal(signal.SIGSTOP):
                self._frozen.add(pid)
                timer = threading.Timer(fault.seconds, self._thaw, (victim, pid))
                timer.daemon = True
                timer.start()
                return
            time.sleep(0.02)

    def _thaw(self, victim: Process, pid: int) -> None:
        self._frozen.discard(pid)
        if victim.pid == pid and victim.signal(signal.SIGCONT):
            self._book.count("zombies")
        else:
            self._book.count("killed while stopped")


class Infrastructure:
    """The servers and the ways to them."""

    def __init__(self, world: World, book: Book) -> None:
        self._world = world
        self._book = book
        self.stopping = threading.Event()

    def crash_postgres(self, fault: Fault) -> None:
        """Crash the database and start it again."""
        self._world.crash_postgres(fault.seconds, self.stopping)
        self._book.count("PostgreSQL crashes")

    def network(self, fault: Fault) -> None:
        """Let a proxy misbehave for a while."""
        assert self._world.proxies is not None
        self._world.proxies.act(fault.target, fault.what)
        self.stopping.wait(0.0 if fault.what == "cut" else fault.seconds)
        self._world.proxies.act(fault.target, "heal")
        self._book.count("network faults")
        self._book.count(f"network {fault.what}")

    def stall_queue(self, fault: Fault) -> None:
        """Stop the queue server for a while; killed, it would forget."""
        pid = self._world.emulator.child.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            self.stopping.wait(fault.seconds)
        finally:
            os.kill(pid, signal.SIGCONT)
        self._book.count("queue stalls")
