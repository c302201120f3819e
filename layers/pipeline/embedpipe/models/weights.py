"""Weights from safetensors files. Nothing in such a file can be executed; pickles are refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedpipe.errors import ModelFilesError
from embedpipe.models.fingerprint import sha256_of
from embedpipe.models.untrusted import child, read_json

if TYPE_CHECKING:
    from embedpipe.models.graph.nodes import Array

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
# How weights were called when TensorFlow's names were kept.
_OLD_ENDINGS = {".gamma": ".weight", ".beta": ".bias"}
_ROOT = "embeddings.word_embeddings.weight"


class Weights(Mapping[str, "Array"]):
    """Tensors by name, read when they are asked for.

    Names are those of the bare encoder: what a model with a head puts in front is taken away.
    """

    def __init__(self, files: list[Path]) -> None:
        # It makes numpy know bfloat16.
        import ml_dtypes  # noqa: F401
        from safetensors import SafetensorError, safe_open

        self._found: dict[str, tuple[Any, str]] = {}
        for path in files:
            try:
                file: Any = safe_open(path, framework="numpy")
                names = list(file.keys())
            except SafetensorError as exc:
                raise ModelFilesError(f"{path.name} is not a safetensors file: {exc}") from None
            self._found |= {name: (file, name) for name in names}
        prefix = next((name[: -len(_ROOT)] for name in self._found if name.endswith(_ROOT)), "")
        self._found = {
            _modern(name.removeprefix(prefix)): value for name, value in self._found.items()
        }

    def __getitem__(self, name: str) -> Array:
        file, original = self._found[name]
        tensor: Array = file.get_tensor(original)
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def digest_of(files: list[Path]) -> str:
    """Give the digest of a file, or of the digests of several, in the order given."""
    digests = [sha256_of(path) for path in files]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def find(folder: Path) -> list[Path]:
    """Give the safetensors files of a folder, none when there are none.

    Raises
    ------
    ModelFilesError
        The index names a file that is not there, or outside the folder.
    """
    if (folder / SINGLE).exists():
        return [child(folder, SINGLE)]
    if not (folder / INDEX).exists():
        return []
    names = read_json(folder, INDEX).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ModelFilesError(f"{INDEX} names no files")
    return [child(folder, str(name)) for name in sorted(set(map(str, names.values())))]


def why_none(folder: Path) -> str:
    """Say why a folder without safetensors cannot be used."""
    if any((folder / name).exists() for name in PICKLES):
        return (
            "its weights are a pickle, which can execute code when it is read; "
            f"save them as {SINGLE} where you trust them"
        )
    return f"{SINGLE} is missing"


def _modern(name: str) -> str:
    for old, new in _OLD_ENDINGS.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
