"""Every route against no key, a wrong key and another tenant's ids."""

from __future__ import annotations

from typing import Any

import pytest
from embedpipe.adapters.memory import MemoryDatabase
from embedpipe.api.table import OPERATIONS
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.jobs import JobRef

from tests.contract.test_dlq_entries import an_entry
from tests.unit.api.client import ADMIN_KEY, Client

PUBLIC = {
    ("GET", "/embeddings/health"),
    ("GET", "/embeddings/ready"),
    ("GET", "/schemas/{name}.json"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
}

# What another tenant's key gets for ids of the tenant `default`: a code, or None where the answer
# holds only what is the caller's own. A route that is not here fails the test.
OTHERS: dict[tuple[str, str], str | None] = {
    ("POST", "/embeddings/jobs"): "COLLECTION_NOT_FOUND",
    ("GET", "/embeddings/jobs"): None,
    ("GET", "/embeddings/jobs/{job_id}"): "JOB_NOT_FOUND",
    ("DELETE", "/embeddings/jobs/{job_id}"): "JOB_NOT_FOUND",
    ("GET", "/embeddings/jobs/{job_id}/embeddings"): "JOB_NOT_FOUND",
    ("POST", "/vector_stores/{collection}/search"): "COLLECTION_NOT_FOUND",
    ("POST", "/collections"): None,
    ("GET", "/collections"): None,
    ("GET", "/collections/{collection}"): "COLLECTION_NOT_FOUND",
    ("DELETE", "/collections/{collection}"): "COLLECTION_NOT_FOUND",
    ("GET", "/collections/{collection}/statistics"): "COLLECTION_NOT_FOUND",
    ("GET", "/collections/{collection}/documents"): "COLLECTION_NOT_FOUND",
    ("PUT", "/collections/{collection}/documents/{document_id}"): "COLLECTION_NOT_FOUND",
    ("GET", "/collections/{collection}/documents/{document_id}"): "DOCUMENT_NOT_FOUND",
    ("DELETE", "/collections/{collection}/documents/{document_id}"): "DOCUMENT_NOT_FOUND",
    ("POST", "/collections/{collection}/documents/{document_id}/restore"): "DOCUMENT_NOT_FOUND",
    ("POST", "/embeddings"): None,
    ("POST", "/embeddings/batch"): None,
    ("GET", "/embeddings/models"): None,
    ("POST", "/embeddings/models/warmup"): None,
    ("GET", "/embeddings/circuit-breakers"): None,
    ("POST", "/embeddings/circuit-breakers/{provider}/reset"): None,
    ("GET", "/embeddings/stage/control"): None,
    ("POST", "/embeddings/stage/control"): None,
}

# What whoever runs the deployment may: it sees the jobs of all tenants, and no text of theirs.
OPERATORS = {
    ("GET", "/embeddings/orchestrator/summary"),
    ("GET", "/embeddings/orchestrator/events"),
    ("GET", "/embeddings/metrics"),
    ("GET", "/metrics"),
    ("GET", "/embeddings/orchestrator/jobs"),
    ("GET", "/embeddings/orchestrator/workers"),
    ("POST", "/embeddings/orchestrator/reset-stuck"),
    ("POST", "/embeddings/orchestrator/cleanup"),
    ("POST", "/embeddings/orchestrator/clear"),
    ("POST", "/embeddings/job/skip"),
    ("GET", "/embeddings/job/skip/status"),
    ("GET", "/embeddings/audit"),
    ("GET", "/embeddings/dlq"),
    ("POST", "/embeddings/dlq/state"),
    ("POST", "/embeddings/dlq/requeue"),
    ("POST", "/embeddings/dlq/redrive"),
    ("GET", "/embeddings/dlq/redrive"),
    ("POST", "/embeddings/dlq/redrive/cancel"),
    ("POST", "/embeddings/dlq/refresh"),
}

ADMINS = OPERATORS | {
    ("POST", "/embeddings/models/warmup"),
    ("GET", "/embeddings/circuit-breakers"),
    ("POST", "/embeddings/circuit-breakers/{provider}/reset"),
    ("GET", "/embeddings/stage/control"),
    ("POST", "/embeddings/stage/control"),
}

BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/embeddings/jobs"): {"content": "x", "collection": "private"},
    ("POST", "/vector_stores/{collection}/search"): {"query": "x"},
    ("POST", "/collections"): {"collection": "private"},
    ("PUT", "/collections/{collection}/documents/{document_id}"): {"content": "x"},
    ("POST", "/embeddings"): {"input": "x", "model": "fake"},
    ("POST", "/embeddings/batch"): {"inputs": ["x"], "model": "fake"},
    ("POST", "/embeddings/models/warmup"): {"provider": "onnx", "model_id": "fake"},
    ("POST", "/embeddings/stage/control"): {"stage": "embed", "action": "resume"},
    ("POST", "/embeddings/orchestrator/reset-stuck"): {"idle_seconds": 0},
    ("POST", "/embeddings/orchestrator/cleanup"): {"days": 0},
    ("POST", "/embeddings/orchestrator/clear"): {},
    ("POST", "/embeddings/job/skip"): {"job_id": "{job_id}"},
    ("POST", "/embeddings/dlq/state"): {"stage": "embed", "entry_id": "m-1", "state": "ignored"},
    ("POST", "/embeddings/dlq/requeue"): {"stage": "embed"},
    ("POST", "/embeddings/dlq/redrive"): {"stage": "chunk", "operator_note": "mended"},
    ("POST", "/embeddings/dlq/redrive/cancel"): {"stage": "embed"},
    ("POST", "/embeddings/dlq/refresh"): {},
}

QUERIES = {
    ("GET", "/embeddings/job/skip/status"): "job_id={job_id}",
    ("GET", "/embeddings/dlq/redrive"): "stage=embed",
}

ROUTES = [(operation.method, operation.path) for operation in OPERATIONS]
PROTECTED = [route for route in ROUTES if route not in PUBLIC]
WRONG_KEYS: list[str | list[str] | None] = [
    None,
    "",
    "wrong",
    ADMIN_KEY + "x",
    ADMIN_KEY[:-1],
    f" {ADMIN_KEY}",
    "schlüssel",
    "\udc80",
    "ep_0123456789abcdef_secret",
    "ep_0123456789ABCDEF_secret",
    "ep__",
    [ADMIN_KEY, ADMIN_KEY],
]


def a_client() -> tuple[Client, str]:
    """A tenant `default` with a collection `private`, a document `mine` and its job in it.

    And a dead letter of the embed stage, whose queue is being put back.
    """
    client = Client()
    client.database.collections.create("default", "private", client.model, "")
    answer = client.submit(
        collection="private", document_id="mine", metadata={"note": "some-metadata"}
    )
    client.database.dlq_entries.add([an_entry("m-1", stage="embed", source_queue="embed")])
    act = Act(Actor("default", "key"), "dlq.redrive", "embed")
    client.database.redrives.start("embed", max_per_second=1, to_move=1, act=act)
    return client, answer.json["job_id"]


def ref_of(client: Client, job_id: str) -> JobRef:
    return JobRef("default", job_id, 1, "private", "mine", 1)


def send(client: Client, route: tuple[str, str], job_id: str, key: Any) -> Any:
    method, path = route
    values = {
        "job_id": job_id,
        "collection": "private",
        "document_id": "mine",
        "name": "x",
        "provider": "openai",
    }
    headers = {} if key is None else {"X-API-KEY": key}
    body = {
        name: job_id if value == "{job_id}" else value
        for name, value in BODIES.get(route, {}).items()
    }
    return client.send(
        method,
        path.format(**values),
        body if route in BODIES else None,
        query=QUERIES.get(route, "").format(**values),
        key=None,
        **headers,
    )


def test_every_route_is_in_the_table() -> None:
    assert set(ROUTES) == PUBLIC | set(OTHERS) | OPERATORS
    assert not PUBLIC & set(OTHERS)
    assert not OPERATORS & set(OTHERS)
    assert {(op.method, op.path) for op in OPERATIONS if op.is_public} == PUBLIC
    assert {(op.method, op.path) for op in OPERATIONS if op.is_for_admins} == ADMINS


@pytest.mark.parametrize("route", PROTECTED, ids=" ".join)
@pytest.mark.parametrize("key", WRONG_KEYS, ids=ascii)
def test_without_the_right_key_nothing_is_served(route: tuple[str, str], key: Any) -> None:
    client, job_id = a_client()
    before = client.everything()

    answer = send(client, route, job_id, key)

    assert (answer.status, answer.json["code"]) == (401, "UNAUTHENTICATED")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["WWW-Authenticate"]
    assert client.everything() == before


@pytest.mark.parametrize("route", sorted(OTHERS), ids=" ".join)
def test_another_tenant_finds_nothing(route: tuple[str, str]) -> None:
    client, job_id = a_client()
    key = client.database.create_key("other", role="admin")
    mine = [row for row in client.database.rows("jobs") if row["tenant_id"] == "default"]

    answer = send(client, route, job_id, key)

    code = OTHERS[route]
    if code is None:
        assert answer.status in (200, 201)
        assert job_id not in answer.body
        assert "mine" not in answer.body
    else:
        assert (answer.status, answer.json["code"]) == (404, code)
    assert [row for row in client.database.rows("jobs") if row["tenant_id"] == "default"] == mine


@pytest.mark.parametrize("route", sorted(OPERATORS), ids=" ".join)
@pytest.mark.parametrize("tenant", ["default", "other"])
def test_an_operator_of_any_tenant_is_served_and_shown_no_text(
    route: tuple[str, str], tenant: str
) -> None:
    client, job_id = a_client()
    client.database.jobs.begin_chunking(ref_of(client, job_id))
    key = client.database.create_key(tenant, role="admin")

    answer = send(client, route, job_id, key)

    assert answer.status in (200, 202)
    assert "Some words" not in answer.body
    assert "some-metadata" not in answer.body


@pytest.mark.parametrize("route", PROTECTED, ids=" ".join)
def test_what_administrators_may_is_forbidden_to_users_and_nothing_else(
    route: tuple[str, str],
) -> None:
    client, job_id = a_client()
    client.database.breakers.failed("openai", 0, "PROVIDER_UNAVAILABLE", opens=True)
    before = client.database.breakers.all()
    jobs, acts = client.database.rows("jobs"), client.database.rows("audit_log")

    answer = send(client, route, job_id, client.database.create_key("default", role="user"))

    if route in ADMINS:
        assert (answer.status, answer.json["code"]) == (403, "FORBIDDEN")
    else:
        assert answer.status not in (401, 403)
    assert client.database.breakers.all() == before
    assert route not in ADMINS or not client.worker.models()
    assert route not in ADMINS or client.database.rows("jobs") == jobs
    assert client.database.rows("audit_log") == acts


@pytest.mark.parametrize("route", sorted(PUBLIC), ids=" ".join)
def test_public_routes_ask_for_no_key(route: tuple[str, str]) -> None:
    client, job_id = a_client()

    answer = send(client, route, job_id, None)

    assert answer.status != 401


def test_a_tenants_key_is_good_for_that_tenant() -> None:
    client = Client()
    key = client.database.create_key("other")
    job_id = client.send("POST", "/embeddings/jobs", {"content": "x"}, key=key).json["job_id"]

    own = client.send("GET", f"/embeddings/jobs/{job_id}", key=key)
    admins = client.send("GET", f"/embeddings/jobs/{job_id}")

    assert (own.status, admins.status) == (200, 404)


def test_a_key_with_the_right_id_and_a_wrong_secret_is_refused() -> None:
    client = Client()
    key = client.database.create_key("other")

    answer = client.send("GET", "/embeddings/jobs", key=key[:-1] + ("A" if key[-1] != "A" else "B"))

    assert answer.status == 401


def test_without_a_configured_key_only_tenants_keys_are_good() -> None:
    client = Client({"SINGLE_USER_API_KEY": ""})
    key = client.database.create_key("default")

    assert client.send("GET", "/embeddings/jobs", key="").status == 401
    assert client.send("GET", "/embeddings/jobs").status == 401
    assert client.send("GET", "/embeddings/jobs", key=key).status == 200


def test_the_header_may_be_in_any_case_and_form() -> None:
    client = Client()
    event = {
        "path": "/api/v1/collections",
        "httpMethod": "GET",
        "headers": {"x-aPi-key": ADMIN_KEY},
        "multiValueHeaders": None,
        "requestContext": {},
    }

    assert client.api.resolve(event, None)["statusCode"] == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_key_may_be_a_bearers(scheme: str) -> None:
    client = Client()
    key = client.database.create_key("other")

    answers = [
        client.send("GET", "/collections", key=None, Authorization=f"{scheme} {one}")
        for one in (ADMIN_KEY, key)
    ]

    assert [answer.status for answer in answers] == [200, 200]


@pytest.mark.parametrize("key", [key for key in WRONG_KEYS if isinstance(key, str)], ids=ascii)
def test_a_wrong_bearer_is_refused(key: str) -> None:
    # Space around a value is no part of it.
    key = key.replace(" ", "x")

    answer = Client().send("GET", "/collections", key=None, Authorization=f"Bearer {key}")

    assert (answer.status, answer.json["code"]) == (401, "UNAUTHENTICATED")
    assert "Bearer" in answer.headers["WWW-Authenticate"]


def test_two_keys_must_be_the_same() -> None:
    client = Client()
    other = client.database.create_key("other")

    def status(key: str, authorization: str | list[str]) -> int:
        return client.send("GET", "/collections", key=key, Authorization=authorization).status

    assert status(ADMIN_KEY, f"Bearer {ADMIN_KEY}") == 200
    assert status(ADMIN_KEY, f"Bearer {other}") == 401
    assert status(other, f"Bearer {ADMIN_KEY}") == 401
    assert status("", f"Bearer {ADMIN_KEY}") == 401
    assert status(ADMIN_KEY, "Bearer ") == 401
    assert status(ADMIN_KEY, [f"Bearer {ADMIN_KEY}"] * 2) == 401


def test_credentials_of_another_scheme_are_not_ours() -> None:
    client = Client()

    beside = client.send("GET", "/collections", Authorization="Basic eDp5")
    alone = client.send("GET", "/collections", key=None, Authorization=f"Basic {ADMIN_KEY}")

    assert (beside.status, alone.status) == (200, 401)


def test_keys_are_stored_as_digests_only() -> None:
    database = MemoryDatabase()
    database.create_tenant("default", Client().model)
    key = database.create_key("default")

    assert key not in repr(database.rows("api_keys"))
