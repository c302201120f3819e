"""What the cloud says of its work: one trace through all stages, metrics, and nobody's text.

It runs a cloud of its own whose functions and worker log all they can.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import psycopg
import pytest

from tests.e2e.client import Client, Queues, wait_until
from tests.e2e.cloud import Cloud, running, with_model
from tests.emf import is_emf, metrics_of
from tests.exposition import samples_of
from tests.localstack import endpoint_url

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
STAGES = ["api", "chunk", "embed", "store"]
TIMEOUT_S = 120.0
#: What must be in no log. Each is one word, so that nothing breaks it apart.
TEXT, METADATA, QUERY, KEY, JWT, PROVIDER_KEY = (
    f"canary{name}{uuid4().hex}" for name in ("text", "meta", "query", "key", "jwt", "provider")
)

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(endpoint_url() is not None, reason="it reads the local cloud's own logs"),
]


@pytest.fixture(scope="module")
def talkative(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud that logs all it can. A laptop that cannot start one skips; the build fails."""
    made = Cloud(
        with_model(tmp_path_factory.mktemp("talkative"), models_dir),
        EMBED_TUNE_S="0",
        RETRY_BACKOFF_BASE_S="0.1",
        POWERTOOLS_LOG_LEVEL="DEBUG",
        OPENAI_API_KEY=PROVIDER_KEY,
    )
    with running(made):
        yield made


@pytest.fixture
def client(talkative: Cloud) -> Iterator[Client]:
    with talkative.client() as made:
        yield made


@pytest.fixture
def queues(talkative: Cloud) -> Iterator[Queues]:
    with talkative.queues() as made:
        yield made


def logs_of(cloud: Cloud) -> dict[str, str]:
    """All that it and its processes wrote."""
    found = {path.name: path.read_text(errors="replace") for path in cloud.data_dir.rglob("*.log")}
    assert {"api.log", "chunk.log", "store.log", "worker-1.log", "postgres.log"} <= found.keys()
    return found


def lines_of(cloud: Cloud) -> list[dict[str, Any]]:
    """The lines of the project's own code, each JSON."""
    names = ("api.log", "chunk.log", "store.log", "worker-1.log")
    # What stands after the last line break is being written.
    lines = [line for name in names for line in logs_of(cloud)[name].split("\n")[:-1]]
    return [json.loads(line) for line in lines if line and not is_emf(line)]


def of_job(cloud: Cloud, job_id: str) -> list[dict[str, Any]]:
    return [line for line in lines_of(cloud) if line.get("job_id") == job_id]


def followed(cloud: Cloud, job_id: str) -> list[dict[str, Any]]:
    """Wait for the line of each stage; the log of one may come after the job is seen as done."""

    def probe() -> list[dict[str, Any]]:
        found = [line for line in of_job(cloud, job_id) if line.get("method") != "GET"]
        found.sort(key=lambda line: STAGES.index(line["stage"]))
        return found if [line["stage"] for line in found] == STAGES else []

    return wait_until(probe, what="each stage has its line", timeout_s=TIMEOUT_S)


def test_one_trace_leads_from_the_request_to_the_stored_vector(
    talkative: Cloud, client: Client
) -> None:
    answer = client.request(
        "POST",
        "/embeddings/jobs",
        json={"content": "Cats sleep most of the day.", "document_id": "traced"},
        headers={"traceparent": f"00-{TRACE_ID}-{CALLER}-01"},
    )
    job_id = answer.json()["job_id"]
    assert client.finished(job_id, TIMEOUT_S)["status"] == "succeeded"

    lines = followed(talkative, job_id)

    assert answer.headers["X-Trace-Id"] == TRACE_ID
    assert answer.headers["traceparent"] == f"00-{TRACE_ID}-{lines[0]['span_id']}-01"
    assert {line["trace_id"] for line in lines} == {TRACE_ID}
    spans = [line["span_id"] for line in lines]
    assert [line["parent_span_id"] for line in lines] == [CALLER, *spans[:-1]]
    assert len(set(spans)) == len(STAGES)
    assert len({line["request_id"] for line in lines}) == 1
    assert {line["tenant"] for line in lines} == {"default"}
    assert [line["level"] for line in lines] == ["INFO"] * len(STAGES)
    assert [line["message"] for line in lines] == ["request served", *["message done"] * 3]


def test_every_line_of_metrics_is_as_cloudwatch_reads_it(talkative: Cloud, client: Client) -> None:
    client.store("default", "Rain falls in autumn.", "measured")

    def probe() -> dict[str, dict[str, list[float]]]:
        found = metrics_of(
            line for text in logs_of(talkative).values() for line in text.split("\n")
        )
        return found if "StageLatency" in found.get("store", {}) else {}

    found = wait_until(probe, what="the store stage printed metrics", timeout_s=TIMEOUT_S)

    assert {"Requests", "RequestDuration", "PayloadBytes"} <= found["api"].keys()
    for stage in ("chunk", "store"):
        expected = {"MessagesProcessed", "StageLatency", "BatchSize", "PayloadBytes"}
        assert expected <= found[stage].keys()


def test_one_page_has_gauges_totals_and_workers(talkative: Cloud, client: Client) -> None:
    client.store("default", "Wind moves clouds.", "scraped")
    key = (talkative.data_dir / "api_key").read_text().strip()

    def scrape() -> dict[str, float]:
        headers = {"Authorization": f"Bearer {key}"}
        page = httpx.get(f"{talkative.url}/metrics", headers=headers, timeout=60, trust_env=False)
        assert page.status_code == 200
        found = samples_of(page.text)
        # What does not answer in time is left out.
        return found if found.keys() >= expected else {}

    expected = {
        'embedpipe_messages_processed_total{stage="store"}',
        'embedpipe_queue_depth{stage="embed"}',
        'embedpipe_jobs_processed{stage="store"}',
    }
    found = wait_until(scrape, what="all of it is on the page", timeout_s=TIMEOUT_S)

    assert found['embedpipe_requests_total{stage="api"}'] > 0
    assert found['embedpipe_stage_latency_seconds_count{stage="chunk"}'] > 0
    assert found['embedpipe_worker_done_total{worker="worker-1"}'] > 0
    assert found['embedpipe_worker_healthy{worker="worker-1"}'] == 1


def shown(vector: list[float]) -> set[str]:
    """How a vector might be written: in base64 at any place of a row, or as numbers."""
    data = np.array(vector, dtype="<f4").tobytes()
    encoded = {base64.b64encode(data[at:])[4:36].decode() for at in range(3)}
    return encoded | {f"{number:.7f}"[:8] for number in vector if abs(number) > 0.03}


@contextmanager
def refusing(cloud: Cloud, table: str) -> Iterator[None]:
    """Let the database refuse every row, and show it if it would."""
    with psycopg.connect(cloud.endpoint()["database"], autocommit=True) as connection:
        connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT refused CHECK (false) NOT VALID")
        try:
            yield
        finally:
            connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT refused")


def poison(queue: str, like: str) -> list[str]:
    """Bodies that a queue should never have, as full of text as they can be."""
    job = json.loads(like)
    return [
        TEXT,
        f'{{"content": "{TEXT}',
        json.dumps({**job, "surprise": TEXT, TEXT: TEXT}),
        json.dumps({**job, "traceparent": TEXT[:55], "epoch": TEXT}),
        json.dumps({**job, "msg_schema": TEXT}),
        json.dumps({**job, "texts": [TEXT], "tokens": TEXT, "vectors": TEXT}),
    ]


def unwelcome(client: Client, cloud: Cloud) -> list[httpx.Response]:
    """Requests that are refused, each with something that nobody may log."""
    jobs, search = "/embeddings/jobs", "/vector_stores/default/search"
    answers = [
        client.request("POST", jobs, json={"content": TEXT, "surprise": TEXT}),
        client.request("POST", jobs, content=f'{{"content": "{TEXT}'),
        client.request("POST", jobs, json={"content": TEXT, "metadata": {"a": [METADATA] * 9_000}}),
        client.request("POST", search, json={"query": QUERY, "top_k": QUERY}),
        client.request("POST", search, json={"query": QUERY, "filter": {METADATA: {"$x": QUERY}}}),
        client.request("POST", "/embeddings", json={"input": [TEXT] * 3, "model": TEXT}),
        client.request("GET", f"{jobs}/{TEXT}"),
        client.request("GET", f"/{TEXT}", params={TEXT: TEXT}),
    ]
    for headers in ({"X-API-KEY": KEY}, {"Authorization": f"Bearer {JWT}"}, {"traceparent": TEXT}):
        answers.append(httpx.get(f"{cloud.url}/api/v1{jobs}", headers=headers, trust_env=False))
    return answers


def test_no_log_ever_holds_a_text_a_vector_or_a_secret(
    talkative: Cloud, client: Client, queues: Queues
) -> None:
    text = f"{TEXT} and what else there is to say."
    fields: dict[str, Any] = {"metadata": {"note": METADATA}}
    client.store("default", text, "canary", **fields)
    client.search("default", QUERY)
    vector = client.request(
        "POST", "/embeddings", json={"input": [text], "model": "all-MiniLM-L6-v2"}
    ).json()["data"][0]["embedding"]
    like = json.dumps({"tenant_id": "default", "job_id": str(uuid4()), "epoch": 1})
    for queue in ("ChunkQueue", "EmbedQueue", "StoreQueue"):
        for body in poison(queue, like):
            queues.send(queue, body)
    answers = unwelcome(client, talkative)
    for table in ("document_versions", "jobs", "chunks", "embeddings"):
        with refusing(talkative, table):
            answer = client.request(
                "POST", "/embeddings/jobs", json={"content": text, "document_id": table, **fields}
            )
            if answer.status_code == 202:
                until_it_fails(talkative, answer.json()["job_id"])
            answers.append(answer)
    expected = {"ChunkDlq": 6, "EmbedDlq": 6, "StoreDlq": 6}
    wait_until(
        lambda: all(queues.count(dlq) >= count for dlq, count in expected.items()),
        what="the poison is in the DLQs",
        timeout_s=TIMEOUT_S,
    )

    logs = logs_of(talkative)

    # These are the logs of what was done.
    assert stages_that_failed(talkative) == set(STAGES)
    assert 'constraint "refused"' in logs["postgres.log"]
    assert 500 in {answer.status_code for answer in answers}
    secrets = {TEXT, METADATA, QUERY, KEY, JWT, PROVIDER_KEY, *shown(vector), *keys_of(talkative)}
    held = {(name, one) for name, log in logs.items() for one in secrets if one in log}
    assert held == set()
    assert not [answer.text for answer in answers if TEXT in answer.text]


def until_it_fails(cloud: Cloud, job_id: str) -> None:
    """Wait until a stage has said that it cannot do its part."""
    wait_until(
        lambda: [line for line in of_job(cloud, job_id) if line["level"] != "INFO"],
        what="the failure is in the log",
        timeout_s=TIMEOUT_S,
    )


def stages_that_failed(cloud: Cloud) -> set[str]:
    return {line["stage"] for line in lines_of(cloud) if line["level"] in {"WARNING", "ERROR"}}


def keys_of(cloud: Cloud) -> set[str]:
    """The keys that the cloud made for itself."""
    return {(cloud.data_dir / name).read_text().strip() for name in ("api_key", "dlq_key")}
