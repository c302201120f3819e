"""What a stage needs from the outside. Each port has a real adapter and an in-memory one."""

from embedpipe.ports.catalogue import (
    ApiKeys,
    Collection,
    Collections,
    CollectionStatistics,
    Database,
    Document,
    Documents,
    Hit,
    Principal,
    Vectors,
)
from embedpipe.ports.jobs import Admission, Jobs, NewBatch, NewChunk, OutboxRow, OutboxRows
from embedpipe.ports.models import Embedder, Encoding, ModelInfo, Models, QueryEmbedder, Tokenizer
from embedpipe.ports.paging import Page
from embedpipe.ports.queues import Blobs, Inbox, Outbox, Outgoing, Received
from embedpipe.ports.rescues import Rescues, Stalled

__all__ = [
    "Admission",
    "ApiKeys",
    "Blobs",
    "Collection",
    "CollectionStatistics",
    "Collections",
    "Database",
    "Document",
    "Documents",
    "Embedder",
    "Encoding",
    "Hit",
    "Inbox",
    "Jobs",
    "ModelInfo",
    "Models",
    "NewBatch",
    "NewChunk",
    "Outbox",
    "OutboxRow",
    "OutboxRows",
    "Outgoing",
    "Page",
    "Principal",
    "QueryEmbedder",
    "Received",
    "Rescues",
    "Stalled",
    "Tokenizer",
    "Vectors",
]
