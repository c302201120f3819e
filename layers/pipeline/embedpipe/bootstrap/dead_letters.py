"""Dead-letter queues, what seals their mirror, and the pace at which they are put back."""

from __future__ import annotations

from embedpipe.adapters.sealing import LateSealer
from embedpipe.adapters.secrets import secret_or
from embedpipe.domain.lanes import QUEUES
from embedpipe.settings import DeadLetterSettings
from embedpipe.stages.dead_letters import DeadLetterParts
from embedpipe.stages.requeue import Pace


def dead_letter_parts(settings: DeadLetterSettings) -> DeadLetterParts:
    """Give all that works on dead letters; the key is read when it is first needed."""
    from embedpipe.adapters.aws import client
    from embedpipe.adapters.sqs_dead_letters import SqsDeadLetters

    embed = {QUEUES[lane]: url for lane, url in settings.embed_queue_urls().items()}
    sources = {
        "chunk": {"chunk": settings.chunk_queue_url},
        "embed": embed,
        "store": {"store": settings.store_queue_url},
    }
    return DeadLetterParts(
        letters={
            stage: SqsDeadLetters(lambda: client("sqs"), url, stage=stage, sources=sources[stage])
            for stage, url in settings.dlq_urls().items()
        },
        sealer=LateSealer(lambda: _key(settings)),
        pace=Pace(settings.requeue_rate, settings.requeue_burst),
    )


def _key(settings: DeadLetterSettings) -> str | None:
    key = secret_or(settings.dlq_encryption_key, settings.dlq_encryption_key_secret_arn)
    return key.get_secret_value() if key else None
