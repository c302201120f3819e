"""After the faults: wait until all is quiet, then compare everything with what was promised."""

from __future__ import annotations

import math
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from embedpipe.adapters.tokenizer import ModelsDirectory
from psycopg.rows import dict_row

from tests.chaos.book import Accepted, Book
from tests.chaos.embedder import vectors_of
from tests.chaos.plan import CANARY
from tests.chaos.world import ADMIN_KEY, MESSAGE_CHUNKS, World
from tests.invariants import Told, violations

_OPEN = ("queued", "chunking", "embedding", "storing")
_BAD = {
    "poison": ("POISON_CHUNK",),
    "killer": ("POISON_CRASH", "RECEIVES_SPENT", "RESCUES_SPENT"),
}
#: Why a job may have been cancelled.
_MEDDLED = ("CANCELLED", "SKIPPED", "DOCUMENT_DELETED")

_PAGE = 20_000
_TOLERANCE = 1e-5

Row = dict[str, Any]


def wait_until_quiet(world: World, timeout_s: float) -> dict[str, Any]:
    """Wait until no job is open and nothing is queued; give what is left, nothing when quiet."""
    deadline = time.monotonic() + timeout_s
    quiet = 0
    while True:
        left = _left(world)
        quiet = quiet + 1 if not left else 0
        if quiet >= 2:
            return {}
        if time.monotonic() > deadline:
            return left
        time.sleep(1.0)


def _left(world: World) -> dict[str, Any]:
    with psycopg.connect(world.owner_url) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM jobs WHERE finished_at IS NULL),"
            " (SELECT count(*) FROM outbox)"
        ).fetchone()
    left: dict[str, int] = {"open jobs": row[0], "outbox": row[1]} if row else {}
    left |= {name: depth for name, depth in world.depths().items() if not name.endswith("Dlq")}
    return {name: count for name, count in left.items() if count}


def check(world: World, book: Book) -> tuple[Counter[str], dict[str, list[Row]]]:
    """Give counts for the report, and rows that must not be by what is wrong with them."""
    queues = {name: n for name, n in world.depths().items() if not name.endswith("Dlq")}
    with psycopg.connect(world.owner_url, row_factory=dict_row) as connection:
        told = Told(
            accepted={one.job_id for one in book.accepted.values()},
            cancelled={
                one.job_id
                for one in book.accepted.values()
                if one.cancelled_at is not None and not one.is_requeued
            },
            by_key={
                (one.submission.tenant, key): one.answers for key, one in book.accepted.items()
            },
        )
        connection.execute("ANALYZE")
        found = violations(connection, queues=queues, told=told)
        jobs = {str(row["job_id"]): row for row in connection.execute("SELECT * FROM jobs")}
        found["wrong vector"] = _wrong_vectors(world, connection)
        counts = _counts(connection, jobs)
    for name, wrong in _outcomes(book, jobs).items():
        found[name] = wrong
    found["canary in a log"] = _canaries(world)
    found["seen by a client"] = [{"what": what} for what in book.violations]
    counts.update(_events(world.events))
    counts |= Counter({f"left in {n}": k for n, k in world.depths().items() if n.endswith("Dlq")})
    return counts, {name: rows for name, rows in found.items() if rows}


def _wrong_vectors(world: World, connection: psycopg.Connection[Row]) -> list[Row]:
    """Compute every stored vector again from its text, some thousands at a time."""
    model = world.model.info
    tokenizer = ModelsDirectory(world.directory).tokenizer(model.model_id)
    wrong: list[Row] = []
    with connection.cursor("vectors") as cursor:
        cursor.execute(
            "SELECT c.tenant_id, c.document_id, c.version, c.chunk_index, c.text,"
            " e.embedding::real[] AS vector FROM chunks c JOIN embeddings e USING"
            " (tenant_id, collection, document_id, version, chunk_index)"
        )
        while rows := cursor.fetchmany(_PAGE):
            ids = tokenizer.encode([row["text"] for row in rows])
            wanted = vectors_of(ids, model.dimensions)
            found = np.asarray([row.pop("vector") for row in rows], dtype=np.float32)
            off = np.abs(found - wanted).max(axis=1) > _TOLERANCE
            wrong += [row for row, is_off in zip(rows, off.tolist(), strict=True) if is_off]
    return [{name: value for name, value in row.items() if name != "text"} for row in wrong]


def _counts(connection: psycopg.Connection[Row], jobs: dict[str, Row]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for row in jobs.values():
        counts[row["status"]] += 1
        counts["rescues"] += row["rescues"]
        counts["batches"] += math.ceil((row["chunks_total"] or 0) / MESSAGE_CHUNKS)
        if row["status"] == "succeeded":
            counts["vectors"] += row["chunks_total"] or 0
    answer = connection.execute("SELECT count(*) AS stored FROM embeddings").fetchone()
    counts["vectors stored at the end"] = answer["stored"] if answer else 0
    return counts


def _outcomes(book: Book, jobs: dict[str, Row]) -> dict[str, list[Row]]:
    """Say which jobs ended otherwise than their input and their client allow."""
    found: dict[str, list[Row]] = {}
    newest = {document: max(versions) for document, versions in book.versions.items()}
    for accepted in book.accepted.values():
        row = jobs.get(accepted.job_id)
        if row is None:
            continue
        key = (accepted.submission.tenant, accepted.submission.document)
        wrong = _outcome(accepted, row, is_newest=accepted.version == newest[key])
        if wrong is not None:
            shown = {name: row[name] for name in ("job_id", "status", "error_code", "epoch")}
            found.setdefault(wrong, []).append({**shown, "kind": accepted.submission.kind})
    promised = {accepted.job_id for accepted in book.accepted.values()}
    found["a job that no client knows"] = [{"job_id": job_id} for job_id in jobs.keys() - promised]
    return found


def _outcome(accepted: Accepted, row: Row, *, is_newest: bool) -> str | None:
    kind, status, code = accepted.submission.kind, row["status"], row["error_code"]
    if status in _OPEN:
        return None
    if status == "failed":
        return None if code in _BAD.get(kind, ()) else "innocent failure"
    if status == "succeeded":
        return "a bad input succeeded" if kind in _BAD else None
    if code in _MEDDLED:
        return None if accepted.is_meddled else "cancelled by nobody"
    return "superseded by nothing" if is_newest else None


def _canaries(world: World) -> list[Row]:
    """Look for text of documents and for keys in everything that was logged."""
    secrets = [CANARY, ADMIN_KEY, *world.keys.values()]
    found = []
    for log in sorted(world.logs.iterdir()):
        with log.open(errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if any(secret in line for secret in secrets):
                    found.append({"log": log.name, "line": number})
    return found


def _events(path: Path) -> Counter[str]:
    """Add up what the forked processes wrote down."""
    counts: Counter[str] = Counter()
    with path.open() as lines:
        for line in lines:
            kind, *numbers = line.split()
            if kind == "sent":
                counts["messages sent"] += int(numbers[0])
                counts["duplicates"] += int(numbers[1])
            elif kind == "pass":
                counts["model passes"] += int(numbers[0])
    return counts
