"""How much of everything a run is to have, and the least that makes it count."""

from __future__ import annotations

from dataclasses import dataclass, field

#: What a short run of 8,000 jobs must have seen at the least; others in proportion.
FLOORS_OF_8000 = {
    "accepted": 8_000,
    "vectors": 55_000,
    "SIGKILL": 1_500,
    "SIGTERM": 250,
    "zombies": 200,
    "PostgreSQL crashes": 60,
    "network faults": 100,
    "requeues": 100,
    "pauses": 3,
}
#: The same whatever the size, in percent.
SHARES = {"duplicates %": 15.0, "lost 202s %": 5.0}
#: Plans are larger than floors: a signal may find nobody, a zombie may be killed in its sleep.
_SURPLUS = {"zombies": 1.35, "requeues": 1.5}
_USUAL_SURPLUS = 1.12


@dataclass(frozen=True)
class Profile:
    """One run.

    Attributes
    ----------
    jobs
        Accepted submissions.
    seconds
        How long faults happen; what was accepted is waited for after them.
    floors
        The least of each thing, by its name in the report.
    """

    jobs: int
    seconds: float
    seed: int = 1
    floors: dict[str, float] = field(default_factory=dict)
    without: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, jobs: int, seconds: float, seed: int, *, long: bool = False, without: str = ""
    ) -> Profile:
        """Make one whose floors are in proportion to its jobs."""
        scale = jobs / 8_000
        floors = {name: float(int(count * scale)) for name, count in FLOORS_OF_8000.items()}
        if long:
            # An hour holds more crashes than its jobs ask for.
            floors |= {"SIGKILL": 0.2 * jobs, "PostgreSQL crashes": 0.01 * jobs}
        left_out = frozenset(filter(None, without.split(",")))
        floors = {name: least for name, least in floors.items() if name not in left_out}
        shares = {name: least for name, least in SHARES.items() if name not in left_out}
        return cls(jobs, seconds, seed, {**floors, **shares}, left_out)

    def count(self, name: str) -> int:
        """How many of something to plan."""
        if name in self.without:
            return 0
        return int(self.floors.get(name, 0.0) * _SURPLUS.get(name, _USUAL_SURPLUS)) + 1
