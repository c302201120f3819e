"""What a stage needs from the outside. Each port has a real adapter and an in-memory one."""

from embedpipe.ports.audits import Audits
from embedpipe.ports.breakers import Breakers
from embedpipe.ports.catalogue import (
    ApiKeys,
    ChunkVector,
    Collection,
    Collections,
    CollectionStatistics,
    Document,
    Documents,
    Hit,
    Principal,
    Vectors,
)
from embedpipe.ports.controls import Controls
from embedpipe.ports.crash_ledger import CrashKey, CrashLedger
from embedpipe.ports.database import Database
from embedpipe.ports.dead_letters import DeadLetter, DeadLetters, Depth, MoveTask
from embedpipe.ports.event_sources import EventSources
from embedpipe.ports.heartbeats import Heartbeats, WorkerBeat
from embedpipe.ports.housekeeping import Compacted, Housekeeping, OldRecords, Removed
from embedpipe.ports.jobs import Admission, Jobs, NewBatch, NewChunk, OutboxRow, OutboxRows
from embedpipe.ports.models import (
    Embedder,
    Embedders,
    Encoding,
    Kind,
    LoadedModel,
    ModelInfo,
    Models,
    QueryEmbedder,
    RemoteEmbedder,
    RemoteEmbedders,
    Tokenizer,
    Tuning,
)
from embedpipe.ports.overview import Overview
from embedpipe.ports.paging import Page
from embedpipe.ports.queues import (
    Blobs,
    Depths,
    Inbox,
    Measured,
    Outbox,
    Outgoing,
    Received,
    StoredBlob,
)
from embedpipe.ports.rescues import Rescues, Stalled
from embedpipe.ports.skips import Skips

__all__ = [
    "Admission",
    "ApiKeys",
    "Audits",
    "Blobs",
    "Breakers",
    "ChunkVector",
    "Collection",
    "CollectionStatistics",
    "Collections",
    "Compacted",
    "Controls",
    "CrashKey",
    "CrashLedger",
    "Database",
    "DeadLetter",
    "DeadLetters",
    "Depth",
    "Depths",
    "Document",
    "Documents",
    "Embedder",
    "Embedders",
    "Encoding",
    "EventSources",
    "Heartbeats",
    "Hit",
    "Housekeeping",
    "Inbox",
    "Jobs",
    "Kind",
    "LoadedModel",
    "Measured",
    "ModelInfo",
    "Models",
    "MoveTask",
    "NewBatch",
    "NewChunk",
    "OldRecords",
    "Outbox",
    "OutboxRow",
    "OutboxRows",
    "Outgoing",
    "Overview",
    "Page",
    "Principal",
    "QueryEmbedder",
    "Received",
    "RemoteEmbedder",
    "RemoteEmbedders",
    "Removed",
    "Rescues",
    "Skips",
    "Stalled",
    "StoredBlob",
    "Tokenizer",
    "Tuning",
    "Vectors",
    "WorkerBeat",
]
