from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedpipe.errors import ModelFilesError
from embedpipe.models import variants
from embedpipe.models.acceptance import Judgement
from embedpipe.models.add import Added, Request, add
from embedpipe.models.directory import ModelDirectory
from embedpipe.models.graph.files import save
from embedpipe.models.manifest import FP32, Pooling, Precision, Similarity
from embedpipe.models.runner import Runner

from tests.foreign_graphs import an_export, saved, with_sum
from tests.sentence_directory import a_sentence_directory
from tests.tiny_model import CONFIG, MODULES, the_tiny_model, tiny_tokenizer_json

IDS = [[2, 9, 30, 31, 34, 3], [2, 5, 3]]
POOLING = Pooling(type="mean", in_graph=True)


def added(tmp_path: Path, files: dict[str, Any] | None = None, **changes: Any) -> Added:
    directory = a_sentence_directory(tmp_path / "source", files)
    return add(directory, tmp_path / "models", Request(**{"model_id": "tiny", **changes}))


def made(tmp_path: Path) -> ModelDirectory:
    return ModelDirectory.read(tmp_path / "models" / "tiny")


def vectors(directory: ModelDirectory, precision: str = FP32) -> Any:
    runner = Runner(directory.graph(precision), directory.manifest.pooling)
    return np.concatenate([runner.embed([one]) for one in IDS])


def test_it_is_the_model_that_prepare_makes_from_the_same_files(tmp_path: Path) -> None:
    result = added(tmp_path, query_prefix="")

    assert result.info == the_tiny_model().info
    assert made(tmp_path).problems() == []
    assert vectors(made(tmp_path)) == pytest.approx(vectors(the_tiny_model()))


def test_what_the_files_say_is_in_the_manifest_with_what_was_measured(tmp_path: Path) -> None:
    added(
        tmp_path,
        precisions=("fp32", "fp16"),
        matryoshka_dimensions=(2, 4),
        price_usd_per_million_tokens=0.5,
    )

    manifest = made(tmp_path).manifest
    assert manifest.query_prefix == "q: "
    assert manifest.licence == "mit"
    assert manifest.info.matryoshka_dimensions == (4, 2)
    assert manifest.info.price_usd_per_million_tokens == 0.5
    assert manifest.variants["fp32"].similarity == Similarity(mean=1.0, min=1.0)
    assert manifest.variants["fp16"].batch_invariance >= 0.9999
    assert manifest.variants["fp16"].size == manifest.files["model.fp16.onnx"].bytes


def test_the_precision_and_what_it_may_be_cut_to_are_no_part_of_the_fingerprint(
    tmp_path: Path,
) -> None:
    plain = added(tmp_path)

    other = added(tmp_path, precisions=("w8",), matryoshka_dimensions=(4,), replace=True)

    assert plain.info is not None
    assert other.info is not None
    assert other.info.fingerprint == plain.info.fingerprint
    assert made(tmp_path).precisions == ("fp32", "w8")


@pytest.mark.parametrize(
    "change",
    [{"pooling": "cls"}, {"document_prefix": "d "}, {"query_prefix": ""}, {"max_tokens": 9}],
)
def test_what_is_given_counts_instead_of_the_files_and_makes_another_fingerprint(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    plain = added(tmp_path)

    other = added(tmp_path, **change, replace=True)

    assert plain.info is not None
    assert other.info is not None
    assert other.info.fingerprint != plain.info.fingerprint
    dumped = made(tmp_path).manifest.model_dump()
    assert {**dumped, **dumped["pooling"], "pooling": dumped["pooling"]["type"]}.items() >= (
        change.items()
    )


def test_a_model_that_is_there_is_replaced_only_when_that_is_asked_for(tmp_path: Path) -> None:
    added(tmp_path)
    before = (tmp_path / "models" / "tiny" / "embedpipe.yaml").stat().st_ino

    with pytest.raises(ModelFilesError, match="is there already; --replace"):
        added(tmp_path)

    assert (tmp_path / "models" / "tiny" / "embedpipe.yaml").stat().st_ino == before


def dense(**changes: Any) -> dict[str, Any]:
    from safetensors.numpy import save

    weight = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
    config = {
        "in_features": 8,
        "out_features": 3,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
        **changes,
    }
    modules = [*MODULES[:2], {"type": "x.Dense", "path": "2_Dense"}, MODULES[2]]
    return {
        "modules.json": modules,
        "2_Dense/config.json": config,
        "2_Dense/model.safetensors": save(
            {"linear.weight": weight, "linear.bias": np.ones(3, np.float32)}
        ),
    }


def test_a_dense_layer_gives_vectors_of_its_own_length(tmp_path: Path) -> None:
    result = added(tmp_path, dense())

    assert result.info is not None
    assert result.info.dimensions == 3
    assert result.info.fingerprint != the_tiny_model().info.fingerprint
    assert vectors(made(tmp_path)).shape == (2, 3)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (dense(use_residual=True), "more than a dense layer"),
        (dense(module_input_name="token_embeddings"), "more than a dense layer"),
        (dense(activation_function="mine.Activation"), r"mine\.Activation cannot be computed"),
        (dense(out_features=4), r"not of its config\.json"),
        (dense(out_features=0), "out_features"),
        (
            {**dense(), "2_Dense/model.safetensors": None, "2_Dense/pytorch_model.bin": b""},
            "2_Dense: its weights are a pickle",
        ),
        ({"model.safetensors": None}, r"model\.safetensors is missing"),
        ({"model.safetensors": None, "pytorch_model.bin": b""}, "are a pickle"),
        ({"config.json": {**CONFIG, "model_type": "modernbert"}}, "put its export beside it"),
        ({"config.json": {**CONFIG, "hidden_act": "silu"}}, "hidden_act"),
        ({"config.json": {**CONFIG, "num_hidden_layers": 3}}, r"lack encoder\.layer\.2"),
        ({"modules.json": None}, "give --pooling"),
        ({"sentence_bert_config.json": {"max_seq_length": 0}}, "not a positive number"),
    ],
)
def test_what_cannot_be_made_is_refused_with_the_reason_and_nothing_stays(
    tmp_path: Path, files: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ModelFilesError, match=reason):
        added(tmp_path, files)

    models_dir = tmp_path / "models"
    assert not models_dir.exists() or list(models_dir.iterdir()) == []


def test_more_tokens_than_there_are_positions_cannot_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match="positions for 16 tokens only"):
        added(tmp_path, max_tokens=17)


def test_more_tokens_in_the_files_than_positions_are_cut_with_a_note(tmp_path: Path) -> None:
    result = added(tmp_path, {"sentence_bert_config.json": {"max_seq_length": 99}})

    assert result.info is not None
    assert result.info.max_tokens == 16
    assert result.notes == ("its files allow 99 tokens; there are positions for 16",)


def test_a_tokenizer_with_ids_beyond_the_weights_is_refused(tmp_path: Path) -> None:
    tokenizer = json.loads(tiny_tokenizer_json())
    tokenizer["model"]["vocab"]["surplus"] = 40
    with pytest.raises(ModelFilesError, match="ids up to 40, the weights only up to"):
        added(tmp_path, {"tokenizer.json": tokenizer})


def test_a_tokenizer_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match=r"tokenizer\.json is not a tokenizer"):
        added(tmp_path, {"tokenizer.json": {}})


def test_lower_case_must_be_the_tokenizers_work(tmp_path: Path) -> None:
    asked = {"sentence_bert_config.json": {"max_seq_length": 16, "do_lower_case": True}}
    tokenizer = json.loads(tiny_tokenizer_json())
    tokenizer["normalizer"] = None

    assert added(tmp_path, asked).info is not None
    with pytest.raises(ModelFilesError, match="do_lower_case is set"):
        added(tmp_path, {**asked, "tokenizer.json": tokenizer}, replace=True)


def test_vectors_get_unit_length_also_where_the_files_leave_them(tmp_path: Path) -> None:
    result = added(
        tmp_path,
        {
            "modules.json": MODULES[:2],
            "config_sentence_transformers.json": {"similarity_fn_name": "dot"},
        },
    )

    assert np.linalg.norm(vectors(made(tmp_path)), axis=1) == pytest.approx(1)
    [note] = result.notes
    assert "ranked by cosine" in note


FOREIGN: dict[str, Any] = {
    "config.json": {**CONFIG, "model_type": "modernbert"},
    "model.safetensors": None,
}


@pytest.mark.parametrize("data", [None, "model.onnx_data"])
def test_an_export_gives_the_same_vectors_as_the_weights_it_was_made_of(
    tmp_path: Path, data: str | None
) -> None:
    saved(with_sum(an_export()), tmp_path / "source" / "onnx" / "model.onnx", data=data)

    result = added(tmp_path, FOREIGN, precisions=("fp32", "fp16", "w8"))

    assert made(tmp_path).precisions == ("fp32", "fp16", "w8")
    assert vectors(made(tmp_path)) == pytest.approx(vectors(the_tiny_model()), abs=1e-6)
    assert result.info is not None
    assert result.info.fingerprint != the_tiny_model().info.fingerprint


def test_the_vocabulary_of_an_export_is_that_of_its_configuration(tmp_path: Path) -> None:
    saved(an_export(), tmp_path / "source" / "model.onnx")

    with pytest.raises(ModelFilesError, match="the weights only up to 8"):
        added(tmp_path, {**FOREIGN, "config.json": {"model_type": "albert", "vocab_size": 9}})


def test_an_export_that_pools_keeps_its_own_pooling(tmp_path: Path) -> None:
    saved(an_export(is_pooled=True), tmp_path / "source" / "model.onnx")

    added(tmp_path, FOREIGN)

    assert vectors(made(tmp_path)) == pytest.approx(vectors(the_tiny_model()), abs=1e-6)


def test_an_export_that_does_not_say_how_long_inputs_may_be_needs_to_be_told(
    tmp_path: Path,
) -> None:
    saved(an_export(), tmp_path / "source" / "model.onnx")
    files = {**FOREIGN, "sentence_bert_config.json": None}

    with pytest.raises(ModelFilesError, match="give --max-tokens"):
        added(tmp_path, files)
    result = added(tmp_path, files, max_tokens=12)

    assert result.info is not None
    assert result.info.max_tokens == 12


def test_weights_beside_a_large_graph_are_pinned_and_verified_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "save", partial(save, largest=2_000))

    added(tmp_path, precisions=("w8",))

    directory = made(tmp_path)
    assert directory.manifest.graph_files("w8") == ("model.w8.onnx", "model.w8.onnx_data")
    assert directory.manifest.graph_files("fp32") == ("model.onnx", "model.onnx_data")
    assert vectors(directory, "w8").shape == (2, 8)
    (directory.path / "model.w8.onnx_data").write_bytes(b"damaged")
    with pytest.raises(ModelFilesError, match=r"model\.w8\.onnx_data of tiny is not the pinned"):
        directory.graph("w8")


def judging(monkeypatch: pytest.MonkeyPatch, *refused: Precision) -> None:
    """Let acceptance refuse these precisions."""

    def judge(precision: Precision, *_: Any, **__: Any) -> Judgement:
        reasons = ("too far off",) if precision in refused else ()
        return Judgement(precision, Similarity(mean=0.5, min=0.4), 0.9, reasons)

    monkeypatch.setattr(variants, "judge", judge)


def test_a_precision_that_is_refused_is_not_written_and_the_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging(monkeypatch, "w8")

    result = added(tmp_path, precisions=("fp16", "w8"))

    assert [one.accepted for one in result.judgements] == [True, True, False]
    assert made(tmp_path).precisions == ("fp32", "fp16")
    assert made(tmp_path).problems() == []


def test_nothing_is_made_when_fp32_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging(monkeypatch, "fp32")

    result = added(tmp_path, precisions=("fp16",))

    assert result.info is None
    assert [one.precision for one in result.judgements] == ["fp32"]
    assert list((tmp_path / "models").iterdir()) == []


def test_an_interruption_leaves_nothing_and_the_old_model_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(tmp_path)

    def interrupted(*_: Any, **__: Any) -> Sequence[Judgement]:
        raise KeyboardInterrupt

    monkeypatch.setattr(variants, "judge", interrupted)

    with pytest.raises(KeyboardInterrupt):
        added(tmp_path, replace=True)

    assert [path.name for path in (tmp_path / "models").iterdir()] == ["tiny"]
    assert made(tmp_path).problems() == []


def test_what_is_being_done_is_told(tmp_path: Path) -> None:
    told: list[str] = []

    add(
        a_sentence_directory(tmp_path / "source"),
        tmp_path / "models",
        Request(model_id="tiny", precisions=("w8",)),
        report=told.append,
    )

    assert [text.split(":")[0] for text in told] == [
        "reading the directory",
        *["fp32"] * 2,
        *["w8"] * 2,
        "putting it in its place",
    ]
