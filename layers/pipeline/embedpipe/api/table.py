"""All operations of the API."""

from __future__ import annotations

from embedpipe.api.operations import Operation
from embedpipe.api.routes.audit import audit
from embedpipe.api.routes.breakers import breakers
from embedpipe.api.routes.collections import collections
from embedpipe.api.routes.dlq import dlq
from embedpipe.api.routes.documents import documents
from embedpipe.api.routes.embeddings import embeddings
from embedpipe.api.routes.jobs import jobs
from embedpipe.api.routes.models import models
from embedpipe.api.routes.orchestrator import orchestrator
from embedpipe.api.routes.repairs import repairs
from embedpipe.api.routes.search import searches
from embedpipe.api.routes.skips import skips
from embedpipe.api.routes.stages import stages
from embedpipe.api.routes.system import system

NOUNS = (
    embeddings,
    jobs,
    searches,
    collections,
    documents,
    models,
    breakers,
    orchestrator,
    stages,
    skips,
    dlq,
    repairs,
    audit,
    system,
)
OPERATIONS: tuple[Operation, ...] = tuple(op for noun in NOUNS for op in noun.operations)
