"""What can go wrong in the local cloud itself."""

from __future__ import annotations


class LocalCloudError(Exception):
    """The local cloud cannot go on; `hint` says what the user can do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvocationError(Exception):
    """A function did not return: it raised, died or ran out of time.

    `error_type` is what Lambda reports: the exception's name, `Runtime.ExitError`,
    `Sandbox.Timedout`, `Runtime.ImportModuleError` or `Function.ResponseSizeTooLarge`.
    """

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(f"{error_type}: {message}")
        self.error_type = error_type
        self.message = message


class ThrottledError(Exception):
    """All environments of a function are busy, and enough callers wait for them already."""
