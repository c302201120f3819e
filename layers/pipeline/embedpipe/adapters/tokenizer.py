"""Models on disk, filled from S3, and their tokenizers."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from embedpipe.adapters.readable import Readable
from embedpipe.errors import NotFoundError, PoisonChunkError
from embedpipe.models.directory import TOKENIZER, ModelDirectory, ModelId
from embedpipe.models.tokenizer_file import load_tokenizer
from embedpipe.ports.models import Encoding, ModelInfo

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from embedpipe.adapters.model_files import S3ModelFiles

# The library holds some 600 bytes per token of a text while it works on it.
PIECE_CHARACTERS = 32_768
# Where BERT's tokenizer always begins a new word: after a space, a line end, CJK punctuation, a
# Chinese character. Not after brackets: a special token may be written in a text.
_BERT_WORD_END = re.compile("[ \\n\u3001\u3002\uff0c\u4e00-\u9fff]")

_MODEL_ID: TypeAdapter[str] = TypeAdapter(ModelId)


class HuggingFaceTokenizer:
    """A tokenizer of the `tokenizers` library. It never truncates and never pads."""

    def __init__(self, tokenizer: Tokenizer, model: ModelInfo) -> None:
        self._tokenizer = tokenizer
        self._model = model
        self._word_end = _BERT_WORD_END if _is_bert(tokenizer) else None

    @classmethod
    def load(cls, directory: ModelDirectory) -> HuggingFaceTokenizer:
        """Load the tokenizer of a model. Raises ModelFilesError."""
        # One text at a time is the rule; a pool of threads would only take the model's cores.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        return cls(load_tokenizer(directory.file(TOKENIZER)), directory.info)

    @property
    def model(self) -> ModelInfo:
        """The model it belongs to."""
        return self._model

    @property
    def vocabulary_size(self) -> int:
        """All ids are below it, those of added tokens too."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def of(self, model: ModelInfo) -> HuggingFaceTokenizer:
        """Give the same tokenizer for a model that has it under another id."""
        return HuggingFaceTokenizer(self._tokenizer, model)

    def offsets(self, text: str) -> Encoding:
        """Tokenize without special tokens; a long text in pieces, with the same result.

        Raises
        ------
        PoisonChunkError
            The tokenizer cannot take the text.
        """
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        for begin, end in _pieces(text, self._word_end):
            with _tokenizer_errors():
                encoding = self._tokenizer.encode(text[begin:end], add_special_tokens=False)
            ids += encoding.ids
            offsets += [(first + begin, last + begin) for first, last in encoding.offsets]
        return Encoding(ids=ids, offsets=offsets)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Give the ids the model takes, special tokens included, prefix not added.

        Raises
        ------
        PoisonChunkError
            The tokenizer cannot take one of the texts.
        """
        with _tokenizer_errors():
            return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]


def _is_bert(tokenizer: Tokenizer) -> bool:
    normalizer, splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
    return (
        type(normalizer).__name__ == "BertNormalizer"
        and normalizer.handle_chinese_chars is True
        and type(splitter).__name__ == "BertPreTokenizer"
    )


def _pieces(text: str, word_end: re.Pattern[str] | None) -> Iterator[tuple[int, int]]:
    """Give ranges that cover the text and end where a word does; one range if that is unknown."""
    begin = 0
    while begin < len(text):
        end = len(text)
        if word_end is not None and (found := word_end.search(text, begin + PIECE_CHARACTERS)):
            end = found.end()
        yield begin, end
        begin = end


@contextmanager
def _tokenizer_errors() -> Iterator[None]:
    """Turn what a text can do to the library into a permanent error, which never quotes it."""
    try:
        yield
    except (TypeError, UnicodeEncodeError):
        # A lone surrogate makes the library say that a str is not one.
        raise PoisonChunkError("the text has lone surrogates") from None
    except BaseException as exc:
        # A panic in Rust derives from BaseException and its class cannot be imported.
        if type(exc).__name__ == "PanicException":
            raise PoisonChunkError("the tokenizer cannot take the text") from None
        raise


class ModelsDirectory:
    """The models in a folder with one directory each, fetched from S3 where they are missing.

    Only what is asked for is fetched: a tokenizer does not bring the weights. What is read is
    kept, and may be asked for from several threads.

    Parameters
    ----------
    uri
        Address of the models in S3, `s3://bucket/prefix`; None for none.
    s3
        Gives the S3 client; None makes one from the environment, when first needed.
    clock
        Seconds, for how long a list of S3 is kept.
    """

    def __init__(
        self,
        models_dir: Path,
        *,
        uri: str | None = None,
        s3: Callable[[], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models_dir = models_dir
        self._remote = _remote(uri, s3, clock) if uri else None
        self._directories: dict[str, ModelDirectory] = {}
        self._tokenizers: dict[str, HuggingFaceTokenizer] = {}
        self._lock = threading.RLock()
        # Anything may lie beside models.
        self._readable = Readable(self.get, expects_strangers=True)

    def get(self, model_id: str) -> ModelInfo:
        """Give one. Raises NotFoundError (MODEL_NOT_FOUND)."""
        return self._manifest(model_id).info

    def tokenizer(self, model_id: str) -> HuggingFaceTokenizer:
        """Give a model's tokenizer, loaded once."""
        with self._lock:
            if model_id not in self._tokenizers:
                directory = self._manifest(model_id)
                self._ensure(directory, TOKENIZER)
                self._tokenizers[model_id] = HuggingFaceTokenizer.load(directory)
            return self._tokenizers[model_id]

    def find(self, fingerprint: str) -> ModelInfo:
        """Give the model of a fingerprint, from this disk if it is there.

        Raises
        ------
        NotFoundError
            MODEL_NOT_FOUND.
        BlobsUnavailableError
            It is not on this disk, and S3 does not answer.
        """
        for place in (self._on_disk, self._in_s3):
            for model in self._readable.of(place()):
                if model.fingerprint == fingerprint:
                    return model
        raise NotFoundError("there is no such model", code="MODEL_NOT_FOUND")

    def all(self) -> list[ModelInfo]:
        """List what is on this disk and in S3, by id. What is damaged is left out, and logged once.

        Of those in S3 the manifest is fetched, which is small. Raises BlobsUnavailableError.
        """
        return list(self._readable.of(self._on_disk() | self._in_s3()))

    def providers(self) -> set[str]:
        """Name none: what has a directory is computed here."""
        return set()

    def _on_disk(self) -> set[str]:
        return {path.parent.name for path in self._models_dir.glob("[!.]*/embedpipe.yaml")}

    def _in_s3(self) -> set[str]:
        return self._remote.model_ids() if self._remote is not None else set()

    def directory(self, model_id: str, precision: str | None = None) -> ModelDirectory:
        """Give a model's directory with its files there, for an embedder.

        Parameters
        ----------
        precision
            The one whose graph is needed, nothing else is fetched then; None for every file.
        """
        with self._lock:
            directory = self._manifest(model_id)
            manifest = directory.manifest
            for name in manifest.graph_files(precision) if precision else manifest.files:
                self._ensure(directory, name)
            return directory

    def _manifest(self, model_id: str) -> ModelDirectory:
        with self._lock:
            if model_id not in self._directories:
                self._directories[model_id] = self._read(model_id)
            return self._directories[model_id]

    def _read(self, model_id: str) -> ModelDirectory:
        try:
            path = self._models_dir / _MODEL_ID.validate_python(model_id)
            return ModelDirectory.read(path)
        except ValidationError:
            raise NotFoundError("there is no such model", code="MODEL_NOT_FOUND") from None
        except FileNotFoundError:
            if self._remote is None:
                raise NotFoundError("there is no such model", code="MODEL_NOT_FOUND") from None
            return self._remote.fetch_manifest(path)

    def _ensure(self, directory: ModelDirectory, name: str) -> None:
        if self._remote is not None and not (directory.path / name).exists():
            self._remote.fetch(directory, name)


def _remote(uri: str, s3: Callable[[], Any] | None, clock: Callable[[], float]) -> S3ModelFiles:
    from embedpipe.adapters.model_files import S3ModelFiles

    def from_environment() -> Any:
        from embedpipe.adapters.aws import client

        return client("s3")

    return S3ModelFiles(uri, s3 or from_environment, clock=clock)
