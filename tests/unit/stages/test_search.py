from __future__ import annotations

import math

import pytest
from embedpipe.adapters.memory import FakeModels, FakeQueryEmbedder, MemoryDatabase
from embedpipe.errors import EmbedderUnavailableError, InvalidInputError, NotFoundError
from embedpipe.ports import Hit, QueryEmbedder
from embedpipe.stages.search import Search, search, unit_vector


def run(wanted: Search, embedder: QueryEmbedder | None, collection: str = "default") -> list[Hit]:
    database = MemoryDatabase()
    database.create_tenant("acme", FakeModels().get("fake"))
    return search(
        wanted,
        tenant_id="acme",
        collection=collection,
        database=database,
        query_embedder=embedder,
    )


def test_a_text_needs_an_embedder_and_a_vector_does_not() -> None:
    assert run(Search(text="words"), FakeQueryEmbedder()) == []
    assert run(Search(vector=[1.0] * 32), None) == []
    with pytest.raises(EmbedderUnavailableError):
        run(Search(text="words"), None)


def test_a_collection_that_does_not_exist_is_not_found() -> None:
    for wanted in (Search(text="words"), Search(vector=[1.0] * 32)):
        with pytest.raises(NotFoundError):
            run(wanted, FakeQueryEmbedder(), "nowhere")


def test_a_vector_of_other_dimensions_is_refused() -> None:
    with pytest.raises(InvalidInputError) as caught:
        run(Search(vector=[1.0] * 31), None)

    assert caught.value.code == "DIMENSION_MISMATCH"


@pytest.mark.parametrize("scale", [5e-324, 1e-200, 1.0, 1e38, 1.7e308])
def test_any_length_becomes_one(scale: float) -> None:
    vector = unit_vector([scale, -scale, 0.0, scale])

    assert math.hypot(*vector) == pytest.approx(1.0)
    assert vector[0] == -vector[1] == pytest.approx(1 / math.sqrt(3))


def test_no_direction_is_refused() -> None:
    with pytest.raises(InvalidInputError) as caught:
        unit_vector([0.0, -0.0])

    assert caught.value.code == "ZERO_VECTOR"
