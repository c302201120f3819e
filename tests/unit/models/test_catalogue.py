from __future__ import annotations

from typing import Any

import pytest
import yaml
from embedpipe.models.catalogue import Catalogue, CatalogueError, LocalEntry, RemoteEntry
from embedpipe.models.known import known_model

FULL = """
default_model_id: hf_mpnet
model_storage_base_dir: ./models/embedding_models_data/
models:
  openai_small:
    provider: openai
    model_name_or_path: text-embedding-3-small
  hf_mpnet:
    provider: huggingface
    model_name_or_path: sentence-transformers/all-mpnet-base-v2
    trust_remote_code: false
  onnx_minilm:
    provider: onnx
    model_name_or_path: sentence-transformers/all-MiniLM-L6-v2
    onnx_providers: ["CPUExecutionProvider"]
  local_api_default:
    provider: local_api
    model_name_or_path: nomic-embed-text
    api_url: http://localhost:11434/api/embeddings
    allow_private_address: true
"""


def a_catalogue(**models: dict[str, Any]) -> Catalogue:
    return Catalogue.parse(yaml.safe_dump({"models": models}), "models.yaml")


def a_remote(**changes: Any) -> dict[str, Any]:
    return {"provider": "openai", "model_name_or_path": "text-embedding-3-small", **changes}


def an_unknown(**changes: Any) -> dict[str, Any]:
    return a_remote(model_name_or_path="new", dimensions=64, max_tokens=100, **changes)


def a_service(**changes: Any) -> dict[str, Any]:
    return {
        "provider": "local_api",
        "model_name_or_path": "text-embedding-3-small",
        "api_url": "https://gateway.example.com/v1/embeddings",
        **changes,
    }


def remote(**changes: Any) -> RemoteEntry:
    return RemoteEntry.model_validate(a_remote(**changes))


def test_a_whole_catalogue_is_read() -> None:
    catalogue = Catalogue.parse(FULL)

    local = catalogue.models["hf_mpnet"]
    assert catalogue.default_model_id == "hf_mpnet"
    assert isinstance(local, LocalEntry)
    assert local.directory == "all-mpnet-base-v2"
    assert sorted(catalogue.remote) == ["local_api_default", "openai_small"]


def test_what_is_known_of_a_model_need_not_be_written_down() -> None:
    info = Catalogue.parse(FULL).remote["openai_small"].info("openai_small")

    assert (info.dimensions, info.max_tokens, info.provider) == (1536, 8192, "openai")
    assert info.price_usd_per_million_tokens == 0.02
    assert info.matryoshka_dimensions == (256, 512, 768, 1024)
    assert info.is_remote
    assert not info.has_tokenizer


def test_what_is_written_down_wins() -> None:
    info = remote(
        dimensions=512,
        max_tokens=100,
        query_prefix="q: ",
        document_prefix="d: ",
        price_usd_per_million_tokens=7,
        tokenizer="openai/tokenizer.json",
    ).info("m")

    assert (info.dimensions, info.max_tokens) == (512, 100)
    assert (info.query_prefix, info.document_prefix) == ("q: ", "d: ")
    assert info.price_usd_per_million_tokens == 7
    assert info.matryoshka_dimensions == (256,)
    assert info.has_tokenizer


def test_only_dimensions_that_are_not_the_models_own_are_asked_for() -> None:
    assert not remote().asks_for_dimensions
    assert not remote(dimensions=1536).asks_for_dimensions
    assert remote(dimensions=512).asks_for_dimensions
    assert remote(send_dimensions=True).asks_for_dimensions
    assert not RemoteEntry.model_validate(an_unknown()).asks_for_dimensions


def test_a_model_that_is_not_known_says_its_lengths() -> None:
    info = RemoteEntry.model_validate(an_unknown(matryoshka_dimensions=[32, 16])).info("m")

    assert (info.dimensions, info.max_tokens) == (64, 100)
    assert info.matryoshka_dimensions == (16, 32)


def test_a_service_that_runs_a_known_model_knows_it_but_not_its_price() -> None:
    info = RemoteEntry.model_validate(a_service()).info("m")

    assert (info.dimensions, info.max_tokens) == (1536, 8192)
    assert info.price_usd_per_million_tokens == 0


@pytest.mark.parametrize(
    ("provider", "model", "query", "document"),
    [
        ("voyage", "voyage-3.5", "query", "document"),
        ("cohere", "embed-v4.0", "search_query", "search_document"),
        ("google", "gemini-embedding-001", "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT"),
        ("openai", "text-embedding-3-small", "", ""),
        ("mistral", "mistral-embed", "", ""),
    ],
)
def test_each_provider_has_its_words_for_queries_and_documents(
    provider: str, model: str, query: str, document: str
) -> None:
    entry = remote(provider=provider, model_name_or_path=model)

    assert (entry.input_type("query"), entry.input_type("document")) == (query, document)


# -------------------------------------------------------------------------------- the vector space


@pytest.mark.parametrize(
    "changes",
    [
        {"api_url": "https://eu.api.openai.com/v1/embeddings"},
        {"api_key_env": "OTHER_API_KEY"},
        {"dimensions": 1536},
        {"timeout_s": 5, "max_batch_texts": 7, "price_usd_per_million_tokens": 1},
        {"max_tokens": 512},
        {"query_prefix": ""},
        {"tokenizer": "openai"},
    ],
)
def test_where_and_how_a_model_is_asked_does_not_change_its_fingerprint(
    changes: dict[str, Any],
) -> None:
    assert remote(**changes).fingerprint == remote().fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"model_name_or_path": "text-embedding-3-large"},
        {"dimensions": 512},
        {"query_prefix": "query: "},
        {"document_prefix": "text: "},
        {"canonical_name": "another"} | {"dimensions": 1536, "max_tokens": 8192},
    ],
)
def test_what_changes_vectors_changes_the_fingerprint(changes: dict[str, Any]) -> None:
    assert remote(**changes).fingerprint != remote().fingerprint


def test_the_same_model_has_one_fingerprint_at_every_provider() -> None:
    elsewhere = RemoteEntry.model_validate(
        a_service(
            model_name_or_path="openai/Text-Embedding-3-Small",
            canonical_name="text-embedding-3-small",
        )
    )

    assert elsewhere.fingerprint == remote().fingerprint


def test_a_tag_that_is_understood_and_a_resource_prefix_name_no_other_model() -> None:
    def entry(**changes: Any) -> RemoteEntry:
        return RemoteEntry.model_validate(a_service(**changes))

    tagged = entry(model_name_or_path="nomic-embed-text:latest")
    assert tagged.fingerprint == entry(model_name_or_path="nomic-embed-text").fingerprint
    google = remote(provider="google", model_name_or_path="models/gemini-embedding-001")
    assert google.known is known_model("google", "gemini-embedding-001")


def test_fingerprints_stay_what_they_were() -> None:
    # Stored with every vector: a change here would orphan the vectors of all deployments.
    fingerprint = remote().fingerprint

    assert fingerprint == "418e3d5b0e1e3c141bc83d4f706e6ed1cc47fd6177dfb16be2021f1815872a64"


# ----------------------------------------------------------------------------------------- fallback


def test_the_same_model_elsewhere_may_stand_in() -> None:
    catalogue = a_catalogue(first=a_remote(fallbacks=["second"]), second=a_service())

    assert catalogue.remote["first"].fallbacks == ("second",)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (a_remote(model_name_or_path="text-embedding-3-large"), "another model"),
        (a_remote(dimensions=512), "another model"),
        (a_service(query_prefix="q: "), "another model"),
        (a_service(max_tokens=512), "shorter inputs"),
        ({"provider": "onnx", "model_name_or_path": "x"}, "not a model of a provider"),
    ],
)
def test_no_other_model_stands_in(other: dict[str, Any], reason: str) -> None:
    with pytest.raises(CatalogueError, match=rf"models\.first\.fallbacks: second .*{reason}"):
        a_catalogue(first=a_remote(fallbacks=["second"]), second=other)


@pytest.mark.parametrize("fallback", ["first", "missing"])
def test_a_fallback_is_another_entry_of_the_catalogue(fallback: str) -> None:
    with pytest.raises(CatalogueError, match=r"models\.first\.fallbacks"):
        a_catalogue(first=a_remote(fallbacks=[fallback]))


# ------------------------------------------------------------------------------- what is wrong with


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (a_remote(provider="acme"), "models.m: "),
        ({"model_name_or_path": "x"}, "provider"),
        ({"provider": "openai"}, "models.m.model_name_or_path: "),
        (a_remote(dimension=3), "models.m.dimension: "),
        (a_remote(dimensions=100), "models.m: dimensions must be one of 256, 512, 768, 1024, 1536"),
        (a_remote(dimensions="many"), "models.m.dimensions: "),
        (a_remote(dimensions=0), "models.m.dimensions: "),
        (a_remote(model_name_or_path="new"), "models.m: dimensions is needed"),
        (a_remote(model_name_or_path="new", dimensions=3), "models.m: max_tokens is needed"),
        (a_remote(trust_remote_code=True), "models.m.trust_remote_code: only false may stand"),
        (a_remote(trust_remote_code="false"), "models.m.trust_remote_code: only false may stand"),
        (a_remote(trust_remote_code=0), "models.m.trust_remote_code: only false may stand"),
        (a_remote(api_key="sk-1"), "models.m.api_key: "),
        (a_remote(api_key_env="AWS_SECRET_ACCESS_KEY"), "models.m.api_key_env: "),
        (a_remote(api_key_env="DATABASE_URL"), "models.m.api_key_env: "),
        (a_remote(api_key_env="SINGLE_USER_API_KEY"), "models.m.api_key_env: this is the key to"),
        (a_remote(api_key_secret_arn="arn:aws:s3:::x"), "models.m.api_key_secret_arn: "),
        (a_remote(api_url="http://api.openai.com/v1/embeddings"), "models.m: api_url: plain http"),
        (a_remote(api_url="https://169.254.169.254/"), "models.m: api_url: its host is"),
        (a_remote(query_input_type="query"), "models.m.query_input_type: openai has no input"),
        (a_remote(tokenizer="../secret.json"), "models.m.tokenizer: "),
        (a_remote(tokenizer="/etc/passwd"), "models.m.tokenizer: "),
        (a_remote(timeout_s=0), "models.m.timeout_s: "),
        (a_remote(model_name_or_path="a b"), "models.m.model_name_or_path: "),
        (a_service(api_url=None), "models.m: api_url is needed"),
        (a_service(api_url="https://x.example/"), "models.m: api_url must end in"),
        (
            {"provider": "cohere", "model_name_or_path": "embed-v4.0", "query_input_type": ""},
            "models.m.query_input_type: cohere needs one",
        ),
        (
            {"provider": "onnx", "model_name_or_path": "x", "trust_remote_code": True},
            "models.m.trust_remote_code: only false may stand",
        ),
        (
            {"provider": "onnx", "model_name_or_path": "x", "onnx_providers": ["TpuProvider"]},
            "models.m.onnx_providers.0: ",
        ),
    ],
)
def test_an_error_names_the_file_the_entry_and_the_field(
    entry: dict[str, Any], expected: str
) -> None:
    with pytest.raises(CatalogueError) as raised:
        a_catalogue(m=entry)

    assert raised.value.message.startswith("models.yaml: ")
    assert expected in raised.value.message
    assert "sk-1" not in raised.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "models.yaml: "),
        ("[]", "models.yaml: "),
        ("models: {}", "models.yaml: models: "),
        ("models: [", "models.yaml: not valid YAML, line 1"),
        ("models: 2023-99-99", "models.yaml: not valid YAML: a date"),
        ("max_models: " + "9" * 5000, "models.yaml: not valid YAML: a date or number"),
        ("models: {}\n\tx: 1", "line 2"),
        ("models: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("models: {? [a] : b}", "not valid YAML"),
        ("models: {-: {}}", "models.yaml: "),
        ("models:\n  a: {provider: onnx, model_name_or_path: x}\nmodels: {}\n", "line 3"),
        ("default_model_id: b\nmodels: {a: {provider: onnx, model_name_or_path: x}}", "model b"),
        ("max_models: 0\nmodels: {a: {provider: onnx, model_name_or_path: x}}", "max_models"),
        ("other: 0\nmodels: {a: {provider: onnx, model_name_or_path: x}}", "models.yaml: other: "),
        ("models: " + "[" * 2000 + "]" * 2000, "models.yaml: "),
    ],
)
def test_a_file_that_is_no_catalogue_is_refused(text: str, expected: str) -> None:
    with pytest.raises(CatalogueError) as raised:
        Catalogue.parse(text, "models.yaml")

    assert expected in raised.value.message


def test_entries_may_share_lines() -> None:
    text = """
    models:
      a: &one {provider: openai, model_name_or_path: text-embedding-3-small}
      b: {<<: *one, dimensions: 512}
    """

    assert Catalogue.parse(text).remote["b"].dimensions == 512
