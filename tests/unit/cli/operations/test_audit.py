from __future__ import annotations

import json
from typing import Any

from tests.unit.cli.operations.answers import ago
from tests.unit.cli.operations.conftest import Run, lines
from tests.unit.cli.operations.fake_operator_api import FakeOperatorApi

AUDIT = "/embeddings/audit"


def an_act(**overrides: Any) -> dict[str, Any]:
    return {
        "audit_id": 7,
        "tenant_id": "default",
        "actor": "key-1",
        "action": "stage.pause",
        "subject": "embed",
        "result": "paused",
        "note": "new [driver]",
        "at": ago(minutes=4),
        **overrides,
    }


def test_acts_are_listed_with_who_and_when(api: FakeOperatorApi, run: Run) -> None:
    api.lists(AUDIT, [an_act()])

    narrow, wide = run("audit"), run("audit", width=160)

    [line] = [line.split() for line in lines(wide) if "stage.pause" in line]
    assert line == ["4", "min", "key-1", "stage.pause", "embed", "paused", "new", "[driver]"]
    assert "by key-1" in narrow.output
    assert "new [driver]" not in narrow.output
    assert "new [driver]" in run("audit", "--details").output


def test_long_subjects_fit_80_columns(api: FakeOperatorApi, run: Run) -> None:
    subject = "store/beda1fa3-cc89-488e-bcc3-ff769007a27c"
    api.lists(AUDIT, [an_act(subject=subject, result="approved_for_requeue")])

    shown = lines(run("audit"))

    assert any(subject in line for line in shown)
    assert max(map(len, shown)) <= 80


def test_kinds_and_actors_narrow_it_down(api: FakeOperatorApi, run: Run) -> None:
    api.lists(AUDIT, [])

    done = run("audit", "--action", "stage.pause", "--actor", "key-1", "--limit", "5")
    as_json = run("audit", "--json")

    assert "nobody" in done.output
    assert api.asked[0][2] == {"action": "stage.pause", "actor": "key-1", "limit": "5"}
    assert json.loads(as_json.output) == []
