"""Reads template.yaml for tests: resources with Globals merged in, and values as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedpipe.local import intrinsics

PATH = Path(__file__).parents[1] / "template.yaml"


@dataclass(frozen=True)
class Stack:
    """A SAM template, short tags in their long form."""

    document: Mapping[str, Any]

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Give the properties of all resources of a type, by logical id."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.document["Resources"].items()
            if resource["Type"] == kind
        }

    def properties(self, logical_id: str) -> dict[str, Any]:
        properties: dict[str, Any] = self.document["Resources"][logical_id]["Properties"]
        return properties

    def function(self, logical_id: str) -> dict[str, Any]:
        """Give a function's properties, those of Globals included."""
        return _merged(self.document["Globals"]["Function"], self.properties(logical_id))

    def text(self, value: Any) -> str:
        """Give a value as an environment variable would have it.

        A parameter gives its default, a resource its name; `Sub` stays as it is written.
        """
        match value:
            case {"Ref": name}:
                parameter = self.document["Parameters"].get(name)
                return str(name if parameter is None else parameter.get("Default", name))
            case {"Fn::Sub": text}:
                return str(text)
            case {"Fn::GetAtt": parts}:
                return ".".join(parts)
            case {"Fn::If": [_, when_true, _]}:
                return self.text(when_true)
            case _:
                return str(value)

    def targets(self, value: Any) -> set[str]:
        """Give the logical ids that a value refers to by Ref or GetAtt, at any depth."""
        return set(_references(value))

    def statements(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give every IAM statement that grants something, with the resource that has it."""
        for name, resource in self.document["Resources"].items():
            if resource["Type"] in ("AWS::SQS::QueuePolicy", "AWS::S3::BucketPolicy"):
                continue
            for policy in resource.get("Properties", {}).get("Policies", []):
                for statement in statements_of(policy):
                    yield name, statement


def load_stack() -> Stack:
    return Stack(intrinsics.load(PATH))


def statements_of(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the statements of an inline policy, those under a condition included."""
    return [
        when_met(statement)
        for statement in policy.get("PolicyDocument", policy).get("Statement", [])
    ]


def when_met(value: Any) -> Any:
    """Give what stands there when the condition, if there is one, is met."""
    match value:
        case {"Fn::If": [_, when_true, _]}:
            return when_met(when_true)
        case _:
            return value


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        result[key] = _merged(base[key], value) if both else value
    return result


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "Ref" in value:
            yield value["Ref"]
        elif "Fn::GetAtt" in value:
            yield value["Fn::GetAtt"][0]
        else:
            for item in value.values():
                yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)
