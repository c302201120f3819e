"""`python -m tests.alarms`: every alarm provoked on a running local cloud; see `pipeline`.

Exit status: 0 when each rang when it should and was over afterwards, and none for a healthy load.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from tests.alarms.definitions import load
from tests.alarms.doubts import doubts
from tests.alarms.faults import FAULTS
from tests.alarms.pipeline import Pipeline
from tests.alarms.provoking import HEALTHY_MINUTES, Provoking
from tests.chaos import report
from tests.real_model import MODELS_DIR
from tests.template import PATH

HEAD = ("alarm", "fault", "expected", "seen", "cleared after")


def main(arguments: list[str] | None = None) -> int:
    """Run all faults, or those whose names hold a word."""
    parser = argparse.ArgumentParser(prog="tests.alarms", description=__doc__)
    parser.add_argument("--only", default="", help="a word in the names of faults")
    parser.add_argument("--template", type=Path, default=PATH, help="another one than ours")
    parser.add_argument("--healthy", type=int, default=HEALTHY_MINUTES, help="minutes before")
    parser.add_argument(
        "--doubt", action="store_true", help="change each alarm, and see that the run finds it"
    )
    parser.add_argument("--verbose", action="store_true", help="print what rings in each minute")
    asked = parser.parse_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="alarms-"))
    pipeline = Pipeline(directory, MODELS_DIR)
    began = time.monotonic()
    tell = partial(_say, began) if asked.verbose else lambda _text: None
    run = Provoking(pipeline, load(asked.template), asked.healthy, tell)
    say = ["it did not end"]
    try:
        pipeline.start()
        _say(began, "the cloud runs")
        run.rest()
        _say(began, f"{asked.healthy} healthy minutes")
        for fault in FAULTS:
            if asked.only in fault.name:
                run.provoke(fault)
                _say(began, fault.name)
        say = run.wrong + (
            [] if asked.only else sorted(f"{one}: no fault" for one in run.never_rang())
        )
        if asked.doubt and not say:
            say = doubt(run)
            _say(began, "each alarm changed")
    finally:
        pipeline.stop()
        if say:
            report.say(f"logs: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    report.say(table(run))
    report.say("\n".join(("FAILED", *say)) if say else "passed")
    return 1 if say else 0


def doubt(run: Provoking) -> list[str]:
    """Print which changes of alarms the run would have found; give the alarms of which none."""
    found = sorted(doubts(run), key=lambda one: one.alarm)
    for one in found:
        factor = f"x{one.factor:g}" if one.factor else "-"
        period = "one period more" if one.is_period_found else "-"
        report.say(f"{one.alarm:28} threshold {factor:6} {period}")
    return [f"{one.alarm} could be another" for one in found if not one.is_cleared]


def table(run: Provoking) -> str:
    """Print every alarm with what it did; minutes are those of the alarms."""
    rows = [HEAD]
    for row in sorted(run.rows, key=lambda row: row.alarm):
        seen, cleared = (str(one or "-") for one in (row.seen, row.cleared_after))
        rows.append((row.alarm, row.fault, _span(row.expected), seen, cleared))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _span(minutes: tuple[int, int] | None) -> str:
    if minutes is None:
        return "never"
    first, last = minutes
    return str(first) if first == last else f"{first}-{last}"


def _say(began: float, what: str) -> None:
    report.say(f"{time.monotonic() - began:6.1f} s  {what}")


if __name__ == "__main__":
    sys.exit(main())
