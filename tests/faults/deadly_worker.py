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

from embedpipe.adapters.memory import FakeEmbedder, FakeTokenizer
from embedpipe.worker import run_process

from functions.embed_gpu.app import make_worker
from tests.faults.wiring import embed_services


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
    return run_process(make_worker(embed_services(DeadlyEmbedder())))


if __name__ == "__main__":
    sys.exit(main())
