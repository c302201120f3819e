"""Three mixes of lengths, of real English: what callers send, and what chunking makes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist, mean

from embedpipe.domain.chunking import split
from embedpipe.domain.jobs import Chunking
from embedpipe.ports import Tokenizer

from bench import texts

_SEED = 20_250
_QUERY_TOKENS = (6, 22)
_P50_TOKENS, _P99_TOKENS = 40, 512
_DOCUMENT_CHARS = 8_000
# Texts of a mix begin all over the corpus; a step that shares no factor with it visits all of it.
_STEP_CHARS = 7_919


@dataclass(frozen=True)
class Mix:
    """Texts of one mix in the order of their arrival, and the ids that the model is given.

    No text is longer than the model takes, so that nobody truncates, and all compute the same.
    """

    name: str
    says: str
    texts: list[str]
    ids: list[list[int]]

    @property
    def tokens(self) -> int:
        """Real tokens, special ones included."""
        return sum(map(len, self.ids))

    @property
    def mean_tokens(self) -> float:
        """Mean length."""
        return mean(map(len, self.ids))


def all_mixes(tokenizer: Tokenizer, tokens: int) -> dict[str, Mix]:
    """Make the three mixes, each of about so many tokens; the same every time."""
    makers: dict[str, Callable[[Tokenizer, int], Mix]] = {
        "queries": _queries,
        "chunks": _chunks,
        "log-normal": _log_normal,
    }
    return {name: make(tokenizer, tokens) for name, make in makers.items()}


def log_normal_lengths(seed: int, *, p50: float, p99: float, most: int) -> Iterator[int]:
    """Give lengths without end, log-normal with these percentiles, 1 to `most`."""
    draw = random.Random(seed)
    sigma = math.log(p99 / p50) / NormalDist().inv_cdf(0.99)
    while True:
        yield max(1, min(most, round(draw.lognormvariate(math.log(p50), sigma))))


class Cutter:
    """Cuts texts of a wanted number of tokens from the corpus, at words."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._text = texts.corpus()
        encoding = tokenizer.offsets(self._text)
        self._offsets = encoding.offsets
        self._at = 0

    def cut(self, tokens: int) -> tuple[str, list[int]]:
        """Give a text, and its ids with special tokens; at most `tokens` of them."""
        room = max(1, tokens - self._tokenizer.model.special_tokens)
        while True:
            self._at = (self._at + _STEP_CHARS) % (len(self._offsets) - room)
            first, last = self._offsets[self._at], self._offsets[self._at + room - 1]
            text = self._text[first[0] : last[1]]
            [ids] = self._tokenizer.encode([text])
            # A cut within a word may be tokenized otherwise.
            if len(ids) <= tokens:
                return text, ids


def _queries(tokenizer: Tokenizer, tokens: int) -> Mix:
    draw = random.Random(_SEED)

    def lengths() -> Iterator[int]:
        while True:
            yield draw.randint(*_QUERY_TOKENS)

    return _cut("queries", "search queries, 6 to 22 tokens", tokenizer, tokens, lengths())


def _log_normal(tokenizer: Tokenizer, tokens: int) -> Mix:
    most = tokenizer.model.max_tokens
    says = f"log-normal, p50 {_P50_TOKENS}, p99 {_P99_TOKENS}, cut to the model's {most}"
    lengths = log_normal_lengths(_SEED, p50=_P50_TOKENS, p99=_P99_TOKENS, most=most)
    return _cut("log-normal", says, tokenizer, tokens, lengths)


def _cut(name: str, says: str, tokenizer: Tokenizer, tokens: int, lengths: Iterator[int]) -> Mix:
    cutter, rows, sum_tokens = Cutter(tokenizer), [], 0
    while sum_tokens < tokens:
        rows.append(cutter.cut(max(next(lengths), tokenizer.model.special_tokens + 1)))
        sum_tokens += len(rows[-1][1])
    return Mix(name, says, [text for text, _ in rows], [ids for _, ids in rows])


def _chunks(tokenizer: Tokenizer, tokens: int) -> Mix:
    found: list[tuple[str, list[int]]] = []
    count = -(-tokens // 1_500)
    for document in texts.documents(count, _DOCUMENT_CHARS):
        pieces = split(
            document, tokenizer=tokenizer, chunking=Chunking(), content_type="text/plain"
        )
        found += [(piece.text, list(piece.token_ids)) for piece in pieces]
        if sum(len(ids) for _, ids in found) >= tokens:
            break
    says = "what the chunk stage makes of documents of 8,000 characters"
    return Mix("chunks", says, [text for text, _ in found], [ids for _, ids in found])
