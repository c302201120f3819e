from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from embedpipe.adapters.postgres import verification
from embedpipe.cli import db
from embedpipe.cli import main as cli
from embedpipe.cli.client import Api
from embedpipe.cli.jobs import ALL, row
from embedpipe.cli.main import GROUPS
from embedpipe.local.directory import DataDirectory
from rich.console import Console
from typer.testing import CliRunner

from tests.unit.cli.fake_api import TIMES, FakeApi

HIT = {
    "document_id": "tea.md",
    "heading_path": ["Tea"],
    "score": 0.91,
    "text": "Green tea\nis steeped [briefly].",
}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """What the verbs talk to."""
    fake = FakeApi()

    def connect(url: str | None, data_dir: Path) -> Api:
        return fake.client()

    for verb in ("ingest", "search", "jobs"):
        monkeypatch.setattr(f"embedpipe.cli.{verb}.connect", connect)
    return fake


def run(*arguments: str) -> Any:
    """Run a verb."""
    return CliRunner().invoke(cli.app, list(arguments))


def run_db(*arguments: str) -> Any:
    """Run a verb of `embedpipe db`."""
    return CliRunner().invoke(db.app, list(arguments))


def test_every_verb_has_help() -> None:
    for verb in ("up", "ingest", "search", "jobs", "doctor"):
        shown = run(verb, "--help")
        assert (shown.exit_code, "Usage" in shown.output) == (0, True)


def test_ingest_prints_what_became_of_the_documents(api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.md").write_text("# text")
    (tmp_path / "c.bin").write_bytes(b"\0")

    plain = run("ingest", str(tmp_path), "-m", "from=test")
    as_json = json.loads(run("ingest", str(tmp_path), "--json").output)

    posted = [json.loads(r.content) for r in api.requests if r.method == "POST"]
    assert plain.exit_code == 0
    assert "skipped: 1 binary" in plain.output
    assert "2 documents, 4 chunks, 14 tokens" in plain.output
    assert {body["document_id"]: body["content_type"] for body in posted} == {
        "a.txt": "text/plain",
        "b.md": "text/markdown",
    }
    assert posted[0]["metadata"] == {"from": "test"}
    assert (as_json["documents"], as_json["skipped"]) == (2, {"binary": 1})


def test_ingest_exits_1_when_a_document_failed(api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    api.fail = {"a.txt": "POISON_CHUNK"}

    done = run("ingest", str(tmp_path))

    assert done.exit_code == 1
    assert "failed: 1 POISON_CHUNK" in done.output


def test_ingest_says_when_there_is_nothing_to_ingest(api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "c.bin").write_bytes(b"\0")

    plain = run("ingest", str(tmp_path))
    as_json = run("ingest", str(tmp_path), "--json")

    assert (plain.exit_code, as_json.exit_code) == (1, 1)
    assert "skipped: 1 binary" in plain.stdout
    assert "error: there is nothing to ingest; " in plain.stderr
    assert json.loads(as_json.stdout)["documents"] == 0


def test_an_interrupted_ingest_says_that_jobs_go_on(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    (tmp_path / "a.txt").write_text("text")
    monkeypatch.setattr("embedpipe.cli.ingest.ingest", interrupted)

    done = run("ingest", str(tmp_path))

    assert done.exit_code == 130
    assert "embedpipe jobs" in done.stderr


def test_jobs_name_their_documents_on_a_narrow_terminal(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("text")
    run("ingest", str(tmp_path))
    monkeypatch.setattr(
        "embedpipe.cli.output.console", lambda: Console(width=80, highlight=False, no_color=True)
    )

    shown = run("jobs").output

    assert "a.txt" in shown
    assert "error" in shown
    assert "version" not in shown


def test_a_job_has_a_cell_for_every_column() -> None:
    times = [f"2026-01-01T12:00:0{second}+00:00" for second in range(5)]
    job = {
        "job_id": "j",
        "document_id": "d",
        "version": 3,
        "status": "failed",
        "tokens_total": 7,
        "progress": {"chunks_total": None, "chunks_stored": 0},
        "error": {"code": "BAD"},
        **dict(zip(TIMES, times, strict=True)),
    }

    cells = dict(zip(ALL, row(job), strict=True))

    assert cells["document"] == "d"
    assert (cells["#version"], cells["#tokens"], cells["error"]) == (3, 7, "BAD")
    assert (cells["#chunks"], cells["#total"], cells["#waited"]) == ("0/?", "4.00 s", "1.00 s")


def test_search_prints_hits_and_exits_1_without_any(api: FakeApi) -> None:
    api.answers = [
        httpx.Response(200, json={"results": [HIT]}),
        httpx.Response(200, json={"results": []}),
    ]

    found = run("search", "how hot?", "--filter", "a=b", "--top-k", "3")
    empty = run("search", "nothing")

    asked = json.loads(api.requests[0].content)
    assert asked == {"query": "how hot?", "top_k": 3, "filter": {"a": "b"}}
    assert "0.910" in found.output
    assert "tea.md > Tea" in found.output
    assert "[briefly]" in found.output
    assert (found.exit_code, empty.exit_code) == (0, 1)


def test_a_collection_is_one_segment_of_the_path(api: FakeApi) -> None:
    api.answers = [httpx.Response(200, json={"results": []})]

    run("search", "x", "--collection", "a/b")

    assert api.requests[0].url.raw_path == b"/api/v1/vector_stores/a%2Fb/search"


def test_the_database_of_the_running_cloud_is_taken_but_not_to_roll_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    asked: list[str] = []

    def verify(url: str) -> list[Any]:
        asked.append(url)
        return []

    monkeypatch.setattr(verification, "verify", verify)

    without = run_db("verify")
    (tmp_path / ".embedpipe").mkdir()
    DataDirectory(tmp_path / ".embedpipe").write_endpoint({"database": "postgresql://here"})
    found = run_db("verify")
    rollback = run_db("rollback", "--to", "0", "--yes")

    assert (without.exit_code, found.exit_code, rollback.exit_code) == (2, 0, 2)
    assert "embedpipe up" in without.output
    assert asked == ["postgresql://here"]


def test_a_filter_that_is_no_pair_is_wrong_usage(api: FakeApi) -> None:
    done = run("search", "x", "--filter", "nonsense")

    assert done.exit_code == 2
    assert "is not key=value" in done.output


def test_without_a_key_the_verbs_say_where_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SINGLE_USER_API_KEY", raising=False)

    done = run("jobs", "--data-dir", str(tmp_path))

    assert done.exit_code == 2
    assert "embedpipe up" in done.output


def test_errors_are_one_line_and_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["embedpipe", "up", "--project", str(tmp_path)])

    with pytest.raises(SystemExit) as caught:
        cli.main()

    said = capsys.readouterr().err
    assert caught.value.code == 1
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert "--project" in said


def test_groups_are_mounted_by_name() -> None:
    assert "models" in GROUPS
    assert "verify" in run("models", "--help").output
