"""What will be asked and what will break, from the seed alone: the same seed, the same plan."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tests.chaos.embedder import KILLER, POISON, SLOW
from tests.chaos.profile import Profile

#: In every document, and in no log: unknown to the tokenizer, so one token.
CANARY = "kanarienvogel"
#: A killed worker's messages come back after so long; those of a killed function, which gets ten
#: at once and, when they have come back, deals with each by itself.
LEASE_S, FUNCTION_LEASE_S = 3, 6
TENANTS = ("noisy", "quiet-1", "quiet-2", "quiet-3")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
#: Tokens of a chunk beside the two special ones.
_WORDS = 14

Kind = Literal["plain", "poison", "killer", "slow"]
Act = Literal["cancel", "delete", "skip", "lose"]


@dataclass(frozen=True)
class Submission:
    """One document that a client posts, and what it does after.

    Attributes
    ----------
    acts
        With seconds after the answer; `lose` throws the 202 away and posts again.
    """

    number: int
    at_s: float
    tenant: str
    document: str
    content: str
    kind: Kind
    priority: int
    acts: tuple[tuple[Act, float], ...] = ()

    @property
    def key(self) -> str:
        """Its Idempotency-Key."""
        return f"key-{self.number}"


@dataclass(frozen=True)
class Fault:
    """Something that breaks. `seconds` is how long it stays so."""

    at_s: float
    what: str
    target: str
    seconds: float = 0.0


def content(random_: random.Random, chunks: int, kind: Kind) -> str:
    """Make a text of so many chunks that no other text shares."""
    words = [random_.choice(_LETTERS) for _ in range((chunks - 1) * _WORDS + 1)]
    words += [random_.choice(_LETTERS) for _ in range(random_.randrange(_WORDS - 1))]
    words[random_.randrange(len(words))] = CANARY
    trouble = {"poison": POISON, "killer": KILLER, "slow": SLOW}.get(kind)
    if trouble is not None:
        words[random_.randrange(1, len(words))] = trouble
    return " ".join(words)


def submissions(profile: Profile) -> Iterator[Submission]:
    """Plan the client: new documents and new versions, evenly, with a flood of one tenant."""
    drawn = random.Random(f"{profile.seed}/client")
    known: list[tuple[str, str]] = []
    for number in range(profile.jobs):
        share = number / profile.jobs
        # For a third of the time one tenant has nine of ten documents.
        noise = 0.9 if 0.3 <= share < 0.63 else 0.25
        tenant = TENANTS[0] if drawn.random() < noise else drawn.choice(TENANTS[1:])
        document = f"doc-{number}"
        if known and drawn.random() < 0.15:
            tenant, document = known[-drawn.randrange(1, min(len(known), 200) + 1)]
        known.append((tenant, document))
        kind = _kind(drawn, profile)
        yield Submission(
            number=number,
            at_s=share * profile.seconds,
            tenant=tenant,
            document=document,
            content=content(drawn, drawn.randint(3, 15) if kind != "killer" else 2, kind),
            kind=kind,
            priority=drawn.choice((10, 50, 50, 50, 90)),
            acts=tuple(_acts(drawn, kind, profile)),
        )


def _kind(drawn: random.Random, profile: Profile) -> Kind:
    share = drawn.random()
    for kind, least in (("poison", 0.02), ("killer", 0.004), ("slow", 0.002)):
        if share < least:
            return "plain" if kind in profile.without else kind  # type: ignore[return-value]
        share -= least
    return "plain"


def _acts(drawn: random.Random, kind: Kind, profile: Profile) -> Iterator[tuple[Act, float]]:
    if drawn.random() < 0.075:
        yield "lose", drawn.choice((0.0, 0.0, drawn.uniform(0.0, 5.0)))
    if kind != "plain":
        return
    share = drawn.random()
    if share < 0.08:
        yield "cancel", drawn.choice((0.0, drawn.uniform(0.0, 0.5), drawn.uniform(0.0, 3.0)))
    elif share < 0.10:
        yield "delete", drawn.uniform(0.0, 6.0)
    elif share < 0.11 and "skip" not in profile.without:
        yield "skip", drawn.uniform(0.0, 1.0)


#: Which process a signal hits, by weight.
#: An input that takes twice the lease must outlive most of its workers.
_ROLES = {"api": 5, "chunk": 5, "embed": 2, "store": 5, "maintenance": 1}
_PAUSED = ("chunk", "embed", "store", "submit")
_NETWORK = ("refuse", "reset", "cut", "black hole", "lost responses", "latency")


def faults(profile: Profile) -> dict[str, list[Fault]]:
    """Plan every nemesis: when it does what, for how long, to whom."""
    draw = _Draw(profile)
    return {
        "kill": [draw.on_role("SIGKILL", at) for at in draw.times("SIGKILL")],
        "term": [draw.on_role("SIGTERM", at) for at in draw.times("SIGTERM")],
        "zombie": [draw.zombie(at) for at in draw.times("zombies")],
        "postgres": [
            Fault(at, "crash", "postgres", draw.seconds(0.0, 0.3))
            for at in draw.times("PostgreSQL crashes")
        ],
        "network": [draw.on_network(at) for at in draw.times("network faults")],
        "queue": [
            Fault(at, "stall", "ministack", draw.seconds(0.5, 3.0)) for at in draw.times("stalls")
        ],
        "pause": [
            Fault(at, "pause", draw.random.choice(_PAUSED), draw.seconds(3.0, 8.0))
            for at in draw.times("pauses")
        ],
        "requeue": [Fault(at, "requeue", "", 0.0) for at in draw.times("requeues")],
    }


class _Draw:
    """Draws times and targets; each kind of fault from a generator of its own."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self.random = random.Random(f"{profile.seed}/faults")

    def times(self, name: str) -> list[float]:
        """When: as often as the profile asks, in no rhythm, none in the first seconds."""
        self.random = random.Random(f"{self._profile.seed}/{name}")
        count = self._profile.count(name)
        if name == "stalls":
            count = self._profile.count("network faults") // 8
        first, last = min(3.0, self._profile.seconds / 10), self._profile.seconds
        return sorted(self.random.uniform(first, last) for _ in range(count))

    def seconds(self, low: float, high: float) -> float:
        """How long."""
        return self.random.uniform(low, high)

    def on_role(self, what: str, at_s: float) -> Fault:
        """Hit a process of some role."""
        [role] = self.random.choices(list(_ROLES), list(_ROLES.values()))
        return Fault(at_s, what, role)

    def zombie(self, at_s: float) -> Fault:
        """Stop a process for longer than its lease."""
        fault = self.on_role("SIGSTOP", at_s)
        lease_s = LEASE_S if fault.target == "embed" else FUNCTION_LEASE_S
        return replace(fault, seconds=lease_s + self.seconds(0.5, 2.5))

    def on_network(self, at_s: float) -> Fault:
        """Hit the way to the database or to the queues."""
        what = self.random.choice(_NETWORK)
        high = 5.0 if what == "black hole" else 2.5
        return Fault(at_s, what, self.random.choice(("postgres", "sqs")), self.seconds(0.3, high))
