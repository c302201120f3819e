"""What a pipeline that has nothing to do costs, and whether it is quiet.

Run with `python -m bench.idle`. Starts the local cloud, lets one document through, waits until all
is settled, and then only watches. Exits with 1 when anything is not as it must be.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import psycopg

from bench import cloud, load

#: Percent of one core that the whole pipeline may take, MiniStack and the gateway included.
MOST_CPU_PERCENT = 10.0
_SETTLE_S = 15.0
_COMMIT = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'embedpipe'"
_LEVEL = re.compile(
    r'"level":\s*"(WARNING|ERROR|CRITICAL)"|\b(WARNING|ERROR|CRITICAL|FATAL|PANIC)\b'
)


def main() -> int:
    """Watch, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args()
    with cloud.running() as running:
        load.run(running, "idle", ["One small document, so that every part has worked once."])
        time.sleep(_SETTLE_S)
        logs = running.logs()
        before = {path: path.stat().st_size for path in logs}
        endpoint = json.loads((running.directory / "endpoint.json").read_text())
        with psycopg.connect(endpoint["database"], autocommit=True) as connection:
            commits = _count(connection)
            cpu, began = running.cpu_s(), time.monotonic()
            statuses = _watch(running, options.seconds)
            seconds = time.monotonic() - began
            after = running.cpu_s()
            commits = _count(connection) - commits
        said = _complaints(running.logs(), before)
    used = {part: after[part] - cpu.get(part, 0.0) for part in after}
    print(f"| part | CPU s in {seconds:.0f} s | percent of a core |")
    print("|---|---|---|")
    for part, cpu_s in sorted(used.items(), key=lambda one: -one[1]):
        print(f"| {part} | {cpu_s:.2f} | {100 * cpu_s / seconds:.2f} |")
    total = 100 * sum(used.values()) / seconds
    print(f"\nAll: {total:.2f} % of a core. Transactions: {commits / seconds:.2f} per second.")
    print(f"Answers of the API, asked once in 10 s: {dict(statuses)}. Complaints: {len(said)}.")
    for line in said[:20]:
        print("  " + line[:300])
    return int(total > MOST_CPU_PERCENT or bool(said) or set(statuses) != {200})


def _watch(running: cloud.Cloud, seconds: float) -> Counter[int]:
    """Ask for jobs now and then; give how often each status came."""
    statuses: Counter[int] = Counter()
    until = time.monotonic() + seconds
    headers = {"X-API-KEY": running.api_key}
    with httpx.Client(base_url=running.url + "/api/v1", headers=headers, timeout=30) as client:
        while (left := until - time.monotonic()) > 0:
            statuses[client.get("/embeddings/jobs").status_code] += 1
            time.sleep(min(10.0, left))
    return statuses


def _count(connection: psycopg.Connection[tuple[int]]) -> int:
    row = connection.execute(_COMMIT).fetchone()
    return row[0] if row else 0


def _complaints(logs: list[Path], before: dict[Path, int]) -> list[str]:
    said = []
    for path in logs:
        with path.open(errors="replace") as lines:
            lines.seek(before.get(path, 0))
            said += [f"{path.name}: {line.strip()}" for line in lines if _LEVEL.search(line)]
    return said


if __name__ == "__main__":
    sys.exit(main())
