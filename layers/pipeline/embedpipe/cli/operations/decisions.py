"""`embedpipe dlq approve`, `ignore` and `quarantine`: decide about dead letters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

from embedpipe.cli import output
from embedpipe.cli.client import Api
from embedpipe.cli.operations import calls, letters, words
from embedpipe.cli.operations.options import Confirm, Note, Stage, Tenant, given
from embedpipe.cli.operations.repeating import AGAIN, bar
from embedpipe.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Url

#: How many a decision by filter takes in, at most.
MOST = 100_000

Entries = Annotated[
    list[str] | None,
    typer.Argument(help="Ids of entries, or beginnings that no other id has."),
]
OfStage = Annotated[Stage | None, typer.Option("--stage", "-s", help="Only of this stage.")]
Job = Annotated[str | None, typer.Option("--job", help="Only of this job.")]
ErrorCode = Annotated[str | None, typer.Option("--error-code", help="Only with this error.")]


class State(StrEnum):
    """What was decided about an entry."""

    QUARANTINED = "quarantined"
    APPROVED = "approved"
    APPROVED_FOR_REQUEUE = "approved_for_requeue"
    IGNORED = "ignored"
    REQUEUED = "requeued"

    @property
    def in_full(self) -> str:
        """Its name in the API."""
        return "approved_for_requeue" if self is State.APPROVED else self.value


@dataclass(frozen=True)
class Meant:
    """Which entries are meant: some by name, or all of a filter."""

    entries: list[str]
    stage: str | None
    filters: dict[str, object]


def approve_command(
    entries: Entries = None,
    stage: OfStage = None,
    job: Job = None,
    error_code: ErrorCode = None,
    tenant: Tenant = None,
    note: Note = None,
    confirm: Confirm = False,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Let entries be put back by `requeue`: some, or quarantined ones by filter."""
    meant = _meant(entries, stage, State.QUARANTINED, job, error_code, tenant)
    note = calls.why(note, "approve")
    with calls.connect(url, data_dir) as api:
        _decide(api, meant, State.APPROVED, note, confirm=confirm, as_json=as_json)


def ignore_command(
    entries: Entries = None,
    stage: OfStage = None,
    job: Job = None,
    error_code: ErrorCode = None,
    tenant: Tenant = None,
    note: Note = None,
    confirm: Confirm = False,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Leave entries where they are: some, or quarantined ones by filter."""
    meant = _meant(entries, stage, State.QUARANTINED, job, error_code, tenant)
    with calls.connect(url, data_dir) as api:
        _decide(api, meant, State.IGNORED, note, confirm=confirm, as_json=as_json)


def quarantine_command(
    entries: Entries = None,
    stage: OfStage = None,
    job: Job = None,
    error_code: ErrorCode = None,
    tenant: Tenant = None,
    note: Note = None,
    confirm: Confirm = False,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Take decisions back: of some entries, or of approved ones by filter."""
    meant = _meant(entries, stage, State.APPROVED, job, error_code, tenant)
    with calls.connect(url, data_dir) as api:
        _decide(api, meant, State.QUARANTINED, note, confirm=confirm, as_json=as_json)


def _meant(
    entries: list[str] | None,
    stage: Stage | None,
    state: State,
    job: str | None,
    error_code: str | None,
    tenant: str | None,
) -> Meant:
    name = stage.today if stage else None
    filters = given(stage=name, job_id=job, error_code=error_code, tenant=tenant)
    is_clear = not filters.keys() - {"stage"} if entries else bool(filters)
    if not is_clear:
        output.fail(
            "say which dead letters",
            "give ids of entries, or a filter such as --stage",
            code=output.EXIT_USAGE,
        )
    return Meant(entries or [], name, {**filters, "state": state.in_full})


def _decide(
    api: Api, meant: Meant, state: State, note: str | None, *, confirm: bool, as_json: bool
) -> None:
    # All are found before the first is changed, so that a typing error changes nothing.
    found = [letters.find(api, entry, meant.stage) for entry in meant.entries]
    if not meant.entries:
        found = calls.first(api, letters.DLQ, MOST, **meant.filters)
        calls.be_sure(f"{words.counted(len(found), 'dead letter')}: {state}?", confirm)
    answers: list[Any] = []
    try:
        with bar(state, len(found), as_json) as show:
            for letter in found:
                asked = {
                    "stage": letter["stage"],
                    "entry_id": letter["entry_id"],
                    "state": state.in_full,
                    **given(operator_note=note),
                }
                answers.append(api.call("POST", f"{letters.DLQ}/state", json=asked))
                show(len(answers), len(found))
    except KeyboardInterrupt:
        said = f"interrupted: {len(answers):,} of {len(found):,} {state}"
        output.fail(said, AGAIN, code=output.EXIT_INTERRUPTED)
    if as_json:
        output.emit_json(answers)
    else:
        typer.echo(f"{words.counted(len(answers), 'dead letter')} {state}")
