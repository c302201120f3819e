"""The other side of the zygote: forks on demand, and what is known of each."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_PACKET_BYTES = 65_536
_START_S = 120.0
_ANSWER_S = 30.0


class Zygote:
    """A zygote process. Threads may share it."""

    def __init__(self, root: Path, events: Path, log: Path, seed: int) -> None:
        self._seed = seed
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        self._lock = threading.Lock()
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        #: How many ended with which status; negative for signals.
        self.exits: Counter[int] = Counter()
        self._alive: dict[int, str] = {}
        #: Seconds of processor time, and the largest memory in MB, by role, of those that ended.
        self.cpu_s: Counter[str] = Counter()
        self.rss_mb: Counter[str] = Counter()
        self.is_closed = False
        variables = {
            name: value for name, value in os.environ.items() if not name.startswith("AWS_")
        }
        with theirs, log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.zygote", str(theirs.fileno()), str(events)],
                pass_fds=[theirs.fileno()],
                cwd=root,
                env={**variables, "AWS_EC2_METADATA_DISABLED": "true"},
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, name="zygote", daemon=True)
        self._reader.start()
        if not self._answer(_START_S).get("ready"):
            raise RuntimeError(f"the zygote does not start, see {log}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def fork(self, asked: Mapping[str, Any], fds: Sequence[int] = ()) -> int:
        """Fork a child; give its process id."""
        packet = json.dumps({"fork": {**asked, "seed": self._seed}}).encode()
        with self._lock:
            socket.send_fds(self._control, [packet], list(fds))
            pid = int(self._answer(_ANSWER_S)["forked"])
            if pid in self._alive:
                self._alive[pid] = asked["name"]
        return pid

    def signal(self, pid: int, number: int) -> bool:
        """Send a child a signal; False when it is gone."""
        with self._lock:
            if self.is_closed:
                return False
            self._control.send(json.dumps({"signal": pid, "number": number}).encode())
            return bool(self._answer(_ANSWER_S)["signalled"])

    def is_alive(self, pid: int) -> bool:
        """Say whether a child has not ended yet."""
        return pid in self._alive

    def close(self) -> None:
        """End it, and with it all of its children."""
        with self._lock:
            self.is_closed = True
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(5)
        self._control.close()

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        try:
            return self._answers.get(timeout=timeout_s)
        except queue.Empty:
            raise RuntimeError("the zygote does not answer") from None

    def _read(self) -> None:
        while data := self._control.recv(_PACKET_BYTES):
            said = json.loads(data)
            if "exited" in said:
                self._ended(said)
                continue
            # In this order: a process id may come again.
            if "forked" in said:
                self._alive[said["forked"]] = ""
            self._answers.put(said)
        self._answers.put({})

    def _ended(self, said: dict[str, Any]) -> None:
        name = self._alive.pop(said["exited"], "")
        self.exits[said["status"]] += 1
        self.cpu_s[name] += said["cpu_s"]
        self.rss_mb[name] = max(self.rss_mb[name], said["rss_kb"] // 1024)
