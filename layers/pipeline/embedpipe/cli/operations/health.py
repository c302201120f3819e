"""`embedpipe health`: one word for people, an exit code for cron."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from embedpipe.cli import output
from embedpipe.cli.client import Api, ApiError
from embedpipe.cli.operations import calls, words
from embedpipe.cli.operations.status import SUMMARY
from embedpipe.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Url

#: A message that is committed is sent at once, or by the next run of maintenance.
LATE_S = 300.0
READY = "/embeddings/ready"


def health_command(
    url: Url = None, data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False
) -> None:
    """Say whether all is well. Exits 1 when it is not.

    Dead letters and paused stages are named and are no illness: somebody wants them so.
    """
    with calls.connect(url, data_dir) as api:
        checks = list(_checks(api))
    is_healthy = all(check["ok"] for check in checks)
    if as_json:
        output.emit_json({"healthy": is_healthy, "checks": checks})
    else:
        rows = [
            (
                check["name"],
                words.painted("ok" if check["ok"] else "bad"),
                words.text(check["said"]),
            )
            for check in checks
        ]
        output.console().print(output.table("", ("part", "state", "found"), rows))
    if not is_healthy:
        raise typer.Exit(output.EXIT_FAILED)


def _checks(api: Api) -> Iterator[dict[str, Any]]:
    ready = api.call("GET", READY, accepted=(503,))
    for name, check in ready["checks"].items():
        said = f"answers in {check['ms']:g} ms" if check["ok"] else check["code"]
        yield {"name": name, "ok": check["ok"], "said": said}
    try:
        summary = api.call("GET", SUMMARY, patience_s=0.0)
    except ApiError as exc:
        yield {"name": "summary", "ok": False, "said": exc.code}
        return
    for reason in summary["reasons"]:
        yield {"name": reason["source"], "ok": False, "said": reason["code"]}
    workers = summary["workers"]
    yield {
        "name": "workers",
        "ok": not workers["stalled"],
        "said": f"{workers['active']} active, {workers['stalled']} stalled",
    }
    outbox = summary["outbox"]
    oldest = words.age(outbox["oldest_age_s"])
    yield {
        "name": "outbox",
        "ok": outbox["oldest_age_s"] < LATE_S,
        "said": f"{outbox['rows']:,} to be sent, the oldest for {oldest}"
        if outbox["rows"]
        else "empty",
    }
    held = [name for name, flag in summary["flags"].items() if flag["paused"] or flag["drain"]]
    yield {
        "name": "stages",
        "ok": True,
        "said": f"held: {', '.join(held)}" if held else "all running",
    }
    dead = words.listed(summary["dlq"], "none")
    yield {"name": "dead letters", "ok": True, "said": dead}
