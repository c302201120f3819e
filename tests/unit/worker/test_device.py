from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from embedpipe.adapters.memory import FakeEmbedder, FakeEmbedders, FakeModels
from embedpipe.adapters.memory.models import fake_model
from embedpipe.errors import BadVectorError, EmbedderUnavailableError, ModelUnavailableError
from embedpipe.ports.models import Tuning
from embedpipe.worker.counters import Counters
from embedpipe.worker.device import Device, Devices

KNOWN_GOOD = [1, 5, 2]


class Wrong(FakeEmbedder):
    """After its warm-up, a model that forgets an input."""

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
        return super().embed(token_ids)[: len(token_ids) if len(self.calls) < 2 else -1]


class Scaled(FakeEmbedder):
    """A model whose vectors for a token are too long, or are no numbers."""

    def __init__(self, *, scale: float, token: int | None = None) -> None:
        super().__init__()
        self.scale, self.token = scale, token

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
        vectors = super().embed(token_ids)
        for row, ids in enumerate(token_ids):
            if self.token is None or self.token in ids:
                finite = math.isfinite(self.scale)
                vectors[row] = vectors[row] * self.scale if finite else self.scale
        return vectors


def a_device(embedder: FakeEmbedder | None = None, **options: Any) -> Device:
    counters = options.pop("counters", None) or Counters()
    return Device(embedder or FakeEmbedder(), KNOWN_GOOD, counters, **options)


def some_devices(*embedders: FakeEmbedder, **options: Any) -> tuple[Devices, FakeEmbedders]:
    port = FakeEmbedders(*embedders)
    models = FakeModels(*(one.model for one in embedders))
    return Devices(port, models, Counters(), **options), port


def test_passes_are_counted_but_not_the_warm_up() -> None:
    counters = Counters()
    seconds = iter([0.0, 1.0, 10.0, 12.0, 15.0, 16.0])
    device = a_device(counters=counters, seconds=lambda: next(seconds))

    device.embed([[1, 5, 2], [1, 2]])
    device.embed([[1, 2]], urgent=True)

    counts = counters.read()
    assert device.warm_up_s == 1.0
    assert (counts["passes"], counts["sync_passes"], counts["embed_s"]) == (2, 1, 3.0)
    assert (counts["chunks"], counts["tokens"], counts["padded_tokens"]) == (3, 7, 8)


def test_a_failed_pass_is_counted_and_raised() -> None:
    counters = Counters()
    model = FakeEmbedder()
    device = a_device(model, counters=counters)
    model.poison_ids.add(5)

    with pytest.raises(RuntimeError):
        device.embed([[1, 5, 2]])

    counts = counters.read()
    assert (counts["passes"], counts["failed_passes"], counts["chunks"]) == (1, 1, 0)


def test_vectors_of_another_shape_are_an_error() -> None:
    device = a_device(Wrong())

    with pytest.raises(RuntimeError, match="shape"):
        device.embed([[1, 2], [1, 3, 2]])


@pytest.mark.parametrize("scale", [1.01, 0.99, 0.0, float("nan"), float("inf")])
def test_a_vector_that_is_not_of_unit_length_is_an_error(scale: float) -> None:
    device = a_device(Scaled(scale=scale, token=66))

    with pytest.raises(BadVectorError):
        device.embed([[1, 5, 2], [1, 66, 2]])

    assert len(device.embed([[1, 5, 2]])) == 1


def test_rounding_makes_no_vector_wrong() -> None:
    device = a_device(Scaled(scale=1.001, token=66))

    assert len(device.embed([[1, 66, 2]])) == 1


def test_a_model_that_does_not_normalize_may_give_any_length() -> None:
    device = a_device(Scaled(scale=3.0))

    assert len(device.embed([[1, 66, 2]])) == 1


def test_a_model_that_gives_no_numbers_from_the_start_is_refused() -> None:
    with pytest.raises(BadVectorError):
        a_device(Scaled(scale=float("nan")))


def test_a_device_is_sound_while_it_computes_its_warm_up() -> None:
    model = FakeEmbedder()
    device = a_device(model)

    sound = device.is_sound()
    model.poison_ids.add(5)

    assert sound
    assert not device.is_sound()


def test_the_budget_is_the_measured_one_unless_another_is_set() -> None:
    model = FakeEmbedder(tuning=Tuning(max_batch_tokens=4096, overhead_tokens=64))

    measured, given = a_device(model), a_device(model, max_batch_tokens=100)

    assert (measured.budget, measured.overhead_tokens, given.budget) == (4096, 64, 100)


def test_the_budget_shrinks_with_memory_and_grows_back() -> None:
    device = a_device(max_batch_tokens=100)
    for _ in range(5):
        device.shrink()
    smallest = device.budget

    budgets = []
    for _ in range(4 * 256):
        device.recover()
        budgets.append(device.budget)

    assert smallest == 16
    assert budgets[255::256] == [32, 64, 100, 100]


def test_a_model_that_cannot_be_loaded_or_does_not_compute_is_unavailable() -> None:
    good, mute = FakeEmbedder(fake_model("good")), FakeEmbedder(fake_model("mute"))
    mute.poison_ids = set(range(40_000))
    devices, port = some_devices(good, mute)
    port.broken.add("away")

    assert devices.get("good").model.model_id == "good"
    for model_id in ("mute", "away", "unknown"):
        with pytest.raises(ModelUnavailableError):
            devices.get(model_id)


def test_a_device_is_made_once_for_each_loading() -> None:
    model = FakeEmbedder(fake_model("one"))
    devices, port = some_devices(model)
    first = devices.get("one")

    again = devices.get("one")
    port._embedders["one"] = FakeEmbedder(fake_model("one"))
    reloaded = devices.get("one")

    assert again is first
    assert reloaded is not first


def test_models_that_were_unloaded_are_let_go() -> None:
    devices, port = some_devices(FakeEmbedder(fake_model("one")), FakeEmbedder(fake_model("two")))
    first, other = devices.get("one"), devices.get("two")
    port.broken.add("one")

    devices.forget_unloaded()

    port.broken.clear()
    assert devices.get("one") is not first
    assert devices.get("two") is other


def test_a_model_that_breaks_is_not_taken_for_the_whole_device() -> None:
    good, bad = FakeEmbedder(fake_model("good")), FakeEmbedder(fake_model("bad"))
    devices, _ = some_devices(good, bad)
    healthy, broken = devices.get("good"), devices.get("bad")
    bad.poison_ids = set(range(40_000))

    devices.check(healthy, "good")
    with pytest.raises(ModelUnavailableError):
        devices.check(broken, "good")
    good.poison_ids = set(range(40_000))
    with pytest.raises(EmbedderUnavailableError):
        devices.check(broken, "good")
