from __future__ import annotations

import json
from typing import Any

import pytest
from embedpipe.adapters.embedders.remote.keys import ProviderKeys, from_secrets_manager
from embedpipe.errors import ProviderRefusedError, ProviderUnavailableError
from embedpipe.models.catalogue_entries import RemoteEntry
from embedpipe.settings import ProviderSettings
from pydantic import SecretStr

OWN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:own"
SHARED = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shared"
SECRETS = {
    OWN: "own-key\n",
    SHARED: json.dumps({"openai": "shared", "mine": "for-mine", "local_api": "x"}),
}


def an_entry(**changes: Any) -> RemoteEntry:
    values = {"provider": "openai", "model_name_or_path": "text-embedding-3-small", **changes}
    return RemoteEntry.model_validate(values)


def a_service() -> RemoteEntry:
    return an_entry(provider="local_api", api_url="https://x.example/v1/embeddings")


def some_keys(**changes: Any) -> ProviderKeys:
    values: dict[str, Any] = {
        "given": {"openai": SecretStr("given")},
        "read": lambda arn, fresh: SECRETS[arn],
        "shared_arn": SHARED,
        "environment": {"GATEWAY_API_KEY": "from-environment"},
        **changes,
    }
    return ProviderKeys(values.pop("given"), **values)


@pytest.mark.parametrize(
    ("entry", "changes", "expected"),
    [
        (
            an_entry(api_key_secret_arn=OWN, api_key_env="GATEWAY_API_KEY"),
            {},
            "own-key",
        ),
        (an_entry(api_key_env="GATEWAY_API_KEY"), {}, "from-environment"),
        (an_entry(), {}, "given"),
        (an_entry(), {"given": {}}, "shared"),
    ],
)
def test_the_nearest_key_is_taken(
    entry: RemoteEntry, changes: dict[str, Any], expected: str
) -> None:
    assert some_keys(**changes).find("model", entry) == expected


def test_a_key_by_model_id_comes_before_the_providers() -> None:
    assert some_keys(given={}).find("mine", an_entry()) == "for-mine"


def test_a_service_of_ones_own_gets_only_a_key_that_was_meant_for_it() -> None:
    keys = some_keys(given={"local_api": SecretStr("x")}, shared_arn=None)

    assert some_keys().find("model", a_service()) is None
    assert some_keys().find("mine", a_service()) == "for-mine"
    assert some_keys(shared_arn=None).find("mine", a_service()) is None
    assert keys.find("mine", a_service()) == "x"


@pytest.mark.parametrize(
    "changes",
    [
        {"given": {}, "shared_arn": None},
        {"given": {}, "read": lambda arn, fresh: "{}"},
        {"given": {}, "read": lambda arn, fresh: "not JSON"},
        {"given": {}, "read": lambda arn, fresh: "[]"},
        {"given": {"openai": SecretStr("two\nlines")}},
        {"given": {"openai": SecretStr("")}},
        {"given": {"openai": SecretStr("kéy")}},
    ],
)
def test_without_a_key_nothing_is_asked_and_no_document_fails(changes: dict[str, Any]) -> None:
    with pytest.raises(ProviderRefusedError) as raised:
        some_keys(**changes).find("model", an_entry())

    assert raised.value.spends_attempt is False
    assert "lines" not in raised.value.message


def test_a_variable_that_is_not_set_is_no_key() -> None:
    with pytest.raises(ProviderRefusedError):
        some_keys().find("model", an_entry(api_key_env="MISSING_API_KEY"))
    with pytest.raises(ProviderRefusedError):
        service = a_service().model_copy(update={"api_key_env": "MISSING_API_KEY"})
        some_keys().find("model", service)


def test_a_key_is_renewed_once_a_minute_and_given_to_whoever_had_the_old_one() -> None:
    stored = {"openai": "old"}
    kept = dict(stored)
    now = [0.0]

    def read(arn: str, fresh: bool) -> str:
        if fresh:
            kept.update(stored)
        return json.dumps(kept)

    key = some_keys(given={}, read=read, clock=lambda: now[0]).of("model", an_entry())
    old = key.get()
    stored["openai"] = "new"

    renewed = [key.renewed(old), key.renewed(old)]
    stored["openai"] = "newer"
    too_soon = key.renewed("new")
    now[0] = 61.0
    later = key.renewed("new")

    assert renewed == ["new", "new"]
    assert too_soon is None
    assert later == "newer"


def test_a_key_of_the_environment_is_not_renewed() -> None:
    key = some_keys(shared_arn=None).of("model", an_entry())

    assert key.renewed("given") is None


def test_no_key_is_shown() -> None:
    settings = ProviderSettings(openai_api_key=SecretStr("sk-123"))

    assert "sk-123" not in repr(settings)
    assert "sk-123" not in repr(settings.provider_keys())
    assert list(settings.provider_keys()) == ["openai"]


def test_secrets_manager_out_of_reach_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    from aws_lambda_powertools.utilities import parameters
    from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError

    def get_secret(*args: Any, **options: Any) -> str:
        raise GetParameterError

    monkeypatch.setattr(parameters, "get_secret", get_secret)

    with pytest.raises(ProviderUnavailableError) as raised:
        from_secrets_manager(OWN, True)

    assert OWN not in raised.value.message
