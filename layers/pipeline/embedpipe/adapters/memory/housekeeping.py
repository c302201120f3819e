"""Compaction and retention in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from embedpipe.adapters.memory.audit import write_down
from embedpipe.adapters.memory.database_rows import DocumentRow, JobRow
from embedpipe.adapters.memory.database_state import State
from embedpipe.domain.audit import Act
from embedpipe.ports.heartbeats import kept_s
from embedpipe.ports.housekeeping import Compacted, OldRecords, Removed

VersionKey = tuple[str, str, str, int]


class MemoryHousekeeping:
    """`ports.Housekeeping` on dictionaries."""

    def __init__(self, state: State) -> None:
        self._state = state

    def begin(self, name: str, interval_s: float) -> str | None:
        """See `ports.Housekeeping.begin`."""
        with self._state.lock:
            now = self._state.now()
            cursor, at = self._state.cursors.get(name, ("", None))
            if not cursor and at is not None and at > now - timedelta(seconds=interval_s):
                return None
            self._state.cursors[name] = (cursor, now)
            return cursor

    def save(self, name: str, cursor: str) -> None:
        """See `ports.Housekeeping.save`."""
        with self._state.lock:
            self._state.cursors[name] = (cursor, self._state.now())

    def hide_deleted(self, *, grace_s: float, limit: int) -> int:
        """See `ports.Housekeeping.hide_deleted`."""
        with self._state.lock:
            before = self._state.now() - timedelta(seconds=grace_s)
            found = [
                row
                for row in self._state.documents.values()
                if row.deleted_at is not None
                and row.deleted_at < before
                and row.current_version is not None
            ]
            for row in found[:limit]:
                row.current_version, row.is_compacting = None, True
            return len(found[:limit])

    def remove_hidden(self, *, limit: int) -> Compacted:
        """See `ports.Housekeeping.remove_hidden`."""
        with self._state.lock:
            rows = [row for row in self._state.documents.values() if row.is_compacting]
            doomed = [
                (key, index)
                for row in rows
                for key in self._unseen(row)
                for index in self._state.chunks[key]
            ][:limit]
            for key, index in doomed:
                del self._state.chunks[key][index]
                self._state.embeddings.get(key, {}).pop(index, None)
            if len(doomed) >= limit:
                return Compacted(chunks=len(doomed))
            for row in rows:
                row.is_compacting = False
            return Compacted(len(rows), len(doomed))

    def _unseen(self, row: DocumentRow) -> list[VersionKey]:
        """Give the versions with chunks that are neither visible nor in the making."""
        of_document = (row.tenant_id, row.collection, row.document_id)
        kept = {job.version for job in self._state.open_jobs(*of_document)} | {row.current_version}
        return [key for key in self._state.chunks if key[:3] == of_document and key[3] not in kept]

    def unnamed(self, uris: Sequence[str]) -> set[str]:
        """See `ports.Housekeeping.unnamed`."""
        with self._state.lock:
            return set(uris) - {
                row.content_uri for row in self._state.document_versions.values() if row.content_uri
            }

    def finished(self, *, days: float, limit: int) -> list[tuple[str, str]]:
        """See `ports.Housekeeping.finished`."""
        with self._state.lock:
            found = [
                (row.finished_at, row.tenant_id, row.job_id)
                for row in self._state.jobs.values()
                if self._is_old(row, days) and row.finished_at is not None
            ]
            return [(tenant_id, job_id) for _, tenant_id, job_id in sorted(found)[:limit]]

    def _is_old(self, row: JobRow, days: float) -> bool:
        if row.finished_at is None or self._state.is_skipped(row):
            return False
        return row.finished_at < self._state.now() - timedelta(days=days)

    def remove_finished(
        self,
        tenant_id: str,
        job_ids: Sequence[str],
        *,
        days: float,
        dry_run: bool = False,
        act: Act | None = None,
    ) -> Removed:
        """See `ports.Housekeeping.remove_finished`."""
        with self._state.lock:
            jobs = [
                row
                for job_id in job_ids
                if (row := self._state.jobs.get((tenant_id, job_id))) and self._is_old(row, days)
            ]
            versions = self._over(jobs)
            if not dry_run:
                self._remove(jobs, versions)
            if not dry_run and act is not None and (jobs or versions):
                result = f"{tenant_id}: {len(jobs)} jobs, {len(versions)} versions"
                write_down(self._state, act, result)
            return Removed(len(jobs), len(versions))

    def _over(self, jobs: Sequence[JobRow]) -> list[VersionKey]:
        """Give versions of these jobs' documents that nothing names once the jobs are gone."""
        gone = {(job.tenant_id, job.job_id) for job in jobs}
        named = {
            (job.tenant_id, job.collection, job.document_id, job.version)
            for key, job in self._state.jobs.items()
            if key not in gone
        }
        touched = {(job.tenant_id, job.collection, job.document_id) for job in jobs}
        found = []
        for key in self._state.document_versions:
            document = self._state.documents[key[:3]]
            kept = (document.latest_version, document.current_version)
            if key[:3] in touched and key not in named and key[3] not in kept:
                found.append(key)
        return found

    def _remove(self, jobs: Sequence[JobRow], versions: Sequence[VersionKey]) -> None:
        for job in jobs:
            for batch in self._state.batches_of(job):
                del self._state.batches[batch.tenant_id, batch.job_id, batch.epoch, batch.batch_no]
            del self._state.jobs[job.tenant_id, job.job_id]
            self._state.outbox = {
                key: row
                for key, row in self._state.outbox.items()
                if row.tenant_id != job.tenant_id or not row.message_key.startswith(job.job_id)
            }
        for key in versions:
            self._state.remove_version(*key)
            del self._state.document_versions[key]

    def remove_records(self, *, audit_days: float, days: float, limit: int) -> OldRecords:
        """See `ports.Housekeeping.remove_records`."""
        with self._state.lock:
            before = self._state.now() - timedelta(days=audit_days)
            old = [entry for entry in self._state.audit[:limit] if entry.at < before]
            self._state.audit[:] = [entry for entry in self._state.audit if entry not in old]
            now, beats = self._state.now(), self._state.worker_heartbeats
            dead = [
                name
                for name, beat in beats.items()
                if now - beat.last_beat > timedelta(seconds=kept_s(beat.interval_s))
            ]
            for name in dead:
                del beats[name]
            return OldRecords(audit=len(old), heartbeats=len(dead))
