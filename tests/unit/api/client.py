"""Calls the API as a gateway does, over adapters in memory."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

from embedpipe.adapters.memory import (
    FakeModels,
    FakeQueryEmbedder,
    FakeSynchronousEmbedder,
    MemoryBlobs,
    MemoryDatabase,
    MemoryQueue,
)
from embedpipe.adapters.memory.dead_letters import MemoryDeadLetters
from embedpipe.adapters.memory.models import fake_model
from embedpipe.adapters.sealing import sealer_of
from embedpipe.api.cors import Cors
from embedpipe.api.resolver import ApiResolver, build
from embedpipe.api.services import Services
from embedpipe.domain.controls import STAGES
from embedpipe.settings import ApiSettings
from embedpipe.stages.dead_letters import DeadLetterParts
from embedpipe.stages.requeue import Pace
from embedpipe.stages.snapshot import QUEUES

ADMIN_KEY = "an-administrators-key"
BASE = "/api/v1"
#: A model of a provider, beside the default one.
REMOTE = replace(
    fake_model("far"), provider="openai", dimensions=64, matryoshka_dimensions=(16, 32)
)
QUEUE_URLS = (
    "CHUNK_QUEUE_URL",
    "CHUNK_DLQ_URL",
    "EMBED_QUEUE_URL",
    "EMBED_DLQ_URL",
    "STORE_QUEUE_URL",
    "STORE_DLQ_URL",
)
TABLES = ("collections", "documents", "document_versions", "jobs", "batches", "chunks", "outbox")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def an_event(
    method: str,
    path: str,
    *,
    query: str = "",
    headers: dict[str, str | list[str]] | None = None,
    body: str | bytes | None = None,
) -> dict[str, Any]:
    """A REST proxy event, payload version 1; a body of bytes travels in base64."""
    multi = {k: v if isinstance(v, list) else [v] for k, v in (headers or {}).items()}
    parameters: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        parameters.setdefault(name, []).append(value)
    in_base64 = isinstance(body, bytes)
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": {name: values[-1] for name, values in multi.items()} or None,
        "multiValueHeaders": multi or None,
        "queryStringParameters": {k: v[-1] for k, v in parameters.items()} or None,
        "multiValueQueryStringParameters": parameters or None,
        "pathParameters": {"proxy": path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {"stage": "live", "path": f"/live{path}", "requestId": "request-1"},
        "body": base64.b64encode(body).decode() if isinstance(body, bytes) else body,
        "isBase64Encoded": in_base64,
    }


@dataclass
class Client:
    """An API with a tenant `default` and a tenant `other`, and everything behind it in reach."""

    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.models = FakeModels(fake_model(), REMOTE)
        self.model = self.models.get("fake")
        self.database = MemoryDatabase()
        self.blobs = MemoryBlobs()
        self.queues = {name: MemoryQueue(name) for name in QUEUES}
        self.dlqs = {stage: MemoryQueue(f"{stage}-dlq") for stage in STAGES}
        self.queue = self.queues["chunk"]
        for name, queue in self.queues.items():
            queue.dlq = self.dlqs[name.partition("_")[0]]
        self.embedder = FakeQueryEmbedder()
        self.worker = FakeSynchronousEmbedder(*self.models.all())
        for tenant in ("default", "other"):
            self.database.create_tenant(tenant, self.model)
        self.api: ApiResolver = build(
            lambda: self.services, lambda: Cors.of(self.settings.get("CORS_ALLOW_ORIGINS"))
        )
        self.services = Services(
            database=self.database,
            blobs=self.blobs,
            chunk_queue=self.queue,
            models=self.models,
            query_embedder=self.embedder,
            embedder=self.worker,
            queues=self.queues,
            depths=self.queues,
            dlq_depths=self.dlqs,
            dead_letters=DeadLetterParts(
                letters={stage: self._letters(stage) for stage in self.dlqs},
                sealer=sealer_of("A" * 43),
                pace=Pace(50, 200),
                request_s=2.0,
            ),
            settings=ApiSettings.from_environment(
                {
                    "DATABASE_URL": "postgresql://unused",
                    **dict.fromkeys(QUEUE_URLS, "unused"),
                    "CONTENT_BUCKET": "unused",
                    "DEFAULT_MODEL_ID": "fake",
                    "SINGLE_USER_API_KEY": ADMIN_KEY,
                    **self.settings,
                }
            ),
        )

    def _letters(self, stage: str) -> MemoryDeadLetters:
        sources = {name: queue for name, queue in self.queues.items() if name.startswith(stage)}
        return MemoryDeadLetters(self.dlqs[stage], stage=stage, sources=sources)

    def send(
        self,
        method: str,
        path: str,
        value: Any = None,
        *,
        raw: str | bytes | None = None,
        key: str | None = ADMIN_KEY,
        query: str = "",
        base: str = BASE,
        **headers: str | list[str],
    ) -> Answer:
        """Send a request; `value` as JSON, or `raw` as it is. Headers with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            named["X-API-KEY"] = key
        body = json.dumps(value) if value is not None else raw
        if body is not None:
            named.setdefault("Content-Type", "application/json")
        event = an_event(method, base + path, query=query, headers=named, body=body)
        answer = self.api.resolve(event, None)
        return Answer(
            answer["statusCode"],
            {name: values[-1] for name, values in answer["multiValueHeaders"].items()},
            answer["body"] or "",
        )

    def submit(self, path: str = "/embeddings/jobs", /, **fields: Any) -> Answer:
        """Submit a document."""
        return self.send("POST", path, {"content": "Some words."} | fields)

    def everything(self) -> Any:
        """All rows, messages and objects there are."""
        rows = {table: self.database.rows(table) for table in TABLES}
        return rows, self.queue.bodies(), dict(self.blobs.objects)
