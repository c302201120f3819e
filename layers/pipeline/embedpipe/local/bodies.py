"""Reads request bodies within a time and, all of them together, within a memory."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

# API Gateway's limit on a body.
BODY_LIMIT_BYTES = 10_485_760
# A larger one is read to its end and dropped, up to this: who still sends when the connection is
# closed may lose the answer that says why.
DROPPED_LIMIT_BYTES = 4 * BODY_LIMIT_BYTES


class BodyError(Exception):
    """A body that is not taken: the status and the code of the answer, and what it says."""

    def __init__(self, status: int, code: str, detail: str, retry_after_s: int = 0) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s


class Bodies:
    """Reads bodies; one that comes slowly holds up nobody else.

    Parameters
    ----------
    timeout_s
        How long one body may take to come.
    budget_bytes
        What all bodies that are not read to their end may hold.
    """

    def __init__(self, *, timeout_s: float = 30.0, budget_bytes: int = 128 * 1024 * 1024) -> None:
        self._timeout_s = timeout_s
        self._budget_bytes = budget_bytes
        self._held_bytes = 0

    async def read(self, request: Request) -> bytes:
        """Give a request's body.

        Raises
        ------
        BodyError
            It is too large, came too slowly, or too many others are on their way.
        """
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > DROPPED_LIMIT_BYTES:
            raise _too_large()
        body, came_bytes = bytearray(), 0
        try:
            async with asyncio.timeout(self._timeout_s):
                async for part in request.stream():
                    came_bytes += len(part)
                    if came_bytes > BODY_LIMIT_BYTES:
                        self._held_bytes -= len(body)
                        body.clear()
                        if came_bytes > DROPPED_LIMIT_BYTES:
                            break
                        continue
                    self._held_bytes += len(part)
                    body += part
                    if self._held_bytes > self._budget_bytes:
                        raise BodyError(429, "OVERLOADED", "Too many requests at once.", 1)
        except TimeoutError:
            message = f"The body did not come within {self._timeout_s:g} s."
            raise BodyError(408, "REQUEST_TIMEOUT", message) from None
        finally:
            self._held_bytes -= len(body)
        if came_bytes > BODY_LIMIT_BYTES:
            raise _too_large()
        return bytes(body)


def _too_large() -> BodyError:
    return BodyError(413, "TOO_LARGE", f"The body is larger than {BODY_LIMIT_BYTES} bytes.")
