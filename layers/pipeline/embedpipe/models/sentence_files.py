"""What sentence-transformers' own files say of a model. Nothing of the directory is executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from embedpipe.domain.pooling import PoolingType
from embedpipe.errors import ModelFilesError
from embedpipe.models.manifest import TOKENIZER
from embedpipe.models.untrusted import child, read_any_json, read_json

POOLINGS: dict[str, PoolingType] = {"mean": "mean", "cls": "cls", "lasttoken": "last_token"}
_OLD_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
}
# Modules that leave a vector as it is while nothing is trained.
_IDLE = frozenset({"Dropout"})
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_MAX_README_BYTES = 1 << 20


@dataclass(frozen=True)
class SentenceFiles:
    """A model as its files describe it.

    Attributes
    ----------
    encoder
        The folder with `config.json` and the weights.
    pooling
        None when no file says how.
    steps
        Folders of the dense layers after pooling, in order; None stands for scaling to unit length.
    is_normalized
        Whether the model's last module scales to unit length.
    max_tokens
        None when no file says.
    """

    folder: Path
    encoder: Path
    config: Mapping[str, Any]
    tokenizer: Path
    pooling: PoolingType | None
    steps: tuple[Path | None, ...] = ()
    is_normalized: bool = False
    max_tokens: int | None = None
    query_prefix: str = ""
    document_prefix: str = ""
    is_lower_case: bool = False
    licence: str = "unknown"
    similarity: str | None = None


def read(folder: Path) -> SentenceFiles:
    """Read a directory that sentence-transformers or transformers saved.

    Raises
    ------
    ModelFilesError
        A file is damaged or missing, or says what cannot be computed here.
    """
    modules = _modules(folder)
    encoder = child(folder, modules[0][1]) if modules else folder
    sentence = _sentence_config(encoder)
    described = read_json(folder, "config_sentence_transformers.json")
    query, document = _prefixes(described)
    config = read_json(encoder, "config.json")
    after = modules[2:] if modules else []
    return SentenceFiles(
        folder=folder,
        encoder=encoder,
        config=config,
        tokenizer=_tokenizer(folder, encoder),
        pooling=_pooling(folder, modules),
        steps=tuple(_step(folder, kind, path) for kind, path in after if kind not in _IDLE),
        is_normalized=bool(after) and after[-1][0] == "Normalize",
        max_tokens=_max_tokens(sentence, config, encoder),
        query_prefix=query,
        document_prefix=document,
        is_lower_case=bool(sentence.get("do_lower_case")),
        licence=_licence(folder),
        similarity=described.get("similarity_fn_name"),
    )


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Give class and path of each module; none without `modules.json`."""
    found = read_any_json(folder, "modules.json")
    if found is None:
        return []
    try:
        modules = [(str(one["type"]).rsplit(".", 1)[-1], str(one["path"])) for one in found]
    except (TypeError, KeyError):
        raise ModelFilesError("modules.json does not list modules") from None
    kinds = [kind for kind, _ in modules]
    if kinds[:2] != ["Transformer", "Pooling"]:
        raise ModelFilesError(
            "modules.json must begin with Transformer and Pooling, and has "
            f"{', '.join(kinds[:4]) or 'nothing'}"
        )
    return modules


def _sentence_config(encoder: Path) -> dict[str, Any]:
    # Older models call the file after their architecture.
    for path in sorted(encoder.glob("sentence_*_config.json")):
        return read_json(encoder, path.name)
    return {}


def _pooling(folder: Path, modules: list[tuple[str, str]]) -> PoolingType | None:
    if not modules:
        return None
    config = read_json(child(folder, modules[1][1]), "config.json")
    if config.get("include_prompt") is False:
        raise ModelFilesError("pooling without the prompt's tokens is not supported")
    mode = config.get("pooling_mode")
    if mode is None:
        chosen = [name for name, on in config.items() if name.startswith("pooling_mode_") and on]
        modes = [_OLD_POOLINGS.get(name, name.removeprefix("pooling_mode_")) for name in chosen]
    else:
        modes = [str(one) for one in mode] if isinstance(mode, list) else [str(mode)]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise ModelFilesError(
            f"pooling must be one of mean, cls, last-token, and is {' and '.join(modes) or 'none'}"
        )
    return POOLINGS[modes[0]]


def _step(folder: Path, kind: str, path: str) -> Path | None:
    if kind == "Normalize":
        return None
    if kind == "Dense":
        return child(folder, path)
    raise ModelFilesError(f"the module {kind} cannot be computed here")


def _prefixes(described: Mapping[str, Any]) -> tuple[str, str]:
    """Give the prompts of queries and of documents; the default one for both if it has neither."""
    prompts = described.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(
        value is None or isinstance(value, str) for value in prompts.values()
    ):
        raise ModelFilesError("config_sentence_transformers.json: prompts are not texts")
    query = prompts.get("query") or ""
    document = next((prompts[name] for name in _DOCUMENT_PROMPTS if prompts.get(name)), "")
    if not query and not document:
        query = document = prompts.get(str(described.get("default_prompt_name"))) or ""
    return query, document


def _max_tokens(
    sentence: Mapping[str, Any], config: Mapping[str, Any], encoder: Path
) -> int | None:
    if (said := sentence.get("max_seq_length")) is not None:
        return _positive("max_seq_length", said)
    tokenizer = read_json(encoder, "tokenizer_config.json")
    limits = [config.get("max_position_embeddings"), tokenizer.get("model_max_length")]
    # Without a limit, transformers writes an astronomic number.
    known = [int(one) for one in limits if isinstance(one, int | float) and 0 < one <= 65_536]
    return min(known, default=None)


def _positive(name: str, value: object) -> int:
    if not isinstance(value, int) or value < 1:
        raise ModelFilesError(f"{name} is not a positive number")
    return value


def _tokenizer(folder: Path, encoder: Path) -> Path:
    for place in (encoder, folder):
        if (place / TOKENIZER).exists():
            return child(place, TOKENIZER)
    raise ModelFilesError(
        f"{TOKENIZER} is missing; load and save the tokenizer once with transformers to get it"
    )


def _licence(folder: Path) -> str:
    """Give the licence that the front matter of the README names."""
    readme = folder / "README.md"
    if not readme.is_file() or readme.stat().st_size > _MAX_README_BYTES:
        return "unknown"
    parts = readme.read_text(encoding="utf-8", errors="replace").split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return "unknown"
    try:
        front = yaml.safe_load(parts[1])
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a date that there is not
        return "unknown"
    licence = front.get("license") if isinstance(front, dict) else None
    return licence[:128] if isinstance(licence, str) else "unknown"
