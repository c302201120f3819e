"""Which inputs to compute together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def plan_batches(
    lengths: Sequence[int], *, max_tokens: int, overhead_tokens: int
) -> list[list[int]]:
    """Cut inputs into inference batches so that the whole costs little.

    A batch costs its padded size, longest input times number of inputs, plus a fixed overhead.

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

    Examples
    --------
    >>> plan_batches([3, 9, 3, 10], max_tokens=20, overhead_tokens=2)
    [[3, 1], [0, 2]]
    """
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        by_length.setdefault(length, []).append(index)
    counts = {length: len(indices) for length, indices in by_length.items()}
    cuts = cut_lengths(counts, max_tokens=max_tokens, overhead_tokens=overhead_tokens)
    batches: list[list[int]] = []
    longest_first = sorted(by_length, reverse=True)
    for cut in [*reversed(cuts[:-1]), 0]:
        part: list[int] = []
        while longest_first and longest_first[0] > cut:
            part += by_length[longest_first.pop(0)]
        begin = 0
        while begin < len(part):
            end = begin + fitting(lengths[part[begin]], max_tokens)
            batches.append(part[begin:end])
            begin = end
    return batches


def cut_lengths(counts: Mapping[int, int], *, max_tokens: int, overhead_tokens: int) -> list[int]:
    """Cut the axis of lengths into parts whose inputs are to share batches, at least cost.

    It works on how many inputs each length has, so its time does not grow with their number. What
    it gives holds for inputs that come later, too, as long as lengths are spread alike.

    Parameters
    ----------
    counts
        How many inputs, 1 or more, have each length.
    max_tokens, overhead_tokens
        As for `plan_batches`.

    Returns
    -------
    The longest length of each part, ascending.

    Notes
    -----
    Sorted by length, the cheapest parts are neighbours, so the best cut is a shortest path: Knuth &
    Plass (1981), Breaking Paragraphs into Lines, with the padded size for the badness of a line. A
    part of n inputs, the longest of them L, counts as L * n + overhead * ceil(n / fitting(L)).
    """
    ascending = sorted(counts)
    best = [0] * (len(ascending) + 1)
    begins = [0] * (len(ascending) + 1)
    for end, longest in enumerate(ascending, 1):
        fits = fitting(longest, max_tokens)
        inputs = padding = 0
        cheapest = -1
        for begin in range(end - 1, -1, -1):
            count = counts[ascending[begin]]
            inputs += count
            padding += (longest - ascending[begin]) * count
            # Cutting between all of these lengths would cost less, and also if it went on.
            if padding > overhead_tokens * (end - 1 - begin):
                break
            total = best[begin] + longest * inputs - overhead_tokens * (-inputs // fits)
            if total < cheapest or cheapest < 0:
                cheapest, begins[end] = total, begin
        best[end] = cheapest
    return _walk_back(ascending, begins)


def fitting(longest: int, max_tokens: int) -> int:
    """Say how many inputs, 1 or more, a batch with such a longest input may have."""
    return max(max_tokens // longest, 1)


def _walk_back(ascending: Sequence[int], begins: Sequence[int]) -> list[int]:
    cuts = []
    end = len(ascending)
    while end > 0:
        cuts.append(ascending[end - 1])
        end = begins[end]
    return cuts[::-1]
