"""What the runners of all rivals do alike: texts in, vectors out, timed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.engine.child import Answer, Handler, measured, serve

Embed = Callable[[list[str], int], Any]


class Padded:
    """Counts what a model is given, padding included."""

    def __init__(self) -> None:
        self.tokens = 0
        self.passes = 0

    def count(self, ids: Any) -> None:
        """Add one batch, shape (inputs, tokens)."""
        self.tokens += ids.shape[0] * ids.shape[1]
        self.passes += 1

    def clear(self) -> None:
        """Begin again."""
        self.tokens = self.passes = 0


def run(load: Callable[[Answer, Padded], Embed]) -> None:
    """Serve rounds: `mix`, `batch` (inputs at once), perhaps `limit` (texts) and `save` (a path).

    Parameters
    ----------
    load
        Loads the engine; gives what embeds texts, all in one call, in batches of that size.
    """

    def start(first: Answer) -> Handler:
        mixes = json.loads(Path(first["mixes"]).read_text())
        padded = Padded()
        embed = load(first, padded)
        embed(["A sentence to warm up with."], 32)

        def handle(question: Answer) -> Answer:
            import numpy as np

            texts = mixes[question["mix"]]["texts"][: question.get("limit")]
            padded.clear()
            answer = measured(lambda: {"vectors": embed(texts, question["batch"])})
            vectors = np.asarray(answer.pop("vectors"), dtype=np.float32)
            if path := question.get("save"):
                np.save(path, vectors)
            return answer | {
                "rows": len(vectors),
                "padded_tokens": padded.tokens,
                "passes": padded.passes,
                "setting": f"batches of {question['batch']}",
            }

        return handle

    serve(start)
