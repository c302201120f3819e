"""Port to circuit breakers, one for each provider, shared by all workers."""

from __future__ import annotations

from typing import Protocol

from embedpipe.domain.audit import Act
from embedpipe.domain.breakers import Breaker, Permission


class Breakers(Protocol):
    """Circuit breakers by provider. Times are the database's.

    A breaker changes only from the term that its maker saw, so that of two makers one loses, and
    one that comes late undoes nothing. Every method raises StoreUnavailableError when the state
    is out of reach.
    """

    def all(self) -> list[Breaker]:
        """List those of providers that ever failed, by name."""
        ...

    def get(self, provider: str) -> Breaker:
        """Give one; closed, at term 0, for a provider that never failed."""
        ...

    def allow(self, provider: str, owner: str) -> Permission:
        """Ask whether the provider may be asked.

        While closed everybody may. Once the retry time has come exactly one may: it is the prober
        until it reports, or its time is over.

        Parameters
        ----------
        owner
            Names the process that asks.
        """
        ...

    def succeeded(self, provider: str, term: int) -> None:
        """Report an answer to a request that was allowed in that term."""
        ...

    def failed(
        self,
        provider: str,
        term: int,
        error_code: str,
        *,
        retry_after_s: float | None = None,
        opens: bool = False,
    ) -> None:
        """Report a failure of a request that was allowed in that term.

        Parameters
        ----------
        retry_after_s
            What the provider asked for: nobody asks it before.
        opens
            Whether this one failure is enough, as a refused key is.
        """
        ...

    def reset(self, provider: str, act: Act) -> bool:
        """Close a breaker, as somebody knows better, and write that down in the same transaction.

        False, and nothing written, when the provider never failed.
        """
        ...
