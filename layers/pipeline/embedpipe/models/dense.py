"""Dense layers after pooling, as sentence-transformers saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embedpipe.errors import ModelFilesError
from embedpipe.models import weights
from embedpipe.models.graph.tail import Dense
from embedpipe.models.manifest import problems_of
from embedpipe.models.untrusted import read_json

_ACTIVATIONS: dict[str, Literal["identity", "tanh"]] = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.Tanh": "tanh",
}


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    in_features: int = Field(ge=1, le=16_000)
    out_features: int = Field(ge=1, le=16_000)
    bias: bool = True
    activation_function: str = "torch.nn.modules.activation.Tanh"
    module_input_name: str = "sentence_embedding"
    module_output_name: str | None = None
    use_residual: bool = False


def read(folder: Path) -> tuple[Dense, list[Path]]:
    """Read a layer, and name the files that its numbers came from.

    Raises
    ------
    ModelFilesError
        It does more than a matrix, a bias and a simple activation, or its weights are a pickle.
    """
    try:
        config = _Config.model_validate(read_json(folder, "config.json"))
    except ValidationError as exc:
        raise ModelFilesError(f"{folder.name}/config.json: {problems_of(exc)}") from None
    activation = _ACTIVATIONS.get(config.activation_function)
    if activation is None:
        raise ModelFilesError(
            f"{folder.name}: the activation {config.activation_function} cannot be computed here"
        )
    moved = {config.module_input_name, config.module_output_name or config.module_input_name}
    if config.use_residual or moved != {"sentence_embedding"}:
        raise ModelFilesError(f"{folder.name} is more than a dense layer on the vector")
    files = weights.find(folder)
    if not files:
        raise ModelFilesError(f"{folder.name}: {weights.why_none(folder)}")
    found = weights.Weights(files)
    shape = (config.out_features, config.in_features)
    needed = {"linear.weight", "linear.bias"} if config.bias else {"linear.weight"}
    if needed - found.keys() or found["linear.weight"].shape != shape:
        raise ModelFilesError(f"{folder.name}: the weights are not of its config.json")
    bias = found["linear.bias"] if config.bias else None
    return Dense(found["linear.weight"], bias, activation), files
