from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from embedpipe.worker.cache import ENTRY_BYTES, CacheCounts, VectorCache

TENANT, MODEL = "tenant-1", "f" * 64


def a_vector(first: float = 1.0, dimensions: int = 4) -> Any:
    return np.array([first] + [0.0] * (dimensions - 1), dtype=np.float32)


def firsts(vectors: list[Any]) -> list[float | None]:
    return [None if vector is None else float(vector[0]) for vector in vectors]


def test_what_was_put_is_given_and_the_rest_is_not() -> None:
    cache = VectorCache(10_000)
    cache.put_many(TENANT, MODEL, [[1, 2], [3]], [a_vector(0.25), a_vector(0.5)])

    found = cache.get_many(TENANT, MODEL, [[3], [4], [1, 2]])

    assert firsts(found) == [0.5, None, 0.25]
    assert [vector.dtype for vector in found if vector is not None] == [np.float32] * 2
    assert cache.counts() == CacheCounts(hits=2, misses=1, entries=2, bytes=2 * (16 + ENTRY_BYTES))


@pytest.mark.parametrize(
    ("tenant_id", "fingerprint", "key"),
    [
        ("tenant-2", MODEL, [1, 2]),
        (TENANT, "e" * 64, [1, 2]),
        (TENANT, MODEL, [1, 2, 0]),
        (TENANT, MODEL, [2, 1]),
        (TENANT, MODEL, "\x01\x02"),
        (TENANT, MODEL, [258]),
        (TENANT, MODEL, []),
    ],
)
def test_only_the_same_input_of_the_same_tenant_and_model_counts(
    tenant_id: str, fingerprint: str, key: Any
) -> None:
    cache = VectorCache(10_000)
    cache.put_many(TENANT, MODEL, [[1, 2]], [a_vector()])

    assert cache.get_many(tenant_id, fingerprint, [key]) == [None]


@pytest.mark.parametrize("other", ["b", ("document", "a"), ("query", "b"), ("query", "a\0")])
def test_texts_are_told_apart_by_what_they_are_for(other: Any) -> None:
    cache = VectorCache(10_000)
    cache.put_many(TENANT, MODEL, ["a", ("query", "a")], [a_vector(1), a_vector(2)])

    assert firsts(cache.get_many(TENANT, MODEL, ["a", ("query", "a"), other])) == [1, 2, None]


def test_a_text_with_a_lone_surrogate_has_a_key_too() -> None:
    cache = VectorCache(10_000)
    cache.put_many(TENANT, MODEL, ["\ud800"], [a_vector()])

    assert firsts(cache.get_many(TENANT, MODEL, ["\ud800", "?"])) == [1, None]


def test_ids_count_by_value_whatever_holds_them() -> None:
    cache = VectorCache(10_000)
    cache.put_many(TENANT, MODEL, [[7, 8]], [a_vector()])

    alike: list[Any] = [(7, 8), np.array([7, 8], np.uint16)]
    assert firsts(cache.get_many(TENANT, MODEL, alike)) == [1, 1]


def test_nobody_can_change_what_is_kept() -> None:
    cache = VectorCache(10_000)
    given = a_vector(1)
    cache.put_many(TENANT, MODEL, [[1]], [given])
    given[0] = 9
    [once] = cache.get_many(TENANT, MODEL, [[1]])
    assert once is not None
    once[0] = 9

    assert firsts(cache.get_many(TENANT, MODEL, [[1]])) == [1]


def test_the_least_recently_used_makes_room() -> None:
    cache = VectorCache(2 * (16 + ENTRY_BYTES))
    cache.put_many(TENANT, MODEL, [[1], [2]], [a_vector(1), a_vector(2)])
    cache.get_many(TENANT, MODEL, [[1]])

    cache.put_many(TENANT, MODEL, [[3]], [a_vector(3)])

    assert firsts(cache.get_many(TENANT, MODEL, [[1], [2], [3]])) == [1, None, 3]
    assert cache.counts().entries == 2


def test_putting_again_replaces_and_takes_no_more_room() -> None:
    cache = VectorCache(10_000)
    for first in (1, 2):
        cache.put_many(TENANT, MODEL, [[1]], [a_vector(first)])

    assert firsts(cache.get_many(TENANT, MODEL, [[1]])) == [2]
    assert cache.counts().bytes == 16 + ENTRY_BYTES


def test_what_is_larger_than_the_whole_is_not_kept() -> None:
    cache = VectorCache(16 + ENTRY_BYTES)
    cache.put_many(TENANT, MODEL, [[1]], [a_vector(1)])

    cache.put_many(TENANT, MODEL, [[2]], [a_vector(2, dimensions=5)])

    assert firsts(cache.get_many(TENANT, MODEL, [[1], [2]])) == [1, None]


def test_a_cache_of_no_bytes_keeps_and_counts_nothing() -> None:
    cache = VectorCache(0)
    cache.put_many(TENANT, MODEL, [[1]], [a_vector()])

    assert cache.get_many(TENANT, MODEL, [[1]]) == [None]
    assert cache.counts() == CacheCounts(0, 0, 0, 0)


def test_a_tenant_can_be_forgotten() -> None:
    cache = VectorCache(10_000)
    for tenant in ("a", "b"):
        cache.put_many(tenant, MODEL, [[1], [2]], [a_vector(), a_vector()])

    assert cache.forget("a") == 2

    assert cache.get_many("a", MODEL, [[1], [2]]) == [None, None]
    assert firsts(cache.get_many("b", MODEL, [[1], [2]])) == [1, 1]
    assert cache.counts().bytes == 2 * (16 + ENTRY_BYTES)


def test_the_bytes_it_counts_are_about_those_it_takes() -> None:
    rows = np.random.default_rng(1).normal(size=(2000, 384)).astype(np.float32)
    cache = VectorCache(10**9)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()

    for number, row in enumerate(rows):
        cache.put_many(TENANT, MODEL, [[number]], [row])

    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 0.8 * cache.counts().bytes < taken <= cache.counts().bytes


def test_threads_may_use_it_at_the_same_time() -> None:
    cache = VectorCache(50 * (16 + ENTRY_BYTES))

    def work(thread: int) -> int:
        wrong = 0
        for number in range(500):
            key = [number % 97]
            cache.put_many(TENANT, MODEL, [key], [a_vector(number % 97)])
            [found] = cache.get_many(TENANT, MODEL, [key])
            wrong += found is not None and float(found[0]) != number % 97
        return wrong

    with ThreadPoolExecutor(4) as threads:
        wrong = sum(threads.map(work, range(4)))

    counts = cache.counts()
    assert wrong == 0
    assert counts.entries == 50
    assert counts.bytes == 50 * (16 + ENTRY_BYTES)
    assert counts.hits + counts.misses == 2000
