"""The text format of Prometheus, read as strictly as a scrape does.

Source: Prometheus, "Exposition formats", text-based format 0.0.4.
"""

from __future__ import annotations

import re

_SAMPLE = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r"(?P<labels>\{[a-z_]+=\"[^\"\\\n]*\"(,[a-z_]+=\"[^\"\\\n]*\")*\})? (?P<value>\S+)"
)
_TYPE = re.compile(r"# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|summary)")
_SUFFIXES = {"counter": ("",), "gauge": ("",), "summary": ("_sum", "_count")}


def samples_of(text: str) -> dict[str, float]:
    """Give the samples of a page by name and labels; fails on what a scrape would not take."""
    assert text.endswith("\n")
    found: dict[str, float] = {}
    families: list[str] = []
    kind = ""
    for line in text.splitlines():
        if line.startswith("#"):
            match = _TYPE.fullmatch(line)
            assert match, line
            # All lines of a family stand together, below one line of its type.
            assert match[1] not in families, line
            families.append(match[1])
            kind = match[2]
            continue
        match = _SAMPLE.fullmatch(line)
        assert match, line
        assert match["name"] in {families[-1] + suffix for suffix in _SUFFIXES[kind]}, line
        assert kind != "counter" or match["name"].endswith("_total"), line
        key = match["name"] + (match["labels"] or "")
        assert key not in found, line
        found[key] = float(match["value"])
    return found
