"""Real English text of any length: the reference topics that every CPython carries."""

from __future__ import annotations

import pydoc_data.topics


def corpus() -> str:
    """Give all topics as one text."""
    topics = pydoc_data.topics.topics
    return "\n\n".join(topics[name] for name in sorted(topics))


def documents(count: int, chars: int) -> list[str]:
    """Cut `count` different documents of `chars` characters, at word starts, from the topics."""
    text = corpus()
    step = max(1, (len(text) - chars - 100) // count)
    cut = []
    for number in range(count):
        start = text.index(" ", number * step) + 1
        cut.append(text[start : start + chars])
    return cut
