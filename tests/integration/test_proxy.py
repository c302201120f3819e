import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from tests.faults.proxy import Proxy


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(one: socket.socket) -> None:
            with one, suppress(OSError):
                while piece := one.recv(65_536):
                    one.sendall(piece)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    one, _ = server.accept()
                    threading.Thread(target=serve, args=(one,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(echo: tuple[str, int]) -> Iterator[Proxy]:
    with Proxy(echo) as proxy:
        yield proxy


def connected(proxy: Proxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout=5)


def asked(connection: socket.socket, text: bytes = b"hello") -> bytes:
    connection.sendall(text)
    answer = b""
    while len(answer) < len(text) and (piece := connection.recv(65_536)):
        answer += piece
    return answer


def test_it_carries_what_it_is_given(proxy: Proxy) -> None:
    large = b"x" * 1_000_000

    with connected(proxy) as connection:
        threading.Thread(target=connection.sendall, args=(large,)).start()
        answer = b""
        while len(answer) < len(large):
            answer += connection.recv(65_536)

    assert answer == large
    assert proxy.accepted == 1


def test_it_refuses_and_resets_and_takes_connections_again(proxy: Proxy) -> None:
    with connected(proxy) as connection:
        asked(connection)
        proxy.refuse()

        with pytest.raises(ConnectionResetError):
            asked(connection)
    with pytest.raises(ConnectionRefusedError):
        connected(proxy)
    proxy.heal()

    with connected(proxy) as connection:
        assert asked(connection) == b"hello"


def test_it_counts_whom_it_resets(proxy: Proxy) -> None:
    proxy.reset()

    for _ in range(3):
        with pytest.raises(ConnectionError), connected(proxy) as connection:
            if not asked(connection):
                raise ConnectionResetError

    assert proxy.accepted == 3


def test_a_cut_ends_what_there_is_and_nothing_else(proxy: Proxy) -> None:
    with connected(proxy) as connection:
        asked(connection)
        proxy.cut()

        with pytest.raises(ConnectionResetError):
            asked(connection)
    with connected(proxy) as connection:
        assert asked(connection) == b"hello"


def test_a_black_hole_holds_everything_until_it_is_healed(proxy: Proxy) -> None:
    with connected(proxy) as old:
        asked(old)
        proxy.black_hole()
        with connected(proxy) as new:
            for one in (old, new):
                one.sendall(b"late")
                one.settimeout(0.1)
                with pytest.raises(TimeoutError):
                    one.recv(10)

            proxy.heal()

            for one in (old, new):
                one.settimeout(5)
                assert one.recv(10) == b"late"


def test_it_loses_so_many_answers_and_no_more(proxy: Proxy) -> None:
    proxy.drop_responses(count=1)

    with closing(connected(proxy)) as connection, pytest.raises(ConnectionResetError):
        asked(connection)
    with connected(proxy) as connection:
        answer = asked(connection)

    assert (answer, proxy.lost_responses) == (b"hello", 1)


def test_it_is_as_slow_as_it_is_told(proxy: Proxy) -> None:
    proxy.latency(0.1)

    with connected(proxy) as connection:
        started = time.monotonic()
        asked(connection)

    assert 0.2 <= time.monotonic() - started < 2


def test_a_target_that_is_away_resets(proxy: Proxy) -> None:
    with Proxy(("127.0.0.1", proxy.port)) as front:
        proxy.refuse()

        with pytest.raises(ConnectionError), closing(connected(front)) as connection:
            if not asked(connection):
                raise ConnectionResetError
