from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from embedpipe.adapters.embedders.pool import FAILURE_REMEMBERED_S, Loaded, ModelPool
from embedpipe.adapters.memory.models import FakeEmbedder, fake_model
from embedpipe.errors import (
    BlobsUnavailableError,
    EmbedderUnavailableError,
    ModelFilesError,
    ModelUnavailableError,
    NotFoundError,
)
from embedpipe.ports.models import Tuning

WAIT_S = 10.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Loader:
    """Loads fakes of so many bytes. `before` runs inside each load."""

    def __init__(self, before: Callable[[str], None] = lambda _: None, **sizes: int) -> None:
        self.before = before
        self.sizes = sizes
        self.loads: list[str] = []

    def __call__(self, model_id: str) -> Loaded:
        self.loads.append(model_id)
        self.before(model_id)
        return Loaded(
            FakeEmbedder(fake_model(model_id), tuning=Tuning(tokens_per_s=7.0)),
            precision="fp32",
            device="cpu",
            memory_bytes=self.sizes.get(model_id, 10),
        )

    def size(self, model_id: str) -> int:
        return self.sizes.get(model_id, 10)


def ids(pool: ModelPool) -> list[str]:
    return [one.model_id for one in pool.loaded()]


def a_pool(loader: Loader, **options: Any) -> ModelPool:
    return ModelPool(loader, **options)


def test_a_model_is_loaded_once_and_then_given_again() -> None:
    loader = Loader()
    pool = a_pool(loader)

    first = pool.get("a")

    assert pool.get("a") is first
    assert first.model.model_id == "a"
    assert loader.loads == ["a"]


def test_what_is_loaded_is_told_with_the_last_used_first() -> None:
    clock = Clock()
    pool = a_pool(Loader(b=25), clock=clock)
    pool.get("a")
    pool.get("b")
    clock.now += 5

    one, two = pool.loaded()

    assert (one.model_id, two.model_id) == ("b", "a")
    assert (one.memory_bytes, one.precision, one.device, one.idle_s) == (25, "fp32", "cpu", 5)
    assert one.fingerprint == fake_model("b").fingerprint
    assert one.tuning.tokens_per_s == 7.0


def test_the_least_recently_used_makes_room_for_one_more() -> None:
    pool = a_pool(Loader(), max_models=2)
    pool.get("a")
    pool.get("b")
    pool.get("a")

    pool.get("c")

    assert ids(pool) == ["c", "a"]


def test_as_many_make_room_as_the_memory_needs() -> None:
    pool = a_pool(Loader(a=40, b=40, c=70), max_memory_bytes=100)
    pool.get("a")
    pool.get("b")

    pool.get("c")

    assert ids(pool) == ["c"]


def test_room_is_made_before_a_load_whose_size_is_known() -> None:
    loader = Loader(a=60, b=60)
    pool = a_pool(loader, expect=loader.size, max_memory_bytes=100)
    pool.get("a")
    seen: list[list[str]] = []
    loader.before = lambda _: seen.append(ids(pool))

    pool.get("b")

    assert seen == [[]]


@pytest.mark.parametrize("is_expected", [True, False])
def test_a_model_that_is_too_large_is_refused_and_the_others_stay_if_it_was_known(
    is_expected: bool,
) -> None:
    loader = Loader(big=101)
    pool = a_pool(loader, expect=loader.size if is_expected else None, max_memory_bytes=100)
    pool.get("a")

    with pytest.raises(ModelUnavailableError, match="may take"):
        pool.get("big")

    assert ids(pool) == ["a"]
    assert ("big" in loader.loads) is not is_expected


def test_what_had_to_make_room_and_is_still_used_is_taken_back_and_not_loaded_again() -> None:
    loader = Loader()
    pool = a_pool(loader, max_models=1)
    in_use = [pool.get("a"), pool.get("b")]

    again = [pool.get(model_id) for model_id in ["a", "b"] * 5]

    assert set(map(id, again)) == set(map(id, in_use))
    assert loader.loads == ["a", "b"]
    assert ids(pool) == ["b"]


def test_what_was_unloaded_goes_on_working_and_is_freed_when_nobody_holds_it() -> None:
    pool = a_pool(Loader(), max_models=1)
    held = pool.get("a")
    died = weakref.ref(held)

    pool.get("b")

    assert held.embed([[1, 2]]).shape == (1, 32)
    del held
    gc.collect()
    assert died() is None


def test_idle_models_are_forgotten() -> None:
    clock = Clock()
    pool = a_pool(Loader(), unload_timeout_s=60, clock=clock)
    pool.get("a")
    pool.get("b")
    clock.now += 59
    pool.get("b")
    clock.now += 1

    unloaded = pool.unload_idle()

    assert unloaded == ["a"]
    assert ids(pool) == ["b"]


def test_threads_that_ask_for_the_same_model_share_one_load() -> None:
    go = Event()

    def wait(_: str) -> None:
        go.wait(WAIT_S)

    loader = Loader(wait)
    pool = a_pool(loader)
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(pool.get, "a") for _ in range(8)]
        go.set()
        given = {id(future.result(WAIT_S)) for future in asked}

    assert len(given) == 1
    assert loader.loads == ["a"]


def test_a_load_keeps_nobody_from_other_models() -> None:
    began, go = Event(), Event()

    def wait(model_id: str) -> None:
        if model_id == "slow":
            began.set()
            go.wait(WAIT_S)

    pool = a_pool(Loader(wait))
    pool.get("a")
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(pool.get, "slow")
        assert began.wait(WAIT_S)

        assert pool.get("a").model.model_id == "a"
        assert pool.get("b").model.model_id == "b"
        assert not slow.done()

        go.set()
        assert slow.result(WAIT_S).model.model_id == "slow"


@pytest.mark.parametrize(
    ("limits", "size"), [({"max_models": 1}, 0), ({"max_memory_bytes": 100}, 60)]
)
def test_loads_at_the_same_time_keep_to_the_limits(limits: dict[str, int], size: int) -> None:
    began, go = Event(), Event()

    def wait(model_id: str) -> None:
        if model_id == "a":
            began.set()
            go.wait(WAIT_S)

    asked = Event()

    def expect(model_id: str) -> int:
        if model_id == "b":
            asked.set()
        return size

    loader = Loader(wait, a=size, b=size)
    pool = a_pool(loader, expect=expect, **limits)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(pool.get, "a")
        assert began.wait(WAIT_S)
        second = threads.submit(pool.get, "b")
        assert asked.wait(WAIT_S)

        assert loader.loads == ["a"]
        go.set()
        first.result(WAIT_S)
        second.result(WAIT_S)

    assert loader.loads == ["a", "b"]
    assert ids(pool) == ["b"]


@pytest.mark.parametrize(
    "error",
    [
        ModelFilesError("damaged"),
        BlobsUnavailableError("S3 is away"),
        EmbedderUnavailableError("no device"),
        MemoryError(),
        OSError("disk"),
    ],
)
def test_whatever_bars_a_load_makes_the_model_unavailable(error: Exception) -> None:
    pool = a_pool(Loader(failing(error)))

    with pytest.raises(ModelUnavailableError) as caught:
        pool.get("a")

    assert caught.value.__cause__ is error
    assert not caught.value.spends_attempt


def test_the_reason_is_told_but_not_what_a_library_says() -> None:
    pool = a_pool(Loader(failing(ModelFilesError("x is not the pinned file"))))
    other = a_pool(Loader(failing(OSError("/some/where"))))

    with pytest.raises(ModelUnavailableError, match="x is not the pinned file"):
        pool.get("a")
    with pytest.raises(ModelUnavailableError, match=r"loaded: OSError$"):
        other.get("a")


def test_a_model_that_is_not_there_is_not_found() -> None:
    pool = a_pool(Loader(failing(NotFoundError("no such model", code="MODEL_NOT_FOUND"))))

    for _ in range(2):
        with pytest.raises(NotFoundError) as caught:
            pool.get("a")

        assert caught.value.code == "MODEL_NOT_FOUND"


def test_a_failure_is_remembered_for_a_while_and_bars_no_other_model() -> None:
    clock = Clock()
    loader = Loader(failing(OSError(), only="a"))
    pool = a_pool(loader, clock=clock)
    for _ in range(3):
        with pytest.raises(ModelUnavailableError):
            pool.get("a")
    pool.get("b")

    assert loader.loads == ["a", "b"]
    clock.now += FAILURE_REMEMBERED_S
    loader.before = lambda _: None
    assert pool.get("a").model.model_id == "a"


def test_those_who_wait_for_a_load_that_fails_get_its_failure() -> None:
    go = Event()

    def fail(_: str) -> None:
        go.wait(WAIT_S)
        raise OSError

    loader = Loader(fail)
    pool = a_pool(loader)
    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(pool.get, "a") for _ in range(3)]
        go.set()
        errors = [future.exception(WAIT_S) for future in asked]

    assert [type(error) for error in errors] == [ModelUnavailableError] * 3
    assert len({id(error) for error in errors}) == 3
    assert loader.loads == ["a"]


def test_an_interrupted_load_leaves_nobody_waiting() -> None:
    pool = a_pool(Loader(failing(KeyboardInterrupt())))

    with pytest.raises(KeyboardInterrupt):
        pool.get("a")

    assert not pool._loading
    assert pool.loaded() == []


def failing(error: BaseException, *, only: str | None = None) -> Callable[[str], None]:
    def fail(model_id: str) -> None:
        if only in (None, model_id):
            raise error

    return fail
