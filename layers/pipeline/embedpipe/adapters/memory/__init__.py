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

__all__ = [
    "FakeEmbedder",
    "FakeEmbedders",
    "FakeModels",
    "FakeQueryEmbedder",
    "FakeTokenizer",
    "MemoryBlobs",
    "MemoryDatabase",
    "MemoryQueue",
]
