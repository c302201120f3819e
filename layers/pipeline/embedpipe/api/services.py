"""What the API works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from embedpipe.ports import Blobs, Database, EventSources, Measured, Models, Outbox, QueryEmbedder
from embedpipe.ports.synchronous import SynchronousEmbedder
from embedpipe.settings import ApiSettings
from embedpipe.stages.controls import ControlReader
from embedpipe.stages.dead_letters import DeadLetterParts


@dataclass(frozen=True)
class Services:
    """Ports and settings.

    Attributes
    ----------
    query_embedder, embedder
        None where no embed worker is named: search then takes vectors only, and texts get none.
    queues
        Every queue by its name in the outbox: `chunk`, `embed_high`, `embed`, `embed_low`, `store`.
    controls
        Whether documents are admitted; without it they always are.
    depths, dlq_depths
        What is looked at: queues by name in the outbox, dead-letter queues by stage. A lane that
        has no queue of its own is missing.
    dead_letters
        The dead-letter queues; without them nothing is put back.
    event_sources
        What receives for the functions; None where nobody may switch it.
    """

    database: Database
    blobs: Blobs
    chunk_queue: Outbox
    models: Models
    query_embedder: QueryEmbedder | None
    settings: ApiSettings
    embedder: SynchronousEmbedder | None = None
    queues: Mapping[str, Outbox] = field(default_factory=dict)
    depths: Mapping[str, Measured] = field(default_factory=dict)
    dlq_depths: Mapping[str, Measured] = field(default_factory=dict)
    controls: ControlReader | None = None
    event_sources: EventSources | None = None
    dead_letters: DeadLetterParts | None = None
