"""Dead letters: which ones are meant, and how they are shown."""

from __future__ import annotations

import json
from typing import Any

from embedpipe.cli import output
from embedpipe.cli.client import Api
from embedpipe.cli.operations import calls, words

DLQ = "/embeddings/dlq"
STAGES = ("chunk", "embed", "store")
#: What is said of an entry that names no error.
SPENT = "receives spent"
#: What of an entry's id must be given, at least.
SHORTEST = 4
#: Where a terminal is narrow, two lines each.
NARROW = ("entry", "stage", "state", "#age", "#expires")
COLUMNS = ("entry", "stage", "state", "#age", "#expires", "error", "job", "note")
# In characters.
WIDE = 140


def find(api: Api, entry: str, stage: str | None) -> dict[str, Any]:
    """Find an entry by its id, or by the beginning of it that no other has."""
    if len(entry) < SHORTEST:
        output.fail(f"{entry!r} is too short for an entry's id", code=output.EXIT_USAGE)
    found = []
    for letter in calls.pages(api, DLQ, {"stage": stage} if stage else {}):
        if letter["entry_id"] == entry:
            return dict(letter)
        if letter["entry_id"].startswith(entry):
            found.append(letter)
    if len(found) == 1:
        return dict(found[0])
    problem = (
        f"{len(found)} entries begin with {entry!r}" if found else f"there is no entry {entry!r}"
    )
    output.fail(problem, "see `embedpipe dlq list`")


def table(found: list[dict[str, Any]], width: int) -> Any:
    """Give dead letters as a table that fits."""
    is_wide = width >= WIDE
    rows = [_row(letter) if is_wide else _two_lines(letter) for letter in found]
    return output.table("", COLUMNS if is_wide else NARROW, rows)


def _row(letter: dict[str, Any]) -> list[str]:
    expires = words.until(letter["expires_at"])
    state = words.painted(short_state(letter["state"]), words.COLOURS.get(letter["state"]))
    return [
        letter["entry_id"],
        letter["stage"],
        state,
        words.since(letter["arrived_at"]),
        words.painted(expires, "red" if letter["expires_soon"] else None),
        words.text(letter["error_code"] or SPENT),
        words.text(letter["job_id"]),
        words.text(letter["operator_note"], 40),
    ]


def _two_lines(letter: dict[str, Any]) -> list[str]:
    entry, stage, state, age, expires, error, *_ = _row(letter)
    return [f"{entry}\n[dim]{error}[/]", stage, state, age, expires]


def short_state(state: str) -> str:
    """Name a state so that it fits: `approved` for `approved_for_requeue`."""
    return state.removesuffix("_for_requeue")


def everything(letter: dict[str, Any]) -> Any:
    """Give all that is known about a dead letter."""
    job = f"{letter['job_id']}, epoch {letter['epoch']}" if letter["job_id"] else None
    soon = " [red](soon)[/]" if letter["expires_soon"] else ""
    changed = f"{words.since(letter['changed_at'])} ago by {letter['changed_by']}"
    rows = [
        ("entry", letter["entry_id"]),
        ("stage", letter["stage"]),
        ("error", words.text(letter["error_code"] or SPENT)),
        ("kind", words.text(letter["failure_type"])),
        ("job", words.text(job)),
        ("tenant", words.text(letter["tenant_id"])),
        ("state", words.painted(letter["state"])),
        ("changed", words.text(changed) if letter["changed_by"] else ""),
        ("note", words.text(letter["operator_note"])),
        ("arrived", f"{words.since(letter['arrived_at'])} ago"),
        ("expires", f"in {words.until(letter['expires_at'])}{soon}"),
        ("receives", words.number(letter["receive_count"])),
        ("put back", words.number(letter["put_back"]) if letter["put_back"] else ""),
        ("queue", letter["source_queue"]),
        ("body", f"{letter['body_bytes']:,} bytes"),
        ("preview", words.text(_preview(letter["preview"]))),
    ]
    return output.pairs("", [row for row in rows if row[1]])


def _preview(preview: Any) -> str:
    if isinstance(preview, str) or preview is None:
        return preview or ""
    return json.dumps(preview, ensure_ascii=False)
