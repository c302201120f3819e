"""How much of a process's CPU time goes into the model, and how much around it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TASKS = Path("/proc/self/task")
# Of a thread's CPU clock, as Linux makes it from a thread id: CPUCLOCK_PERTHREAD_MASK and
# CPUCLOCK_SCHED of include/linux/posix-timers.h.
_THREAD_CLOCK = 4 | 2


@dataclass
class InsideRun:
    """CPU seconds inside `session.run`, of every ONNX Runtime session of this process.

    That of the threads which call it is measured around each call. The runtime's own threads do
    nothing else, as they do not spin: all CPU of threads that Python did not start is theirs.

    Attributes
    ----------
    calls
        Calls of `session.run` since somebody set it to 0.
    """

    calls: int = 0
    _called_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    @contextmanager
    def measured(cls) -> Iterator[InsideRun]:
        """Measure from now on; sessions made before are measured, too."""
        import onnxruntime

        session: Any = onnxruntime.InferenceSession
        inside = cls()
        plain = session.run, session.run_with_iobinding
        session.run, session.run_with_iobinding = map(inside._timed, plain)
        try:
            yield inside
        finally:
            session.run, session.run_with_iobinding = plain

    def seconds(self) -> float:
        """CPU seconds so far."""
        with self._lock:
            return self._called_s + native_threads_s()

    def _timed(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.thread_time()
            try:
                return run(*arguments, **options)
            finally:
                spent_s = time.thread_time() - began
                with self._lock:
                    self._called_s += spent_s
                    self.calls += 1

        return timed


def native_threads_s() -> float:
    """CPU seconds so far of the living threads that Python did not start."""
    ours = {thread.native_id for thread in threading.enumerate()}
    return sum(_spent_s(int(task.name)) for task in _TASKS.iterdir() if int(task.name) not in ours)


def _spent_s(thread_id: int) -> float:
    try:
        return time.clock_gettime((~thread_id << 3) | _THREAD_CLOCK)
    except OSError:
        return 0.0  # it has ended
