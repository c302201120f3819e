"""Graphs built from weights give what transformers gave for the same weights.

Each file of tests/data/architectures holds a tiny model of random weights, its configuration, and
hidden states that transformers computed with torch; versions are in its metadata.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from embedpipe.domain.pooling import PoolingType
from embedpipe.models.graph.architectures import SUPPORTED, encoder_of
from embedpipe.models.graph.encoder import build, longest_input
from embedpipe.models.graph.nodes import OPSET
from embedpipe.models.graph.tail import Tail, append
from embedpipe.models.weights import Weights
from onnx import checker
from safetensors import safe_open

FOLDER = Path(__file__).resolve().parents[3] / "data" / "architectures"
NAMES = sorted(path.stem for path in FOLDER.glob("*.safetensors"))
LEAST_COSINE = 0.99999

Array = npt.NDArray[Any]


@cache
def recorded(name: str) -> tuple[dict[str, Any], list[dict[str, Any]], Weights]:
    """Give configuration, rows of ids with expected vectors, and weights."""
    path = FOLDER / f"{name}.safetensors"
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    return json.loads(metadata["config"]), json.loads(metadata["rows"]), Weights([path])


@cache
def session(name: str, how: PoolingType) -> Any:
    from onnxruntime import InferenceSession

    config, _, weights = recorded(name)
    encoder = encoder_of(config)
    model = append(build(encoder, weights), Tail(how), dimensions=encoder.width)
    checker.check_model(model, full_check=True)
    return InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def vector(name: str, how: PoolingType, ids: list[int], left: int = 0, right: int = 0) -> Array:
    mask = np.pad(np.ones((1, len(ids)), np.int64), ((0, 0), (left, right)))
    padded = np.pad(np.array([ids], np.int64), ((0, 0), (left, right)))
    [[found]] = session(name, how).run(None, {"input_ids": padded, "attention_mask": mask})
    return np.asarray(found)


def cosine(ours: Array, theirs: list[float]) -> float:
    expected = np.array(theirs)
    return float(ours @ expected / np.linalg.norm(expected) / np.linalg.norm(ours))


def test_every_supported_architecture_is_recorded() -> None:
    assert {recorded(name)[0]["model_type"] for name in NAMES} == set(SUPPORTED)


@pytest.mark.parametrize("name", NAMES)
def test_each_pooling_gives_the_vectors_of_transformers(name: str) -> None:
    for row in recorded(name)[1]:
        assert cosine(vector(name, "mean", row["ids"]), row["mean"]) >= LEAST_COSINE
        assert cosine(vector(name, "cls", row["ids"]), row["hidden"][0]) >= LEAST_COSINE
        assert cosine(vector(name, "last_token", row["ids"]), row["hidden"][1]) >= LEAST_COSINE


@pytest.mark.parametrize("how", ["mean", "cls", "last_token"])
@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet"])
def test_padding_on_either_side_changes_nothing(name: str, how: PoolingType) -> None:
    ids = recorded(name)[1][1]["ids"]

    plain = vector(name, how, ids)

    assert vector(name, how, ids, right=5) == pytest.approx(plain, abs=1e-5)
    assert vector(name, how, ids, left=5) == pytest.approx(plain, abs=1e-5)


def test_the_longest_recorded_input_is_the_longest_there_are_positions_for() -> None:
    for name in NAMES:
        config, rows, weights = recorded(name)

        assert longest_input(encoder_of(config), weights) == max(len(row["ids"]) for row in rows)


@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet"])
def test_no_operator_asks_for_a_shape_as_those_run_on_the_cpu_beside_a_gpu(name: str) -> None:
    config, _, weights = recorded(name)
    model = build(encoder_of(config), weights)

    assert not {"Shape", "Size", "NonZero"} & {node.op_type for node in model.graph.node}
    assert [one.version for one in model.opset_import] == [OPSET]
