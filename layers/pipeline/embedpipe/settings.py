"""Settings: one frozen model per entry point, each field named by its environment variable.

The same names stand in `template.yaml` and in `docs/settings.md`; a test holds the three together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from embedpipe.domain.lanes import HIGH, LOW, NORMAL
from embedpipe.domain.origins import parse_origins


class Settings(BaseModel):
    """What every entry point reads. Unknown variables are ignored: the environment has many."""

    # An error names the variable and says why; what it quoted might be a key.
    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings; an empty variable counts as unset.

        Raises
        ------
        pydantic.ValidationError
            A variable is missing or out of range.
        """
        source = os.environ if environment is None else environment
        return cls.model_validate({key: value for key, value in source.items() if value != ""})


class DatabaseSettings(Settings):
    """Where PostgreSQL is: by URL, or by a Secrets Manager secret with username and password."""

    database_url: SecretStr | None = Field(default=None, alias="DATABASE_URL")
    database_secret_arn: str | None = Field(default=None, alias="DATABASE_SECRET_ARN")
    database_host: str | None = Field(default=None, alias="DATABASE_HOST")
    database_port: int = Field(default=5432, ge=1, le=65535, alias="DATABASE_PORT")
    database_name: str = Field(default="embedpipe", alias="DATABASE_NAME")
    sslmode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = Field(
        default="prefer", alias="PGVECTOR_SSLMODE"
    )
    pool_min_size: int = Field(default=1, ge=0, le=100, alias="PGVECTOR_POOL_MIN_SIZE")
    pool_max_size: int = Field(default=5, ge=1, le=100, alias="PGVECTOR_POOL_MAX_SIZE")
    startup_options: bool = Field(default=True, alias="PGVECTOR_STARTUP_OPTIONS")
    hnsw_ef_search: int = Field(default=64, ge=1, le=1000, alias="PGVECTOR_HNSW_EF_SEARCH")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.database_url is None and self.database_secret_arn is None:
            raise ValueError("set DATABASE_URL, or DATABASE_SECRET_ARN and DATABASE_HOST")
        if self.database_secret_arn is not None and self.database_host is None:
            raise ValueError("DATABASE_SECRET_ARN needs DATABASE_HOST")
        return self


class ModelSettings(Settings):
    """Where the models are: a directory with one folder per model, filled from S3 if empty."""

    models_dir: Path = Field(default=Path("/tmp/models"), alias="MODELS_DIR")
    models_uri: str | None = Field(default=None, pattern=r"^s3://", alias="MODELS_URI")
    model_catalogue: str | None = Field(default=None, alias="MODEL_CATALOGUE")
    default_model_id: str = Field(default="all-MiniLM-L6-v2", alias="DEFAULT_MODEL_ID")


class RetrySettings(Settings):
    """How transient failures are retried, and how often a message may end a process."""

    max_retries: int = Field(default=3, ge=0, le=20, alias="MAX_RETRIES")
    max_deaths: int = Field(default=3, ge=1, le=8, alias="MAX_DEATHS")
    backoff_base_s: float = Field(default=1.0, gt=0, le=60, alias="RETRY_BACKOFF_BASE_S")
    backoff_cap_s: float = Field(default=300.0, gt=0, le=900, alias="RETRY_BACKOFF_CAP_S")


class QueueSettings(Settings):
    """Limits that hold for all queues."""

    max_message_bytes: int = Field(
        default=1_048_576, ge=262_144, le=1_048_576, alias="SQS_MAX_MESSAGE_BYTES"
    )


class EmbedQueueSettings(QueueSettings):
    """The queues of the embed stage, one for each lane that has its own."""

    embed_queue_url: str = Field(alias="EMBED_QUEUE_URL")
    embed_high_queue_url: str | None = Field(default=None, alias="EMBED_HIGH_QUEUE_URL")
    embed_low_queue_url: str | None = Field(default=None, alias="EMBED_LOW_QUEUE_URL")

    def embed_queue_urls(self) -> dict[str, str]:
        """Give the queues by lane; a lane without one has its messages in the normal queue."""
        urls = {
            HIGH: self.embed_high_queue_url,
            NORMAL: self.embed_queue_url,
            LOW: self.embed_low_queue_url,
        }
        return {lane: url for lane, url in urls.items() if url}


class PipelineQueueSettings(EmbedQueueSettings):
    """Every queue there is, for who looks at all of them or puts dead letters back."""

    chunk_queue_url: str = Field(alias="CHUNK_QUEUE_URL")
    store_queue_url: str = Field(alias="STORE_QUEUE_URL")
    chunk_dlq_url: str = Field(alias="CHUNK_DLQ_URL")
    embed_dlq_url: str = Field(alias="EMBED_DLQ_URL")
    store_dlq_url: str = Field(alias="STORE_DLQ_URL")

    def dlq_urls(self) -> dict[str, str]:
        """Give the dead-letter queues by stage."""
        return {
            "chunk": self.chunk_dlq_url,
            "embed": self.embed_dlq_url,
            "store": self.store_dlq_url,
        }


class DeadLetterSettings(PipelineQueueSettings):
    """How dead letters are kept and put back."""

    dlq_encryption_key: SecretStr | None = Field(
        default=None, alias="EMBEDDINGS_DLQ_ENCRYPTION_KEY"
    )
    dlq_encryption_key_secret_arn: str | None = Field(
        default=None, alias="EMBEDDINGS_DLQ_ENCRYPTION_KEY_SECRET_ARN"
    )
    requeue_rate: int = Field(default=50, ge=1, le=500, alias="EMBEDDINGS_REQUEUE_RATE")
    requeue_burst: int = Field(default=200, ge=1, le=10_000, alias="EMBEDDINGS_REQUEUE_BURST")


class EventSourceSettings(Settings):
    """The event source mappings of the functions; empty where nobody may switch them."""

    chunk_event_source_id: str | None = Field(default=None, alias="CHUNK_EVENT_SOURCE_ID")
    store_event_source_id: str | None = Field(default=None, alias="STORE_EVENT_SOURCE_ID")

    def event_source_ids(self) -> dict[str, str | None]:
        """Give their ids by stage."""
        return {"chunk": self.chunk_event_source_id, "store": self.store_event_source_id}


class ApiSettings(DatabaseSettings, ModelSettings, DeadLetterSettings, EventSourceSettings):
    """`functions/api`."""

    auth_mode: Literal["single_user"] = Field(default="single_user", alias="AUTH_MODE")
    single_user_api_key: SecretStr | None = Field(
        default=None, min_length=16, alias="SINGLE_USER_API_KEY"
    )
    single_user_api_key_secret_arn: str | None = Field(
        default=None, alias="SINGLE_USER_API_KEY_SECRET_ARN"
    )
    content_bucket: str = Field(alias="CONTENT_BUCKET")
    inline_content_bytes: int = Field(
        default=65_536, ge=0, le=1_048_576, alias="INLINE_CONTENT_BYTES"
    )
    max_content_bytes: int = Field(default=5_242_880, ge=1, le=5_242_880, alias="MAX_CONTENT_BYTES")
    max_metadata_bytes: int = Field(default=16_384, ge=2, le=262_144, alias="MAX_METADATA_BYTES")
    query_embedder_url: str | None = Field(default=None, alias="QUERY_EMBEDDER_URL")
    query_embedder_token: SecretStr | None = Field(default=None, alias="QUERY_EMBEDDER_TOKEN")
    query_embedder_secret_arn: str | None = Field(default=None, alias="QUERY_EMBEDDER_SECRET_ARN")
    query_timeout_s: float = Field(default=10.0, gt=0, le=29, alias="QUERY_TIMEOUT_S")
    sync_timeout_s: float = Field(default=25.0, gt=0, le=27, alias="SYNC_TIMEOUT_S")
    sync_max_inputs: int = Field(default=256, ge=1, le=2048, alias="SYNC_MAX_INPUTS")
    cors_allow_origins: str | None = Field(default=None, alias="CORS_ALLOW_ORIGINS")

    @field_validator("cors_allow_origins")
    @classmethod
    def _are_origins(cls, value: str | None) -> str | None:
        parse_origins(value or "")
        return value


class ChunkSettings(DatabaseSettings, ModelSettings, RetrySettings, EmbedQueueSettings):
    """`functions/chunk`."""

    chunk_queue_url: str = Field(alias="CHUNK_QUEUE_URL")
    chunk_dlq_url: str = Field(alias="CHUNK_DLQ_URL")
    content_bucket: str = Field(alias="CONTENT_BUCKET")
    batch_chunks: int = Field(default=64, ge=1, le=1000, alias="EMBED_MESSAGE_MAX_CHUNKS")


class ProviderSettings(Settings):
    """Keys to providers: each by itself, or all in one secret."""

    openai_api_key: SecretStr | None = Field(default=None, alias="OPENAI_API_KEY")
    cohere_api_key: SecretStr | None = Field(default=None, alias="COHERE_API_KEY")
    google_api_key: SecretStr | None = Field(default=None, alias="GOOGLE_API_KEY")
    mistral_api_key: SecretStr | None = Field(default=None, alias="MISTRAL_API_KEY")
    voyage_api_key: SecretStr | None = Field(default=None, alias="VOYAGE_API_KEY")
    provider_keys_secret_arn: str | None = Field(default=None, alias="PROVIDER_KEYS_SECRET_ARN")

    def provider_keys(self) -> dict[str, SecretStr]:
        """Give the keys that are set, by provider."""
        keys = {
            "openai": self.openai_api_key,
            "cohere": self.cohere_api_key,
            "google": self.google_api_key,
            "mistral": self.mistral_api_key,
            "voyage": self.voyage_api_key,
        }
        return {provider: key for provider, key in keys.items() if key is not None}


class EmbedSettings(
    DatabaseSettings, ModelSettings, ProviderSettings, RetrySettings, EmbedQueueSettings
):
    """`functions/embed_gpu`."""

    embed_dlq_url: str = Field(alias="EMBED_DLQ_URL")
    content_bucket: str = Field(alias="CONTENT_BUCKET")
    store_queue_url: str = Field(alias="STORE_QUEUE_URL")
    provider: Literal["cuda", "cpu"] = Field(default="cuda", alias="EMBED_PROVIDER")
    precision: Literal["fp32", "fp16", "bf16", "w8", "int8"] | None = Field(
        default=None, alias="EMBED_PRECISION"
    )
    tune_s: float = Field(default=5.0, ge=0, le=600, alias="EMBED_TUNE_S")
    streams: int = Field(default=0, ge=0, le=256, alias="EMBED_STREAMS")
    threads: int = Field(default=0, ge=0, le=256, alias="EMBED_THREADS")
    max_batch_tokens: int | None = Field(
        default=None, ge=16, le=1_048_576, alias="EMBED_MAX_BATCH_TOKENS"
    )
    max_models: int = Field(default=5, ge=1, le=100, alias="EMBED_MAX_MODELS")
    max_models_bytes: int = Field(
        default=24_000_000_000, ge=1, le=1_000_000_000_000, alias="EMBED_MAX_MODELS_BYTES"
    )
    unload_timeout_s: float = Field(
        default=600.0, gt=0, le=604_800, alias="EMBED_MODEL_UNLOAD_TIMEOUT_S"
    )
    cache_bytes: int = Field(
        default=67_108_864, ge=0, le=1_000_000_000_000, alias="EMBED_CACHE_BYTES"
    )
    remote_concurrency: int = Field(default=8, ge=1, le=256, alias="EMBED_REMOTE_CONCURRENCY")
    breaker_failure_threshold: int = Field(
        default=5, ge=1, le=1000, alias="BREAKER_FAILURE_THRESHOLD"
    )
    breaker_recovery_s: float = Field(default=30.0, ge=0.1, le=3600, alias="BREAKER_RECOVERY_S")
    buffer_tokens: int = Field(
        default=1_048_576, ge=512, le=16_777_216, alias="EMBED_BUFFER_TOKENS"
    )
    visibility_s: int = Field(default=60, ge=3, le=43_200, alias="EMBED_VISIBILITY_S")
    wait_s: float = Field(default=5.0, ge=0, le=20, alias="EMBED_WAIT_S")
    stop_timeout_s: float = Field(default=30.0, gt=0, le=3600, alias="EMBED_STOP_TIMEOUT_S")
    heartbeat_s: float = Field(default=10.0, ge=1, le=3600, alias="EMBED_HEARTBEAT_S")
    http_host: str = Field(default="127.0.0.1", alias="EMBED_HTTP_HOST")
    http_port: int = Field(default=8081, ge=0, le=65535, alias="EMBED_HTTP_PORT")
    http_token: SecretStr | None = Field(default=None, alias="QUERY_EMBEDDER_TOKEN")
    http_secret_arn: str | None = Field(default=None, alias="QUERY_EMBEDDER_SECRET_ARN")


class StoreSettings(DatabaseSettings, RetrySettings, QueueSettings):
    """`functions/store`."""

    store_queue_url: str = Field(alias="STORE_QUEUE_URL")
    store_dlq_url: str = Field(alias="STORE_DLQ_URL")
    content_bucket: str = Field(alias="CONTENT_BUCKET")


class MaintenanceSettings(DatabaseSettings, DeadLetterSettings, EventSourceSettings):
    """`functions/maintenance`. Connects with the maintenance role."""

    content_bucket: str = Field(alias="CONTENT_BUCKET")
    rescue_idle_s: float = Field(default=900.0, ge=1, le=86_400, alias="RESCUE_IDLE_S")
    max_rescues: int = Field(default=5, ge=0, le=16, alias="MAX_RESCUES")
    compactor_enabled: bool = Field(default=True, alias="EMBEDDINGS_COMPACTOR_ENABLED")
    compactor_interval_s: float = Field(
        default=1800.0, ge=0, le=604_800, alias="EMBEDDINGS_COMPACTOR_INTERVAL_SECONDS"
    )
    compactor_grace_s: float = Field(
        default=604_800.0, ge=0, le=31_536_000, alias="EMBEDDINGS_COMPACTOR_GRACE_SECONDS"
    )
    orphans_grace_s: float = Field(
        default=86_400.0, ge=3600, le=31_536_000, alias="RETENTION_ORPHANS_SECONDS"
    )
    jobs_days: float = Field(default=30.0, gt=0, le=3650, alias="RETENTION_JOBS_DAYS")
    audit_days: float = Field(default=365.0, gt=0, le=36_500, alias="RETENTION_AUDIT_DAYS")
