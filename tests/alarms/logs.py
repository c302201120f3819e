"""The logs of functions and worker, read as CloudWatch does: what each minute adds."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.client import wait_until
from tests.emf import is_emf, metrics_of

#: A stage, a metric and its values.
Found = list[tuple[str, str, list[float]]]


class Logs:
    """A directory of logs, of which each line is read once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: dict[Path, int] = {}

    def new_metrics(self, pattern: str = "*.log") -> Found:
        """Give the metrics that were printed since this was asked last."""
        found = []
        for log in self._directory.glob(pattern):
            for stage, by_name in metrics_of(self._new_lines(log)).items():
                found += [(stage, name, values) for name, values in by_name.items()]
        return found

    def wait_for_lines(self, name: str, count: int) -> None:
        """Wait until so many lines of metrics more stand in a log."""
        log = self._directory / name
        before = log.stat().st_size

        def has_told() -> bool:
            with log.open("r", errors="replace") as stream:
                stream.seek(before)
                return sum(map(is_emf, stream)) >= count

        wait_until(has_told, what=f"{count} lines of metrics in {name}")

    def _new_lines(self, log: Path) -> list[str]:
        with log.open("rb") as stream:
            stream.seek(self._read.get(log, 0))
            whole, _, _rest = stream.read().rpartition(b"\n")
        self._read[log] = self._read.get(log, 0) + len(whole) + bool(whole)
        return whole.decode(errors="replace").splitlines()
