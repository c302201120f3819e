"""Models of providers whose properties are known, so that a catalogue need not repeat them.

Prices and limits change: an entry of the catalogue wins over what stands here. `docs/providers.md`
names the sources.
"""

from __future__ import annotations

from dataclasses import dataclass

#: When the tables were last compared with what the providers publish.
CHECKED = "2026-07"

_VOYAGE_DIMENSIONS = (256, 512, 1024, 2048)


@dataclass(frozen=True)
class BatchLimits:
    """What one request may hold: texts, and tokens of all of them together."""

    texts: int
    tokens: int


@dataclass(frozen=True)
class KnownModel:
    """What a provider says of its model.

    Attributes
    ----------
    dimensions
        Length of its vectors when none is asked for.
    matryoshka_dimensions
        Lengths that can be asked for besides; a longer one can be cut to any shorter one.
    batch_tokens
        Where it differs from the other models of its provider.
    """

    dimensions: int
    max_tokens: int
    price_usd_per_million_tokens: float
    matryoshka_dimensions: tuple[int, ...] = ()
    batch_tokens: int | None = None
    query_prefix: str = ""
    document_prefix: str = ""


#: Limits of one request at each provider. Where it publishes no sum of tokens, what was seen to
#: work; a request that is too large is refused, and what asked parts it.
BATCH_LIMITS = {
    "openai": BatchLimits(texts=2048, tokens=300_000),
    "mistral": BatchLimits(texts=256, tokens=16_384),
    "voyage": BatchLimits(texts=1000, tokens=120_000),
    "cohere": BatchLimits(texts=96, tokens=128_000),
    "google": BatchLimits(texts=100, tokens=20_000),
    "local_api": BatchLimits(texts=64, tokens=65_536),
}


def _voyage(price: float, batch_tokens: int | None = None) -> KnownModel:
    return KnownModel(1024, 32_000, price, _VOYAGE_DIMENSIONS, batch_tokens)


_KNOWN = {
    "openai": {
        "text-embedding-3-small": KnownModel(1536, 8192, 0.02, (256, 512, 768, 1024)),
        "text-embedding-3-large": KnownModel(3072, 8192, 0.13, (256, 512, 768, 1024, 1536, 2048)),
        "text-embedding-ada-002": KnownModel(1536, 8192, 0.10),
    },
    "mistral": {
        "mistral-embed": KnownModel(1024, 8192, 0.10),
        "codestral-embed": KnownModel(1536, 8192, 0.15, (256, 512, 1024, 3072)),
    },
    "voyage": {
        "voyage-4-large": _voyage(0.12),
        "voyage-4": _voyage(0.06, 320_000),
        "voyage-4-lite": _voyage(0.02, 1_000_000),
        "voyage-3-large": _voyage(0.18),
        "voyage-3.5": _voyage(0.06, 320_000),
        "voyage-3.5-lite": _voyage(0.02, 1_000_000),
        "voyage-code-3": _voyage(0.18),
        "voyage-finance-2": KnownModel(1024, 32_000, 0.12),
        "voyage-law-2": KnownModel(1024, 16_000, 0.12),
    },
    "cohere": {
        "embed-v4.0": KnownModel(1536, 128_000, 0.12, (256, 512, 1024)),
        "embed-english-v3.0": KnownModel(1024, 512, 0.10),
        "embed-multilingual-v3.0": KnownModel(1024, 512, 0.10),
        "embed-english-light-v3.0": KnownModel(384, 512, 0.10),
        "embed-multilingual-light-v3.0": KnownModel(384, 512, 0.10),
    },
    "google": {
        "gemini-embedding-001": KnownModel(3072, 2048, 0.15, (128, 256, 512, 768, 1536)),
    },
    "local_api": {
        "nomic-embed-text": KnownModel(
            768,
            2048,
            0.0,
            (64, 128, 256, 512),
            query_prefix="search_query: ",
            document_prefix="search_document: ",
        ),
        "mxbai-embed-large": KnownModel(
            1024,
            512,
            0.0,
            query_prefix="Represent this sentence for searching relevant passages: ",
        ),
        "all-minilm": KnownModel(384, 256, 0.0),
        "bge-m3": KnownModel(1024, 8192, 0.0),
    },
}


def known_model(provider: str, canonical: str) -> KnownModel | None:
    """Give what is known of a model by its canonical name, None for one that is not in the table.

    A model has one vector space wherever it runs, so an API that serves a provider's model under
    the same name knows it too; only what it costs there is not known.
    """
    if (found := _KNOWN[provider].get(canonical)) is not None:
        return found
    elsewhere = [models[canonical] for models in _KNOWN.values() if canonical in models]
    if provider != "local_api" or not elsewhere:
        return None
    [model] = elsewhere
    return KnownModel(
        model.dimensions,
        model.max_tokens,
        0.0,
        model.matryoshka_dimensions,
        query_prefix=model.query_prefix,
        document_prefix=model.document_prefix,
    )
