"""Who takes part, and how each is started."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.engine.child import Child
from bench.engine.environments import SCRATCH, environment, extra_packages
from bench.engine.rig import MODEL_ID

LIMIT = "bare session.run"

_BATCHES = (2, 4, 8, 16, 32, 64)
_START_TIMEOUT_S = 240.0
_OFFLINE = {"HF_HUB_OFFLINE": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0", "DO_NOT_TRACK": "1"}


@dataclass(frozen=True)
class Engine:
    """One engine.

    Attributes
    ----------
    packages
        The pins of what it needs: a rival's whole environment, or what ours needs in addition.
    settings
        Settings of our worker that differ from its defaults.
    batches, default_batch
        Inputs at once that a rival is tried with, and what it takes when nothing is said.
    """

    name: str
    kind: Literal["limit", "ours", "rival"]
    module: str
    arguments: tuple[str, ...] = ()
    packages: str | None = None
    settings: dict[str, str] = field(default_factory=dict)
    batches: tuple[int, ...] = ()
    default_batch: int = 0

    def start(self, texts: Path, models_dir: Path, model: Callable[[], Path]) -> Child:
        """Make what it needs, and start it.

        Parameters
        ----------
        model
            Gives the folder of the model for rivals.

        Raises
        ------
        CannotInstallError, ChildError
            It cannot be installed, or does not start.
        """
        python, env, first = sys.executable, dict[str, str](), dict[str, object]()
        if self.kind == "rival":
            scratch = SCRATCH / "scratch" / self.name
            scratch.mkdir(parents=True, exist_ok=True)
            python, env = str(environment(self.packages or self.name)), _OFFLINE
            graph = models_dir / MODEL_ID / "model.onnx"
            first = {"model": str(model()), "graph": str(graph), "scratch": str(scratch)}
        else:
            first = {"models_dir": str(models_dir), "settings": self.settings}
            if self.packages is not None:
                env = {"PYTHONPATH": str(extra_packages(self.packages))}
        return Child(
            [python, "-m", self.module, *self.arguments],
            {"mixes": str(texts), **first},
            log=SCRATCH / f"{self.name.replace(' ', '-')}.log",
            env=env,
            timeout_s=_START_TIMEOUT_S,
        )


ENGINES = (
    Engine(LIMIT, "limit", "bench.engine.limit"),
    Engine("embedpipe", "ours", "bench.engine.ours"),
    Engine("embedpipe int8", "ours", "bench.engine.ours", settings={"EMBED_PRECISION": "int8"}),
    Engine(
        "embedpipe bf16 OpenVINO",
        "ours",
        "bench.engine.ours",
        packages="openvino",
        settings={"EMBED_PRECISION": "bf16"},
    ),
    Engine(
        "sentence-transformers torch",
        "rival",
        "bench.engine.rivals.sentence_transformers",
        ("torch",),
        packages="st-torch",
        batches=_BATCHES,
        default_batch=32,
    ),
    Engine(
        "sentence-transformers onnx",
        "rival",
        "bench.engine.rivals.sentence_transformers",
        ("onnx",),
        packages="st-onnx",
        batches=_BATCHES,
        default_batch=32,
    ),
    Engine(
        "fastembed",
        "rival",
        "bench.engine.rivals.fastembed",
        packages="fastembed",
        batches=_BATCHES,
        default_batch=256,
    ),
    Engine(
        "infinity torch",
        "rival",
        "bench.engine.rivals.infinity",
        packages="infinity",
        batches=_BATCHES,
        default_batch=32,
    ),
)
