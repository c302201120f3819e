"""A fake provider for each form of API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.providers.fakes import FORMS, FakeProvider, serving


@pytest.fixture(params=FORMS)
def server(request: pytest.FixtureRequest) -> Iterator[FakeProvider]:
    """Every form in turn."""
    with serving(FORMS[request.param]) as server:
        yield server


@pytest.fixture
def openai_server() -> Iterator[FakeProvider]:
    """One that speaks as OpenAI does."""
    with serving(FORMS["openai"]) as server:
        yield server
