"""Chunk stage: a document version into chunks, and their inputs on the way to be embedded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence

from embedpipe.domain.chunking import Piece, split
from embedpipe.domain.inputs import INPUTS_TYPE
from embedpipe.domain.inputs import pieces as pieces_of_inputs
from embedpipe.domain.jobs import Source
from embedpipe.domain.lanes import QUEUES, lane_of
from embedpipe.domain.packing import ENVELOPE_BYTES, MOST_BODY_BYTES, most_chunks, tokens_bytes
from embedpipe.domain.tokens import pack
from embedpipe.errors import (
    ContentLostError,
    MessageTooLargeError,
    ModelFilesError,
    ModelMismatchError,
    ModelUnavailableError,
    NotFoundError,
)
from embedpipe.messages import ChunkRequested, EmbedRequested
from embedpipe.ports import (
    Blobs,
    Jobs,
    ModelInfo,
    Models,
    NewBatch,
    NewChunk,
    OutboxRow,
    Tokenizer,
)

#: What one transaction writes well below its timeout. The largest document has some 15,000 chunks
#: of the default size; very small chunks would else end in timeouts, which look like an outage.
MAX_CHUNKS = 100_000
#: What a token has in English, about, where only the provider can count.
_BYTES_PER_TOKEN = 4


def chunk(
    message: ChunkRequested,
    *,
    jobs: Jobs,
    blobs: Blobs,
    models: Models,
    batch_chunks: int,
    max_message_bytes: int,
) -> list[OutboxRow]:
    """Cut one document version and fan its chunks out.

    Chunks, batches and outbox rows are written in one transaction, with the job's next status.

    Parameters
    ----------
    batch_chunks
        Chunks in a message, at most.
    max_message_bytes
        Largest message that the queue takes.

    Returns
    -------
    The rows written, to be relayed; none when the work is not wanted any more.

    Raises
    ------
    ContentLostError
        The text is gone, or not the one admitted.
    ModelMismatchError
        The model at hand is not the one of the collection.
    ModelUnavailableError
        The model is not there, or its files are damaged.
    PermanentError
        UNCHUNKABLE, TOO_MANY_CHUNKS, INPUT_TOO_LONG: see `domain.chunking.split` and
        `domain.inputs.pieces`.
    """
    source = jobs.begin_chunking(message.ref)
    if source is None:
        return []
    message = message.model_copy(update={"epoch": source.epoch or message.epoch})
    model, tokenizer = _model(source, models)
    pieces = _pieces(source, _content(source, blobs), model, tokenizer)
    most_bytes = min(max_message_bytes, MOST_BODY_BYTES)
    queue = QUEUES[lane_of(source.priority)]
    batches: list[NewBatch] = []
    rows: list[OutboxRow] = []
    for batch_no, group in enumerate(_groups(pieces, model, batch_chunks, most_bytes)):
        batches.append(NewBatch(batch_no, group[0].index, len(group)))
        body = _request(message, source, model, batch_no, group).encode()
        if len(body) > max_message_bytes:
            raise MessageTooLargeError
        key = f"{message.job_id}/{message.epoch}/{batch_no}"
        rows.append(OutboxRow(message.tenant_id, queue, key, body))
    chunks = [_new_chunk(piece, model) for piece in pieces]
    return rows if jobs.finish_chunking(message.ref, chunks, batches, rows) else []


def _model(source: Source, models: Models) -> tuple[ModelInfo, Tokenizer]:
    try:
        model = models.get(source.model_id)
        if model.fingerprint != source.fingerprint:
            raise ModelMismatchError("the model at hand is not the one of the collection")
        return model, models.tokenizer(source.model_id)
    except (NotFoundError, ModelFilesError) as exc:
        # A fault of a deployment, half done perhaps; no document is to blame.
        raise ModelUnavailableError from exc


def _content(source: Source, blobs: Blobs) -> str:
    if source.content is not None:
        text, data = source.content, source.content.encode()
    elif source.content_uri is not None:
        data = blobs.get(source.content_uri)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise ContentLostError("the content is not UTF-8") from None
    else:
        raise ContentLostError
    if hashlib.sha256(data).hexdigest() != source.content_sha256:
        raise ContentLostError("the content does not match its digest")
    return text


def _pieces(source: Source, content: str, model: ModelInfo, tokenizer: Tokenizer) -> list[Piece]:
    if source.content_type == INPUTS_TYPE:
        return pieces_of_inputs(
            content,
            tokenizer=tokenizer,
            checks_length=model.has_tokenizer,
            max_chunks=MAX_CHUNKS,
        )
    return split(
        content,
        tokenizer=tokenizer,
        chunking=source.chunking,
        content_type=source.content_type,
        max_chunks=MAX_CHUNKS,
    )


def _new_chunk(piece: Piece, model: ModelInfo) -> NewChunk:
    return NewChunk(
        index=piece.index,
        start=piece.start,
        end=piece.end,
        text=piece.text,
        tokens=_tokens(piece, model),
        content_sha256=hashlib.sha256(piece.text.encode()).hexdigest(),
        heading_path=piece.heading_path,
    )


def _tokens(piece: Piece, model: ModelInfo) -> int:
    """Count, or without the model's tokenizer estimate, what the model is given of a chunk."""
    if model.has_tokenizer:
        return len(piece.token_ids)
    return -(-len((model.document_prefix + piece.text).encode()) // _BYTES_PER_TOKEN)


def _groups(
    pieces: Sequence[Piece], model: ModelInfo, batch_chunks: int, most_bytes: int
) -> Iterator[list[Piece]]:
    """Part the chunks into batches whose embed and store messages both fit."""
    most = most_chunks(batch_chunks, model.dimensions, most_bytes)
    group: list[Piece] = []
    spent_bytes = ENVELOPE_BYTES
    for piece in pieces:
        piece_bytes = _input_bytes(piece, model)
        if group and (len(group) == most or spent_bytes + piece_bytes > most_bytes):
            yield group
            group, spent_bytes = [], ENVELOPE_BYTES
        group.append(piece)
        spent_bytes += piece_bytes
    yield group


def _input_bytes(piece: Piece, model: ModelInfo) -> int:
    """Say how much of a message a chunk takes at most."""
    if model.is_remote:
        # As ASCII: a character outside takes six bytes, or twelve, and a comma follows the text.
        return len(json.dumps(piece.text)) + 1
    return tokens_bytes(len(piece.token_ids))


def _request(
    message: ChunkRequested, source: Source, model: ModelInfo, batch_no: int, group: Sequence[Piece]
) -> EmbedRequested:
    return EmbedRequested(
        operation_id=message.operation_id,
        tenant_id=message.tenant_id,
        job_id=message.job_id,
        epoch=message.epoch,
        collection=message.collection,
        document_id=message.document_id,
        document_version=message.document_version,
        traceparent=message.traceparent or source.traceparent,
        batch_no=batch_no,
        chunk_from=group[0].index,
        chunk_count=len(group),
        model_id=source.model_id,
        fingerprint=source.fingerprint,
        tokens=None if model.is_remote else pack([piece.token_ids for piece in group]),
        texts=[piece.text for piece in group] if model.is_remote else None,
    )
