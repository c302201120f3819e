"""SQL statements and migrations, as files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

_HEADING = re.compile(r"^-- ([a-z_]+) --$", re.MULTILINE)
_MIGRATION = re.compile(r"^(\d{4})_([a-z0-9_]+)\.up\.sql$")


@cache
def _statements(noun: str) -> dict[str, str]:
    text = (files(__package__) / "queries" / f"{noun}.sql").read_text(encoding="utf-8")
    _, *parts = _HEADING.split(text)
    return {name: _bare(body) for name, body in zip(parts[::2], parts[1::2], strict=True)}


def _bare(body: str) -> str:
    return "\n".join(line for line in body.splitlines() if line and not line.startswith("--"))


def statement(noun: str, name: str) -> str:
    """Give a statement of `queries/<noun>.sql`, without its description."""
    return _statements(noun)[name]


@dataclass(frozen=True)
class Migration:
    """One numbered step of the schema, and its way back."""

    version: int
    name: str
    up: str
    down: str

    @property
    def sha256(self) -> str:
        """What tells whether an applied migration was edited afterwards."""
        return sha256(self.up.encode()).hexdigest()


@cache
def migrations() -> tuple[Migration, ...]:
    """Give all migrations, in order."""
    folder = files(__package__) / "migrations"
    found = []
    for entry in folder.iterdir():
        if match := _MIGRATION.match(entry.name):
            down = folder / entry.name.replace(".up.sql", ".down.sql")
            found.append(
                Migration(
                    version=int(match[1]),
                    name=match[2],
                    up=entry.read_text(encoding="utf-8"),
                    down=down.read_text(encoding="utf-8"),
                )
            )
    return tuple(sorted(found, key=lambda migration: migration.version))
