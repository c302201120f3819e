"""Fixtures that several suites share. Nothing starts before a test asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from embedpipe.adapters.memory import MemoryDatabase
from embedpipe.domain.jobs import JobRef
from embedpipe.ports import Database
from embedpipe.ports.skips import Skip

from tests.builders import MODEL

if TYPE_CHECKING:
    from embedpipe.adapters.postgres import PostgresDatabase

    from tests.postgres import PostgresServer

TENANTS = ("acme", "globex")
#: LocalStack imports it, in an environment of its own.
collect_ignore = ["stacks/process_executor.py"]

# How long an example takes is the machine's business.
hypothesis.settings.register_profile("embedpipe", deadline=None)
hypothesis.settings.load_profile("embedpipe")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """An embedded server. A laptop without one skips; the build fails."""
    from tests.postgres import PostgresServer, is_ci

    try:
        server = PostgresServer()
    except Exception as exc:
        if is_ci():
            raise
        pytest.skip(f"PostgreSQL does not start here: {type(exc).__name__}: {exc}")
    yield server
    server.close()


@pytest.fixture
def postgres_name(postgres_server: PostgresServer) -> str:
    """A migrated, empty database; a module that changes the schema overrides this with its own."""
    return postgres_server.shared_database()


@pytest.fixture
def owner_conninfo(postgres_server: PostgresServer, postgres_name: str) -> str:
    """How the owner, a superuser, connects to the test's database."""
    return postgres_server.conninfo(postgres_name)


@pytest.fixture
def app_conninfo(postgres_server: PostgresServer, postgres_name: str) -> str:
    """How the functions connect to the test's database."""
    return postgres_server.conninfo(postgres_name, "embedpipe_app")


@pytest.fixture
def maintenance_conninfo(postgres_server: PostgresServer, postgres_name: str) -> str:
    """How maintenance connects to the test's database."""
    return postgres_server.conninfo(postgres_name, "embedpipe_maintenance")


@pytest.fixture
def maintenance_database(maintenance_conninfo: str) -> Iterator[PostgresDatabase]:
    """The test's database as maintenance sees it, both tenants made."""
    from embedpipe.adapters.postgres import PostgresDatabase

    database = PostgresDatabase(maintenance_conninfo, min_size=0, max_size=2)
    for tenant_id in TENANTS:
        database.tenants.create(tenant_id, "free", MODEL)
    yield database
    database.close()


@pytest.fixture
def postgres_database(
    app_conninfo: str, maintenance_database: PostgresDatabase
) -> Iterator[PostgresDatabase]:
    """The test's database as the functions see it, both tenants made."""
    from embedpipe.adapters.postgres import PostgresDatabase

    database = PostgresDatabase(app_conninfo, min_size=0, max_size=8)
    yield database
    database.close()


@dataclass(frozen=True)
class Backend:
    """One implementation of the database ports, and ways to look behind it.

    `maintenance` is the same database in the role that sweeps; `rows` gives all rows of a table;
    `expire_claims` lets the claims of all outbox rows run out; `same_moment` gives all jobs one
    time of creation; `hold` skips a job for so many seconds without cancelling it;
    `age_ends` lets so many seconds pass since jobs ended, documents were deleted, operators acted
    and maintenance ran.
    """

    name: str
    database: Database
    maintenance: Database
    rows: Callable[[str], list[dict[str, Any]]]
    expire_claims: Callable[[], None]
    create_key: Callable[[str, str], str]
    same_moment: Callable[[], None]
    age_jobs: Callable[[float], None]
    age_breakers: Callable[[float], None]
    age_heartbeats: Callable[[float], None]
    hold: Callable[[JobRef, float], None]
    age_ends: Callable[[float], None]


class _Clock:
    """A clock that a test can move on."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def move(self) -> None:
        self.ahead += timedelta(minutes=1)


def _memory_backend() -> Backend:
    clock = _Clock()
    database = MemoryDatabase(clock=clock)
    for tenant_id in TENANTS:
        database.create_tenant(tenant_id, MODEL)

    def same_moment() -> None:
        for job in database._state.jobs.values():
            job.created_at = datetime(2026, 1, 1, tzinfo=UTC)

    def age_jobs(seconds: float) -> None:
        for job in database._state.jobs.values():
            job.touched_at -= timedelta(seconds=seconds)

    def move_on(seconds: float) -> None:
        clock.ahead += timedelta(seconds=seconds)

    def hold(ref: JobRef, ttl_s: float) -> None:
        now = clock()
        skip = Skip(ref.tenant_id, ref.job_id, "", now, now + timedelta(seconds=ttl_s))
        database._state.job_skips[ref.tenant_id, ref.job_id] = skip

    return Backend(
        "memory",
        database,
        database,
        database.rows,
        clock.move,
        database.create_key,
        same_moment,
        age_jobs,
        move_on,
        move_on,
        hold,
        move_on,
    )


def _postgres_backend(request: pytest.FixtureRequest) -> Backend:
    import psycopg

    from tests.postgres import age_ends, read_table

    owner: str = request.getfixturevalue("owner_conninfo")
    maintenance: PostgresDatabase = request.getfixturevalue("maintenance_database")

    def expire_claims() -> None:
        with psycopg.connect(owner) as connection:
            connection.execute("UPDATE outbox SET claimed_until = now() - interval '1 second'")

    def same_moment() -> None:
        with psycopg.connect(owner) as connection:
            connection.execute("UPDATE jobs SET created_at = '2026-01-01T00:00:00Z'")

    def age_jobs(seconds: float) -> None:
        with psycopg.connect(owner) as connection:
            connection.execute(
                "UPDATE jobs SET touched_at = touched_at - make_interval(secs => %s)", [seconds]
            )

    def age_breakers(seconds: float) -> None:
        with psycopg.connect(owner) as connection:
            connection.execute(
                "UPDATE circuit_breakers SET opened_at = opened_at - make_interval(secs => %(s)s),"
                " retry_at = retry_at - make_interval(secs => %(s)s),"
                " probe_until = probe_until - make_interval(secs => %(s)s)",
                {"s": seconds},
            )

    def age_heartbeats(seconds: float) -> None:
        with psycopg.connect(owner) as connection:
            connection.execute(
                "UPDATE worker_heartbeats SET beat_at = beat_at - make_interval(secs => %(s)s),"
                " started_at = started_at - make_interval(secs => %(s)s)",
                {"s": seconds},
            )

    def hold(ref: JobRef, ttl_s: float) -> None:
        with psycopg.connect(owner) as connection:
            connection.execute(
                "INSERT INTO job_skips (tenant_id, job_id, expires_at)"
                " VALUES (%s, %s, now() + make_interval(secs => %s))",
                [ref.tenant_id, ref.job_id, ttl_s],
            )

    return Backend(
        "postgres",
        request.getfixturevalue("postgres_database"),
        maintenance,
        lambda table: read_table(owner, table),
        expire_claims,
        maintenance.tenants.create_key,
        same_moment,
        age_jobs,
        age_breakers,
        age_heartbeats,
        hold,
        lambda seconds: age_ends(owner, seconds),
    )


@pytest.fixture(params=["memory", "postgres"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Every implementation of the database ports, with tenants `acme` and `globex`."""
    return _memory_backend() if request.param == "memory" else _postgres_backend(request)


@pytest.fixture
def database(backend: Backend) -> Database:
    """The database of `backend`."""
    return backend.database
