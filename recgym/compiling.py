"""Functions of records made fast: fused by `torch.compile`, and on a GPU launched as one graph.

A step is hundreds of small operations. With few lanes a GPU waits for the host to launch them, one
after another; a CUDA graph launches all of them at once.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recgym.errors import UserError
from recgym.lanes import Record, Shared

WARM_UPS = 3  # calls before a capture: libraries set themselves up, and the compiler runs
Function = Callable[..., Any]


def compiled(function: Function, *, gradients: bool = False) -> Function:
    """The function through `torch.compile`, whole, for lanes of the number of its first call.

    A call with another number of lanes runs it as it is: compiling anew takes a minute. Its
    arguments are positional and, as its result, tensors, records, and tuples and dicts of them.
    Without ``gradients`` there are none; the function must not say so by a decorator, since the
    compiler takes all that have it for one and soon gives up. With them it is no graph of a GPU.

    Raises:
        UserError: if there is no C++ compiler.
    """
    compilers = [os.environ.get("CXX"), "g++", "clang++", "cl"]
    if not any(name and shutil.which(name) for name in compilers):
        raise UserError(
            "compile=true needs a C++ compiler, and none of g++, clang++ and cl is on the PATH: "
            "install one, set CXX, or use compile=false."
        )
    return _Compiled(function, gradients)


class _Compiled:
    def __init__(self, function: Function, gradients: bool) -> None:
        self.plain, self.whole = function, torch.compile(function, fullgraph=True, dynamic=False)
        self.gradients = gradients
        self.lanes: int | None = None
        self.fast: Function = self.whole

    def __call__(self, *arguments: Any) -> Any:
        first = _first(arguments)
        if self.lanes is None:
            self.lanes = len(first)
            if first.is_cuda and not self.gradients:
                self.fast = Graphed(self.whole)
        function = self.fast if len(first) == self.lanes else self.plain
        with torch.set_grad_enabled(self.gradients):
            return function(*arguments)


class _Captured(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]  # that the graph reads
    result: Any  # that the graph writes
    constants: set[int]  # addresses of what the result holds and no call changes


class Graphed:
    """A function whose every call is the replay of one CUDA graph.

    It is captured at the first call and for inputs of those shapes; results are copies, so that a
    later call leaves them as they are. What lies in a `Shared` record is not copied: all calls must
    give the same. It must not draw from a generator, nor wait for the device.
    """

    def __init__(self, function: Function) -> None:
        self.function = function
        self._captured: _Captured | None = None

    def __call__(self, *arguments: Any) -> Any:
        """The result for these arguments."""
        if self._captured is None:
            self._captured = self._capture(arguments)
        graph, inputs, result, constants = self._captured
        given = _lane_tensors(arguments)
        torch._foreach_copy_(inputs, given)  # one launch for all
        graph.replay()
        return _mapped(lambda x, _: x if x.data_ptr() in constants else x.clone(), result)

    def _capture(self, arguments: Any) -> _Captured:
        held = _mapped(lambda x, shared: x if shared else x.clone(), arguments)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self.function(*held)
            # a result that is new in each call lies elsewhere while the last one is kept
            kept = [self.function(*held) for _ in range(2)]
        torch.cuda.current_stream().wait_stream(stream)
        constants = _addresses(kept[0]) & _addresses(kept[1])
        inputs = _lane_tensors(held)
        constants -= {x.data_ptr() for x in inputs}
        del kept
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = self.function(*held)
        return _Captured(graph, inputs, result, constants)


def _mapped(function: Callable[[Tensor, bool], Any], value: Any, shared: bool = False) -> Any:
    """The value with each tensor replaced; the function learns which are of a `Shared` record."""
    if isinstance(value, Tensor):
        return function(value, shared)
    if isinstance(value, Record):
        shared = shared or isinstance(value, Shared)
        changed = {
            field.name: _mapped(function, getattr(value, field.name), shared)
            for field in dataclasses.fields(value)  # type: ignore[arg-type]
        }
        return dataclasses.replace(value, **changed)  # type: ignore[type-var]
    if isinstance(value, dict):
        return {name: _mapped(function, part, shared) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_mapped(function, part, shared) for part in value)
    return value


def _lane_tensors(value: Any) -> list[Tensor]:
    """All tensors but those of `Shared` records."""
    found: list[Tensor] = []

    def take(x: Tensor, shared: bool) -> Tensor:
        if not shared:
            found.append(x)
        return x

    _mapped(take, value)
    return found


def _addresses(value: Any) -> set[int]:
    found: set[int] = set()

    def take(x: Tensor, _: bool) -> Tensor:
        found.add(x.data_ptr())
        return x

    _mapped(take, value)
    return found


def _first(value: Any) -> Tensor:
    """The first tensor of all, which has a row a lane."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Record):
        return _first(tuple(vars(value).values()))
    parts = value.values() if isinstance(value, dict) else value
    return next(_first(part) for part in parts if isinstance(part, Tensor | Record | tuple | dict))
