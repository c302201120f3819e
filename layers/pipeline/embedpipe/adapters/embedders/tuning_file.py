"""What was measured, kept beside the models: one small file per model, device and circumstance."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embedpipe.ports.models import Tuning

FOLDER = ".state"
# To be raised when what is measured changes.
_FORMAT = 1
_MAX_BYTES = 65_536
# What was measured while others took more of the processor is kept for an hour only: long enough
# for restarts, not for good.
_LEAST_SHARE = 0.8
_DISTURBED_S = 3600.0


@dataclass(frozen=True)
class Circumstance:
    """Everything that a measurement depends on: where one differs, it is measured again.

    Attributes
    ----------
    graph_sha256
        Of the graph's file: it may change under one fingerprint.
    runtime
        Name and version of the library that computes.
    device
        Name of the processor or GPU.
    cores
        Cores that the process may use.
    given
        What was not left to the measurement, as settings say it.
    """

    model_id: str
    fingerprint: str
    graph_sha256: str
    precision: str
    provider: str
    runtime: str
    device: str
    cores: int
    given: str

    @property
    def file_name(self) -> str:
        """A name of its own, that says what can be said."""
        text = json.dumps([_FORMAT, asdict(self)], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return f"{self.model_id}.{self.provider}.{self.precision}.{digest}.json"


class _Tuning(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_batch_tokens: int = Field(ge=1, le=1 << 24)
    overhead_tokens: int = Field(ge=0, le=1 << 24)
    streams: int = Field(ge=1, le=1024)
    threads: int = Field(ge=0, le=1024)
    tokens_per_s: float = Field(ge=0, le=1e12)


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    circumstance: dict[str, str | int]
    tuning: _Tuning
    share: float = Field(ge=0, le=1)


class TuningFiles:
    """The files of a folder with models. Several processes may use them at the same time."""

    def __init__(self, models_dir: Path, *, now: Callable[[], float] = time.time) -> None:
        self._folder = models_dir / FOLDER
        self._now = now

    def read(self, circumstance: Circumstance) -> Tuning | None:
        """Give what was measured under just this circumstance; None if nothing usable is there."""
        try:
            with (self._folder / circumstance.file_name).open("rb") as file:
                kept = _File.model_validate_json(file.read(_MAX_BYTES))
                age_s = self._now() - os.fstat(file.fileno()).st_mtime
        except (OSError, ValidationError):
            return None
        if kept.circumstance != asdict(circumstance):
            return None
        if kept.share < _LEAST_SHARE and age_s > _DISTURBED_S:
            return None
        return Tuning(**kept.tuning.model_dump())

    def write(
        self, circumstance: Circumstance, tuning: Tuning, *, share: float = 1.0
    ) -> str | None:
        """Keep what was measured; say why that was not possible, None when it was.

        Parameters
        ----------
        share
            How much of the processor's time the measurement got.
        """
        kept = {
            "circumstance": asdict(circumstance),
            "tuning": asdict(tuning),
            "share": round(share, 3),
        }
        text = json.dumps(kept, indent=2)
        scratch: str | None = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, scratch = tempfile.mkstemp(dir=self._folder, prefix=".", suffix=".tmp")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text + "\n")
            Path(scratch).replace(self._folder / circumstance.file_name)
        except OSError as exc:
            if scratch is not None:
                Path(scratch).unlink(missing_ok=True)
            return f"what was measured is not kept: {exc.strerror or type(exc).__name__}"
        return None

    def all(self) -> list[tuple[dict[str, str | int], Tuning]]:
        """List what was measured, whatever the circumstances; what cannot be read is left out."""
        found = []
        for path in sorted(self._folder.glob("[!.]*.json")):
            try:
                kept = _File.model_validate_json(path.read_bytes()[:_MAX_BYTES])
            except (OSError, ValidationError):
                continue
            found.append((kept.circumstance, Tuning(**kept.tuning.model_dump())))
        return found
