"""What must hold whatever happened, asked of the whole database as its owner.

Tests of every kind use it: crash points, interleavings, state machines, chaos. `violations` gives
what is wrong by name, and `as_table` prints it. `watch` makes the database keep a journal of the
jobs' transitions, so that what was wrong for a moment only is found, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import dict_row

Row = dict[str, Any]
Found = dict[str, list[Row]]

_OPEN = "('queued', 'chunking', 'embedding', 'storing')"
_JOB_OF_VERSION = """
    (j.tenant_id, j.collection, j.document_id, j.version)
    = ({0}.tenant_id, {0}.collection, {0}.document_id, {0}.version)"""
#: Keys in the outbox that begin with a job's id; others are not a job's.
_JOB_KEY = r"'^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(/|$)'"

#: Rows that must not be at any moment, by what is wrong with them.
ALWAYS: dict[str, str] = {
    "missing: a chunk of a visible version has no vector": """
        SELECT d.document_id, c.version, c.chunk_index FROM documents d
        JOIN chunks c ON (c.tenant_id, c.collection, c.document_id, c.version)
            = (d.tenant_id, d.collection, d.document_id, d.current_version)
        LEFT JOIN embeddings e ON (e.tenant_id, e.collection, e.document_id, e.version,
            e.chunk_index) = (c.tenant_id, c.collection, c.document_id, c.version, c.chunk_index)
        WHERE e.chunk_index IS NULL""",
    "missing: a succeeded job's chunks are not all there": f"""
        SELECT j.job_id, j.version, j.chunks_total, count(c.chunk_index) AS chunks FROM jobs j
        JOIN documents d ON (d.tenant_id, d.collection, d.document_id, d.current_version)
            = (j.tenant_id, j.collection, j.document_id, j.version)
        LEFT JOIN chunks c ON {_JOB_OF_VERSION.format("c")}
        WHERE j.status = 'succeeded' GROUP BY 1, 2, 3
        HAVING j.chunks_total IS DISTINCT FROM count(c.chunk_index)
            OR coalesce(max(c.chunk_index) + 1, 0) <> count(c.chunk_index)""",
    "missing: a stored batch lacks vectors": f"""
        SELECT b.job_id, b.batch_no, b.chunk_count, count(e.chunk_index) AS vectors FROM batches b
        JOIN jobs j USING (tenant_id, job_id, epoch)
        LEFT JOIN embeddings e ON {_JOB_OF_VERSION.format("e")}
            AND e.chunk_index >= b.chunk_from AND e.chunk_index < b.chunk_from + b.chunk_count
        WHERE b.state = 'stored' AND j.status IN {_OPEN} GROUP BY 1, 2, 3
        HAVING count(e.chunk_index) <> b.chunk_count""",
    "missing: batches do not cover the chunks": """
        SELECT j.job_id, j.status, j.chunks_total, sum(b.chunk_count) AS covered FROM jobs j
        LEFT JOIN batches b USING (tenant_id, job_id, epoch)
        WHERE j.status IN ('embedding', 'storing') GROUP BY 1, 2, 3
        HAVING j.chunks_total IS DISTINCT FROM sum(b.chunk_count)""",
    "duplicate: one chunk has two vectors": """
        SELECT document_id, version, chunk_index, count(*) FROM embeddings
        GROUP BY tenant_id, collection, document_id, version, chunk_index, kind, ordinal
        HAVING count(*) > 1""",
    "duplicate: two jobs made one version": """
        SELECT document_id, version, count(*) FROM jobs
        GROUP BY tenant_id, collection, document_id, version HAVING count(*) > 1""",
    "duplicate: two jobs of one document in progress": f"""
        SELECT document_id, count(*) FROM jobs WHERE status IN {_OPEN}
        GROUP BY tenant_id, collection, document_id HAVING count(*) > 1""",
    "stale: chunks of a version that is over": """
        SELECT c.document_id, c.version, d.current_version FROM documents d
        JOIN chunks c USING (tenant_id, collection, document_id)
        WHERE c.version < d.current_version AND NOT d.is_compacting""",
    "stale: a later version succeeded and is not visible": """
        SELECT j.document_id, j.version, d.current_version FROM jobs j
        JOIN documents d USING (tenant_id, collection, document_id)
        WHERE j.status = 'succeeded' AND j.version > coalesce(d.current_version, 0)
          AND (d.current_version IS NOT NULL OR NOT d.is_compacting AND EXISTS (
              SELECT FROM chunks c WHERE (c.tenant_id, c.collection, c.document_id, c.version)
                  = (j.tenant_id, j.collection, j.document_id, j.version)))""",
    "orphan: chunks without a job in progress or a visible version": f"""
        SELECT c.document_id, c.version, c.chunk_index FROM chunks c
        JOIN documents d USING (tenant_id, collection, document_id)
        WHERE c.version IS DISTINCT FROM d.current_version AND NOT d.is_compacting AND NOT EXISTS (
            SELECT FROM jobs j WHERE {_JOB_OF_VERSION.format("c")} AND j.status IN {_OPEN})""",
    "orphan: a vector without its chunk": """
        SELECT e.document_id, e.version, e.chunk_index FROM embeddings e
        LEFT JOIN chunks c USING (tenant_id, collection, document_id, version, chunk_index)
        WHERE c.chunk_index IS NULL""",
    "orphan: a batch of another epoch than its job's": """
        SELECT b.job_id, b.epoch, b.batch_no, j.epoch AS of_job, j.status FROM batches b
        LEFT JOIN jobs j USING (tenant_id, job_id)
        WHERE b.epoch IS DISTINCT FROM j.epoch""",
    "orphan: an outbox row without a job": f"""
        SELECT o.queue, o.message_key FROM outbox o
        WHERE o.message_key ~ {_JOB_KEY} AND NOT EXISTS (
            SELECT FROM jobs j WHERE j.tenant_id = o.tenant_id
               AND j.job_id = split_part(o.message_key, '/', 1)::uuid)""",
    "mixed: a visible document is not of its collection's model": """
        SELECT e.document_id, e.version, e.chunk_index FROM embeddings e
        JOIN collections c USING (tenant_id, collection)
        WHERE e.fingerprint <> c.fingerprint OR vector_dims(e.embedding) <> c.dimensions""",
    "wrong terminal: a visible version that did not succeed": """
        SELECT j.job_id, j.version, j.status FROM jobs j
        JOIN documents d ON (d.tenant_id, d.collection, d.document_id, d.current_version)
            = (j.tenant_id, j.collection, j.document_id, j.version)
        WHERE j.status <> 'succeeded'""",
    "wrong terminal: a final job says nothing, or the wrong thing, about its end": """
        SELECT job_id, status, error_code FROM jobs
        WHERE (status IN ('failed', 'cancelled')) <> (error_code IS NOT NULL)""",
    "vectors of a failed or cancelled job": f"""
        SELECT j.job_id, j.status, c.chunk_index FROM jobs j
        JOIN chunks c ON {_JOB_OF_VERSION.format("c")}
        WHERE j.status IN ('failed', 'cancelled')""",
    "a pending batch of a job that is over": f"""
        SELECT b.job_id, b.batch_no, j.status FROM jobs j
        JOIN batches b USING (tenant_id, job_id, epoch)
        WHERE b.state = 'pending' AND j.status NOT IN {_OPEN}""",
    "a job in progress under a skip": f"""
        SELECT j.job_id, j.status FROM jobs j JOIN job_skips s USING (tenant_id, job_id)
        WHERE s.expires_at > now() AND j.status IN {_OPEN}""",
}

#: What must not be left when everything was delivered and nothing is under way.
WHEN_QUIET: dict[str, str] = {
    "a job that is not over": f"SELECT job_id, status, epoch FROM jobs WHERE status IN {_OPEN}",
    "outbox left": "SELECT tenant_id, queue, message_key FROM outbox",
}

#: For documents cut by the real chunker: builders make up digests and texts.
CONTENT: dict[str, str] = {
    "a chunk that is not its slice of the text": """
        SELECT c.document_id, c.version, c.chunk_index FROM chunks c
        JOIN document_versions v USING (tenant_id, collection, document_id, version)
        WHERE v.content_type LIKE 'text/%'
          AND substr(v.content, c.start_offset + 1, c.end_offset - c.start_offset) <> c.text""",
    "a chunk with another text's digest": """
        SELECT document_id, version, chunk_index FROM chunks
        WHERE content_sha256 <> encode(sha256(convert_to(text, 'UTF8')), 'hex')""",
}

#: What the journal must not hold.
IN_JOURNAL: dict[str, str] = {
    "wrong terminal: a job left its final status within an epoch": f"""
        SELECT job_id, old_status, new_status, new_epoch FROM watched.transitions
        WHERE old_status NOT IN {_OPEN} AND new_status <> old_status AND new_epoch <= old_epoch""",
    "wrong terminal: a job was begun again that had not failed": """
        SELECT job_id, old_status, new_status, new_epoch FROM watched.transitions
        WHERE old_status IN ('succeeded', 'cancelled') AND new_status <> old_status""",
    "wrong terminal: a job came to two ends in one epoch": f"""
        SELECT job_id, new_epoch, count(*) FROM watched.transitions
        WHERE new_status NOT IN {_OPEN} AND old_status <> new_status
        GROUP BY tenant_id, job_id, new_epoch HAVING count(*) > 1""",
    "epoch regress: an epoch went back, or skipped one": """
        SELECT job_id, old_epoch, new_epoch FROM watched.transitions
        WHERE new_epoch NOT IN (old_epoch, old_epoch + 1)""",
    "epoch regress: a visible version went back": """
        SELECT document_id, old_version, new_version FROM watched.versions
        WHERE new_version < old_version OR new_version IS NULL""",
}

_WATCH = """
    CREATE SCHEMA IF NOT EXISTS watched;
    CREATE TABLE IF NOT EXISTS watched.transitions (
        at bigint GENERATED ALWAYS AS IDENTITY, tenant_id text, job_id uuid, old_status text,
        new_status text, old_epoch integer, new_epoch integer);
    CREATE TABLE IF NOT EXISTS watched.versions (
        at bigint GENERATED ALWAYS AS IDENTITY, tenant_id text, collection text, document_id text,
        old_version integer, new_version integer);
    CREATE OR REPLACE FUNCTION watched.note_job() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog AS $$ BEGIN
        INSERT INTO watched.transitions
            (tenant_id, job_id, old_status, new_status, old_epoch, new_epoch)
        VALUES (NEW.tenant_id, NEW.job_id, OLD.status, NEW.status, OLD.epoch, NEW.epoch);
        RETURN NULL;
    END $$;
    CREATE OR REPLACE FUNCTION watched.note_version() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog AS $$ BEGIN
        INSERT INTO watched.versions (tenant_id, collection, document_id, old_version, new_version)
        VALUES (NEW.tenant_id, NEW.collection, NEW.document_id, OLD.current_version,
            NEW.current_version);
        RETURN NULL;
    END $$;
    CREATE OR REPLACE TRIGGER watched_job AFTER UPDATE ON public.jobs FOR EACH ROW
        WHEN (OLD.status <> NEW.status OR OLD.epoch <> NEW.epoch)
        EXECUTE FUNCTION watched.note_job();
    CREATE OR REPLACE TRIGGER watched_version AFTER UPDATE ON public.documents FOR EACH ROW
        WHEN (OLD.current_version IS DISTINCT FROM NEW.current_version
            AND NOT (NEW.current_version IS NULL AND NEW.is_compacting))
        EXECUTE FUNCTION watched.note_version();
"""

Connection = psycopg.Connection[Any]


@dataclass
class Told:
    """What clients were told, to hold the database to.

    Attributes
    ----------
    accepted
        Ids of jobs that were answered with success.
    cancelled
        Ids of jobs whose cancellation was answered with success, and that nobody requeued.
    by_key
        Ids of jobs that were answered for one tenant's Idempotency-Key.
    vector_of
        Computes what the vector of a text must be.
    """

    accepted: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    by_key: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    vector_of: Callable[[str], Sequence[float]] | None = None


def watch(connection: Connection) -> None:
    """Make the database keep a journal; for a database of one's own, as its owner. Repeatable."""
    connection.execute(_WATCH.encode())


def violations(
    connection: Connection,
    *,
    queues: Mapping[str, int] | None = None,
    is_quiet: bool = True,
    is_real: bool = True,
    told: Told | None = None,
) -> Found:
    """Ask for everything that must not be; give rows by what is wrong, nothing when all is well.

    Parameters
    ----------
    connection
        Of the owner, a superuser: sees all tenants.
    queues
        How many messages each queue holds, DLQs left out; checked when all should be quiet.
    is_quiet
        Whether everything was delivered, so that nothing may be under way.
    is_real
        Whether the chunks were cut by the real chunker.
    told
        What clients were told.
    """
    asked = {**ALWAYS, **(WHEN_QUIET if is_quiet else {}), **(CONTENT if is_real else {})}
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("SELECT to_regclass('watched.transitions') IS NOT NULL AS is_watched")
        if (row.fetchone() or {})["is_watched"]:
            asked |= IN_JOURNAL
        found = {name: cursor.execute(query.encode()).fetchall() for name, query in asked.items()}
        if told is not None:
            found |= _broken_promises(cursor, told)
    if is_quiet:
        left = {name: count for name, count in (queues or {}).items() if count}
        found["messages left"] = [{"queue": name, "messages": left[name]} for name in left]
    return {name: rows for name, rows in found.items() if rows}


def _broken_promises(cursor: psycopg.Cursor[Row], told: Told) -> Found:
    statuses = {
        str(row["job_id"]): row["status"]
        for row in cursor.execute("SELECT job_id, status FROM jobs").fetchall()
    }
    return {
        "lost: a job was accepted and is not there": _named(told.accepted - statuses.keys()),
        "wrong terminal: an acknowledged cancellation did not hold": _named(
            job for job in told.cancelled if statuses.get(job, "cancelled") != "cancelled"
        ),
        "duplicate: one Idempotency-Key was answered with two jobs": [
            {"key": key, "jobs": sorted(jobs)} for key, jobs in told.by_key.items() if len(jobs) > 1
        ],
        "wrong vector: not what the model gives for the text": _wrong_vectors(cursor, told),
    }


def _named(jobs: Iterable[str]) -> list[Row]:
    return [{"job_id": job} for job in sorted(jobs)]


def _wrong_vectors(cursor: psycopg.Cursor[Row], told: Told) -> list[Row]:
    if told.vector_of is None:
        return []
    rows = cursor.execute(
        "SELECT c.document_id, c.version, c.chunk_index, c.text, e.embedding::real[] AS vector"
        " FROM chunks c JOIN embeddings e USING"
        " (tenant_id, collection, document_id, version, chunk_index) WHERE e.kind = 'chunk'"
    ).fetchall()
    wanted = {text: told.vector_of(text) for text in {row["text"] for row in rows}}
    return [
        {name: row[name] for name in ("document_id", "version", "chunk_index")}
        for row in rows
        if not _is_close(row["vector"], wanted[row["text"]])
    ]


def _is_close(found: Sequence[float], wanted: Sequence[float]) -> bool:
    return len(found) == len(wanted) and all(
        abs(a - b) < 1e-4 for a, b in zip(found, wanted, strict=True)
    )


def as_table(found: Mapping[str, Sequence[Row]], *, most_rows: int = 3) -> str:
    """Print violations, one name a line with how many and the first rows."""
    if not found:
        return "0 violations"
    lines = [f"{sum(map(len, found.values()))} violations"]
    for name, rows in sorted(found.items()):
        lines.append(f"{len(rows):6}  {name}")
        lines += [
            "          " + ", ".join(f"{key}={value}" for key, value in row.items())
            for row in rows[:most_rows]
        ]
    return "\n".join(lines)
