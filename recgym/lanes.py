"""Records: frozen dataclasses of tensors, a row a lane, which move, part and meet as one.

What is in them `recgym.types` and the parts say; here is what can be done to any of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TypeVar

import torch
from torch import Tensor


class Record:
    """A dataclass of tensors that moves, indexes and merges lane by lane."""

    def _map(self, function: Any) -> Self:
        changed = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = function(value)
            elif isinstance(value, Record):
                changed[field.name] = value._map(function)
        return dataclasses.replace(self, **changed)  # type: ignore[type-var]

    def to(self, device: torch.device | str | None = None) -> Self:
        """The same record on another device."""
        return self._map(lambda x: x.to(device))

    def lanes(self, index: Tensor | slice) -> Self:
        """The record of the lanes in ``index``; a scalar field is shared by all."""
        if isinstance(index, Tensor) and index.dtype == torch.int64:
            # a CPU takes whole rows several times as fast as an index
            return self._of_lanes(lambda x: x.index_select(0, index.to(x.device)))
        return self._of_lanes(lambda x: x[index])

    def repeated(self, count: int) -> Self:
        """Each lane so many times, one after another; a scalar field is shared by all."""
        return self._of_lanes(lambda x: repeated(x, count))

    def _of_lanes(self, function: Callable[[Tensor], Tensor]) -> Self:
        changed: dict[str, Any] = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Record):
                changed[field.name] = value._of_lanes(function)
            elif isinstance(value, Tensor) and value.dim():
                changed[field.name] = function(value)
        return dataclasses.replace(self, **changed)  # type: ignore[type-var]

    def packed(self) -> dict[str, Any]:
        """Its tensors by name, those of records within it one level down."""
        found: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                found[name] = value
            elif isinstance(value, Record):
                found[name] = value.packed()
        return found

    def unpacked(self, values: Mapping[str, Any]) -> Self:
        """This record with other tensors, as `packed` gave them.

        Raises:
            ValueError: if one is missing, or of another shape or type.
        """
        changed: dict[str, Any] = {}
        for name, old in vars(self).items():
            if not isinstance(old, Tensor | Record):
                continue
            if name not in values:
                raise ValueError(f"{name} is missing")
            new = values[name]
            if isinstance(old, Record):
                changed[name] = old.unpacked(new)
            elif new.shape != old.shape or new.dtype != old.dtype:
                raise ValueError(
                    f"{name} is {new.dtype} {list(new.shape)}, not {old.dtype} {list(old.shape)}"
                )
            else:
                changed[name] = new.to(old.device)
        return dataclasses.replace(self, **changed)  # type: ignore[type-var]


class Shared(Record):
    """A record that belongs to all lanes: to pick lanes leaves it as it is."""

    def _of_lanes(self, function: Callable[[Tensor], Tensor]) -> Self:
        return self


def repeated(value_N: Tensor, count: int) -> Tensor:
    """Each row so many times, one after another, [N · count, ...]."""
    # not by an index, whose gradient a CPU adds up row by row
    return value_N.unsqueeze(1).expand(-1, count, *[-1] * (value_N.dim() - 1)).flatten(0, 1)


def rows(table_IX: Tensor, index: Tensor) -> Tensor:
    """Rows of a table, [*index.shape, X]."""
    # as F.embedding, whose gradient a CPU adds up several times slower
    return table_IX.index_select(0, index.flatten()).view(*index.shape, table_IX.shape[1])


R = TypeVar("R", bound=Record)


def where(mask_N: Tensor, first: R, second: R) -> R:
    """Lane by lane, ``first`` where the mask holds and ``second`` elsewhere."""
    merged = {}
    for field in dataclasses.fields(first):  # type: ignore[arg-type]
        a, b = getattr(first, field.name), getattr(second, field.name)
        if isinstance(a, Tensor):
            merged[field.name] = torch.where(mask_N.view(-1, *[1] * (a.dim() - 1)), a, b)
        elif isinstance(a, Record):
            merged[field.name] = where(mask_N, a, b)
    return dataclasses.replace(first, **merged)  # type: ignore[type-var]


def put(record: R, index_F: Tensor, fresh: R) -> R:
    """The record with the lanes in ``index_F`` replaced by those of ``fresh``."""
    merged = {}
    for field in dataclasses.fields(record):  # type: ignore[arg-type]
        old, new = getattr(record, field.name), getattr(fresh, field.name)
        if isinstance(old, Tensor):
            merged[field.name] = old.index_copy(0, index_F, new) if old.dim() else old
        elif isinstance(old, Record):
            merged[field.name] = put(old, index_F, new)
    return dataclasses.replace(record, **merged)  # type: ignore[type-var]


def joined(records: Sequence[R]) -> R:
    """The lanes of all these records, one after another."""
    merged = {}
    for field in dataclasses.fields(records[0]):  # type: ignore[arg-type]
        values = tuple(getattr(record, field.name) for record in records)
        if isinstance(values[0], Tensor):
            merged[field.name] = torch.cat(values)
        elif isinstance(values[0], Record) and not isinstance(values[0], Shared):
            merged[field.name] = joined(values)
    return dataclasses.replace(records[0], **merged)  # type: ignore[type-var]
