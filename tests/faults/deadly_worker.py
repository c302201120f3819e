"""The embed worker as a program, with a model that some words end the process with.

`deadly` ends it without a word, `segfault` by a segmentation fault, `quitting` by SystemExit.
Settings come from the environment, as those of `functions/embed_gpu`.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from typing import Any

from embedpipe.adapters.memory import FakeEmbedder, FakeEmbedders, FakeModels, FakeTokenizer
from embedpipe.bootstrap import EmbedServices, parts
from embedpipe.settings import EmbedSettings
from embedpipe.worker import run_process

from functions.embed_gpu.app import make_worker

MODEL = FakeModels().get("fake")


def _id(word: str) -> int:
    return FakeTokenizer().offsets(word).ids[0]


class DeadlyEmbedder(FakeEmbedder):
    """A model that some words end the process with."""

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
        """Compute, or die."""
        seen = {token for ids in token_ids for token in ids}
        if _id("deadly") in seen:
            os._exit(139)
        if _id("segfault") in seen:
            ctypes.string_at(0)
        if _id("quitting") in seen:
            raise SystemExit(3)
        return super().embed(token_ids)


def main() -> int:
    """Run until stopped, or dead."""
    settings = EmbedSettings.from_environment()
    blobs = parts.blobs(settings.content_bucket)
    database = parts.database(settings)
    worker = make_worker(
        EmbedServices(
            database=database,
            inboxes=parts.embed_queues(settings, blobs, settings.embed_dlq_url),
            store_queue=parts.queue(
                "store", settings.store_queue_url, settings.max_message_bytes, blobs
            ),
            blobs=blobs,
            models=FakeModels(MODEL),
            embedders=FakeEmbedders(DeadlyEmbedder()),
            policy=parts.policy(settings),
            settings=settings,
        )
    )
    return run_process(worker)


if __name__ == "__main__":
    sys.exit(main())
