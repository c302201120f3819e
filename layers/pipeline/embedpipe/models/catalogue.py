"""The model catalogue: one YAML file that names the models of a deployment."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from embedpipe.errors import PipelineError
from embedpipe.models.catalogue_entries import Entry, LocalEntry, RemoteEntry
from embedpipe.models.manifest import ModelId

__all__ = ["CATALOGUE", "Catalogue", "CatalogueError", "LocalEntry", "RemoteEntry"]

CATALOGUE = "catalogue.yaml"
MAX_CATALOGUE_BYTES = 1_048_576
_MOST_SHOWN = 10
_TAGS = frozenset({"onnx", "huggingface", "openai", "cohere", "google", "mistral", "voyage"})


class CatalogueError(PipelineError):
    """The model catalogue is not valid."""

    code = "CATALOGUE"


class Catalogue(BaseModel):
    """What the file says.

    Attributes
    ----------
    max_models, max_memory_gb, model_unload_timeout
        Bounds of the models that one worker holds in memory: their number, 10^9 bytes, and the
        seconds after which an unused one is forgotten. None: the worker's settings hold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    default_model_id: ModelId | None = None
    model_storage_base_dir: str | None = Field(default=None, min_length=1, max_length=4096)
    max_models: int | None = Field(default=None, ge=1, le=100)
    max_memory_gb: float | None = Field(default=None, gt=0, le=4096)
    model_unload_timeout: float | None = Field(default=None, gt=0, le=604_800)
    models: dict[ModelId, Entry] = Field(min_length=1)

    @model_validator(mode="after")
    def _refers_to_what_there_is(self) -> Self:
        if self.default_model_id is not None and self.default_model_id not in self.models:
            raise ValueError(f"default_model_id: there is no model {self.default_model_id}")
        for model_id, entry in self.remote.items():
            for fallback in entry.fallbacks:
                if (why := self._unfit(model_id, fallback)) is not None:
                    raise ValueError(f"models.{model_id}.fallbacks: {fallback} {why}")
        return self

    def _unfit(self, model_id: str, fallback: str) -> str | None:
        """Say why a model cannot stand in for another, None if it can."""
        model, other = self.remote[model_id], self.remote.get(fallback)
        if other is None:
            return "is not a model of a provider in this catalogue"
        if fallback == model_id:
            return "is the model itself"
        if other.fingerprint != model.fingerprint:
            return "is another model: its vectors cannot be compared with these"
        if other.info(fallback).max_tokens < model.info(model_id).max_tokens:
            return "takes shorter inputs only"
        return None

    @property
    def remote(self) -> dict[str, RemoteEntry]:
        """The models at providers."""
        return {
            model_id: entry
            for model_id, entry in self.models.items()
            if isinstance(entry, RemoteEntry)
        }

    @classmethod
    def parse(cls, text: str, name: str = CATALOGUE) -> Catalogue:
        """Read a catalogue.

        Raises
        ------
        CatalogueError
            Naming the file, the entries and the fields at fault; no value is quoted.
        """
        try:
            return cls.model_validate(yaml.load(text, _Loader))
        except yaml.YAMLError as exc:
            mark = getattr(exc, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark else ""
            problem = getattr(exc, "problem", None) or "cannot be read"
            raise CatalogueError(f"{name}: not valid YAML{where}: {problem}") from None
        except ValidationError as exc:
            problems = exc.errors(include_input=False, include_url=False, include_context=False)
            shown = "; ".join(_problem(one) for one in problems[:_MOST_SHOWN])
            raise CatalogueError(f"{name}: {shown}") from None
        except RecursionError:
            raise CatalogueError(f"{name}: nested too deeply") from None
        except ValueError:
            raise CatalogueError(f"{name}: not valid YAML: a date or number that is none") from None


def _problem(error: Any) -> str:
    # After the entry's id pydantic names its kind, which does not stand in the file.
    parts = [str(part) for part in error["loc"]]
    if len(parts) > 3 and parts[0] == "models" and parts[2] in (*_TAGS, "local_api"):
        del parts[2]
    elif len(parts) == 3 and parts[0] == "models" and parts[2] in (*_TAGS, "local_api"):
        parts.pop()
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{'.'.join(parts)}: {message}" if parts else message


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable) or key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, "a key stands twice, or is none", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
