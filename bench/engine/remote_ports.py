"""Queues and jobs of this process for a worker in another one, which can be stopped for real."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from multiprocessing.managers import BaseManager
from threading import Thread
from typing import Any
from uuid import uuid4

_KEY = b"bench"
_METHODS = {
    "queue": ["receive", "ack", "retry", "extend", "copy_to_dlq", "send", "check", "backlog"],
    "answers": ["send", "check", "backlog"],
    "jobs": ["pending", "fail", "spend_attempt", "check"],
}


def serve_ports(objects: Mapping[str, Any]) -> str:
    """Serve a queue, an outbox and jobs until this process ends; give the name to connect to."""

    class Manager(BaseManager):
        pass

    for name, methods in _METHODS.items():
        Manager.register(name, callable=partial(objects.__getitem__, name), exposed=methods)
    socket_name = f"embedpipe-bench-{uuid4().hex}"
    server = Manager(address=_abstract(socket_name), authkey=_KEY).get_server()
    Thread(target=server.serve_forever, name="ports", daemon=True).start()
    return socket_name


def connected(socket_name: str) -> dict[str, Any]:
    """Give the objects that another process serves under that name."""

    class Manager(BaseManager):
        pass

    for name, methods in _METHODS.items():
        Manager.register(name, exposed=methods)
    manager = Manager(address=_abstract(socket_name), authkey=_KEY)
    manager.connect()
    return {name: getattr(manager, name)() for name in _METHODS}


def _abstract(socket_name: str) -> str:
    """Give the address of a Linux socket that is no file, and so leaves none."""
    return "\0" + socket_name
