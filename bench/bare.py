"""The limit: the same chunks through `session.run`, nothing around it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.domain.batching import plan_batches
from embedpipe.domain.chunking import split
from embedpipe.domain.jobs import Chunking


@dataclass(frozen=True)
class Bare:
    """What the bare session does."""

    chunks: int
    tokens: int
    seconds: float
    budget: int

    @property
    def chunks_per_s(self) -> float:
        """Chunks per second."""
        return self.chunks / self.seconds


def best(models_dir: Path, model_id: str, texts: Sequence[str]) -> Bare:
    """Run the chunks of the texts with several budgets of padded tokens; give the fastest.

    Inputs are padded arrays made beforehand: only `session.run` is timed.
    """
    tokenizer = ModelsDirectory(models_dir).tokenizer(model_id)
    ids = [
        piece.token_ids
        for text in texts
        for piece in split(
            text, tokenizer=tokenizer, chunking=Chunking(), content_type="text/plain"
        )
    ]
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        str(models_dir / model_id / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    runs = [_run(session, ids, budget) for budget in (256, 512, 1024, 2048)]
    return min(runs, key=lambda run: run.seconds)


def _run(session: onnxruntime.InferenceSession, ids: Sequence[Sequence[int]], budget: int) -> Bare:
    plan = plan_batches([len(row) for row in ids], max_tokens=budget, overhead_tokens=16)
    feeds = [_pad([ids[i] for i in batch]) for batch in plan]
    session.run(None, feeds[0])
    began = time.perf_counter()
    for feed in feeds:
        session.run(None, feed)
    seconds = time.perf_counter() - began
    return Bare(len(ids), sum(len(row) for row in ids), seconds, budget)


def _pad(rows: Sequence[Sequence[int]]) -> dict[str, npt.NDArray[np.int64]]:
    longest = max(len(row) for row in rows)
    input_ids = np.zeros((len(rows), longest), dtype=np.int64)
    mask = np.zeros_like(input_ids)
    for number, row in enumerate(rows):
        input_ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return {"input_ids": input_ids, "attention_mask": mask}
