"""CloudFormation's intrinsic functions, as far as a template needs them to be read locally."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml


class _Unknown:
    """A value that only exists once something is deployed."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()

_PLACEHOLDER = re.compile(r"\$\{([^!{}][^{}]*)\}")


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short tags."""


def _tag(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = str(value).split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _tag)


def load(path: Path) -> dict[str, Any]:
    """Read a template; short tags become their long form."""
    with path.open(encoding="utf-8") as stream:
        # The loader is SafeLoader with tags that give plain dicts.
        document: dict[str, Any] = yaml.load(stream, Loader=_Loader)
    return document


class Resolver:
    """Evaluates intrinsic functions from parameter defaults and known resource attributes.

    Parameters
    ----------
    known
        What `Ref Name` and `GetAtt Name.Attribute` give, by `Name` and `Name.Attribute`.
        Everything else about resources is UNKNOWN.
    """

    def __init__(self, document: Mapping[str, Any], known: Mapping[str, str]) -> None:
        defaults = {
            name: parameter["Default"]
            for name, parameter in document.get("Parameters", {}).items()
            if "Default" in parameter
        }
        self._values: dict[str, Any] = {
            "AWS::Region": "us-east-1",
            "AWS::AccountId": "000000000000",
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::StackName": "embedpipe",
            "AWS::NoValue": UNKNOWN,
            **defaults,
            **known,
        }
        self._conditions = document.get("Conditions", {})
        self._mappings = document.get("Mappings", {})
        self._functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Fn::GetAtt": lambda parts: self._ref(".".join(parts)),
            "Fn::Sub": self._sub,
            "Fn::Join": self._join,
            "Fn::If": self._if,
            "Fn::FindInMap": self._find_in_map,
            "Fn::Equals": lambda pair: self.resolve(pair[0]) == self.resolve(pair[1]),
            "Fn::Not": lambda items: not self.resolve(items[0]),
            "Fn::And": lambda items: all(self.resolve(item) for item in items),
            "Fn::Or": lambda items: any(self.resolve(item) for item in items),
            "Condition": lambda name: self.resolve(self._conditions[name]),
        }

    def resolve(self, value: Any) -> Any:
        """Evaluate a value; what cannot be known is UNKNOWN, and left out of lists and objects."""
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not UNKNOWN]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(name, argument)] = value.items()
            if name in self._functions:
                return self._functions[name](argument)
            if isinstance(name, str) and name.startswith("Fn::"):
                return UNKNOWN
        resolved = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not UNKNOWN}

    def _ref(self, name: str) -> Any:
        return self._values.get(name, UNKNOWN)

    def _sub(self, argument: Any) -> Any:
        text, extra = argument if isinstance(argument, list) else (argument, {})
        names = {name: self.resolve(value) for name, value in extra.items()}
        values = {name: names.get(name, self._ref(name)) for name in _PLACEHOLDER.findall(text)}
        if UNKNOWN in values.values():
            return UNKNOWN
        filled = _PLACEHOLDER.sub(lambda match: str(values[match[1]]), text)
        return filled.replace("${!", "${")

    def _join(self, argument: Any) -> Any:
        separator, items = argument
        parts = [self.resolve(item) for item in items]
        return UNKNOWN if UNKNOWN in parts else separator.join(map(str, parts))

    def _if(self, argument: Any) -> Any:
        name, when_true, when_false = argument
        is_true = self.resolve(self._conditions[name])
        return self.resolve(when_true if is_true else when_false)

    def _find_in_map(self, argument: Any) -> Any:
        name, first, second = (self.resolve(part) for part in argument)
        return self._mappings.get(name, {}).get(first, {}).get(second, UNKNOWN)


def as_text(value: Any) -> str:
    """Give a property as the services take it: objects as JSON, booleans in lower case."""
    if isinstance(value, dict | list):
        return json.dumps(value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
