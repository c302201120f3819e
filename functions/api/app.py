"""HTTP requests -> documents admitted, jobs read and cancelled, search."""

from __future__ import annotations

from functools import cache
from typing import Any

from embedpipe import bootstrap, telemetry
from embedpipe.api.resolver import ApiResolver, build


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one REST proxy event."""
    return telemetry.instrumented("api", _invoke)(event, context)


def _invoke(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return _resolver().resolve(event, context)


@cache
def _resolver() -> ApiResolver:
    return build(bootstrap.api, bootstrap.cors)
