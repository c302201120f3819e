"""`embedpipe dlq requeue`: put dead letters back, one or by what they have in common."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from embedpipe.cli import output
from embedpipe.cli.client import Api
from embedpipe.cli.operations import calls, letters, words
from embedpipe.cli.operations.options import Confirm, DryRun, Pace, Stage, Tenant, given
from embedpipe.cli.operations.repeating import Step, until_done
from embedpipe.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Url

REQUEUE = f"{letters.DLQ}/requeue"


@dataclass
class Sums:
    """What became of the entries."""

    matched: int = 0
    requeued: int = 0
    remaining: int = 0
    refused: dict[str, str] = field(default_factory=dict)

    def add(self, answer: dict[str, Any]) -> Step:
        """Add what one request did."""
        new = {one["entry_id"]: one["code"] for one in answer["refused"]}
        is_new = bool(new.keys() - self.refused.keys())
        self.refused |= new
        self.requeued += answer["requeued"]
        self.remaining = answer["remaining"]
        wait_s = float(answer["retry_after_s"] or 0.0)
        moved = answer["requeued"] or is_new or wait_s
        return Step(
            answer["requeued"], answer["remaining"], wait_s, is_over=None if moved else True
        )

    def as_dict(self, dry_run: bool) -> dict[str, Any]:
        """Give the sums in the form of the API's answer."""
        refused = [{"entry_id": one, "code": code} for one, code in self.refused.items()]
        return {
            "matched": self.matched,
            "requeued": self.requeued,
            "refused": refused,
            "remaining": self.remaining,
            "dry_run": dry_run,
        }


def requeue_command(
    entry: Annotated[
        str | None, typer.Argument(help="An entry's id, or the beginning of it.")
    ] = None,
    stage: Annotated[
        Stage | None, typer.Option("--stage", "-s", help="Stage of those that are meant.")
    ] = None,
    job: Annotated[str | None, typer.Option("--job", help="Those of this job.")] = None,
    error_code: Annotated[str | None, typer.Option(help="Those with this error.")] = None,
    tenant: Tenant = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the message in the dead-letter queue, too.")
    ] = False,
    max_per_second: Pace = None,
    confirm: Confirm = False,
    dry_run: DryRun = False,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Put approved dead letters back: one, or by stage, job, error and tenant.

    Exits 1 when some were refused. Interrupted, it has lost nothing: asking again continues.
    """
    wanted = given(job_id=job, error_code=error_code, tenant_id=tenant)
    if (entry is None) == (stage is None and not wanted):
        output.fail(
            "say which dead letters", "give an entry's id, or --stage", code=output.EXIT_USAGE
        )
    options = {"delete_from_dlq": not keep, **given(max_per_second=max_per_second)}
    sums = Sums()
    with calls.connect(url, data_dir) as api:
        asked = [{**one, **options} for one in _which(api, entry, stage, wanted)]
        for request in asked if dry_run or entry is None else ():
            found = api.call("POST", REQUEUE, json={**request, "dry_run": True})
            sums.matched += found["matched"]
            if dry_run:
                sums.add(found)
        if not dry_run:
            sums.matched += entry is not None
            if entry is None:
                calls.be_sure(f"Put {words.counted(sums.matched, 'dead letter')} back?", confirm)
            _put_back(api, asked, sums, as_json)
    _tell(sums, dry_run, as_json)


def _which(
    api: Api, entry: str | None, stage: Stage | None, wanted: dict[str, object]
) -> list[dict[str, Any]]:
    if entry is not None:
        letter = letters.find(api, entry, stage.today if stage else None)
        return [{"stage": letter["stage"], "entry_id": letter["entry_id"]}]
    stages = [stage.today] if stage else list(letters.STAGES)
    return [{"stage": name, "filter": wanted} for name in stages]


def _put_back(api: Api, asked: list[dict[str, Any]], sums: Sums, is_quiet: bool) -> None:
    for request in asked:

        def step(request: dict[str, Any] = request) -> Step:
            return sums.add(api.call("POST", REQUEUE, json=request))

        until_done(
            step,
            verb=f"put back from {request['stage']}",
            is_quiet=is_quiet,
        )


def _tell(sums: Sums, dry_run: bool, as_json: bool) -> None:
    if as_json:
        output.emit_json(sums.as_dict(dry_run))
    elif dry_run:
        typer.echo(f"{sums.matched - len(sums.refused):,} would be put back of {sums.matched:,}")
    else:
        typer.echo(f"{sums.requeued:,} of {sums.matched:,} put back")
    if not as_json and sums.refused:
        counts = Counter(sums.refused.values())
        typer.echo(f"refused: {words.listed(dict(counts.most_common()))}", err=True)
    if sums.refused and not dry_run:
        raise typer.Exit(output.EXIT_FAILED)
