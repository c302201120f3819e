"""The table at the end of a run, and whether it counts."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tests.chaos.profile import Profile

Row = dict[str, Any]

#: What must be zero, by the beginning of the names that the checker gives.
ZEROS = {
    "missing": ("missing",),
    "duplicate": ("duplicate",),
    "stale": ("stale",),
    "orphan": ("orphan", "vectors of", "a pending batch"),
    "mixed": ("mixed",),
    "wrong vectors": ("wrong vector",),
    "wrong terminal status": ("wrong terminal", "epoch regress", "a bad input"),
    "lost": ("lost",),
    "innocent failures": ("innocent failure",),
    "unexplained ends": ("cancelled by nobody", "superseded by nothing"),
    "secrets in logs": ("canary",),
}
#: Rescues in percent of the batches, at most.
MOST_RESCUES = 1.0


def summary(counts: Mapping[str, float], found: Mapping[str, Sequence[Row]]) -> dict[str, float]:
    """Give everything that the table shows, by name."""
    shown: dict[str, float] = dict(counts)
    shown["duplicates %"] = _percent(counts, "duplicates", "messages sent")
    shown["lost 202s %"] = _percent(counts, "lost 202s", "accepted")
    shown["rescues %"] = _percent(counts, "rescues", "batches")
    shown["model passes wasted"] = max(0, counts.get("model passes", 0) - counts.get("vectors", 0))
    left = {name: len(rows) for name, rows in found.items()}
    for name, beginnings in ZEROS.items():
        matching = [key for key in left if key.startswith(beginnings)]
        shown[name] = sum(left.pop(key) for key in matching)
    shown["mixed"] += sum(
        1 for row in found.get("seen by a client", ()) if "mixed" in str(row["what"])
    )
    shown["other violations"] = sum(left.values())
    return shown


def _percent(counts: Mapping[str, float], part: str, whole: str) -> float:
    return round(100 * counts.get(part, 0) / max(1, counts.get(whole, 0)), 2)


def failures(profile: Profile, shown: Mapping[str, float]) -> list[str]:
    """Say why a run does not count: something is wrong, or too little happened."""
    wrong = [
        f"{name}: {shown[name]:g}, not 0"
        for name in (*ZEROS, "other violations", "left when quiet")
        if shown.get(name, 0)
    ]
    # A handful of jobs says nothing about percents.
    if shown.get("rescues %", 0) > MOST_RESCUES and shown.get("rescues", 0) > 3:
        wrong.append(f"rescues: {shown['rescues %']:g} % of batches, more than {MOST_RESCUES:g}")
    wrong += [
        f"{name}: {shown.get(name, 0):g}, less than {least:g}"
        for name, least in profile.floors.items()
        if shown.get(name, 0) < least
    ]
    return wrong


def table(shown: Mapping[str, float], found: Mapping[str, Sequence[Row]]) -> str:
    """Print it, with the first rows of whatever is wrong."""
    width = max(map(len, shown))
    lines = [f"{name:{width}}  {value:>10,g}" for name, value in shown.items()]
    for name, rows in sorted(found.items()):
        lines.append(f"\n{len(rows)} x {name}")
        lines += [
            "    " + ", ".join(f"{key}={value}" for key, value in row.items()) for row in rows[:8]
        ]
    return "\n".join(lines)


def say(text: str) -> None:
    """Print a line at once, also where standard output is a file."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def merged(*several: Counter[str]) -> Counter[str]:
    """Add counts up."""
    total: Counter[str] = Counter()
    for counts in several:
        total.update(counts)
    return total
