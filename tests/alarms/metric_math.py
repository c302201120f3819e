"""The part of CloudWatch's metric math that our alarms use.

Source: Amazon CloudWatch User Guide, "Use metric math". Between two series a missing value counts
as 0, and where both are missing nothing is given; what is divided by zero is dropped.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Series: TypeAlias = list[float | None]
Value: TypeAlias = float | Series

_OPERATORS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.And: lambda left, right: bool(left) and bool(right),
    ast.Or: lambda left, right: bool(left) or bool(right),
}


def evaluate(expression: str, series: Mapping[str, Series], period_s: int) -> Series:
    """Compute an expression over series of the same times and period."""
    as_python = re.sub(r"\b(AND|OR)\b", lambda word: word[1].lower(), expression)
    found = _Evaluation(series, float(period_s)).value(ast.parse(as_python, mode="eval").body)
    assert isinstance(found, list), "an expression must give a series"
    return found


class _Evaluation:
    def __init__(self, series: Mapping[str, Series], period_s: float) -> None:
        self._series = series
        self._period_s = period_s

    def value(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=float() | int() as number):
                return float(number)
            case ast.Name(id=name):
                return self._series[name]
            case ast.BinOp(left=left, op=sign, right=right):
                return _both(_OPERATORS[type(sign)], self.value(left), self.value(right))
            case ast.Compare(left=left, ops=[sign], comparators=[right]):
                return _both(_OPERATORS[type(sign)], self.value(left), self.value(right))
            case ast.BoolOp(op=sign, values=values):
                return self._all(_OPERATORS[type(sign)], values)
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return self._call(name, arguments)
        raise ValueError(ast.dump(node))

    def _all(self, sign: Callable[[float, float], float], nodes: list[ast.expr]) -> Value:
        first, *others = map(self.value, nodes)
        for other in others:
            first = _both(sign, first, other)
        return first

    def _call(self, name: str, arguments: list[ast.expr]) -> Value:
        if name == "PERIOD":
            return self._period_s
        functions: dict[str, Callable[..., Value]] = {"IF": _if, "FILL": _fill, "DIFF": _diff}
        return functions[name](*map(self.value, arguments))


def _both(sign: Callable[[float, float], float], left: Value, right: Value) -> Value:
    if isinstance(left, list) and isinstance(right, list):
        return [
            None if one is None and other is None else _one(sign, one or 0.0, other or 0.0)
            for one, other in zip(left, right, strict=True)
        ]
    if isinstance(left, list):
        return [None if one is None else _one(sign, one, _number(right)) for one in left]
    if isinstance(right, list):
        return [None if one is None else _one(sign, left, one) for one in right]
    return _one(sign, left, right) or 0.0


def _one(sign: Callable[[float, float], float], left: float, right: float) -> float | None:
    try:
        return float(sign(left, right))
    except ZeroDivisionError:
        return None


def _number(value: Value) -> float:
    assert isinstance(value, float)
    return value


def _if(condition: Value, when_true: Value, when_false: Value) -> Series:
    assert isinstance(condition, list)

    def at(value: Value, index: int) -> float | None:
        return value[index] if isinstance(value, list) else value

    chosen: list[Any] = []
    for index, one in enumerate(condition):
        if one:
            # A missing value counts as 0 here, and only here.
            chosen.append(at(when_true, index) or 0.0)
        else:
            chosen.append(None if one is None else at(when_false, index))
    return chosen


def _fill(series: Series, value: float) -> Series:
    return [value if one is None else one for one in series]


def _diff(series: Series) -> Series:
    found: Series = []
    before: float | None = None
    for one in series:
        found.append(None if one is None or before is None else one - before)
        before = before if one is None else one
    return found
