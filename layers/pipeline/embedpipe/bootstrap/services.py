"""What each function works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from embedpipe.domain.retry import RetryPolicy
from embedpipe.ports import (
    Blobs,
    Breakers,
    Database,
    Embedders,
    EventSources,
    Inbox,
    Measured,
    Models,
    Outbox,
    RemoteEmbedders,
)
from embedpipe.settings import ChunkSettings, EmbedSettings, MaintenanceSettings, StoreSettings
from embedpipe.stages.controls import ControlReader
from embedpipe.stages.dead_letters import DeadLetterParts

if TYPE_CHECKING:
    from embedpipe.worker.cache import VectorCache


@dataclass(frozen=True)
class ChunkServices:
    """What `functions/chunk` works with."""

    database: Database
    inbox: Inbox
    embed_queues: Mapping[str, Outbox]
    blobs: Blobs
    models: Models
    policy: RetryPolicy
    settings: ChunkSettings
    controls: ControlReader | None = None


@dataclass(frozen=True)
class EmbedServices:
    """What `functions/embed_gpu` works with."""

    database: Database
    inboxes: Mapping[str, Inbox]
    store_queue: Outbox
    blobs: Blobs
    models: Models
    embedders: Embedders
    policy: RetryPolicy
    settings: EmbedSettings
    remotes: RemoteEmbedders | None = None
    breakers: Breakers | None = None
    cache: VectorCache | None = None
    controls: ControlReader | None = None


@dataclass(frozen=True)
class StoreServices:
    """What `functions/store` works with."""

    database: Database
    inbox: Inbox
    blobs: Blobs
    policy: RetryPolicy
    settings: StoreSettings
    controls: ControlReader | None = None


@dataclass(frozen=True)
class MaintenanceServices:
    """What `functions/maintenance` works with."""

    database: Database
    queues: dict[str, Outbox]
    blobs: Blobs
    settings: MaintenanceSettings
    depths: Mapping[str, Measured] = field(default_factory=dict)
    dlq_depths: Mapping[str, Measured] = field(default_factory=dict)
    dead_letters: DeadLetterParts | None = None
    event_sources: EventSources | None = None
