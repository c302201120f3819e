"""Circuit breakers that all workers share: who may ask a provider, and who finds out."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.breakers import BreakerState
from embedpipe.ports import Breakers

if TYPE_CHECKING:
    from tests.conftest import Backend

THRESHOLD = 5
RECOVERY_S = 30.0
RESET = Act(Actor("globex", "key-of-olga"), "breaker.reset", "acme-ai")


@pytest.fixture
def breakers(backend: Backend) -> Breakers:
    return backend.database.breakers


def fail(breakers: Breakers, times: int = 1, **options: float) -> None:
    for _ in range(times):
        permission = breakers.allow("acme-ai", "worker-1")
        assert permission.is_allowed
        breakers.failed("acme-ai", permission.term, "PROVIDER_UNAVAILABLE", **options)  # type: ignore[arg-type]


def test_a_provider_that_never_failed_may_be_asked_and_is_not_listed(breakers: Breakers) -> None:
    permission = breakers.allow("acme-ai", "worker-1")
    breakers.succeeded("acme-ai", permission.term)

    assert permission.is_allowed
    assert not permission.is_probe
    assert breakers.get("acme-ai").state is BreakerState.CLOSED
    assert breakers.all() == []


def test_failures_in_a_row_open_it_at_the_threshold(breakers: Breakers) -> None:
    fail(breakers, THRESHOLD - 1)
    before = breakers.get("acme-ai")
    fail(breakers)
    after = breakers.get("acme-ai")

    assert (before.state, before.failures) == (BreakerState.CLOSED, THRESHOLD - 1)
    assert (after.state, after.failures) == (BreakerState.OPEN, THRESHOLD)
    assert after.last_error == "PROVIDER_UNAVAILABLE"
    assert after.opened_at is not None
    assert after.retry_at is not None
    assert (after.retry_at - after.opened_at).total_seconds() == pytest.approx(RECOVERY_S, abs=0.5)


def test_a_good_answer_between_failures_starts_the_count_again(breakers: Breakers) -> None:
    fail(breakers, THRESHOLD - 1)
    permission = breakers.allow("acme-ai", "worker-1")
    breakers.succeeded("acme-ai", permission.term)
    fail(breakers, THRESHOLD - 1)

    assert permission.failures == THRESHOLD - 1
    assert breakers.get("acme-ai").state is BreakerState.CLOSED


def test_while_open_nobody_may_ask_and_hears_how_long(breakers: Breakers) -> None:
    fail(breakers, THRESHOLD)

    permission = breakers.allow("acme-ai", "worker-2")

    assert not permission.is_allowed
    assert permission.retry_after_s == pytest.approx(RECOVERY_S, abs=2)
    assert permission.open_s == pytest.approx(0, abs=2)


def test_one_provider_does_not_close_the_way_to_another(breakers: Breakers) -> None:
    fail(breakers, THRESHOLD)

    assert breakers.allow("other-ai", "worker-1").is_allowed


def test_when_the_time_has_come_exactly_one_probes(backend: Backend, breakers: Breakers) -> None:
    fail(breakers, THRESHOLD)
    backend.age_breakers(RECOVERY_S)

    first = breakers.allow("acme-ai", "worker-1")
    second = breakers.allow("acme-ai", "worker-2")

    assert (first.is_allowed, first.is_probe) == (True, True)
    assert not second.is_allowed
    assert 0 < second.retry_after_s <= 1
    assert breakers.get("acme-ai").state is BreakerState.HALF_OPEN


def test_of_many_at_the_same_moment_one_probes(backend: Backend, breakers: Breakers) -> None:
    askers = 6
    for _ in range(5):
        breakers.reset("acme-ai", RESET)
        fail(breakers, THRESHOLD)
        backend.age_breakers(RECOVERY_S)
        together = Barrier(askers)

        def ask(number: int, together: Barrier = together) -> bool:
            together.wait()
            return breakers.allow("acme-ai", f"worker-{number}").is_allowed

        with ThreadPoolExecutor(askers) as pool:
            answers = Counter(pool.map(ask, range(askers)))

        assert answers == {True: 1, False: askers - 1}


def test_failures_at_the_same_moment_are_all_counted(breakers: Breakers) -> None:
    failures = THRESHOLD - 1
    together = Barrier(failures)
    term = breakers.allow("acme-ai", "worker-1").term

    def report(_: int) -> None:
        together.wait()
        breakers.failed("acme-ai", term, "PROVIDER_UNAVAILABLE")

    with ThreadPoolExecutor(failures) as pool:
        list(pool.map(report, range(failures)))

    assert breakers.get("acme-ai").failures == failures


def test_a_good_probe_closes_it(backend: Backend, breakers: Breakers) -> None:
    fail(breakers, THRESHOLD)
    backend.age_breakers(RECOVERY_S)
    probe = breakers.allow("acme-ai", "worker-1")

    breakers.succeeded("acme-ai", probe.term)

    closed = breakers.get("acme-ai")
    assert (closed.state, closed.failures) == (BreakerState.CLOSED, 0)
    assert (closed.opened_at, closed.retry_at) == (None, None)
    assert breakers.allow("acme-ai", "worker-2").is_allowed


def test_each_bad_probe_doubles_the_wait_and_the_outage_goes_on(
    backend: Backend, breakers: Breakers
) -> None:
    fail(breakers, THRESHOLD)
    waits = []
    for _ in range(3):
        wait_s = breakers.allow("acme-ai", "worker-2").retry_after_s
        waits.append(wait_s)
        backend.age_breakers(wait_s)
        fail(breakers)

    assert waits == pytest.approx([30, 60, 120], abs=2)
    assert breakers.allow("acme-ai", "worker-2").open_s == pytest.approx(210, abs=5)


def test_a_prober_that_dies_is_replaced(backend: Backend, breakers: Breakers) -> None:
    fail(breakers, THRESHOLD)
    backend.age_breakers(RECOVERY_S)
    dead = breakers.allow("acme-ai", "worker-1")
    backend.age_breakers(300)

    heir = breakers.allow("acme-ai", "worker-2")

    assert (heir.is_allowed, heir.is_probe) == (True, True)
    assert heir.term > dead.term


def test_a_stale_prober_neither_closes_nor_opens_anything(
    backend: Backend, breakers: Breakers
) -> None:
    fail(breakers, THRESHOLD)
    backend.age_breakers(RECOVERY_S)
    dead = breakers.allow("acme-ai", "worker-1")
    backend.age_breakers(300)
    heir = breakers.allow("acme-ai", "worker-2")

    breakers.succeeded("acme-ai", dead.term)
    after_late_success = breakers.get("acme-ai").state
    breakers.succeeded("acme-ai", heir.term)
    breakers.failed("acme-ai", dead.term, "PROVIDER_UNAVAILABLE", opens=True)

    assert after_late_success is BreakerState.HALF_OPEN
    assert breakers.get("acme-ai").state is BreakerState.CLOSED


def test_answers_to_requests_from_before_it_opened_change_nothing(breakers: Breakers) -> None:
    before = breakers.allow("acme-ai", "worker-1")
    fail(breakers, THRESHOLD)
    opened = breakers.get("acme-ai")

    breakers.succeeded("acme-ai", before.term)
    breakers.failed("acme-ai", before.term, "PROVIDER_REFUSED", opens=True)

    assert breakers.get("acme-ai") == opened


def test_whoever_says_when_to_come_back_is_not_asked_before(
    backend: Backend, breakers: Breakers
) -> None:
    fail(breakers, retry_after_s=7)
    refused = breakers.allow("acme-ai", "worker-1")
    backend.age_breakers(7)
    probe = breakers.allow("acme-ai", "worker-1")

    assert not refused.is_allowed
    assert refused.retry_after_s == pytest.approx(7, abs=1)
    assert probe.is_probe


def test_a_longer_retry_after_wins_over_the_recovery_time(breakers: Breakers) -> None:
    fail(breakers, THRESHOLD - 1)
    fail(breakers, retry_after_s=500)

    assert breakers.allow("acme-ai", "w").retry_after_s == pytest.approx(500, abs=2)


def test_a_refused_key_opens_it_at_once(breakers: Breakers) -> None:
    permission = breakers.allow("acme-ai", "worker-1")
    breakers.failed("acme-ai", permission.term, "PROVIDER_REFUSED", opens=True)

    opened = breakers.get("acme-ai")
    assert (opened.state, opened.last_error) == (BreakerState.OPEN, "PROVIDER_REFUSED")
    assert breakers.allow("acme-ai", "w").retry_after_s == pytest.approx(RECOVERY_S, abs=2)


def test_somebody_who_knows_better_closes_it(breakers: Breakers) -> None:
    fail(breakers, THRESHOLD)
    term = breakers.get("acme-ai").term

    assert breakers.reset("acme-ai", RESET)
    assert breakers.allow("acme-ai", "worker-1").is_allowed
    assert breakers.get("acme-ai").term > term


def test_a_reset_is_written_down_and_one_of_nothing_is_not(backend: Backend) -> None:
    breakers, audits = backend.database.breakers, backend.database.audits
    breakers.reset("acme-ai", RESET)
    fail(breakers, THRESHOLD)

    breakers.reset("acme-ai", RESET)

    [entry] = audits.list(actor="key-of-olga").items
    assert (entry.action, entry.subject) == ("breaker.reset", "acme-ai")
    assert entry.result == "closed, was open"


def test_there_is_nothing_to_reset_of_a_provider_that_never_failed(breakers: Breakers) -> None:
    assert not breakers.reset("acme-ai", RESET)
    assert not breakers.reset("no\0such", RESET)
    assert breakers.get("no\0such").state is BreakerState.CLOSED


def test_all_that_ever_failed_are_listed_by_name(breakers: Breakers) -> None:
    for provider in ("zeta", "alpha"):
        breakers.failed(provider, 0, "PROVIDER_UNAVAILABLE")

    assert [one.provider for one in breakers.all()] == ["alpha", "zeta"]
    assert all(one.changed_at is not None for one in breakers.all())
