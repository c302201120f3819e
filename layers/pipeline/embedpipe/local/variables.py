"""The environment variables of each function: the template's, the local cloud's, the user's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from embedpipe import settings
from embedpipe.local.emulator import CREDENTIALS
from embedpipe.local.template import REGION

QUEUES = {
    "CHUNK_QUEUE_URL": "ChunkQueue",
    "CHUNK_DLQ_URL": "ChunkDlq",
    "EMBED_HIGH_QUEUE_URL": "EmbedHighQueue",
    "EMBED_QUEUE_URL": "EmbedQueue",
    "EMBED_LOW_QUEUE_URL": "EmbedLowQueue",
    "EMBED_DLQ_URL": "EmbedDlq",
    "STORE_QUEUE_URL": "StoreQueue",
    "STORE_DLQ_URL": "StoreDlq",
}

EVENT_SOURCES = {
    "CHUNK_EVENT_SOURCE_ID": "ChunkEventSource",
    "STORE_EVENT_SOURCE_ID": "StoreEventSource",
}

SETTINGS: Mapping[str, type[settings.Settings]] = {
    "api": settings.ApiSettings,
    "chunk": settings.ChunkSettings,
    "embed": settings.EmbedSettings,
    "store": settings.StoreSettings,
    "maintenance": settings.MaintenanceSettings,
}

# Secrets and model files come from AWS services there, and from this process here.
_ELSEWHERE = ("_SECRET_ARN", "MODELS_URI")


@dataclass(frozen=True)
class Addresses:
    """Where everything is in this cloud."""

    endpoint_url: str
    queue_urls: Mapping[str, str]
    bucket: str
    database_url: str
    maintenance_url: str
    models_dir: str
    worker_url: str
    worker_port: int
    worker_token: str
    api_key: str
    dlq_key: str = ""
    lambda_url: str = ""
    event_source_ids: Mapping[str, str] = field(default_factory=dict)


def of_function(
    name: str,
    addresses: Addresses,
    template: Mapping[str, str],
    *,
    given: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Give the variables of a function.

    A setting that the user's own environment has wins over the template's, so that
    `EMBED_VISIBILITY_S=5 embedpipe up` does what it says; addresses are ours alone.
    """
    environment = os.environ if given is None else given
    names = _names(name)
    chosen = {key: value for key, value in template.items() if not key.endswith(_ELSEWHERE)}
    chosen |= {key: environment[key] for key in names if environment.get(key)}
    chosen |= {key: value for key, value in environment.items() if key.startswith("POWERTOOLS_")}
    local = _local(addresses)
    if name == "maintenance":
        local["DATABASE_URL"] = addresses.maintenance_url
    chosen |= {key: value for key, value in local.items() if key in names}
    return {key: value for key, value in chosen.items() if not key.endswith(_ELSEWHERE)} | {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": addresses.endpoint_url,
        "AWS_ENDPOINT_URL_LAMBDA": addresses.lambda_url or addresses.endpoint_url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "POWERTOOLS_TRACE_DISABLED": "true",
        "AWS_XRAY_SDK_ENABLED": "false",
    }


def _names(name: str) -> set[str]:
    fields = SETTINGS[name].model_fields.values()
    return {field.alias for field in fields if field.alias}


def _local(addresses: Addresses) -> dict[str, str]:
    queues = {name: addresses.queue_urls[logical_id] for name, logical_id in QUEUES.items()}
    ids = addresses.event_source_ids
    mappings = {name: ids[logical_id] for name, logical_id in EVENT_SOURCES.items() if ids}
    return (
        queues
        | mappings
        | {
            "DATABASE_URL": addresses.database_url,
            "CONTENT_BUCKET": addresses.bucket,
            "MODELS_DIR": addresses.models_dir,
            "SINGLE_USER_API_KEY": addresses.api_key,
            "AUTH_MODE": "single_user",
            "EMBEDDINGS_DLQ_ENCRYPTION_KEY": addresses.dlq_key,
            "QUERY_EMBEDDER_URL": addresses.worker_url,
            "QUERY_EMBEDDER_TOKEN": addresses.worker_token,
            "EMBED_HTTP_HOST": "127.0.0.1",
            "EMBED_HTTP_PORT": str(addresses.worker_port),
            "EMBED_PROVIDER": "cpu",
        }
    )
