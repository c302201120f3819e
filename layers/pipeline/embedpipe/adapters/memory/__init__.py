"""Every port in memory, for tests and for trying things out."""

from embedpipe.adapters.memory.blobs import MemoryBlobs
from embedpipe.adapters.memory.queues import MemoryQueue

__all__ = ["MemoryBlobs", "MemoryQueue"]
