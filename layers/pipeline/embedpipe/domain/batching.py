"""Which inputs to compute together."""

from __future__ import annotations

from collections.abc import Sequence

# How many items of one batch the planner looks back over. It bounds the planner's time to
# inputs * window; a batch of so many short inputs has long stopped gaining from one more.
WINDOW = 512


def plan_batches(
    lengths: Sequence[int], *, max_tokens: int, overhead_tokens: int
) -> list[list[int]]:
    """Cut inputs into inference batches so that the whole costs least.

    A batch costs its padded size, longest input times number of inputs, plus a fixed overhead.
    Sorted by length, the cheapest batches are neighbours, so the best cut is a shortest path.

    Parameters
    ----------
    lengths
        Tokens of each input, special tokens included, at least 1.
    max_tokens
        Largest padded size of a batch. An input longer than that stands alone.
    overhead_tokens
        What starting a batch costs, in tokens that could have been computed meanwhile; 0 or more.

    Returns
    -------
    Indices into `lengths`, each once; longest batch first, so that memory is taken once.

    Notes
    -----
    Source of the recurrence: Knuth & Plass (1981), Breaking Paragraphs into Lines, with the padded
    size for the badness of a line.

    Examples
    --------
    >>> plan_batches([3, 9, 3, 10], max_tokens=20, overhead_tokens=2)
    [[1, 3], [0, 2]]
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    cuts = _cuts([lengths[index] for index in order], max_tokens, overhead_tokens)
    return [order[start:end] for start, end in reversed(cuts)]


def _cuts(ascending: list[int], max_tokens: int, overhead: int) -> list[tuple[int, int]]:
    """Give half-open ranges that cover the list, in order."""
    best = [0] * (len(ascending) + 1)
    begins = [0] * (len(ascending) + 1)
    for end in range(1, len(ascending) + 1):
        longest = ascending[end - 1]
        # Below this start the batch would be over the limit, or wider than the window.
        first = end - max(1, min(max_tokens // max(longest, 1), WINDOW))
        cheapest = best[end - 1] + longest
        begin = end - 1
        cost = longest
        for start in range(end - 2, max(first, 0) - 1, -1):
            cost += longest
            total = best[start] + cost
            if total < cheapest:
                cheapest, begin = total, start
        best[end] = cheapest + overhead
        begins[end] = begin
    return _walk_back(begins)


def _walk_back(begins: list[int]) -> list[tuple[int, int]]:
    ranges = []
    end = len(begins) - 1
    while end > 0:
        ranges.append((begins[end], end))
        end = begins[end]
    return ranges[::-1]
