"""Real English text of any length: the reference topics that every CPython carries."""

from __future__ import annotations

import pydoc_data.topics


def documents(count: int, chars: int) -> list[str]:
    """Cut `count` different documents of `chars` characters, at word starts, from the topics."""
    corpus = "\n\n".join(
        pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics)
    )
    step = max(1, (len(corpus) - chars - 100) // count)
    cut = []
    for number in range(count):
        start = corpus.index(" ", number * step) + 1
        cut.append(corpus[start : start + chars])
    return cut
