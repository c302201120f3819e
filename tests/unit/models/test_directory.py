from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from embedpipe.errors import ModelFilesError
from embedpipe.models.directory import GRAPH, MANIFEST, TOKENIZER, Manifest, ModelDirectory

from tests.tiny_model import W8, a_tiny_model, the_tiny_model, with_w8


def a_manifest(**changes: Any) -> str:
    return yaml.safe_dump({**the_tiny_model().manifest.model_dump(), **changes})


def test_a_prepared_directory_has_no_problems(tmp_path: Path) -> None:
    assert a_tiny_model(tmp_path).problems() == []


def test_a_manifest_survives_being_written_and_read() -> None:
    manifest = the_tiny_model().manifest

    assert Manifest.parse(manifest.dump()) == manifest


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not YAML"),
        ("source: 2023-99-99", "not YAML"),
        ("[" * 5000, "not YAML"),
        ("- a", "manifest"),
        ("!!python/object/apply:os.getcwd []", "not YAML"),
        (a_manifest(surprise=1), "surprise"),
        (a_manifest(format=2), "format"),
        (a_manifest(model_id="../up"), "model_id"),
        (a_manifest(max_tokens=17), "fingerprint does not follow"),
        (a_manifest(fingerprint="0" * 64), "fingerprint does not follow"),
        (a_manifest(files={}), "lacks model.onnx, tokenizer.json"),
        (a_manifest(files={"../model.onnx": {"sha256": "0" * 64, "bytes": 1}}), "files"),
        (a_manifest(variants={"w8": W8}), "lacks model.w8.onnx"),
        (a_manifest(variants={"fp32": W8}), "lacks|is model.onnx"),
        (a_manifest(variants={"fp64": W8}), "variants.fp64"),
        (a_manifest(matryoshka_dimensions=[8]), "below dimensions"),
        (a_manifest(matryoshka_dimensions=[2, 4]), "must fall"),
        (a_manifest(files={"run.py": {"sha256": "0" * 64, "bytes": 1}}), "files"),
    ],
)
def test_a_bad_manifest_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ModelFilesError, match=reason):
        Manifest.parse(text)


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    directory = a_tiny_model(tmp_path)
    graph = directory.path / GRAPH
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)

    assert directory.problems() == ["model.onnx of tiny is not the pinned file"]
    with pytest.raises(ModelFilesError, match="not the pinned file"):
        directory.file(GRAPH)


def test_extra_and_missing_files_are_found(tmp_path: Path) -> None:
    directory = a_tiny_model(tmp_path)
    (directory.path / TOKENIZER).unlink()
    (directory.path / "hook.py").write_text("")

    assert directory.problems() == [
        "tokenizer.json is missing",
        "hook.py is not in the manifest",
    ]


def test_a_link_is_refused_even_to_the_right_bytes(tmp_path: Path) -> None:
    directory = a_tiny_model(tmp_path)
    elsewhere = (directory.path / GRAPH).rename(tmp_path / "elsewhere.onnx")
    (directory.path / GRAPH).symlink_to(elsewhere)

    assert directory.problems() == ["model.onnx is not a regular file"]


def test_a_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    directory = a_tiny_model(tmp_path / "real")
    (tmp_path / "tiny").symlink_to(directory.path)

    with pytest.raises(ModelFilesError, match="is a link"):
        ModelDirectory.read(tmp_path / "tiny")


def test_a_directory_named_after_another_model_is_refused(tmp_path: Path) -> None:
    directory = a_tiny_model(tmp_path)
    moved = directory.path.rename(tmp_path / "other")

    with pytest.raises(ModelFilesError, match="holds the model tiny"):
        ModelDirectory.read(moved)


def test_a_manifest_too_large_to_be_one_is_not_read(tmp_path: Path) -> None:
    directory = a_tiny_model(tmp_path)
    with (directory.path / MANIFEST).open("a") as file:
        file.write("#" * 70_000)

    with pytest.raises(ModelFilesError, match="larger than"):
        ModelDirectory.read(directory.path)


def test_a_file_outside_the_manifest_is_not_given() -> None:
    with pytest.raises(ModelFilesError, match="not a file of tiny"):
        the_tiny_model().file("config.json")


def test_a_manifest_without_precisions_has_the_one_graph(tmp_path: Path) -> None:
    directory = a_tiny_model(tmp_path)

    assert directory.precisions == ("fp32",)
    assert directory.graph() == directory.path / GRAPH
    assert "variants" not in (directory.path / MANIFEST).read_text()


def test_each_accepted_precision_has_its_graph_and_does_not_change_the_fingerprint(
    tmp_path: Path,
) -> None:
    plain = a_tiny_model(tmp_path)

    directory = with_w8(plain)

    assert directory.precisions == ("fp32", "w8")
    assert directory.graph("w8").read_bytes() == b"weights 8"
    assert directory.graph("fp32") == directory.path / GRAPH
    assert directory.problems() == []
    assert directory.info == plain.info


def test_a_precision_that_was_not_accepted_is_not_given(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match="tiny has no int8 graph; it has fp32"):
        a_tiny_model(tmp_path).graph("int8")


def test_a_changed_byte_of_a_precision_is_found_when_it_is_asked_for(tmp_path: Path) -> None:
    directory = with_w8(a_tiny_model(tmp_path))
    (directory.path / "model.w8.onnx").write_bytes(b"weights 9")

    with pytest.raises(ModelFilesError, match="not the pinned file"):
        directory.graph("w8")
    assert directory.graph("fp32").name == GRAPH


def test_lengths_that_vectors_may_be_cut_to_do_not_change_the_fingerprint() -> None:
    manifest = Manifest.parse(a_manifest(matryoshka_dimensions=[4, 2]))

    assert manifest.info.matryoshka_dimensions == (4, 2)
    assert manifest.fingerprint == the_tiny_model().info.fingerprint
