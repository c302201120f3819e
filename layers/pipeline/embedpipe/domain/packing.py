"""How many chunks a message holds: the embed message with its inputs, the store message after it.

The chunk stage cuts batches by these rules, and the capacity model counts messages by them.
"""

from __future__ import annotations

#: Messages stay below this whatever the queue takes: 256 KiB is the least that one can.
MOST_BODY_BYTES = 240 * 1024
#: More than the fields beside inputs or vectors ever take, non-ASCII characters escaped.
ENVELOPE_BYTES = 8 * 1024


def most_chunks(batch_chunks: int, dimensions: int, most_bytes: int = MOST_BODY_BYTES) -> int:
    """Say how many chunks a batch may have so that the vectors of all fit into a store message.

    Examples
    --------
    >>> most_chunks(64, 384), most_chunks(64, 1024)
    (64, 43)
    """
    vectors_fit = (most_bytes - ENVELOPE_BYTES) // base64_bytes(4 * dimensions)
    return max(1, min(batch_chunks, vectors_fit))


def tokens_bytes(tokens: int) -> int:
    """Say how much of a message the token ids of a chunk take at most.

    Four bytes a token before compression: what zlib makes of it is smaller, or hardly larger.
    """
    return base64_bytes(4 * tokens + 16)


def base64_bytes(size_bytes: int) -> int:
    """Give the length of so many bytes in base64."""
    return 4 * -(-size_bytes // 3)
