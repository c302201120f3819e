from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np
import pytest
from embedpipe.adapters.embedders.tuning import Measurement, Space
from embedpipe.domain.tuning import Arm
from embedpipe.errors import PoisonChunkError
from embedpipe.ports.models import ModelInfo, Tuning

MODEL = ModelInfo(model_id="m", fingerprint="f" * 64, dimensions=1, max_tokens=256)
BUDGETS = [64, 128, 256, 512, 1024, 2048, 4096]

#: Seconds of a batch, by its padded tokens.
Cost = Callable[[int], float]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self._lock = Lock()

    def __call__(self) -> float:
        return self.now

    def add(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds


class Device:
    """Takes time by a formula, on a clock of its own; remembers the largest batch."""

    model = MODEL
    tuning = Tuning()

    def __init__(self, clock: Clock, cost: Cost, *, memory_tokens: int = 1 << 30) -> None:
        self._clock = clock
        self._cost = cost
        self._memory_tokens = memory_tokens
        self.largest = 0

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
        padded = len(token_ids) * max(map(len, token_ids))
        if padded > self._memory_tokens:
            raise RuntimeError("Failed to allocate memory for requested buffer of size 9")
        self.largest = max(self.largest, padded)
        self._clock.add(self._cost(padded))
        return np.zeros((len(token_ids), 1), np.float32)


def a_space(**changes: Any) -> Space:
    values: dict[str, Any] = {
        "arms": [Arm(1, 1)],
        "budgets": BUDGETS,
        "usual_budget": 512,
        "round_tokens": 16_384,
        **changes,
    }
    return Space(**values)


def a_measurement(cost: Cost, space: Space | None = None, **options: Any) -> tuple[Tuning, Device]:
    clock = Clock()
    device = Device(clock, cost, memory_tokens=options.pop("memory_tokens", 1 << 30))
    options = {"limit_s": 5.0, "clock": clock, **options}
    tuning = Measurement(lambda arm: device, space or a_space(), **options).run()
    return tuning, device


def cpu(padded: int) -> float:
    """A start of 20 tokens; batches over 300 tokens fall out of the cache."""
    return 1e-4 * (20 + padded + max(padded - 300, 0) * 0.5)


def gpu(padded: int) -> float:
    """A start of 4,000 tokens."""
    return 1e-6 * (4000 + padded)


def test_a_cpu_gets_small_batches() -> None:
    tuning, _ = a_measurement(cpu)

    assert tuning.max_batch_tokens in (128, 256)
    assert 10 <= tuning.overhead_tokens <= 30
    assert 7_000 < tuning.tokens_per_s < 10_000
    assert (tuning.streams, tuning.threads) == (1, 1)


def test_a_gpu_gets_large_ones() -> None:
    space = a_space(
        budgets=[1 << power for power in range(10, 19)], usual_budget=16_384, round_tokens=262_144
    )

    tuning, _ = a_measurement(gpu, space)

    assert tuning.max_batch_tokens >= 32_768
    assert 3_500 <= tuning.overhead_tokens <= 4_500


def test_no_batch_is_measured_that_the_worker_never_fills() -> None:
    _, device = a_measurement(gpu, a_space(budgets=[1024, 2048, 4096, 8192], round_tokens=4096))

    assert device.largest <= 4096


def test_of_two_budgets_as_fast_the_smaller_is_taken() -> None:
    tuning, _ = a_measurement(lambda padded: 1e-4 * padded, a_space(usual_budget=64))

    assert tuning.max_batch_tokens == 64
    assert tuning.overhead_tokens == 0


def test_noise_changes_the_choice_by_one_size_at_most() -> None:
    noise = random.Random(3)

    chosen = {
        a_measurement(lambda padded: cpu(padded) * noise.choice([1] * 8 + [1.2, 3]))[0]
        for _ in range(10)
    }

    assert {tuning.max_batch_tokens for tuning in chosen} <= {128, 256, 512}


def test_a_budget_that_the_memory_is_not_enough_for_is_not_chosen() -> None:
    space = a_space(budgets=[1024, 4096, 16_384], usual_budget=4096, round_tokens=65_536)

    tuning, device = a_measurement(gpu, space, memory_tokens=8000)

    assert tuning.max_batch_tokens == 4096
    assert device.largest <= 8000


def test_memory_for_less_than_usual_makes_the_usual_smaller() -> None:
    space = a_space(budgets=[1024, 4096], usual_budget=16_384, round_tokens=65_536)

    tuning, _ = a_measurement(gpu, space, memory_tokens=2000)

    assert tuning.max_batch_tokens == 1024


def test_another_error_than_of_memory_is_raised() -> None:
    def fail(padded: int) -> float:
        raise PoisonChunkError

    with pytest.raises(PoisonChunkError):
        a_measurement(fail)


def test_a_budget_that_is_given_stays() -> None:
    tuning, _ = a_measurement(cpu, a_space(budgets=[2000], usual_budget=2000))

    assert tuning.max_batch_tokens == 2000
    assert tuning.tokens_per_s > 0


@pytest.mark.parametrize("seconds_per_token", [1e-3, 1e-2, 1.0])
def test_a_slow_model_is_not_measured_for_long(seconds_per_token: float) -> None:
    clock = Clock()
    device = Device(clock, lambda padded: padded * seconds_per_token)

    tuning = Measurement(lambda arm: device, a_space(), limit_s=5.0, clock=clock).run()

    assert clock.now < 5.5 + 16 * seconds_per_token
    assert tuning.max_batch_tokens in BUDGETS
    assert tuning.tokens_per_s == pytest.approx(1 / seconds_per_token, rel=0.3)


class Arms:
    """Loads devices whose speed depends on the arm."""

    def __init__(self, speed: dict[Arm, float], load_s: float = 0.1) -> None:
        self.clock = Clock()
        self.opened: list[Arm] = []
        self._speed = speed
        self._load_s = load_s

    def open(self, arm: Arm) -> Device:
        self.clock.add(self._load_s)
        self.opened.append(arm)
        return Device(self.clock, lambda padded: cpu(padded) / self._speed[arm])

    def measure(self) -> Tuning:
        space = a_space(arms=list(self._speed))
        return Measurement(self.open, space, limit_s=5.0, clock=self.clock).run()


# One stream each: a clock that is not real time cannot tell what runs at the same time.
SLOW, FAST = Arm(1, 2), Arm(1, 4)


@pytest.mark.parametrize("speeds", [{SLOW: 1.0, FAST: 1.3}, {FAST: 1.3, SLOW: 1.0}])
def test_the_fastest_way_to_share_the_cores_is_taken(speeds: dict[Arm, float]) -> None:
    arms = Arms(speeds)

    tuning = arms.measure()

    assert (tuning.streams, tuning.threads) == (FAST.streams, FAST.threads)
    assert arms.opened == list(speeds)


def test_a_model_that_takes_long_to_load_is_loaded_once() -> None:
    arms = Arms({SLOW: 1.0, FAST: 1.3}, load_s=2.0)

    tuning = arms.measure()

    assert arms.opened == [SLOW]
    assert tuning.threads == SLOW.threads


def test_streams_compute_at_the_same_time() -> None:
    import time

    class Sleeper(Device):
        def __init__(self) -> None:
            super().__init__(Clock(), lambda _: 0.0)
            self.now = 0
            self.most = 0

        def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
            self.now += 1
            self.most = max(self.most, self.now)
            time.sleep(0.001)
            self.now -= 1
            return super().embed(token_ids)

    device = Sleeper()
    space = a_space(arms=[Arm(3, 1)], budgets=[512])

    tuning = Measurement(lambda arm: device, space, limit_s=0.3).run()

    assert tuning.streams == 3
    assert device.most == 3


def test_sizes_are_compared_by_the_time_that_a_thread_computes_if_that_is_known() -> None:
    busy = Clock()
    noise = random.Random(1)

    def cost(padded: int) -> float:
        busy.add(cpu(padded))
        # The machine does something else in between.
        return cpu(padded) + noise.random() * 0.1

    clock = Clock()
    measurement = Measurement(
        lambda arm: Device(clock, cost), a_space(), limit_s=60.0, clock=clock, busy_clock=busy
    )
    tuning = measurement.run()

    assert tuning.max_batch_tokens in (128, 256)
    assert 10 <= tuning.overhead_tokens <= 30
    assert 0.1 < measurement.share < 0.5
