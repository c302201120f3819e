"""Secrets: from the environment as they are, or from Secrets Manager by their ARN."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from embedpipe.settings import DatabaseSettings

#: A new connection knows a changed password after so long.
MAX_AGE_S = 300


def conninfo(settings: DatabaseSettings) -> str:
    """Give the connection URL: DATABASE_URL as it is, or one made from the secret."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    secret = _secret(settings.database_secret_arn or "", as_json=True)
    user, password = quote(secret["username"], safe=""), quote(secret["password"], safe="")
    return (
        f"postgresql://{user}:{password}@{settings.database_host}:{settings.database_port}"
        f"/{quote(settings.database_name, safe='')}?sslmode={settings.sslmode}"
    )


def secret_or(value: SecretStr | None, arn: str | None) -> SecretStr | None:
    """Give the value, or else what is stored under the ARN; None when neither is set."""
    if value is not None or arn is None:
        return value
    return SecretStr(_secret(arn))


def read_secret(arn: str, *, fresh: bool = False) -> str:
    """Give what is stored under an ARN; `fresh`: as it is now, not as it was read before."""
    from aws_lambda_powertools.utilities import parameters

    return str(parameters.get_secret(arn, max_age=MAX_AGE_S, force_fetch=fresh))


def _secret(arn: str, *, as_json: bool = False) -> Any:
    from aws_lambda_powertools.utilities import parameters

    return parameters.get_secret(arn, transform="json" if as_json else None, max_age=MAX_AGE_S)
