"""Make a model directory from a directory that sentence-transformers saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedpipe.domain.pooling import PoolingType
from embedpipe.errors import ModelFilesError
from embedpipe.models import acceptance, building, sentence_files, variants, weights
from embedpipe.models.acceptance import Judgement
from embedpipe.models.blueprint import Blueprint, draw
from embedpipe.models.fingerprint import fingerprint
from embedpipe.models.manifest import (
    FP32,
    GRAPH,
    MANIFEST,
    TOKENIZER,
    Manifest,
    Pooling,
    Precision,
)
from embedpipe.models.sentence_files import SentenceFiles
from embedpipe.models.tokenizer_file import load_tokenizer
from embedpipe.ports.models import ModelInfo

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Request:
    """What to make; None stands for what the directory's own files say.

    Attributes
    ----------
    matryoshka_dimensions
        Lengths that the vectors may be cut to, in any order.
    is_judged
        False for float32 alone, of a model whose vectors are compared with known ones.
    """

    model_id: str
    precisions: tuple[Precision, ...] = (FP32,)
    pooling: PoolingType | None = None
    query_prefix: str | None = None
    document_prefix: str | None = None
    max_tokens: int | None = None
    matryoshka_dimensions: tuple[int, ...] = ()
    price_usd_per_million_tokens: float = 0.0
    allow_batch_variance: bool = False
    replace: bool = False
    source: str | None = None
    licence: str | None = None
    is_judged: bool = True


@dataclass(frozen=True)
class Added:
    """What was made. `info` is None when nothing was, as fp32 was not accepted."""

    info: ModelInfo | None
    judgements: tuple[Judgement, ...]
    notes: tuple[str, ...]


def add(
    folder: Path,
    models_dir: Path,
    request: Request,
    *,
    report: variants.Report = lambda _: None,
) -> Added:
    """Make the directory of a model, complete or not at all.

    Parameters
    ----------
    report
        Told what is being done, for whoever waits.

    Raises
    ------
    ModelFilesError
        The model is there already, or cannot be made of these files, and why.
    """
    target = models_dir / request.model_id
    if (target.exists() or target.is_symlink()) and not request.replace:
        raise ModelFilesError(f"{request.model_id} is there already; --replace makes it anew")
    report("reading the directory")
    files = sentence_files.read(folder)
    blueprint = draw(files, request.pooling)
    with building.scratch(models_dir) as scratch:
        built = scratch / request.model_id
        built.mkdir()
        made, manifest, notes = make(built, files, blueprint, request, report=report)
        if manifest is None:
            return Added(None, made.judgements, notes)
        report("putting it in its place")
        building.put(built, target)
    return Added(manifest.info, made.judgements, notes)


def make(
    built: Path,
    files: SentenceFiles,
    blueprint: Blueprint,
    request: Request,
    *,
    report: variants.Report,
) -> tuple[variants.Made, Manifest | None, tuple[str, ...]]:
    """Make the graphs in a folder, and the manifest of what was accepted; notes for the reader."""
    how = request.pooling or files.pooling
    assert how is not None, "a blueprint has a pooling"
    pooling = Pooling(type=how, in_graph=True)
    (built / TOKENIZER).write_bytes(files.tokenizer.read_bytes())
    tokenizer = load_tokenizer(built / TOKENIZER)
    _check_tokenizer(tokenizer, files, blueprint)
    max_tokens, notes = _max_tokens(files, blueprint, request)
    if request.is_judged:
        made = variants.make(
            blueprint,
            built,
            acceptance.token_ids(built / TOKENIZER, max_tokens=max_tokens),
            pooling=pooling,
            precisions=request.precisions,
            allow_batch_variance=request.allow_batch_variance,
            report=report,
        )
    else:
        made = variants.make_unjudged(blueprint, built)
    notes += _remarks(files)
    if GRAPH not in made.files:
        return made, None, notes
    manifest = _manifest(
        built, files, blueprint, request, made=made, pooling=pooling, max_tokens=max_tokens
    )
    (built / MANIFEST).write_text(manifest.dump(), encoding="utf-8")
    return made, manifest, notes


def _manifest(
    built: Path,
    files: SentenceFiles,
    blueprint: Blueprint,
    request: Request,
    *,
    made: variants.Made,
    pooling: Pooling,
    max_tokens: int,
) -> Manifest:
    tokenizer = variants.pin(built / TOKENIZER)
    shown: dict[str, str | int | bool] = {
        "dimensions": blueprint.dimensions,
        "max_tokens": max_tokens,
        "special_tokens": special_tokens(built / TOKENIZER),
        "normalize": True,
        "query_prefix": _chosen(request.query_prefix, files.query_prefix),
        "document_prefix": _chosen(request.document_prefix, files.document_prefix),
    }
    weights_sha256 = weights.digest_of(list(blueprint.weight_files))
    values = {
        **shown,
        "model_id": request.model_id,
        "fingerprint": fingerprint(
            weights_sha256=weights_sha256,
            tokenizer_sha256=tokenizer.sha256,
            pooling=pooling.type,
            **shown,
        ),
        "pooling": pooling,
        "matryoshka_dimensions": tuple(sorted(set(request.matryoshka_dimensions), reverse=True)),
        "price_usd_per_million_tokens": request.price_usd_per_million_tokens,
        "licence": request.licence or files.licence,
        "source": request.source or f"the directory {files.folder.resolve().name}",
        "weights_sha256": weights_sha256,
        "files": {**made.files, TOKENIZER: tokenizer},
        "variants": made.variants,
    }
    return Manifest.validated(values)


def special_tokens(tokenizer: Path) -> int:
    """Give how many tokens a tokenizer adds to every input."""
    return int(load_tokenizer(tokenizer).num_special_tokens_to_add(is_pair=False))


def _chosen(given: str | None, said: str) -> str:
    return said if given is None else given


def _check_tokenizer(tokenizer: Tokenizer, files: SentenceFiles, blueprint: Blueprint) -> None:
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if blueprint.vocabulary is not None and largest >= blueprint.vocabulary:
        raise ModelFilesError(
            f"{TOKENIZER} has ids up to {largest}, the weights only up to "
            f"{blueprint.vocabulary - 1}"
        )
    normalizer = tokenizer.normalizer
    lowers = normalizer is not None and normalizer.normalize_str("ABC") == "abc"
    if files.is_lower_case and not lowers:
        raise ModelFilesError(f"do_lower_case is set, and {TOKENIZER} does not do it")


def _max_tokens(
    files: SentenceFiles, blueprint: Blueprint, request: Request
) -> tuple[int, tuple[str, ...]]:
    longest = blueprint.longest
    if request.max_tokens is not None:
        if longest is not None and request.max_tokens > longest:
            raise ModelFilesError(f"the model has positions for {longest} tokens only")
        return request.max_tokens, ()
    said = files.max_tokens
    if said is None and longest is None:
        raise ModelFilesError("no file says how long inputs may be; give --max-tokens")
    if longest is not None and (said is None or said > longest):
        note = f"its files allow {said} tokens; there are positions for {longest}"
        return longest, () if said is None else (note,)
    assert said is not None, "checked above"
    return said, ()


def _remarks(files: SentenceFiles) -> tuple[str, ...]:
    if files.is_normalized:
        return ()
    note = "its own files leave vectors unscaled; here they get unit length"
    if files.similarity == "dot":
        note += ", and results are ranked by cosine though it was trained for dot products"
    return (note,)
