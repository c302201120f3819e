"""What jobs, documents and messages should be: a model in a few dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST = ("queued", "chunking")
LATER = ("embedding", "storing")
OPEN = (*FIRST, *LATER)


@dataclass
class Message:
    """A message somewhere between the outbox and its end, or in a DLQ."""

    queue: str
    body: str
    job_id: str
    epoch: int
    batch_no: int | None = None

    @property
    def stage(self) -> str:
        """The stage that works on it."""
        return self.queue.partition("_")[0]


@dataclass
class ModelJob:
    """A job as it should be."""

    job_id: str
    document_id: str
    version: int
    chunks: int
    key: str | None
    epoch: int = 1
    status: str = "queued"
    requeued_from: int | None = None
    pending: set[int] = field(default_factory=set)
    is_skipped: bool = False
    rescues: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it is not over."""
        return self.status in OPEN


@dataclass
class ModelDocument:
    """A document as it should be; `chunks` by version, of those that have any."""

    latest: int = 0
    visible: int | None = None
    is_deleted: bool = False
    chunks: dict[int, int] = field(default_factory=dict)


class Model:
    """All of it, and what each act does to it."""

    def __init__(self) -> None:
        self.jobs: dict[str, ModelJob] = {}
        self.documents: dict[str, ModelDocument] = {}

    def open_job(self, document_id: str) -> ModelJob | None:
        """Give the one job of a document that is not over."""
        found = [
            job for job in self.jobs.values() if job.document_id == document_id and job.is_open
        ]
        assert len(found) <= 1
        return found[0] if found else None

    def end(self, job: ModelJob, status: str) -> None:
        """Fail or cancel a job: what it stored goes."""
        assert job.is_open
        job.status, job.pending = status, set()
        self.documents[job.document_id].chunks.pop(job.version, None)

    def admit(self, job: ModelJob) -> None:
        """Admit the next version of a document; its open job is superseded."""
        document = self.documents.setdefault(job.document_id, ModelDocument())
        if superseded := self.open_job(job.document_id):
            self.end(superseded, "cancelled")
        document.latest = job.version
        self.jobs[job.job_id] = job

    def wants(self, message: Message) -> ModelJob | None:
        """Give the job of a message where its work is wanted; a skipped one ends."""
        job = self.jobs.get(message.job_id)
        if job is None:
            return None
        if message.batch_no is None:
            is_of = message.epoch == job.epoch or message.epoch == job.requeued_from
            return job if is_of and job.status in FIRST else None
        is_of = message.epoch == job.epoch and message.batch_no in job.pending
        return job if is_of and job.status in LATER else None

    def chunk(self, job: ModelJob) -> None:
        """Write the chunks of a job; without any it is done."""
        document = self.documents[job.document_id]
        job.status, job.pending = "embedding", set(range(job.chunks))
        document.chunks[job.version] = job.chunks
        if not job.chunks:
            self.publish(job)

    def store(self, job: ModelJob, batch_no: int) -> None:
        """Store a batch; with the last one the version is visible."""
        job.pending.discard(batch_no)
        job.status = "storing"
        if not job.pending:
            self.publish(job)

    def publish(self, job: ModelJob) -> None:
        """Show a version and remove those before it."""
        document = self.documents[job.document_id]
        job.status = "succeeded"
        document.visible = max(document.visible or 0, job.version)
        document.is_deleted = False
        for version in [one for one in document.chunks if one < document.visible]:
            del document.chunks[version]

    def restart(self, job: ModelJob, requeued_from: int | None = None) -> None:
        """Open a new epoch."""
        job.status, job.epoch, job.pending = "queued", job.epoch + 1, set()
        job.requeued_from = requeued_from
        self.documents[job.document_id].chunks.pop(job.version, None)

    def compact(self) -> None:
        """Remove what deleted documents show."""
        for document_id, document in self.documents.items():
            if document.is_deleted:
                document.visible = None
                job = self.open_job(document_id)
                kept = {job.version} if job else set()
                document.chunks = {v: n for v, n in document.chunks.items() if v in kept}

    def clean_up(self) -> int:
        """Remove jobs that are over, but those that are skipped; give how many."""
        gone = [job for job in self.jobs.values() if not job.is_open and not job.is_skipped]
        for job in gone:
            del self.jobs[job.job_id]
        return len(gone)
