"""How many chunks survive a change near the top, beside a splitter that only counts.

Run: python bench/chunking.py [--models DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.domain.chunking import split
from embedpipe.domain.jobs import Chunking
from embedpipe.ports import Tokenizer

INSERTED = "This sentence was put in front of everything else that stands here. "
TEXT_CHARS = 60_000
LARGE_BYTES = 5_242_880

Splitter = Callable[[str], list[tuple[str, int]]]


def prose() -> str:
    """Give the language reference that ships with Python, as one text."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def greedy(tokenizer: Tokenizer, chunking: Chunking) -> Splitter:
    """Give the rival: as many tokens as fit, the next window `overlap` before the end."""

    def cut(text: str) -> list[tuple[str, int]]:
        encoding = tokenizer.offsets(text)
        room = chunking.size - tokenizer.model.special_tokens
        pieces = []
        for first in range(0, len(encoding.ids), room - chunking.overlap):
            window = encoding.offsets[first : first + room]
            pieces.append((text[window[0][0] : window[-1][1]], len(window) + 2))
        return pieces

    return cut


def content_defined(tokenizer: Tokenizer, chunking: Chunking) -> Splitter:
    """Give the splitter of the pipeline."""

    def cut(text: str) -> list[tuple[str, int]]:
        pieces = split(text, tokenizer=tokenizer, chunking=chunking, content_type="text/plain")
        return [(piece.text, len(piece.token_ids)) for piece in pieces]

    return cut


def survey(cut: Splitter, text: str, size: int) -> dict[str, float]:
    """Measure one splitter: chunks, their fill, and the share unchanged by an insertion."""
    before, after = cut(text), cut(INSERTED + text)
    known = {hashlib.sha256(piece.encode()).digest() for piece, _ in before}
    kept = sum(hashlib.sha256(piece.encode()).digest() in known for piece, _ in after)
    return {
        "chunks": len(before),
        "fill": mean(tokens for _, tokens in before) / size,
        "unchanged": kept / len(after),
    }


def seconds_for(cut: Splitter, text: str) -> float:
    """Time one pass, CPU seconds."""
    start = time.process_time()
    cut(text)
    return time.process_time() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path(".embedpipe/models"))
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    tokenizer = ModelsDirectory(arguments.models).tokenizer(arguments.model)
    text = prose()
    large = (text * (LARGE_BYTES // len(text) + 1))[:LARGE_BYTES]
    results: list[dict[str, Any]] = []
    print(f"{'splitter':<16} {'size':>5} {'overlap':>7} {'chunks':>6} {'fill':>6} {'unchanged':>9}")
    for size, overlap in [(256, 32), (256, 0), (128, 16)]:
        chunking = Chunking(size=size, overlap=overlap)
        for name, make in [("greedy", greedy), ("content-defined", content_defined)]:
            found = survey(make(tokenizer, chunking), text[:TEXT_CHARS], size)
            results.append({"splitter": name, "size": size, "overlap": overlap, **found})
            print(
                f"{name:<16} {size:>5} {overlap:>7} {found['chunks']:>6.0f} "
                f"{found['fill']:>6.1%} {found['unchanged']:>9.1%}"
            )
    for name, make in [("greedy", greedy), ("content-defined", content_defined)]:
        spent_s = seconds_for(make(tokenizer, Chunking()), large)
        results.append({"splitter": name, "bytes": LARGE_BYTES, "cpu_s": spent_s})
        print(f"{name:<16} 5 MiB in {spent_s:.1f} CPU s")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
