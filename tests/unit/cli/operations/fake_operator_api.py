"""The operator's side of the API in memory, for the command line's verbs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
from embedpipe.cli.client import BASE, Api
from embedpipe.cli.operations import calls

Asked = dict[str, Any]
Answer = Callable[[Asked], Any] | list[Any] | dict[str, Any] | httpx.Response


class FakeOperatorApi:
    """Answers by method and path; a list of answers is given one after another, the last again.

    Attributes
    ----------
    asked
        Every request: method, path, and its body or its query.
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Answer] = {}
        self.asked: list[tuple[str, str, Asked]] = []
        self.slept: list[float] = []

    def on(self, method: str, path: str, answer: Answer) -> None:
        """Say what is answered."""
        self.answers[method, path] = answer

    def lists(self, path: str, items: list[dict[str, Any]]) -> None:
        """Answer a listing, page by page."""

        def page(asked: Asked) -> dict[str, Any]:
            start, size = int(asked.get("cursor", 0)), int(asked[calls.SIZES.get(path, "limit")])
            end = start + size
            cursor = str(end) if end < len(items) else None
            return {"items": items[start:end], "cursor": cursor}

        self.on("GET", path, page)

    def bodies(self, path: str) -> list[Asked]:
        """Give what was posted to a path."""
        return [asked for method, to, asked in self.asked if (method, to) == ("POST", path)]

    def client(self) -> Api:
        """Make a client of it."""
        transport = httpx.MockTransport(self._handle)
        return Api("http://api", "key", transport=transport, sleep=self.slept.append)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix(BASE)
        asked = json.loads(request.content) if request.content else dict(request.url.params)
        self.asked.append((request.method, path, asked))
        found = self.answers.get((request.method, path))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        if found is None:
            return httpx.Response(404, json={"code": "NOT_FOUND", "detail": "no"})
        if isinstance(found, httpx.Response):
            return found
        return httpx.Response(200, json=found(asked) if callable(found) else found)
