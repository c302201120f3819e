from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from embedpipe import errors
from embedpipe.api import problems
from embedpipe.api.codes import CODES
from embedpipe.api.openapi import document, document_json
from embedpipe.api.table import OPERATIONS

from tests.unit.api.client import BASE

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "layers" / "pipeline" / "embedpipe"


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for item in value.values() for found in references(item)]
    if isinstance(value, list):
        return [found for item in value for found in references(item)]
    return []


def test_the_committed_document_is_what_the_code_says() -> None:
    committed = (ROOT / "docs" / "openapi.json").read_text(encoding="utf-8")

    assert committed == document_json(), "python -m embedpipe.api.openapi > docs/openapi.json"


def test_every_operation_is_in_the_document() -> None:
    found = {
        (method.upper(), path.removeprefix(BASE))
        for path, item in document()["paths"].items()
        for method in item
    }

    assert found == {(op.method, path.removeprefix(BASE)) for op in OPERATIONS for path in op.paths}


def test_every_operation_of_the_document_has_its_own_id() -> None:
    ids = [one["operationId"] for item in document()["paths"].values() for one in item.values()]

    assert len(set(ids)) == len(ids)


def test_every_reference_leads_somewhere() -> None:
    for reference in references(document()):
        node: Any = document()
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        assert node


def test_every_operation_has_its_own_id() -> None:
    assert len({op.name for op in OPERATIONS}) == len(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda op: op.name)
def test_problems_and_security_are_declared(operation: Any) -> None:
    described = document()["paths"][BASE + operation.path][operation.method.lower()]

    responses = set(described["responses"])
    assert {"400" if operation.is_openai else "422", "500"} <= responses
    assert ("403" in responses) == operation.is_for_admins
    assert ("401" in responses) == (not operation.is_public)
    assert (described.get("security") == []) == operation.is_public
    if operation.body is not None:
        assert {"400", "413", "415"} <= responses
    if "{" in operation.path:
        assert "404" in responses


def test_idempotency_key_and_location_are_declared() -> None:
    submit = document()["paths"][BASE + "/embeddings/jobs"]["post"]

    assert "Idempotency-Key" in [parameter["name"] for parameter in submit["parameters"]]
    assert "Location" in submit["responses"]["202"]["headers"]
    assert {"404", "409", "503"} <= set(submit["responses"])


def test_every_code_that_is_raised_has_a_title() -> None:
    own = {
        cls.code
        for module in (errors, problems)
        for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, errors.RequestError | errors.TransientError)
    }
    sources = [*(PACKAGE / "api").rglob("*.py"), *(PACKAGE / "stages" / "s").parent.glob("s*.py")]
    written = {
        code
        for source in sources
        for code in re.findall(r'code="([A-Z_]+)"', source.read_text(encoding="utf-8"))
    }

    assert written | own - {"BAD_REQUEST", "TRANSIENT"} <= set(CODES)
