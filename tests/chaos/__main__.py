"""`python -m tests.chaos`: faults under load, then a verdict.

Exit status: 0 when nothing was wrong and enough happened, 1 otherwise, 130 when interrupted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from tests.chaos import report
from tests.chaos.profile import Profile
from tests.chaos.run import Run


def main(arguments: list[str] | None = None) -> int:
    """Run once."""
    asked = _parsed(arguments)
    profile = Profile.of(
        asked.jobs, asked.minutes * 60, asked.seed, long=asked.long, without=asked.without
    )
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    report.say(f"seed {asked.seed}, {asked.jobs} jobs in {asked.minutes:g} min, in {directory}")
    signal.signal(signal.SIGTERM, _interrupted)
    run = Run(profile, directory, asked.quiet_s)
    wrong = ["interrupted"]
    try:
        shown, found = run.result()
        wrong = report.failures(profile, shown)
        report.say(report.table(shown, found))
        if asked.json:
            asked.json.parent.mkdir(parents=True, exist_ok=True)
            said = {"seed": asked.seed, "failures": wrong, **shown}
            asked.json.write_text(json.dumps(said, indent=2) + "\n")
    except KeyboardInterrupt:
        return 130
    finally:
        run.stop()
        if wrong or asked.keep:
            report.say(f"logs: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    report.say("\n".join(("FAILED", *wrong)) if wrong else "passed")
    return 1 if wrong else 0


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.chaos", description=__doc__)
    parser.add_argument("--jobs", type=int, default=8_000)
    parser.add_argument("--minutes", type=float, default=10.0, help="of load and faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--long", action="store_true", help="floors of the hour-long run")
    parser.add_argument("--quiet-s", type=float, default=240.0, help="limit until all is done")
    parser.add_argument("--without", default="", help="kinds to leave out, by commas")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--keep", action="store_true", help="keep the directory of the run")
    return parser.parse_args(arguments)


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
