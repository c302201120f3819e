"""The settings, their documentation and the template say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import annotated_types
import pytest
from embedpipe.settings import (
    ApiSettings,
    ChunkSettings,
    EmbedQueueSettings,
    EmbedSettings,
    MaintenanceSettings,
    Settings,
    StoreSettings,
)
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from tests.template import Stack, load_stack

ROOT = Path(__file__).parents[2]

READERS: dict[str, type[Settings]] = {
    "api": ApiSettings,
    "chunk": ChunkSettings,
    "embed": EmbedSettings,
    "store": StoreSettings,
    "maintenance": MaintenanceSettings,
}
#: Variables of libraries, which no settings class declares.
FOREIGN = re.compile(r"^(POWERTOOLS_[A-Z_]+|AWS_DEFAULT_REGION)$")

ROW = re.compile(r"^\| `([A-Z_]+)` \| (.+?) \| (.+) \| ([a-z, ]+) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def stack() -> Stack:
    return load_stack()


def fields(model: type[Settings]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def all_fields() -> dict[str, FieldInfo]:
    return {name: field for model in READERS.values() for name, field in fields(model).items()}


def documented() -> dict[str, tuple[str, str, str]]:
    """Give the rows of the page: variable -> default, meaning, readers."""
    rows = ROW.findall((ROOT / "docs/settings.md").read_text())
    assert len({row[0] for row in rows}) == len(rows), "a variable is documented twice"
    return {name: (default, meaning, readers) for name, default, meaning, readers in rows}


def variables(stack: Stack, reader: str) -> dict[str, Any]:
    if reader == "embed":
        [container] = stack.properties("EmbedTaskDefinition")["ContainerDefinitions"]
        return {entry["Name"]: entry["Value"] for entry in container["Environment"]}
    return dict(stack.function(f"{reader.title()}Function")["Environment"]["Variables"])


def bounds(field: FieldInfo) -> Iterator[float]:
    for rule in field.metadata:
        match rule:
            case annotated_types.Ge(ge=bound) | annotated_types.Gt(gt=bound):
                yield float(str(bound))
            case annotated_types.Le(le=bound) | annotated_types.Lt(lt=bound):
                yield float(str(bound))


def test_every_setting_is_documented_and_nothing_else() -> None:
    assert set(documented()) == set(all_fields())


@pytest.mark.parametrize("name", sorted(all_fields()))
def test_the_page_names_the_default(name: str) -> None:
    field = all_fields()[name]

    shown, _, _ = documented()[name]

    if field.is_required():
        assert shown == "*required*"
    elif field.default is None:
        assert shown == "-"
    elif isinstance(field.default, bool):
        assert shown == f"`{str(field.default).lower()}`"
    else:
        assert shown == f"`{field.default}`"


@pytest.mark.parametrize("name", sorted(all_fields()))
def test_the_page_names_the_range(name: str) -> None:
    expected = [
        f"{bound:g}" if bound % 1 else f"{bound:.0f}" for bound in bounds(all_fields()[name])
    ]

    _, meaning, _ = documented()[name]

    if len(expected) == 2:
        assert meaning.startswith("-".join(expected)), meaning


@pytest.mark.parametrize("name", sorted(all_fields()))
def test_the_page_names_who_reads_it(name: str) -> None:
    readers = [reader for reader, model in READERS.items() if name in fields(model)]

    _, _, shown = documented()[name]

    assert shown == ("all" if readers == list(READERS) else ", ".join(readers))


@pytest.mark.parametrize("reader", READERS)
def test_the_template_sets_no_unknown_variable(stack: Stack, reader: str) -> None:
    given = {name for name in variables(stack, reader) if not FOREIGN.match(name)}

    assert given - set(fields(READERS[reader])) == set()


@pytest.mark.parametrize("reader", READERS)
def test_the_template_sets_what_has_no_default(stack: Stack, reader: str) -> None:
    required = {name for name, field in fields(READERS[reader]).items() if field.is_required()}

    assert required - set(variables(stack, reader)) == set()


@pytest.mark.parametrize("reader", READERS)
def test_what_the_template_sets_is_in_range(stack: Stack, reader: str) -> None:
    environment = {name: stack.text(value) for name, value in variables(stack, reader).items()}

    settings = READERS[reader].from_environment(environment)

    assert settings.model_fields_set


@pytest.mark.parametrize("reader", READERS)
def test_the_template_puts_no_secret_into_the_environment(stack: Stack, reader: str) -> None:
    secrets = {
        name
        for name, field in fields(READERS[reader]).items()
        if SecretStr in (field.annotation, *get_args(field.annotation))
    }

    given = set(variables(stack, reader))

    assert "DATABASE_URL" in secrets
    assert secrets & given == set()


def test_every_pooled_function_keeps_few_connections(stack: Stack) -> None:
    for reader in ("api", "chunk", "store", "maintenance"):
        assert int(variables(stack, reader)["PGVECTOR_POOL_MAX_SIZE"]) <= 2


@pytest.mark.parametrize("reader", ["chunk", "embed", "maintenance"])
def test_a_lane_without_a_queue_of_its_own_is_left_to_the_normal_one(
    stack: Stack, reader: str
) -> None:
    environment = {name: stack.text(value) for name, value in variables(stack, reader).items()}
    lanes = {"high": "EMBED_HIGH_QUEUE_URL", "normal": "EMBED_QUEUE_URL"}
    settings = READERS[reader].from_environment(environment | {"EMBED_LOW_QUEUE_URL": ""})

    assert isinstance(settings, EmbedQueueSettings)
    urls = settings.embed_queue_urls()

    assert urls == {lane: environment[variable] for lane, variable in lanes.items()}
    assert list(urls) == ["high", "normal"]
