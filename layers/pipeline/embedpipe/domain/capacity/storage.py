"""The database: how large it gets, how many capacity units it takes, how long a search takes."""

from __future__ import annotations

from dataclasses import dataclass

from embedpipe.domain.capacity.book import Book
from embedpipe.domain.capacity.choices import Choices, Database, Index
from embedpipe.domain.capacity.embedding import Embedding
from embedpipe.domain.capacity.queueing import awake_share
from embedpipe.domain.capacity.workload import HOURS_A_MONTH, Document, Workload

_GB = 1e9
_GIB = 2**30
#: Aurora Serverless v2 moves in steps of half a unit.
_STEP = 0.5
#: What is promised holds for 95 of 100.
_OFTEN_AWAKE = 0.95


@dataclass(frozen=True)
class Storage:
    """What the database needs.

    Attributes
    ----------
    gb
        On disk at the time of the plan, indexes included.
    hot_gb
        That searches touch: the vectors, or their index.
    mean_vcpu, peak_vcpu
        Processors at work.
    mean_acu, peak_acu
        Aurora capacity units.
    wake_s
        That a document or a search waits, more than five in a hundred of them, as it was paused.
    search_ms
        Of the database, for one search of a collection.
    io_requests
        Of a month, as Aurora bills them.
    """

    chunks: float
    gb: float
    hot_gb: float
    mean_vcpu: float
    peak_vcpu: float
    mean_acu: float
    peak_acu: float
    wake_s: float
    search_ms: float
    io_requests: float


def storage(
    workload: Workload, doc: Document, embed: Embedding, choices: Choices, figures: Book
) -> Storage:
    """Size the database."""
    chunks = workload.stored_documents * doc.chunks
    vector_bytes = workload.dimensions * choices.value_bytes
    index_bytes = vector_bytes * figures["hnsw_index_share"] * (choices.index is Index.HNSW)
    document_bytes = _document_bytes(workload, doc, figures) + doc.chunks * (
        vector_bytes + index_bytes
    )
    hot_bytes = chunks * (index_bytes or vector_bytes)
    search_ms = _search_ms(workload, choices, chunks / workload.collections, figures)
    write_ms = _write_ms(doc, choices, figures)
    a_month_s = HOURS_A_MONTH * 3600
    queries = workload.queries_per_s
    mean = (workload.documents * write_ms / a_month_s + queries * search_ms) / 1000
    peak = (workload.peak_per_s * write_ms + workload.peak * queries * search_ms) / 1000
    all_bytes = workload.stored_documents * document_bytes
    memory_acu = _memory_acu(hot_bytes if queries else 0.0, all_bytes, figures)
    awake = _awake(workload, embed, choices, figures)
    return Storage(
        chunks=chunks,
        gb=all_bytes / _GB,
        hot_gb=hot_bytes / _GB,
        mean_vcpu=mean,
        peak_vcpu=peak,
        mean_acu=awake * max(figures["acu_least"], memory_acu, _acu(mean, figures)),
        peak_acu=_rounded(max(figures["acu_least"], memory_acu, _acu(peak, figures))),
        wake_s=figures["wake_s"] if awake < _OFTEN_AWAKE else 0.0,
        search_ms=search_ms,
        io_requests=workload.documents
        * document_bytes
        * figures["wal_factor"]
        / figures["io_bytes"],
    )


def _awake(workload: Workload, embed: Embedding, choices: Choices, figures: Book) -> float:
    """Say for what share of the month it is not paused.

    Documents, searches and maintenance wake it, and an embed task keeps it awake: its heartbeats
    connect. These are taken to come at random.
    """
    if choices.database is not Database.AURORA_PAUSE:
        return 1.0
    an_hour = workload.documents / HOURS_A_MONTH / workload.together
    an_hour += workload.queries_per_s * 3600 + choices.database.runs_an_hour
    asked = awake_share(an_hour, idle_h=figures["pause_minutes"] / 60, start_h=0.0)
    return min(1.0, max(asked, embed.task_hours / HOURS_A_MONTH))


def _document_bytes(workload: Workload, doc: Document, figures: Book) -> float:
    """Give the bytes of the rows of a document and of its texts, without its vectors.

    The text is there twice: as it was posted, unless that was so long that S3 keeps it, and cut.
    """
    inline = doc.text_bytes if doc.text_bytes <= workload.inline_bytes else 0.0
    cut = doc.model_tokens * figures["bytes_per_token"]
    rows = figures["row_bytes_per_document"] + figures["row_bytes_per_chunk"] * doc.chunks
    return rows + (inline + cut) * figures["text_stored_share"]


def _search_ms(workload: Workload, choices: Choices, chunks: float, figures: Book) -> float:
    kind = "halfvec" if choices.value_bytes == 2 else "vector"
    if choices.index is Index.HNSW:
        return figures["search_ms"] + figures[f"hnsw_{kind}_ms"]
    each_us = figures[f"exact_{kind}_us"] * workload.dimensions / figures["exact_dimensions"]
    return figures["search_ms"] + chunks * each_us / 1000


def _write_ms(doc: Document, choices: Choices, figures: Book) -> float:
    each = figures["database_ms_per_chunk"]
    if choices.index is Index.HNSW:
        each += figures["hnsw_write_ms"]
    return figures["database_ms_per_document"] + each * doc.chunks


def _memory_acu(hot_bytes: float, all_bytes: float, figures: Book) -> float:
    """Say how many units hold what searches touch, and what writes touch of tables and indexes."""
    bytes_needed = max(hot_bytes, figures["write_hot_share"] * all_bytes)
    return bytes_needed / _GIB / figures["cache_share"] / figures["acu_gib"]


def _acu(vcpu: float, figures: Book) -> float:
    return vcpu / figures["acu_vcpu"] / figures["database_busy_share"]


def _rounded(units: float) -> float:
    return -(-units // _STEP) * _STEP
