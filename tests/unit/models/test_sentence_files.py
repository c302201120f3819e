from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from embedpipe.errors import ModelFilesError
from embedpipe.models import sentence_files

from tests.sentence_directory import a_sentence_directory
from tests.tiny_model import CONFIG, MODULES, tiny_tokenizer_json

POOLING = "1_Pooling/config.json"
PROMPTS = "config_sentence_transformers.json"


def test_everything_is_read_from_its_own_files(tmp_path: Path) -> None:
    files = sentence_files.read(a_sentence_directory(tmp_path))

    assert files.pooling == "mean"
    assert files.is_normalized
    assert files.steps == (None,)
    assert files.max_tokens == 16
    assert (files.query_prefix, files.document_prefix) == ("q: ", "")
    assert files.licence == "mit"
    assert files.similarity == "cosine"


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_lasttoken": True}, "last_token"),
        ({"pooling_mode": "lasttoken", "include_prompt": True}, "last_token"),
        ({"pooling_mode": ["mean"]}, "mean"),
    ],
)
def test_old_and_new_names_of_poolings_are_known(
    tmp_path: Path, config: dict[str, Any], pooling: str
) -> None:
    assert sentence_files.read(a_sentence_directory(tmp_path, {POOLING: config})).pooling == pooling


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"pooling_mode_max_tokens": True}, "and is max_tokens"),
        ({"pooling_mode": ["cls", "mean"]}, "and is cls and mean"),
        ({}, "and is none"),
        ({"pooling_mode": "mean", "include_prompt": False}, "without the prompt"),
    ],
)
def test_another_pooling_is_refused(tmp_path: Path, config: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelFilesError, match=reason):
        sentence_files.read(a_sentence_directory(tmp_path, {POOLING: config}))


@pytest.mark.parametrize(
    ("described", "prefixes"),
    [
        ({}, ("", "")),
        ({"prompts": {"query": "q ", "passage": "p "}}, ("q ", "p ")),
        ({"prompts": {"query": "q ", "document": "d ", "passage": "p "}}, ("q ", "d ")),
        ({"prompts": {"query": "q "}, "default_prompt_name": "query"}, ("q ", "")),
        ({"prompts": {"sts": "s "}, "default_prompt_name": "sts"}, ("s ", "s ")),
        ({"prompts": {"query": "", "document": None}}, ("", "")),
        ({"prompts": {"sts": "s "}, "default_prompt_name": ["sts"]}, ("", "")),
    ],
)
def test_prompts_become_prefixes(
    tmp_path: Path, described: dict[str, Any], prefixes: tuple[str, str]
) -> None:
    files = sentence_files.read(a_sentence_directory(tmp_path, {PROMPTS: described}))

    assert (files.query_prefix, files.document_prefix) == prefixes


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"sentence_bert_config.json": {"max_seq_length": 7}}, 7),
        ({"sentence_bert_config.json": None}, None),
        (
            {
                "sentence_bert_config.json": {"max_seq_length": None},
                "config.json": {**CONFIG, "max_position_embeddings": 514},
                "tokenizer_config.json": {"model_max_length": 512},
            },
            512,
        ),
        (
            {
                "sentence_bert_config.json": None,
                "tokenizer_config.json": {"model_max_length": 1000000000000000019884624838656},
            },
            None,
        ),
        (
            {
                "sentence_bert_config.json": None,
                "sentence_roberta_config.json": {"max_seq_length": 9},
            },
            9,
        ),
    ],
)
def test_the_longest_input_is_what_the_files_allow(
    tmp_path: Path, files: dict[str, Any], expected: int | None
) -> None:
    assert sentence_files.read(a_sentence_directory(tmp_path, files)).max_tokens == expected


def test_the_encoder_may_lie_in_a_folder_of_its_own(tmp_path: Path) -> None:
    modules = [{"type": "x.Transformer", "path": "0_Transformer"}, *MODULES[1:]]
    directory = a_sentence_directory(
        tmp_path,
        {
            "modules.json": modules,
            "tokenizer.json": None,
            "0_Transformer/tokenizer.json": tiny_tokenizer_json(),
            "0_Transformer/config.json": CONFIG,
        },
    )

    files = sentence_files.read(directory)

    assert files.encoder == tmp_path / "0_Transformer"
    assert files.tokenizer == tmp_path / "0_Transformer" / "tokenizer.json"


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        ([*MODULES[:2], {"type": "x.CNN", "path": "2_CNN"}], "the module CNN cannot be computed"),
        ([{"type": "custom_st.Mine", "path": ""}], "begin with Transformer and Pooling"),
        ([{"kind": "x"}], "does not list modules"),
        ([{"type": "x.Transformer", "path": "../up"}, *MODULES[1:]], "lies outside"),
        ([MODULES[0], {"type": "x.Pooling", "path": "/etc"}], "lies outside"),
    ],
)
def test_modules_that_nobody_here_knows_are_refused(
    tmp_path: Path, modules: list[dict[str, str]], reason: str
) -> None:
    with pytest.raises(ModelFilesError, match=reason):
        sentence_files.read(a_sentence_directory(tmp_path, {"modules.json": modules}))


def test_a_directory_without_modules_leaves_the_pooling_open(tmp_path: Path) -> None:
    files = sentence_files.read(a_sentence_directory(tmp_path, {"modules.json": None}))

    assert files.pooling is None
    assert not files.is_normalized


def test_a_directory_without_a_tokenizer_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match=r"tokenizer\.json is missing; load and save"):
        sentence_files.read(a_sentence_directory(tmp_path, {"tokenizer.json": None}))


@pytest.mark.parametrize(
    "readme",
    [
        None,
        "# A model",
        "---\nlicense: [1\n---\n",
        "---\nlicense: 3\n---\n",
        "x---\n---\n",
        "---\nlicense: mit\ndate: 2023-99-99\n---\n",
        "---\nlicense: " + "[" * 5000 + "\n---\n",
    ],
)
def test_a_licence_that_is_not_named_is_unknown(tmp_path: Path, readme: str | None) -> None:
    files = sentence_files.read(a_sentence_directory(tmp_path, {"README.md": readme}))

    assert files.licence == "unknown"
