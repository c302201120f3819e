"""Engines that take turns: sweeps first, then rounds."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.engine.child import Child, ChildError
from bench.engine.mixes import Mix

_SWEEP_TIMEOUT_S = 300.0
# Each setting of a sweep is tried so often, in turn; the best try counts.
_TRIES = 2

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Entry:
    """One setting of an engine, and what to ask it for."""

    engine: str
    label: str
    question: dict[str, Any]
    is_default: bool = False


@dataclass
class Row:
    """What one entry did on one mix, all rounds."""

    mix: str
    engine: str
    label: str
    is_default: bool = False
    setting: str = ""
    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    run_cpu_s: list[float] = field(default_factory=list)
    padded_tokens: list[float] = field(default_factory=list)
    passes: list[float] = field(default_factory=list)
    rows: int = 0
    cosine_min: float | None = None
    cosine_mean: float | None = None
    error: str | None = None

    def add(self, answer: Mapping[str, Any]) -> None:
        """Add a round."""
        self.setting = str(answer.get("setting", ""))
        self.rows = int(answer["rows"])
        for name in ("seconds", "cpu_s", "run_cpu_s", "padded_tokens", "passes"):
            if name in answer:
                getattr(self, name).append(float(answer[name]))

    def summary(self, tokens: int) -> dict[str, Any]:
        """Give medians as figures; none when no round went well."""
        if not self.seconds:
            return {
                "mix": self.mix,
                "engine": self.engine,
                "label": self.label,
                "is_default": self.is_default,
                "error": self.error,
            }
        seconds, cpu_s = median(self.seconds), median(self.cpu_s)
        padded = median(self.padded_tokens) if self.padded_tokens else None
        return {
            "mix": self.mix,
            "engine": self.engine,
            "label": self.label,
            "is_default": self.is_default,
            "setting": self.setting,
            "rounds": len(self.seconds),
            "tokens_per_s": tokens / seconds,
            "tokens_per_s_range": [tokens / max(self.seconds), tokens / min(self.seconds)],
            "tokens_per_cpu_s": tokens / cpu_s,
            "useful_share": tokens / padded if padded else None,
            "passes": median(self.passes) if self.passes else None,
            "outside_run_share": 1 - median(self._inside()) if self.run_cpu_s else None,
            "rows": self.rows,
            "cosine_min": self.cosine_min,
            "cosine_mean": self.cosine_mean,
            "error": self.error,
        }

    def _inside(self) -> list[float]:
        return [inside / total for inside, total in zip(self.run_cpu_s, self.cpu_s, strict=True)]


class Contest:
    """Children that answer for their engines, one at a time.

    Parameters
    ----------
    folder
        Where the texts and the vectors lie meanwhile.
    """

    def __init__(self, mixes: Mapping[str, Mix], folder: Path) -> None:
        self.mixes = mixes
        self.children: dict[str, Child] = {}
        self.failures: dict[str, str] = {}
        self._folder = folder
        self._reference: dict[str, Floats] = {}
        self.texts = folder / "mixes.json"
        self.texts.write_text(
            json.dumps({name: {"texts": mix.texts, "ids": mix.ids} for name, mix in mixes.items()})
        )

    def add(self, engine: str, child: Child) -> None:
        """Let an engine take part."""
        self.children[engine] = child

    def close(self) -> None:
        """End all children."""
        for child in self.children.values():
            child.close()

    def take_reference(self, engine: str) -> None:
        """Have an engine compute the vectors that all others are compared with."""
        for name in self.mixes:
            path = self._folder / f"reference-{name}.npy"
            self.children[engine].ask({"mix": name, "save": str(path)}, timeout_s=_SWEEP_TIMEOUT_S)
            self._reference[name] = np.load(path)

    def best_ways(self, engine: str, mix: str, tokens: int, top: int) -> list[dict[str, Any]]:
        """Have the limit try all ways on the first texts of a mix; give the fastest."""
        question = {"mix": mix, "limit": self._texts_for(mix, tokens), "top": top}
        found: list[dict[str, Any]] = self.children[engine].ask(
            question, timeout_s=_SWEEP_TIMEOUT_S
        )["best"]
        return found

    def best_batches(
        self, engine: str, mix: str, tried: Sequence[int], tokens: int, top: int
    ) -> list[int]:
        """Have a rival try batch sizes on the first texts of a mix; give the fastest."""
        limit = self._texts_for(mix, tokens)
        seconds: dict[int, float] = {}
        for _ in range(_TRIES):
            for batch in tried:
                answer = self.children[engine].ask({"mix": mix, "batch": batch, "limit": limit})
                seconds[batch] = min(answer["seconds"], seconds.get(batch, answer["seconds"]))
        return sorted(seconds, key=seconds.__getitem__)[:top]

    def run(self, entries: Mapping[str, Sequence[Entry]], rounds: int) -> list[Row]:
        """Run all entries of all mixes, turn by turn, beginning with another one each round."""
        rows = {
            (mix, at): Row(mix, entry.engine, entry.label, entry.is_default)
            for mix, of_mix in entries.items()
            for at, entry in enumerate(of_mix)
        }
        for number in range(rounds):
            for mix, of_mix in entries.items():
                say(f"round {number + 1} of {rounds}: {mix}")
                for turn in range(len(of_mix)):
                    at = (turn + number) % len(of_mix)
                    self._turn(rows[mix, at], of_mix[at])
        return list(rows.values())

    def _turn(self, row: Row, entry: Entry) -> None:
        if row.error is not None:
            return
        path = self._folder / "vectors.npy"
        is_first = not row.seconds
        question = entry.question | {"mix": row.mix} | ({"save": str(path)} if is_first else {})
        try:
            answer = self.children[entry.engine].ask(question)
            if is_first:
                self._compare(row, np.load(path))
            row.add(answer)
        except (ChildError, ValueError) as error:
            row.error = str(error)

    def _compare(self, row: Row, vectors: Floats) -> None:
        expected = self._reference.get(row.mix)
        if expected is None:
            return
        if vectors.shape != expected.shape:
            raise ValueError(f"vectors of shape {vectors.shape}, expected {expected.shape}")
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(expected, axis=1)
        cosines = (vectors * expected).sum(axis=1) / lengths
        row.cosine_min, row.cosine_mean = float(cosines.min()), float(cosines.mean())

    def _texts_for(self, mix: str, tokens: int) -> int:
        return texts_for([len(ids) for ids in self.mixes[mix].ids], tokens)


def texts_for(lengths: Sequence[int], tokens: int) -> int:
    """Give how many of the first texts hold about so many tokens; at least one.

    Examples
    --------
    >>> texts_for([10, 10, 10], 15)
    2
    """
    total = 0
    for count, length in enumerate(lengths, 1):
        total += length
        if total >= tokens:
            return count
    return len(lengths)


def say(line: str) -> None:
    """Tell who waits how far it is."""
    print(line, file=sys.stderr, flush=True)
