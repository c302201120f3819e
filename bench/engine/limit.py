"""The limit, as a child: `session.run` on inputs padded beforehand, the best of many ways."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import numpy.typing as npt
from embedpipe.adapters.embedders.session import open_session
from embedpipe.domain.batching import plan_batches

from bench.engine.child import Answer, Handler, measured, serve
from bench.engine.rig import MODEL_ID, Floats, Ids

BUDGETS = (64, 128, 256, 512, 1024, 2048, 4096)
#: Batches at the same time, and threads of the runtime in each.
SHAPES = ((1, 2), (2, 1))
_OVERHEAD_TOKENS = 16
_FINALISTS = 10

Feed = dict[str, npt.NDArray[np.int64]]
Planner = Callable[[Sequence[int], int], list[list[int]]]


@dataclass(frozen=True)
class Way:
    """One way to run a mix."""

    planner: str
    budget: int
    streams: int
    threads: int

    def __str__(self) -> str:
        return f"{self.planner}, {self.budget}, {self.streams} x {self.threads}"


def in_order(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Take inputs as they come while their padded size stays within the budget.

    Examples
    --------
    >>> in_order([3, 9, 3, 10], 20)
    [[0, 1], [2, 3]]
    """
    batches: list[list[int]] = []
    longest = 0
    for index, length in enumerate(lengths):
        longest = max(longest, length)
        if not batches or longest * (len(batches[-1]) + 1) > budget:
            batches.append([])
            longest = length
        batches[-1].append(index)
    return batches


def sorted_fixed(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Sort by length and cut after the same number of inputs: the budget in mean lengths.

    Examples
    --------
    >>> sorted_fixed([3, 9, 3, 10], 13)
    [[3, 1], [0, 2]]
    """
    size = max(1, round(budget / mean(lengths)))
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    return [order[at : at + size] for at in range(0, len(order), size)]


def shortest_path(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Cut as the worker does."""
    return plan_batches(lengths, max_tokens=budget, overhead_tokens=_OVERHEAD_TOKENS)


PLANNERS: dict[str, Planner] = {
    "arrival": in_order,
    "sorted": sorted_fixed,
    "shortest path": shortest_path,
}


def ways() -> Iterator[Way]:
    """Give the whole sweep."""
    for planner, budget, (streams, threads) in product(PLANNERS, BUDGETS, SHAPES):
        yield Way(planner, budget, streams, threads)


def padded(rows: Sequence[Ids]) -> Feed:
    """Pad one batch to its longest input."""
    shape = len(rows), max(map(len, rows))
    ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}


class Limit:
    """Sessions of the same graph with one and with two threads."""

    def __init__(self, graph: Path, mixes: dict[str, Any]) -> None:
        self._mixes = mixes
        # With the worker's own options: the limit is that of the very same session.
        self._sessions = {
            threads: open_session(graph, "cpu", threads=threads) for _, threads in SHAPES
        }

    def handle(self, question: Answer) -> Answer:
        """Run one way, or find the fastest ways, or give vectors to compare all others with."""
        ids = self._mixes[question["mix"]]["ids"][: question.get("limit")]
        if "way" in question:
            way = Way(**question["way"])
            if "save" in question:
                np.save(question["save"], self._vectors(ids, PLANNERS[way.planner], way.budget))
            return self._run(ids, way)
        if "save" in question:
            # One at a time: nothing is padded, nothing depends on neighbours.
            np.save(question["save"], self._vectors(ids, in_order, budget=1))
            return {"rows": len(ids)}
        return {"best": self._sweep(ids, question["top"])}

    def _sweep(self, ids: Sequence[Ids], top: int) -> list[dict[str, Any]]:
        seconds = {way: self._run(ids, way)["seconds"] for way in ways()}
        # Once more for those in front: one try may have been disturbed.
        for way in sorted(seconds, key=seconds.__getitem__)[:_FINALISTS]:
            seconds[way] = min(seconds[way], self._run(ids, way)["seconds"])
        return [asdict(way) for way in sorted(seconds, key=seconds.__getitem__)[:top]]

    def _run(self, ids: Sequence[Ids], way: Way) -> Answer:
        plan = PLANNERS[way.planner]([len(row) for row in ids], way.budget)
        feeds = [padded([ids[index] for index in batch]) for batch in plan]
        session = self._sessions[way.threads]
        session.run(None, feeds[0])

        def work() -> Answer:
            with ThreadPoolExecutor(way.streams) as pool:
                # The list holds no vectors: only the run is measured.
                list(pool.map(lambda feed: session.run(None, feed) and None, feeds))
            return {}

        return measured(work) | {
            "rows": len(ids),
            "tokens": sum(map(len, ids)),
            "padded_tokens": sum(feed["input_ids"].size for feed in feeds),
            "passes": len(feeds),
            "setting": str(way),
        }

    def _vectors(self, ids: Sequence[Ids], planner: Planner, budget: int) -> Floats:
        plan = planner([len(row) for row in ids], budget)
        vectors: Floats | None = None
        for batch in plan:
            [found] = self._sessions[2].run(None, padded([ids[index] for index in batch]))
            if vectors is None:
                vectors = np.empty((len(ids), found.shape[1]), dtype=np.float32)
            vectors[batch] = found
        assert vectors is not None
        return vectors


def main() -> None:
    """Serve."""

    def start(first: Answer) -> Handler:
        mixes = json.loads(Path(first["mixes"]).read_text())
        graph = Path(first["models_dir"]) / MODEL_ID / "model.onnx"
        return Limit(graph, mixes).handle

    serve(start)


if __name__ == "__main__":
    main()
