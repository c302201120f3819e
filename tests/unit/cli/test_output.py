from __future__ import annotations

import io
import json

import pytest
import typer
from embedpipe.cli import output
from rich.console import Console

EVIL = "a\x1b]0;owned\x07b\x1b[2Jc\x9b31md\x7f"


def is_harmless(text: str) -> bool:
    return not any((ord(one) < 32 and one not in "\t\n") or 0x7F <= ord(one) < 0xA0 for one in text)


def test_text_of_others_does_nothing_to_the_terminal_in_a_table() -> None:
    console = Console(file=io.StringIO(), width=100)

    console.print(output.table("", ["note"], [(EVIL,)]))

    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert is_harmless(shown)
    assert "owned" in shown


def test_text_of_others_does_nothing_to_the_terminal_in_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit):
        output.fail(f"no such document: {EVIL}", "list them")

    assert is_harmless(capsys.readouterr().err)


def test_json_escapes_controls_and_keeps_their_meaning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.emit_json({"note": EVIL + "ü"})

    shown = capsys.readouterr().out
    assert is_harmless(shown)
    assert json.loads(shown) == {"note": EVIL + "ü"}
