"""The whole pipeline on real documents, from nothing to search hits.

Starts the local cloud, ingests the reference topics that come with CPython and the texts in
`examples/documents`, asks questions, and stops. Exits 0 only if the expected document is the first
hit of every question. The texts were written for this demo, and are in the public domain (CC0 1.0).
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics
from typing import IO, Any

from embedpipe.cli import jobs as job_table
from embedpipe.cli import output
from embedpipe.cli.client import Api, find_key
from embedpipe.cli.documents import find
from embedpipe.cli.ingest import load, progress, summary
from embedpipe.cli.ingestion import Load, Report, ingest, request_of
from rich.console import Console
from rich.markup import escape

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ROOT / "examples" / "documents"
COLLECTION = "default"
SHOWN_JOBS = 10

#: Each question, and the document that must be its first hit.
QUESTIONS = (
    ("How do I set a breakpoint and step through my code?", "debugger"),
    ("How do I pad a number with zeros in a format string?", "formatstrings"),
    ("How do I write an imaginary number?", "imaginary"),
    ("What is the operator precedence in Python?", "operator-summary"),
    ("How does import find a module and its loader?", "import"),
    ("What does the nonlocal statement do?", "nonlocal"),
    ("Why are there two high tides a day?", "tides.md"),
    ("What does a grey liquid on top of the starter mean?", "bread.txt"),
    ("How does an old lens focus the light of a lighthouse?", "lighthouse.txt"),
    ("Wie kommen Bienen durch den Winter?", "bienen.md"),
    ("Comment récolte-t-on la fleur de sel ?", "marais-salants.txt"),
)


def main() -> int:
    """Run the demo; give the exit code."""
    options = _arguments()
    console = Console(highlight=False)
    with a_cloud(options.data_dir, options.models_dir) as (url, cloud):
        key = find_key(options.data_dir)
        assert key is not None
        with Api(url, key) as api:
            report = send(api, console)
            missed = ask(api, console)
            show_jobs(report, console)
        if options.keep:
            console.print(f"\n{url} stays up until Ctrl-C; in another terminal:")
            console.print(f"  embedpipe search 'your question' --data-dir {options.data_dir}")
            cloud.wait()
    failed = len(report.failures) + missed
    console.print("\n[green]all as expected[/]" if not failed else f"\n[red]{failed} failed[/]")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="stay up until Ctrl-C")
    parser.add_argument("--data-dir", type=Path, default=ROOT / ".embedpipe" / "demo")
    parser.add_argument("--models-dir", type=Path, default=ROOT / ".embedpipe" / "models")
    return parser.parse_args()


@contextmanager
def a_cloud(data_dir: Path, models_dir: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start a fresh cloud as a user would, and stop it whatever happens."""
    command = [sys.executable, "-m", "embedpipe.cli", "up", "--fresh", "--port", "0"]
    command += ["--project", str(ROOT), "--data-dir", str(data_dir)]
    command += ["--models-dir", str(models_dir)]
    # A session of its own: Ctrl-C comes to us, and we stop it in order.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as cloud:
        try:
            yield _ready(cloud.stdout), cloud
        except KeyboardInterrupt:
            pass
        finally:
            cloud.send_signal(signal.SIGTERM)
            cloud.wait()


def _ready(stream: IO[str] | None) -> str:
    assert stream is not None
    word, _, url = stream.readline().strip().partition(" ")
    if word != "ready":
        sys.exit("the local cloud did not start; see above")
    return url


def documents() -> Iterator[tuple[str, Load]]:
    """Give every document: CPython's topics, then our own texts."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for name, text in sorted(topics.items()):
        metadata = {"source": "python", "version": version, "topic": name}
        yield name, partial(request_of, name, text, collection=COLLECTION, metadata=metadata)
    for file in find([DOCUMENTS]).files:
        yield file.document_id, load(file, COLLECTION, {"source": "examples"})


def send(api: Api, console: Console) -> Report:
    """Ingest everything and sum up."""
    chosen = list(documents())
    console.print(f"\n[bold]{len(chosen)} documents[/] go in")
    with progress(len(chosen)) as on_progress:
        report = ingest(api, chosen, on_progress=on_progress)
    console.print(summary(report))
    for failure in report.failures:
        console.print(f"[red]{escape(failure.document_id)}: {failure.code}[/]")
    return report


def ask(api: Api, console: Console) -> int:
    """Ask every question; give how many did not find what they should."""
    rows = []
    missed = 0
    for question, expected in QUESTIONS:
        hits = api.search(COLLECTION, {"query": question, "top_k": 3})
        is_right = bool(hits) and hits[0]["document_id"] == expected
        missed += not is_right
        mark = "[green]yes[/]" if is_right else f"[red]no: {expected}[/]"
        rows.append((escape(question), *_best(hits), mark))
    columns = ["question", "#score", "first hit", "text", "as expected"]
    console.print(output.table("\nAnswers", columns, rows))
    return missed


def _best(hits: list[dict[str, Any]]) -> tuple[str, str, str]:
    if not hits:
        return "", "", ""
    text = " ".join(hits[0]["text"].split())[:90]
    return f"{hits[0]['score']:.3f}", escape(hits[0]["document_id"]), escape(text) + "…"


def show_jobs(report: Report, console: Console) -> None:
    """Show the largest jobs with their timings."""
    largest = sorted(report.jobs.values(), key=lambda job: job["tokens_total"] or 0, reverse=True)
    columns = job_table.ALL[1:]
    rows = [job_table.row(job)[1:] for job in largest[:SHOWN_JOBS]]
    console.print(output.table(f"\nThe {SHOWN_JOBS} largest of {len(largest)} jobs", columns, rows))


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "150")
    sys.exit(main())
