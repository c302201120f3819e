"""Every port in memory, for tests and for trying things out."""

from embedpipe.adapters.memory.blobs import MemoryBlobs
from embedpipe.adapters.memory.database import MemoryDatabase
from embedpipe.adapters.memory.models import (
    FakeEmbedder,
    FakeEmbedders,
    FakeModels,
    FakeQueryEmbedder,
    FakeTokenizer,
)
from embedpipe.adapters.memory.queues import MemoryQueue
from embedpipe.adapters.memory.remote_models import FakeRemoteEmbedder, FakeRemoteEmbedders
from embedpipe.adapters.memory.synchronous import FakeSynchronousEmbedder

__all__ = [
    "FakeEmbedder",
    "FakeEmbedders",
    "FakeModels",
    "FakeQueryEmbedder",
    "FakeRemoteEmbedder",
    "FakeRemoteEmbedders",
    "FakeSynchronousEmbedder",
    "FakeTokenizer",
    "MemoryBlobs",
    "MemoryDatabase",
    "MemoryQueue",
]
