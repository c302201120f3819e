"""The proxies as a process of their own, so that what they carry does not wait for the client.

    python -m tests.chaos.proxies NAME=TARGET ...     # host:port, or the path of a UNIX socket

Prints `{NAME: port}` on a line, then obeys lines of `{"name": …, "what": …, "seconds": …}`, each
answered by a line, until its standard input ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from tests.faults.proxy import Proxy

#: An answer to each request that was on its way, as far as there are any.
_LOST = 6
_LATE_S = 0.15


def main() -> None:
    """Serve."""
    with ExitStack() as stack:
        proxies = {
            name: stack.enter_context(Proxy(_target(where)))
            for name, _, where in (word.partition("=") for word in sys.argv[1:])
        }
        _say({name: proxy.port for name, proxy in proxies.items()})
        for line in sys.stdin:
            asked = json.loads(line)
            proxy = proxies[asked["name"]]
            before = proxy.is_carrying
            _act(proxy, asked["what"])
            _say({"carrying": before, "accepted": proxy.accepted, "lost": proxy.lost_responses})


def _act(proxy: Proxy, what: str) -> None:
    match what:
        case "refuse":
            proxy.refuse()
        case "reset":
            proxy.reset()
        case "cut":
            proxy.cut()
        case "black hole":
            proxy.black_hole()
        case "lost responses":
            proxy.drop_responses(_LOST)
        case "latency":
            proxy.latency(_LATE_S)
        case "heal":
            proxy.heal()


def _target(where: str) -> tuple[str, int] | str:
    if where.startswith("/"):
        return where
    host, _, port = where.rpartition(":")
    return host, int(port)


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


class Proxies:
    """The process from outside. Threads may share it."""

    def __init__(self, root: Path, targets: dict[str, str], log: Path) -> None:
        self._lock = threading.Lock()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.chaos.proxies",
                    *(f"{name}={where}" for name, where in targets.items()),
                ],
                cwd=root,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )
        self.ports: dict[str, int] = self._read()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def act(self, name: str, what: str) -> dict[str, int]:
        """Do something to one; give how many connections it then carried."""
        with self._lock:
            stream = self._stream(self._process.stdin)
            stream.write(json.dumps({"name": name, "what": what}).encode() + b"\n")
            stream.flush()
            return self._read()

    def close(self) -> None:
        """End it."""
        self._stream(self._process.stdin).close()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stream(self._process.stdout).close()

    def _read(self) -> dict[str, int]:
        line = self._stream(self._process.stdout).readline()
        if not line:
            raise RuntimeError("the proxies have ended")
        found: dict[str, int] = json.loads(line)
        return found

    @staticmethod
    def _stream(stream: IO[bytes] | None) -> IO[bytes]:
        assert stream is not None
        return stream


if __name__ == "__main__":
    main()
