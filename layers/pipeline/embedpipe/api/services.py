"""What the API works with."""

from __future__ import annotations

from dataclasses import dataclass

from embedpipe.ports import Blobs, Database, Models, Outbox, QueryEmbedder
from embedpipe.ports.synchronous import SynchronousEmbedder
from embedpipe.settings import ApiSettings


@dataclass(frozen=True)
class Services:
    """Ports and settings.

    Attributes
    ----------
    query_embedder, embedder
        None where no embed worker is named: search then takes vectors only, and texts get none.
    """

    database: Database
    blobs: Blobs
    chunk_queue: Outbox
    models: Models
    query_embedder: QueryEmbedder | None
    settings: ApiSettings
    embedder: SynchronousEmbedder | None = None
