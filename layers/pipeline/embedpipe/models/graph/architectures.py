"""The encoders that a graph is built for: what `config.json` says, and how weights are named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embedpipe.errors import ModelFilesError
from embedpipe.models.manifest import problems_of

Activation = Literal["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"]


@dataclass(frozen=True)
class Names:
    """Where the weights of a layer are, below the layer's own name; `.weight`, `.bias` follow."""

    layer: str
    query: str
    key: str
    value: str
    merge: str
    attention_norm: str
    inner: str
    outer: str
    output_norm: str


@dataclass(frozen=True)
class Encoder:
    """One architecture with its sizes.

    Attributes
    ----------
    first_position
        Row of the position table of an input's first token.
    skipped_id
        Token that takes no position of its own, None for none.
    relative_buckets
        Number of learned distances between tokens, None for absolute positions alone.
    """

    names: Names
    width: int
    heads: int
    layers: int
    epsilon: float
    activation: Activation
    first_position: int = 0
    skipped_id: int | None = None
    relative_buckets: int | None = None


BERT = Names(
    layer="encoder.layer.{}",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    merge="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    inner="intermediate.dense",
    outer="output.dense",
    output_norm="output.LayerNorm",
)
DISTILBERT = Names(
    layer="transformer.layer.{}",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    merge="attention.out_lin",
    attention_norm="sa_layer_norm",
    inner="ffn.lin1",
    outer="ffn.lin2",
    output_norm="output_layer_norm",
)
MPNET = Names(
    layer="encoder.layer.{}",
    query="attention.attn.q",
    key="attention.attn.k",
    value="attention.attn.v",
    merge="attention.attn.o",
    attention_norm="attention.LayerNorm",
    inner="intermediate.dense",
    outer="output.dense",
    output_norm="output.LayerNorm",
)


class _Config(BaseModel):
    """The part of `config.json` that shapes the graph; what it cannot express is refused."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    hidden_act: Activation = "gelu"
    hidden_size: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    layer_norm_eps: float = Field(default=1e-12, gt=0)

    def encoder(self, names: Names, **more: Any) -> Encoder:
        return Encoder(
            names=names,
            width=self.hidden_size,
            heads=self.num_attention_heads,
            layers=self.num_hidden_layers,
            epsilon=self.layer_norm_eps,
            activation=self.hidden_act,
            **more,
        )


class _BertConfig(_Config):
    position_embedding_type: Literal["absolute"] | None = "absolute"
    is_decoder: Literal[False] = False
    pad_token_id: int = Field(default=1, ge=0)


class _MpnetConfig(_Config):
    relative_attention_num_buckets: int = Field(default=32, ge=4)


class _DistilbertConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    activation: Activation = "gelu"
    dim: int = Field(ge=1)
    n_heads: int = Field(ge=1)
    n_layers: int = Field(ge=1)


def _bert(config: Mapping[str, Any]) -> Encoder:
    return _BertConfig.model_validate(config).encoder(BERT)


def _roberta(config: Mapping[str, Any]) -> Encoder:
    parsed = _BertConfig.model_validate(config)
    # Its position table keeps a row for padding, and rows before that which nothing uses.
    return parsed.encoder(
        BERT, first_position=parsed.pad_token_id + 1, skipped_id=parsed.pad_token_id
    )


def _mpnet(config: Mapping[str, Any]) -> Encoder:
    parsed = _MpnetConfig.model_validate(config)
    return parsed.encoder(
        MPNET,
        first_position=2,
        skipped_id=1,
        relative_buckets=parsed.relative_attention_num_buckets,
    )


def _distilbert(config: Mapping[str, Any]) -> Encoder:
    parsed = _DistilbertConfig.model_validate(config)
    return Encoder(
        names=DISTILBERT,
        width=parsed.dim,
        heads=parsed.n_heads,
        layers=parsed.n_layers,
        epsilon=1e-12,
        activation=parsed.activation,
    )


_ARCHITECTURES = {
    "bert": _bert,
    "roberta": _roberta,
    "xlm-roberta": _roberta,
    "camembert": _roberta,
    "distilbert": _distilbert,
    "mpnet": _mpnet,
}
SUPPORTED = tuple(_ARCHITECTURES)


def encoder_of(config: Mapping[str, Any]) -> Encoder:
    """Give the encoder that a `config.json` describes.

    Raises
    ------
    ModelFilesError
        No graph is built for it, or not for these settings of it.
    """
    kind = config.get("model_type")
    if kind not in _ARCHITECTURES:
        raise ModelFilesError(f"no graph is built for the architecture {kind}")
    try:
        return _ARCHITECTURES[kind](config)
    except ValidationError as exc:
        raise ModelFilesError(f"config.json: {problems_of(exc)}") from None
