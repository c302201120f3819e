"""Load `tokenizer.json`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from embedpipe.errors import ModelFilesError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """Load a tokenizer that never truncates and never pads.

    The file may say otherwise: that of all-MiniLM-L6-v2 cuts at 128 tokens and pads to 128, while
    the model takes 256.

    Raises
    ------
    ModelFilesError
        It is none.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception:  # noqa: BLE001 - the library raises nothing narrower
        raise ModelFilesError(
            f"{path.name} is not a tokenizer, or of a kind unknown here"
        ) from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
