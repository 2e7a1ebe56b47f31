"""Settings held against the annotations of the constructor that takes them.

A config takes any value for any key, and what cannot be used would end in a traceback much later.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from recgym.errors import UserError

WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    type(None): "null",
}


@dataclass(frozen=True)
class Within:
    """Bounds of a number, both included, for ``Annotated``."""

    low: float
    high: float = math.inf

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"of at least {self.low:g}"
        return f"from {self.low:g} to {self.high:g}"


Share = Annotated[float, Within(0.0, 1.0)]
Positive = Annotated[float, Within(1e-12)]  # divided by, or a step that must lead somewhere
Count = Annotated[int, Within(1)]


def check(path: str, values: Mapping[str, Any], target: Any) -> None:
    """Stop where a plain value is not what the keyword of ``target`` is annotated with.

    Args:
        path: of the settings, as on the command line; empty at the top.
        values: of the keywords.
        target: class or function that takes them.

    Raises:
        UserError: naming the first setting that is unknown, of another type or out of bounds.
    """
    known, hints = keywords(target), _hints(target)
    for name, value in values.items():
        key = f"{path}.{name}" if path else name
        if known and name not in known:
            raise UserError(f"{key} is no setting: expected {', '.join(sorted(known))}.")
        if name in hints and not _fits(value, hints[name]):
            raise UserError(f"{key}={value}: expected {_words(hints[name])}.")


def keywords(target: Any) -> set[str]:
    """Names of the keywords; empty where Python cannot tell or any is taken."""
    found: set[str] = set()
    for function in _makers(target):
        try:
            parameters = inspect.signature(function).parameters
        except ValueError:  # some builtin types have no signature
            return set()
        rest = {p.name for p in parameters.values() if p.kind is inspect.Parameter.VAR_KEYWORD}
        found |= set(parameters) - rest - {"self"}
        if not rest:
            return found
    return set()


def _hints(target: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for function in _makers(target):
        try:
            found = {**get_type_hints(function, include_extras=True), **found}
        except (NameError, TypeError):  # types imported for type checkers alone; builtin functions
            return {}
    return found


def _makers(target: Any) -> list[Any]:
    """What takes the keywords: of a class its own ``__init__``, then those that it passes on to.

    One that takes ``**settings`` hands them to the class that it inherits from.
    """
    if not inspect.isclass(target):
        return [target]
    found: list[Any] = []
    for one in target.__mro__:
        function = vars(one).get("__init__")
        if function is not None:
            found.append(function)
            parameters = inspect.signature(function).parameters.values()
            if all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in parameters):
                break
    return found


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value is of the annotated type; types that no config holds take anything."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = [b for b in hint.__metadata__ if isinstance(b, Within)]
        return _fits(value, parts[0]) and all(b.low <= value <= b.high for b in bounds)
    if origin is Literal:
        return value in parts
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin in (tuple, list):
        return isinstance(value, list | tuple) and _all_fit(value, origin, parts)
    if hint is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in WORDS else True


def _all_fit(values: Any, origin: Any, parts: tuple[Any, ...]) -> bool:
    if origin is list or Ellipsis in parts:
        parts = parts[:1] * len(values)
    return len(parts) == len(values) and all(map(_fits, values, parts))


def _words(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = [str(b) for b in hint.__metadata__ if isinstance(b, Within)]
        return " ".join([_words(parts[0]), *bounds])
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin in (Union, types.UnionType):
        return " or ".join(_words(part) for part in parts)
    if origin in (tuple, list):
        return f"[{', '.join('...' if part is Ellipsis else _words(part) for part in parts)}]"
    return WORDS.get(hint, str(hint))
