"""Connections and transactions, and the one place where errors of PostgreSQL become ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import TypeAlias

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolClosed

from embedpipe.adapters.postgres.vector_arrays import register_vector_types
from embedpipe.errors import StoreUnavailableError
from embedpipe.sql import statement

Connection: TypeAlias = "psycopg.Connection[DictRow]"
Conninfo: TypeAlias = "str | Callable[[], str]"

#: What the server enforces on every connection, in milliseconds.
SERVER_OPTIONS = (
    "-c statement_timeout=8000 -c lock_timeout=4000 -c idle_in_transaction_session_timeout=8000"
)
#: How a client notices that a server is gone; tcp_user_timeout in milliseconds, the rest seconds.
CLIENT_OPTIONS: dict[str, str | int] = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 6000,
    "application_name": "embedpipe",
}
#: Longest wait for a connection of the pool.
CHECKOUT_TIMEOUT_S = 5.0


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise StoreUnavailableError for what another try may cure; the rest is a bug and passes.

    Out of reach, shut down, too many connections, a timeout, a deadlock, a failed serialization,
    a standby that was the primary a moment ago. Limits of the program (class 54) are operational
    to psycopg, but no later try will do better.
    """
    try:
        yield
    except errors.ProgramLimitExceeded:
        raise
    except (
        psycopg.OperationalError,
        errors.IdleInTransactionSessionTimeout,
        errors.TransactionTimeout,
        errors.ReadOnlySqlTransaction,
    ) as exc:
        if exc.sqlstate is not None and exc.sqlstate.startswith("54"):
            raise
        raise StoreUnavailableError from exc


def complete_conninfo(conninfo: str, *, startup_options: bool = True) -> str:
    """Add timeouts and keepalives to a connection string; what it sets itself stays.

    Parameters
    ----------
    startup_options
        Whether the server is asked to enforce SERVER_OPTIONS; a proxy may refuse to be asked.
    """
    given = conninfo_to_dict(conninfo)
    if startup_options:
        given["options"] = f"{SERVER_OPTIONS} {given.get('options') or ''}".strip()
    return make_conninfo("", **{**CLIENT_OPTIONS, **given})


class Sessions:
    """A pool of connections, opened on first use; gives transactions.

    Parameters
    ----------
    conninfo
        A libpq connection string or URL, or what gives one: asked for each connection, as the
        password in it may change.
    startup_options
        See `complete_conninfo`.
    """

    def __init__(
        self, conninfo: Conninfo, *, min_size: int, max_size: int, startup_options: bool = True
    ) -> None:
        self._conninfo = conninfo
        self._startup_options = startup_options
        self._sizes = (min_size, max_size)
        self._lock = Lock()
        self._pool: ConnectionPool[Connection] | None = None
        self._is_closed = False

    def _opened(self) -> ConnectionPool[Connection]:
        with self._lock:
            if self._is_closed:
                raise PoolClosed("the database was closed")
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._complete,
                    connection_class=psycopg.Connection[DictRow],
                    kwargs={"prepare_threshold": None, "row_factory": dict_row},
                    min_size=self._sizes[0],
                    max_size=self._sizes[1],
                    timeout=CHECKOUT_TIMEOUT_S,
                    reconnect_timeout=2 * CHECKOUT_TIMEOUT_S,
                    configure=register_vector_types,
                    check=self._check,
                    open=True,
                    name="embedpipe",
                )
            return self._pool

    def _complete(self) -> str:
        given = self._conninfo
        return complete_conninfo(
            given if isinstance(given, str) else given(), startup_options=self._startup_options
        )

    def _check(self, connection: Connection) -> None:
        try:
            ConnectionPool.check_connection(connection)
        except psycopg.OperationalError:
            # The server went away: the others in the pool are as dead as this one.
            if self._pool is not None:
                self._pool.drain()
            raise

    @contextmanager
    def transaction(
        self, tenant_id: str = "", *, durable: bool = True, as_operator: bool = False
    ) -> Iterator[Connection]:
        """Run one transaction of a tenant: committed at the end, rolled back on any error.

        Parameters
        ----------
        tenant_id
            Whose rows it sees; empty for none (of the maintenance role: all).
        durable
            False when a crash of the server may lose the change; its commit then does not wait.
        as_operator
            Also see the control plane of all tenants. What is written is still the tenant's.

        Raises
        ------
        StoreUnavailableError
            The database is out of reach, or the transaction lost against another.
        """
        name = "set_tenant" if durable else "set_tenant_lazily"
        if as_operator:
            name = "set_operator"
        with translate_errors(), self._opened().connection() as connection:
            connection.execute(statement("sessions", name), {"tenant_id": tenant_id})
            yield connection

    def close(self) -> None:
        """Close all connections; later calls raise StoreUnavailableError."""
        with self._lock:
            self._is_closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            with suppress(psycopg.OperationalError):
                pool.close()
