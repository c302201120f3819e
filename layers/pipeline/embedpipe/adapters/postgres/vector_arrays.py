"""Vectors in pgvector's binary form, without numpy and without a text cast."""

from __future__ import annotations

import struct
import sys
from array import array
from dataclasses import dataclass
from typing import Any

import psycopg
from pgvector.psycopg.vector import VectorBinaryDumper
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types import TypeInfo

from embedpipe.sql import statement


@dataclass(frozen=True)
class VectorArray:
    """Vectors to bind as `vector[]`: values row after row, in the byte order of this machine."""

    values: array[float]
    dimensions: int


class _VectorArrayDumper(Dumper):
    format = Format.BINARY
    element_oid = 0

    def dump(self, obj: VectorArray) -> bytes:
        values = array("f", obj.values)
        if sys.byteorder == "little":
            values.byteswap()
        data, width = memoryview(values.tobytes()), 4 * obj.dimensions
        # Per element: its length in bytes; then as vector_recv reads it: dimensions, zero, floats.
        heading = struct.pack(">iHH", width + 4, obj.dimensions, 0)
        rows = len(data) // width
        # One dimension, no NULLs, element type, length, lower bound.
        parts: list[bytes | memoryview] = [struct.pack(">iiIii", 1, 0, self.element_oid, rows, 1)]
        for at in range(0, len(data), width):
            parts += (heading, data[at : at + width])
        return b"".join(parts)


def register_vector_types(connection: psycopg.Connection[Any]) -> None:
    """Teach a connection the type `vector`.

    Nothing happens on a database without the extension: it is not migrated yet.
    """
    row = connection.execute(statement("sessions", "vector_type")).fetchone()
    connection.rollback()
    if row is None:
        return
    info = TypeInfo("vector", row["oid"], row["array_oid"])
    info.register(connection)
    single = type("VectorDumper", (VectorBinaryDumper,), {"oid": info.oid})
    several = type(
        "VectorArrayDumper",
        (_VectorArrayDumper,),
        {"oid": info.array_oid, "element_oid": info.oid},
    )
    connection.adapters.register_dumper("pgvector.vector.Vector", single)
    connection.adapters.register_dumper(VectorArray, several)
