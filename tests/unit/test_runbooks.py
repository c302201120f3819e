"""Every alarm has its page, and every command of a page exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from botocore import xform_name
from botocore.session import Session
from embedpipe.cli import main

from tests.alarms.definitions import ALARM, COMPOSITE, SILENT, TAKES_BACK
from tests.template import load_stack

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
RUNBOOKS = [page for page in PAGES if page.stem != "README"]
PARTS = ("Meaning", "First look", "Act", "Verify")
#: Verbs of the AWS command line that are no operation of the service.
CUSTOM = {("logs", "tail")}


def pages_of_alarms() -> dict[str, str]:
    """Give the page that each alarm's description names, of those alarms that are ours to watch."""
    resources = load_stack().document["Resources"]
    return {
        name: found[1] if (found := re.search(r"docs/runbooks/([\w-]+)\.md$", text)) else ""
        for name, resource in resources.items()
        if resource["Type"] in (ALARM, COMPOSITE)
        and resource.get("Condition") not in {*SILENT, TAKES_BACK}
        for text in [resource["Properties"]["AlarmDescription"]]
    }


def commands(page: Path, program: str) -> Iterator[list[str]]:
    """Give the commands of a page, in blocks and in the text, without the program."""
    text = page.read_text()
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    inline = "\n".join(re.findall(r"`([^`\n]+)`", text))
    for line in f"{blocks}\n{inline}".splitlines():
        if line.startswith(f"{program} "):
            yield shlex.split(line)[1:]


@cache
def verbs_of_the_command_line() -> Any:
    main.mount()
    return typer.main.get_command(main.app)


def test_every_alarm_has_a_page_and_every_page_an_alarm() -> None:
    named = pages_of_alarms()

    assert set(named.values()) == {page.stem for page in RUNBOOKS}


def test_the_list_of_pages_names_every_alarm_that_tells_somebody() -> None:
    stack = load_stack()
    listed = dict(
        re.findall(
            r"^\| \[[\w-]+\]\(([\w-]+)\.md\) \| (.+) \|$", PAGES[0].read_text(), re.MULTILINE
        )
    )

    told = {
        name: page
        for name, page in pages_of_alarms().items()
        if "AlarmActions" in stack.properties(name)
    }

    assert {
        alarm: page for page, row in listed.items() for alarm in re.findall(r"\w+", row)
    } == told


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_a_page_says_what_it_means_where_to_look_what_to_do_and_how_to_see_that_it_helped(
    page: Path,
) -> None:
    assert re.findall(r"^\*\*([\w ]+)\.\*\*", page.read_text(), re.MULTILINE) == list(PARTS)
    assert list(commands(page, "embedpipe"))


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_every_command_of_a_page_exists_with_its_options(page: Path) -> None:
    verbs = verbs_of_the_command_line()
    for words in commands(page, "embedpipe"):
        command, rest = verbs, list(words)
        while hasattr(command, "commands"):
            assert rest[0] in command.commands, words
            command = command.commands[rest.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("-")} <= known, words


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_every_command_of_aws_exists_with_its_options(page: Path) -> None:
    session = Session()
    for service, verb, *rest in commands(page, "aws"):
        if (service, verb) in CUSTOM:
            continue
        model = session.get_service_model(service)
        operations = {xform_name(name, "-"): name for name in model.operation_names}
        assert verb in operations
        shape = model.operation_model(operations[verb]).input_shape
        assert shape is not None
        known = {f"--{xform_name(name, '-')}" for name in shape.members}
        assert {word for word in rest if word.startswith("--")} <= known
