"""Messages of mixed sizes, tenants and lanes, some of which the model cannot compute."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from bench.engine.mixes import Mix, log_normal_lengths
from bench.engine.rig import Ids, Rig

LANES = {"normal": 0.7, "high": 0.1, "low": 0.2}
_SEED = 11
_TENANTS = tuple(f"tenant-{number}" for number in range(8))
_POISON_SHARE = 0.02
_SAMPLED_EVERY = 50
_CHUNKS_P50, _CHUNKS_P99, _MOST_CHUNKS = 3.0, 40.0, 64
_TOKENS_P50, _TOKENS_P99 = 56.0, 300.0
# No vocabulary of a model here has so many tokens: the model's own look-up fails.
_NO_TOKEN = 65_000


@dataclass
class Load:
    """What was put on the queues, by job.

    Attributes
    ----------
    poisons
        Which chunk of a job the model cannot compute.
    sampled
        Inputs of the jobs whose vectors are compared.
    """

    tenants: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    poisons: dict[str, int] = field(default_factory=dict)
    sampled: dict[str, list[Ids]] = field(default_factory=dict)
    chunks: int = 0
    tokens: int = 0


def fill(rig: Rig, mix: Mix, messages: int) -> Load:
    """Put messages of mixed sizes, tenants and lanes on the queues; some hold a poison chunk."""
    draw, load = random.Random(_SEED), Load()
    rows = _rows(mix)
    sizes = log_normal_lengths(_SEED, p50=_CHUNKS_P50, p99=_CHUNKS_P99, most=_MOST_CHUNKS)
    lanes = draw.choices(list(LANES), weights=list(LANES.values()), k=messages)
    poisoned = set(draw.sample(range(messages), round(_POISON_SHARE * messages)))
    for number, lane, size in zip(range(messages), lanes, sizes, strict=False):
        ids = [next(rows) for _ in range(size)]
        tenant = draw.choice(_TENANTS)
        at = draw.randrange(size)
        if number in poisoned:
            ids[at] = [*ids[at][:-1], _NO_TOKEN]
        message = rig.jobs.message(ids, tenant=tenant)
        rig.send(message, lane)
        load.tenants[message.job_id], load.sizes[message.job_id] = tenant, size
        load.chunks, load.tokens = load.chunks + size, load.tokens + sum(map(len, ids))
        if number in poisoned:
            load.poisons[message.job_id] = at
        elif number % _SAMPLED_EVERY == 0:
            load.sampled[message.job_id] = ids
    return load


def _rows(mix: Mix) -> Iterator[Ids]:
    """Give real inputs of log-normal lengths without end: beginnings of those of a mix."""
    longest = max(map(len, mix.ids))
    lengths = log_normal_lengths(_SEED + 1, p50=_TOKENS_P50, p99=_TOKENS_P99, most=longest)
    whole = [ids for ids in mix.ids if len(ids) >= 0.8 * longest]
    for number in count():
        ids, length = whole[number % len(whole)], max(next(lengths), 3)
        yield ids if length >= len(ids) else [*ids[: length - 1], ids[-1]]
