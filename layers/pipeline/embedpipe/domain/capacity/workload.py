"""What is asked of the pipeline, and what becomes of one of its documents."""

from __future__ import annotations

import math
from dataclasses import dataclass

from embedpipe.domain.capacity.book import Book
from embedpipe.domain.packing import most_chunks

HOURS_A_MONTH = 730.0
DAYS_A_MONTH = HOURS_A_MONTH / 24
#: What SQS bills as one request.
BILLED_BYTES = 64 * 1024


@dataclass(frozen=True)
class Workload:
    """Documents and searches, and how soon they must be done.

    Attributes
    ----------
    documents
        In a month.
    tokens
        Of the mean document, as the model's tokenizer counts, special tokens left out.
    slo_s
        From the post to searchable, for 95 of 100 documents at the peak.
    peak
        Rate of the busiest hour over the mean rate of the active ones.
    hours
        Of a day in which documents arrive.
    together
        Documents that are posted at one time: an upload of a folder, a nightly run.
    queries_per_s
        Searches, on average over the month.
    months
        After how many the plan is drawn: documents stay, and the database grows.
    keep_months
        After how many a document is deleted; None for never.
    collections
        Of about the same size; a search looks through one.
    search_s
        That the database may take for one search.
    """

    documents: float
    tokens: float
    slo_s: float = 600.0
    peak: float = 3.0
    hours: float = 24.0
    together: int = 1
    queries_per_s: float = 0.0
    search_s: float = 1.0
    collections: int = 1
    months: int = 12
    keep_months: int | None = None
    chunk_tokens: int = 256
    overlap_tokens: int = 32
    special_tokens: int = 2
    batch_chunks: int = 64
    dimensions: int = 384
    inline_bytes: int = 65_536

    @property
    def active_hours(self) -> float:
        """Hours of a month in which documents arrive."""
        return self.hours * DAYS_A_MONTH

    @property
    def mean_per_s(self) -> float:
        """Documents a second, over the active hours."""
        return self.documents / (self.active_hours * 3600)

    @property
    def peak_per_s(self) -> float:
        """Documents a second in the busiest hour."""
        return self.peak * self.mean_per_s

    @property
    def uploads_per_hour(self) -> float:
        """Times an hour that somebody posts, within the active hours."""
        return self.documents / self.active_hours / self.together

    @property
    def stored_documents(self) -> float:
        """Documents that are kept at the time of the plan."""
        kept = self.months if self.keep_months is None else min(self.months, self.keep_months)
        return self.documents * kept


@dataclass(frozen=True)
class Document:
    """What becomes of the mean document.

    Attributes
    ----------
    model_tokens
        What the model is given: overlaps and special tokens count.
    batches
        Embed messages, and as many store messages.
    """

    chunks: float
    model_tokens: float
    batches: int
    text_bytes: float
    chunk_message_bytes: float
    embed_message_bytes: float
    store_message_bytes: float

    @property
    def chunks_per_batch(self) -> float:
        """Chunks of the mean message."""
        return self.chunks / self.batches

    @property
    def tokens_per_batch(self) -> float:
        """Tokens that the model is given of the mean message."""
        return self.model_tokens / self.batches


def document(workload: Workload, figures: Book) -> Document:
    """Say what becomes of the mean document.

    A chunk is filled to a measured share, as it ends at a sentence where it can; of the overlap
    asked for, a measured share is used.
    """
    shared = figures["overlap_used"] * workload.overlap_tokens
    new = figures["chunk_fill"] * workload.chunk_tokens - workload.special_tokens - shared
    if workload.tokens + workload.special_tokens <= workload.chunk_tokens:
        chunks = 1.0
    else:
        chunks = max(1.0, workload.tokens / max(1.0, new))
    tokens = workload.tokens + workload.special_tokens * chunks + shared * (chunks - 1)
    batches = math.ceil(chunks / most_chunks(workload.batch_chunks, workload.dimensions))
    return Document(
        chunks=chunks,
        model_tokens=tokens,
        batches=batches,
        text_bytes=workload.tokens * figures["bytes_per_token"],
        chunk_message_bytes=figures["chunk_message_bytes"],
        embed_message_bytes=figures["embed_envelope_bytes"]
        + figures["embed_bytes_per_token"] * tokens / batches,
        store_message_bytes=figures["store_envelope_bytes"]
        + 4 / 3 * 4 * workload.dimensions * chunks / batches,
    )
