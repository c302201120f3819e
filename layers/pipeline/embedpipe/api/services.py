"""What the API works with."""

from __future__ import annotations

from dataclasses import dataclass

from embedpipe.ports import Blobs, Database, Models, Outbox, QueryEmbedder
from embedpipe.settings import ApiSettings


@dataclass(frozen=True)
class Services:
    """Ports and settings; `query_embedder` is None where search takes vectors only."""

    database: Database
    blobs: Blobs
    chunk_queue: Outbox
    models: Models
    query_embedder: QueryEmbedder | None
    settings: ApiSettings
