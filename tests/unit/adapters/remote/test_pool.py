from __future__ import annotations

import subprocess
import sys
from typing import Any, get_args

import pytest
from embedpipe.adapters.embedders.remote.keys import ProviderKeys
from embedpipe.adapters.embedders.remote.pool import DIALECTS, RemotePool, make_dialect
from embedpipe.errors import NotFoundError
from embedpipe.models.catalogue_entries import RemoteEntry
from embedpipe.models.known import _KNOWN, BATCH_LIMITS, CHECKED
from embedpipe.ports import RemoteEmbedders

KEYS = ProviderKeys({}, read=lambda arn, fresh: "")
PROVIDERS = get_args(RemoteEntry.model_fields["provider"].annotation)


def an_entry(provider: str, model: str = "new", **changes: Any) -> RemoteEntry:
    url = "https://x.example/v1/embeddings" if provider == "local_api" else None
    values = {
        "provider": provider,
        "model_name_or_path": model,
        "dimensions": 8,
        "max_tokens": 100,
        "api_url": url,
        **changes,
    }
    return RemoteEntry.model_validate(values)


def test_every_provider_of_the_catalogue_has_a_form_limits_and_known_models() -> None:
    assert set(DIALECTS) == set(PROVIDERS) == set(BATCH_LIMITS) == set(_KNOWN)
    assert CHECKED >= "2026"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_is_asked_over_https(provider: str) -> None:
    entry = an_entry(provider)

    dialect = make_dialect(entry, entry.info("m"))

    assert dialect.url.startswith("https://")
    assert "secret" not in dialect.url
    assert any("secret" in value for value in dialect.headers("secret").values())


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_embedder_is_made_once_and_asks_nobody_before_it_has_to(provider: str) -> None:
    entry = an_entry(provider, max_batch_texts=7)
    pool: RemoteEmbedders = RemotePool({"m": entry}, KEYS)

    embedder = pool.get("m")

    assert embedder is pool.get("m")
    assert embedder.model == entry.info("m")
    assert embedder.requests(["a"] * 8) == [[0, 1, 2, 3, 4, 5, 6], [7]]


def test_the_form_of_a_local_service_follows_from_its_address() -> None:
    def name(url: str) -> str:
        entry = an_entry("local_api", api_url=url)
        return type(make_dialect(entry, entry.info("m"))).__name__

    assert name("https://x.example/v1/embeddings") == "Compatible"
    assert name("https://x.example/embeddings/?a=b") == "Compatible"
    assert name("https://x.example/api/embed") == "Ollama"
    assert name("https://x.example/api/embeddings") == "OldOllama"


def test_a_model_with_the_same_one_elsewhere_has_it_behind_it() -> None:
    entries = {
        "first": an_entry("openai", fallbacks=["second"]),
        "second": an_entry("local_api"),
    }

    embedder = RemotePool(entries, KEYS).get("first")

    assert type(embedder).__name__ == "FallbackEmbedder"
    assert embedder.model.model_id == "first"


def test_what_is_no_remote_model_is_not_found() -> None:
    with pytest.raises(NotFoundError) as raised:
        RemotePool({}, KEYS).get("m")

    assert raised.value.code == "MODEL_NOT_FOUND"


def test_a_providers_module_is_imported_when_it_is_asked_for() -> None:
    code = (
        "import sys; from embedpipe.adapters.embedders.remote import pool;"
        "print([name for name in sys.modules if name.rpartition('.')[2] in pool.DIALECTS])"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"
