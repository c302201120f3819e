from __future__ import annotations

import re
from pathlib import Path

import pytest
from embedpipe.models.known import _KNOWN, BATCH_LIMITS, KnownModel, known_model

PAGE = (Path(__file__).parents[3] / "docs/providers.md").read_text()
MODELS = [
    (provider, name, model) for provider, models in _KNOWN.items() for name, model in models.items()
]


@pytest.mark.parametrize(("provider", "name", "model"), MODELS)
def test_the_page_says_what_is_known(provider: str, name: str, model: KnownModel) -> None:
    others = ", ".join(
        str(length) for length in model.matryoshka_dimensions if length != model.dimensions
    )

    row = (
        f"| `{name}` | `{provider}` | {model.dimensions} | {others or '-'} "
        f"| {model.max_tokens} | {model.price_usd_per_million_tokens:g} |"
    )

    assert row in PAGE


def test_the_page_names_no_model_that_is_not_known() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| `([a-z_]+)` \| \d+ \|", PAGE, re.MULTILINE)

    assert sorted(rows) == sorted((name, provider) for provider, name, _ in MODELS)


@pytest.mark.parametrize("provider", BATCH_LIMITS)
def test_the_page_says_how_many_texts_a_request_holds(provider: str) -> None:
    assert f"| `{provider}` | {BATCH_LIMITS[provider].texts} |" in PAGE


@pytest.mark.parametrize(("provider", "name", "model"), MODELS)
def test_what_is_known_makes_sense(provider: str, name: str, model: KnownModel) -> None:
    assert name == name.lower()
    assert known_model(provider, name) is model
    assert 0 < model.dimensions <= 16_000
    assert list(model.matryoshka_dimensions) == sorted(set(model.matryoshka_dimensions))
    assert max(model.matryoshka_dimensions, default=1) <= 4096


def test_a_service_of_ones_own_may_serve_any_known_model_and_others_may_not() -> None:
    assert known_model("local_api", "text-embedding-3-small") is not None
    assert known_model("cohere", "text-embedding-3-small") is None
    assert known_model("local_api", "unheard-of") is None
