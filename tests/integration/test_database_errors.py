"""What becomes of the database port when PostgreSQL misbehaves."""

from __future__ import annotations

import socket
from collections.abc import Callable
from threading import Event, Thread
from typing import TYPE_CHECKING

import psycopg
import pytest
from embedpipe.adapters.postgres import PostgresDatabase
from embedpipe.adapters.postgres.sessions import complete_conninfo, translate_errors
from embedpipe.domain.jobs import JobStatus
from embedpipe.errors import StoreUnavailableError
from embedpipe.ports import CrashKey
from psycopg import errors

from tests.builders import a_stored_job, admit

if TYPE_CHECKING:
    from tests.postgres import PostgresServer


def _backends(conninfo: str) -> int:
    with psycopg.connect(conninfo) as connection:
        return connection.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE usename = 'embedpipe_app' AND datname = current_database()"""
        ).rowcount


def _use_connections(database: PostgresDatabase, count: int) -> None:
    """Open so many connections of the pool, by using them at once."""
    go = Event()

    def use() -> None:
        go.wait(timeout=10)
        for _ in range(20):
            database.jobs.check()

    threads = [Thread(target=use) for _ in range(count)]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join()


def test_the_next_call_works_after_a_crash(
    postgres_server: PostgresServer, postgres_database: PostgresDatabase
) -> None:
    done = a_stored_job(postgres_database)
    _use_connections(postgres_database, 5)

    postgres_server.crash()
    try:
        with pytest.raises(StoreUnavailableError):
            postgres_database.jobs.check()
    finally:
        postgres_server.restart()

    job = postgres_database.jobs.get("acme", done.ref.job_id)
    assert job.status is JobStatus.SUCCEEDED
    a_stored_job(postgres_database, document_id="after")


def test_a_death_that_a_crash_kept_from_being_taken_back_is_taken_back_later(
    postgres_server: PostgresServer, postgres_database: PostgresDatabase
) -> None:
    ledger = postgres_database.crash_ledger
    survivor, other = (CrashKey(admit(postgres_database, document_id=d), "chunk") for d in "ab")
    ledger.begin([survivor])

    postgres_server.crash()
    try:
        with pytest.raises(StoreUnavailableError):
            ledger.end([survivor])
    finally:
        postgres_server.restart()
    ledger.begin([other])
    ledger.end([other])

    assert ledger.begin([survivor]) == {survivor: 0}


def test_a_quick_crash_and_restart_goes_unnoticed(
    postgres_server: PostgresServer, postgres_database: PostgresDatabase
) -> None:
    ref = admit(postgres_database)
    _use_connections(postgres_database, 5)

    postgres_server.crash()
    postgres_server.restart()

    assert postgres_database.jobs.get("acme", ref.job_id).status is JobStatus.QUEUED


def test_cut_connections_are_replaced(
    owner_conninfo: str, postgres_database: PostgresDatabase
) -> None:
    _use_connections(postgres_database, 5)

    assert _backends(owner_conninfo) >= 1

    for _ in range(10):
        postgres_database.jobs.check()


def test_a_new_connection_asks_for_the_password_of_the_day(
    owner_conninfo: str, app_conninfo: str, postgres_database: PostgresDatabase
) -> None:
    asked: list[str] = []

    def conninfo() -> str:
        asked.append(app_conninfo)
        return app_conninfo

    database = PostgresDatabase(conninfo, min_size=0, max_size=1)
    try:
        database.jobs.check()
        before = len(asked)
        assert _backends(owner_conninfo) >= 1
        database.jobs.check()
    finally:
        database.close()

    assert before == 1
    assert len(asked) == 2


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    database = PostgresDatabase(f"postgresql://x@127.0.0.1:{port}/x")

    try:
        with pytest.raises(StoreUnavailableError) as caught:
            database.jobs.check()
    finally:
        database.close()
    assert caught.value.spends_attempt is False


def test_a_closed_database_is_unavailable(postgres_database: PostgresDatabase) -> None:
    postgres_database.jobs.check()

    postgres_database.close()
    postgres_database.close()

    with pytest.raises(StoreUnavailableError):
        postgres_database.jobs.check()


def test_a_locked_row_is_unavailable_in_time(
    owner_conninfo: str, app_conninfo: str, postgres_database: PostgresDatabase
) -> None:
    ref = admit(postgres_database)
    impatient = PostgresDatabase(f"{app_conninfo} options='-c lock_timeout=100'")

    with psycopg.connect(owner_conninfo) as holder:
        holder.execute("SELECT 1 FROM documents FOR UPDATE")
        try:
            with pytest.raises(StoreUnavailableError) as caught:
                impatient.jobs.begin_chunking(ref)
        finally:
            impatient.close()

    assert isinstance(caught.value.__cause__, errors.LockNotAvailable)
    assert postgres_database.jobs.begin_chunking(ref) is not None


def test_the_servers_limits_are_set_on_every_connection(app_conninfo: str) -> None:
    with psycopg.connect(complete_conninfo(app_conninfo)) as connection:
        shown = [
            connection.execute(f"SHOW {name}".encode()).fetchone()
            for name in (
                "statement_timeout",
                "lock_timeout",
                "idle_in_transaction_session_timeout",
                "application_name",
            )
        ]

    assert shown == [("8s",), ("4s",), ("8s",), ("embedpipe",)]


def test_what_the_url_says_goes_before_the_defaults() -> None:
    conninfo = complete_conninfo("postgresql://h/d?connect_timeout=1&options=-c%20lock_timeout%3D9")

    given = psycopg.conninfo.conninfo_to_dict(conninfo)
    assert given["connect_timeout"] == "1"
    assert str(given["options"]).endswith("-c lock_timeout=9")


def test_a_proxy_that_refuses_startup_options_is_not_sent_any() -> None:
    conninfo = complete_conninfo("postgresql://h/d", startup_options=False)

    given = psycopg.conninfo.conninfo_to_dict(conninfo)
    assert "options" not in given
    assert given["connect_timeout"] == "5"


UNAVAILABLE: list[type[psycopg.Error]] = [
    psycopg.OperationalError,
    errors.AdminShutdown,
    errors.CannotConnectNow,
    errors.TooManyConnections,
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.LockNotAvailable,
    errors.QueryCanceled,
    errors.IdleInTransactionSessionTimeout,
    errors.ReadOnlySqlTransaction,
    errors.DiskFull,
]
BUGS: list[type[psycopg.Error]] = [
    errors.UndefinedTable,
    errors.UniqueViolation,
    errors.CheckViolation,
    errors.InsufficientPrivilege,
    errors.ProgramLimitExceeded,
    errors.StatementTooComplex,
    psycopg.DataError,
    psycopg.InterfaceError,
]


@pytest.mark.parametrize("error", UNAVAILABLE)
def test_what_another_try_may_cure_is_unavailable(error: type[psycopg.Error]) -> None:
    with pytest.raises(StoreUnavailableError), translate_errors():
        raise error("x")


@pytest.mark.parametrize("error", BUGS)
def test_a_bug_passes_as_it_is(error: type[psycopg.Error]) -> None:
    with pytest.raises(error), translate_errors():
        raise error("x")


def test_nothing_connects_before_the_first_call(make_none: Callable[[], None]) -> None:
    make_none()

    PostgresDatabase("postgresql://x@127.0.0.1:1/x").close()


@pytest.fixture
def make_none(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make every attempt to connect fail the test."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("it connected")

    return lambda: monkeypatch.setattr(psycopg.Connection, "connect", refuse)


def test_a_transaction_that_fails_leaves_no_trace(
    owner_conninfo: str, postgres_database: PostgresDatabase
) -> None:
    with pytest.raises(psycopg.DataError):
        admit(postgres_database, content="a\0b")

    with psycopg.connect(owner_conninfo) as connection:
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (0,)
    admit(postgres_database)
