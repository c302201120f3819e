"""A connection goes back to the pool, and to another tenant, as if nobody had used it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from embedpipe.adapters.postgres.sessions import Sessions

_SETTINGS = (
    "SELECT nullif(current_setting('app.tenant', true), '') AS tenant,"
    " nullif(current_setting('app.operator', true), '') AS operator,"
    " current_setting('synchronous_commit') AS commits"
)
UNUSED = {"tenant": None, "operator": None, "commits": "on"}


@pytest.fixture
def sessions(app_conninfo: str) -> Iterator[Sessions]:
    """One connection, so that everybody gets the same."""
    sessions = Sessions(app_conninfo, min_size=0, max_size=1)
    yield sessions
    sessions.close()


@pytest.mark.parametrize(
    "how", [{}, {"durable": False}, {"as_operator": True}], ids=["plain", "lazy", "operator"]
)
@pytest.mark.parametrize("is_failing", [False, True], ids=["commits", "fails"])
def test_nothing_of_a_transaction_stays_on_its_connection(
    sessions: Sessions, how: dict[str, bool], is_failing: bool
) -> None:
    try:
        with sessions.transaction("acme", **how):
            if is_failing:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass

    with sessions._opened().connection() as connection:
        assert connection.execute(_SETTINGS).fetchone() == UNUSED


def test_a_transaction_without_a_tenant_has_none_of_the_one_before(sessions: Sessions) -> None:
    with sessions.transaction("acme", as_operator=True):
        pass

    with sessions.transaction() as connection:
        assert connection.execute(_SETTINGS).fetchone() == UNUSED
