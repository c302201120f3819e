from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedpipe.errors import ModelFilesError
from embedpipe.models import rejudge as rejudging
from embedpipe.models.add import Request, add
from embedpipe.models.directory import ModelDirectory
from embedpipe.models.manifest import Manifest
from embedpipe.models.rejudge import rejudge
from embedpipe.models.variants import pin
from safetensors.numpy import save

from tests.sentence_directory import a_sentence_directory
from tests.tiny_model import the_tiny_model, tiny_weights


def with_fp16(tmp_path: Path) -> ModelDirectory:
    request = Request(model_id="tiny", precisions=("fp16",))
    add(a_sentence_directory(tmp_path / "source"), tmp_path / "models", request)
    return ModelDirectory.read(tmp_path / "models" / "tiny")


def test_every_precision_is_judged_as_when_it_was_added(tmp_path: Path) -> None:
    directory = with_fp16(tmp_path)

    judgements = list(rejudge(directory))

    assert [one.precision for one in judgements] == ["fp32", "fp16"]
    assert all(one.accepted for one in judgements)
    written = directory.manifest.variants["fp16"].similarity.min
    assert judgements[1].similarity.min == pytest.approx(written, abs=1e-6)


def test_a_model_without_figures_is_judged_too() -> None:
    [judgement] = rejudge(the_tiny_model())

    assert judgement.accepted


def test_a_graph_of_other_weights_is_found_though_its_digest_is_right(tmp_path: Path) -> None:
    directory = with_fp16(tmp_path)
    weights = {key: np.roll(values, 1) for key, values in tiny_weights().items()}
    other = a_sentence_directory(tmp_path / "other", {"model.safetensors": save(weights)})
    add(other, tmp_path / "others", Request(model_id="tiny", precisions=("fp16",)))
    name = "model.fp16.onnx"
    (directory.path / name).write_bytes((tmp_path / "others" / "tiny" / name).read_bytes())
    values: dict[str, Any] = directory.manifest.model_dump(mode="json")
    values["files"][name] = pin(directory.path / name).model_dump()

    judgements = list(rejudge(ModelDirectory(directory.path, Manifest.model_validate(values))))

    assert [one.accepted for one in judgements] == [True, False]


def test_known_vectors_are_compared_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def unequal(_: ModelDirectory) -> float:
        raise ModelFilesError("the graph gives other vectors than expected")

    monkeypatch.setattr(rejudging, "compare", unequal)

    with pytest.raises(ModelFilesError, match="other vectors"):
        list(rejudge(the_tiny_model()))
