"""A client of the worker's endpoint, as a child: one request after another, each timed."""

from __future__ import annotations

import http.client
import json
import time

from bench.engine.child import Answer, Handler, serve

_PAUSE_S = 0.02


def main() -> None:
    """Serve: each question is a list of bodies for POST /embed."""

    def start(first: Answer) -> Handler:
        connection = http.client.HTTPConnection("127.0.0.1", first["port"], timeout=60)

        def handle(question: Answer) -> Answer:
            seconds = []
            for body in question["bodies"]:
                began = time.perf_counter()
                connection.request(
                    "POST", "/embed", json.dumps(body), {"Content-Type": "application/json"}
                )
                response = connection.getresponse()
                said = response.read()
                if response.status != 200:
                    raise RuntimeError(f"{response.status}: {said[:200]!r}")
                seconds.append(time.perf_counter() - began)
                time.sleep(_PAUSE_S)
            return {"seconds": seconds}

        return handle

    serve(start)


if __name__ == "__main__":
    main()
