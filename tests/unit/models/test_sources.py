from __future__ import annotations

from pathlib import Path

from embedpipe.models.sources import MINILM

REQUIREMENTS = Path(__file__).resolve().parents[3] / "requirements" / "model.txt"


def test_the_requirements_file_holds_the_pin_of_the_package() -> None:
    assert REQUIREMENTS.read_text(encoding="utf-8").endswith(f"\n{MINILM.requirement}")
