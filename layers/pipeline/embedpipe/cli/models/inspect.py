"""`embedpipe models list`, `verify` and `remove`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from embedpipe.cli.models.common import (
    DEFAULT_DIR,
    AsJson,
    ModelsDir,
    cleaned_up,
    failures,
    folders,
    megabytes,
    progress,
    wrong_usage,
)
from embedpipe.cli.models.figures import (
    judgements_json,
    model_json,
    show_judgements,
    show_models,
    sizes,
)
from embedpipe.cli.output import EXIT_FAILED, emit_json, fail
from embedpipe.errors import ModelFilesError
from embedpipe.models import building
from embedpipe.models.acceptance import Judgement
from embedpipe.models.directory import ModelDirectory
from embedpipe.models.runner import Device


def list_command(models_dir: ModelsDir = DEFAULT_DIR, as_json: AsJson = False) -> None:
    """List the models at hand; their files are not read.

    Exit code 1 when a folder is none.
    """
    models, unreadable = [], []
    with failures(as_json):
        for path in folders(models_dir):
            try:
                models.append(ModelDirectory.read(path))
            except (ModelFilesError, FileNotFoundError):
                unreadable.append(f"{path.name}: {'; '.join(_problems(path))}")
    if as_json:
        emit_json([model_json(one) for one in models])
    elif models:
        show_models(models)
    elif not unreadable:
        typer.echo(
            f"no models in {models_dir}; `embedpipe models add DIRECTORY` or "
            "`embedpipe models prepare` makes one"
        )
    if unreadable:
        fail("\n".join(unreadable), "see what `embedpipe models verify` says")


def verify_command(
    model_id: Annotated[str | None, typer.Argument(help="One model; all if left out.")] = None,
    models_dir: ModelsDir = DEFAULT_DIR,
    deep: Annotated[
        bool, typer.Option("--deep", help="Compute the built-in texts again, on this machine.")
    ] = False,
    device: Annotated[Device, typer.Option(help="Where --deep computes.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Check the digest of every file, and that there are no others."""
    paths = [path for path in folders(models_dir) if model_id in (None, path.name)]
    problems = {path.name: _problems(path) for path in paths}
    judged: dict[str, list[Judgement]] = {}
    for path in paths if deep else []:
        if not problems[path.name]:
            judged[path.name], problems[path.name] = _judged(path, device, as_json)
    if not paths:
        problems[model_id or str(models_dir)] = ["there is no model"]
    if as_json:
        emit_json(_as_json(problems, judged) if deep else problems)
    else:
        _show(problems, judged)
    if any(problems.values()):
        raise typer.Exit(EXIT_FAILED)


def remove_command(
    model_id: Annotated[str, typer.Argument(help="Which.")],
    models_dir: ModelsDir = DEFAULT_DIR,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a model from this disk. Vectors made with it stay, and cannot be searched without it.

    A worker that has it loaded goes on with it until it is started again.
    """
    target = next((path for path in folders(models_dir) if path.name == model_id), None)
    if target is None:
        fail(f"there is no model {model_id} in {models_dir}")
    size = sum(path.lstat().st_size for path in target.rglob("*"))
    if not yes:
        if as_json:
            wrong_usage("--json does not ask; give --yes")
        typer.echo(f"{_described(target)}, {megabytes(size)}", err=True)
        if not typer.confirm("Remove it?", err=True):
            fail("nothing was removed")
    with cleaned_up(), failures(as_json):
        building.remove(target)
    if as_json:
        emit_json({"removed": model_id, "bytes": size})
    else:
        typer.echo(f"{model_id}: removed, {megabytes(size)}")


def _described(target: Path) -> str:
    try:
        directory = ModelDirectory.read(target)
    except (ModelFilesError, FileNotFoundError):
        return f"{target}: not a whole model"
    return f"{target}: {', '.join(sizes(directory))}, fingerprint {directory.info.fingerprint[:12]}"


def _problems(path: Path) -> list[str]:
    try:
        return ModelDirectory.read(path).problems()
    except ModelFilesError as exc:
        return [exc.message]
    except FileNotFoundError:
        return ["it has no manifest"]


def _judged(path: Path, device: Device, as_json: bool) -> tuple[list[Judgement], list[str]]:
    from embedpipe.models.rejudge import rejudge

    judgements: list[Judgement] = []
    try:
        with progress(as_json) as report:
            for one in rejudge(ModelDirectory.read(path), device=device, report=report):
                judgements.append(one)
    except ModelFilesError as exc:
        return judgements, [exc.message]
    return judgements, [
        f"{one.precision}: {reason}" for one in judgements for reason in one.reasons
    ]


def _show(problems: dict[str, list[str]], judged: dict[str, list[Judgement]]) -> None:
    for name, found in problems.items():
        if name in judged:
            show_judgements(name, judged[name])
        typer.echo(f"{name}: {'; '.join(found) or 'all files are the pinned ones'}")


def _as_json(
    problems: dict[str, list[str]], judged: dict[str, list[Judgement]]
) -> dict[str, dict[str, Any]]:
    return {
        name: {"problems": found, "precisions": judgements_json(judged.get(name, []))}
        for name, found in problems.items()
    }
