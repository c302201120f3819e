"""The part of Lambda's API that switches event source mappings, on loopback."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from embedpipe.local.event_source import Poller

logger = logging.getLogger(__name__)

ROOT = "/2015-03-31/event-source-mappings"


class LambdaApi:
    """An ASGI application that reads and switches event source mappings.

    Parameters
    ----------
    pollers
        By the mapping's UUID.
    state
        The file that keeps what is switched off, as a mapping outlives whoever polls for it.
    """

    def __init__(self, pollers: Mapping[str, Poller], state: Path) -> None:
        self._pollers = pollers
        self._file = state
        self._changed_at = dict.fromkeys(pollers, time.time())
        for uuid in _switched_off(state) & set(pollers):
            pollers[uuid].set_enabled(False)
        self.app = Starlette(
            routes=[
                Route(ROOT, self._list, methods=["GET"]),
                Route(ROOT + "/", self._list, methods=["GET"]),
                Route(ROOT + "/{uuid}", self._get, methods=["GET"]),
                Route(ROOT + "/{uuid}", self._update, methods=["PUT"]),
            ]
        )

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    async def _list(self, _: Request) -> Response:
        return JSONResponse({"EventSourceMappings": list(map(self._described, self._pollers))})

    async def _get(self, request: Request) -> Response:
        uuid = request.path_params["uuid"]
        if uuid not in self._pollers:
            return _not_found()
        return JSONResponse(self._described(uuid))

    async def _update(self, request: Request) -> Response:
        uuid = request.path_params["uuid"]
        if uuid not in self._pollers:
            return _not_found()
        try:
            wanted = json.loads(await request.body())
        except ValueError:
            return _problem(400, "InvalidRequestContentException", "Could not parse the body.")
        if not isinstance(wanted, dict) or set(wanted) != {"Enabled"}:
            return _problem(400, "InvalidParameterValueException", "Only Enabled can be changed.")
        if not isinstance(wanted["Enabled"], bool):
            return _problem(400, "InvalidParameterValueException", "Enabled must be a boolean.")
        self._switch(uuid, wanted["Enabled"])
        return JSONResponse(self._described(uuid), status_code=202)

    def _switch(self, uuid: str, is_enabled: bool) -> None:
        poller = self._pollers[uuid]
        if poller.is_enabled != is_enabled:
            self._changed_at[uuid] = time.time()
            logger.info("%s is %s", poller.name, "received from" if is_enabled else "left alone")
        poller.set_enabled(is_enabled)
        off = [other for other, one in self._pollers.items() if not one.is_enabled]
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(off))
        temporary.replace(self._file)

    def _described(self, uuid: str) -> dict[str, Any]:
        return {
            "UUID": uuid,
            "LastModified": self._changed_at[uuid],
            "StateTransitionReason": "User action",
            **self._pollers[uuid].describe(),
        }


def _switched_off(state: Path) -> set[str]:
    try:
        found = json.loads(state.read_text())
    except (OSError, ValueError):
        return set()
    return set(map(str, found)) if isinstance(found, list) else set()


def _not_found() -> Response:
    message = "The resource you requested does not exist."
    return _problem(404, "ResourceNotFoundException", message)


def _problem(status: int, kind: str, message: str) -> Response:
    body = {"Type": "User", "Message": message}
    return JSONResponse(body, status_code=status, headers={"x-amzn-ErrorType": kind})
