"""What the machine could do: rates measured in this process, and the time that a work needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from experiments.speed.figure import seconds

SQUARE = 2048  # side of the large product
COPIED = 1 << 24  # floats of a copy: 64 MiB, more than a core's caches hold
GATHERED = 40_960  # rows of a gather: those of 4,096 pages of ten
ACTIVATED = 1 << 20  # elements of a sigmoid or tanh: they stay in a cache, as fused gates would
BEST_OF = 5
LEAST_SECONDS = 0.01  # of one timed stretch
FLOAT = 4  # bytes

Shape = tuple[int, int, int]  # [m, k] times [k, n]


@dataclass(frozen=True)
class Work:
    """What a step has to do, whatever the program.

    Attributes:
        products: matrix products [m, k] x [k, n].
        moved: bytes gathered from tables, read from and written to records.
        sigmoids, tanhs: elements.
    """

    products: tuple[Shape, ...] = ()
    moved: float = 0.0
    sigmoids: float = 0.0
    tanhs: float = 0.0

    @property
    def flops(self) -> float:
        """Of all products; a multiplication and an addition each."""
        return float(sum(2 * m * k * n for m, k, n in self.products))


@dataclass(frozen=True)
class Machine:
    """Rates of one device, the best of several measurements each.

    Attributes:
        product: FLOP/s of products by shape.
        square: FLOP/s of a large square product.
        copy: bytes/s, read and written counted both.
        gather: bytes/s of embedding rows fetched, each row counted once.
        sigmoid, tanh: elements/s; tanh by `torch.tanh` or by a sigmoid, whichever is faster.
        overhead: seconds of one tiny operation, called from Python.
    """

    product: Mapping[Shape, float]
    square: float
    copy: float
    gather: float
    sigmoid: float
    tanh: float
    overhead: float

    def at_square_rate(self) -> Machine:
        """As if every product ran as fast as the large square one: the strictest limit."""
        return replace(self, product=dict.fromkeys(self.product, self.square))

    def best(self, other: Machine) -> Machine:
        """Of each rate the better of two measurements."""
        return Machine(
            product={k: max(rate, other.product[k]) for k, rate in self.product.items()},
            square=max(self.square, other.square),
            copy=max(self.copy, other.copy),
            gather=max(self.gather, other.gather),
            sigmoid=max(self.sigmoid, other.sigmoid),
            tanh=max(self.tanh, other.tanh),
            overhead=min(self.overhead, other.overhead),
        )

    def described(self) -> dict[str, Any]:
        """The rates as JSON can hold them; shapes as "m x k x n"."""
        product = {" x ".join(map(str, shape)): rate for shape, rate in self.product.items()}
        return {**asdict(self), "product": product}


class Limit(NamedTuple):
    """The least time of a work on a machine."""

    seconds: float
    by_term: dict[str, float]  # seconds of products, memory, sigmoids, tanhs
    binding: str  # the longest of them

    def described(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"seconds": self.seconds, "by_term": self.by_term, "binding": self.binding}


def limit_seconds(work: Work, machine: Machine) -> Limit:
    """The terms one after another: FLOPs, bytes and gates each at their own rate.

    Each product runs at the rate of its own shape, bytes at the copy bandwidth. Results between
    two operations count as staying in the cache, exponentials and integers as free.
    """
    by_term = {
        "products": sum(2 * m * k * n / machine.product[m, k, n] for m, k, n in work.products),
        "memory": work.moved / machine.copy,
        "sigmoids": work.sigmoids / machine.sigmoid,
        "tanhs": work.tanhs / machine.tanh,
    }
    return Limit(sum(by_term.values()), by_term, max(by_term, key=lambda name: by_term[name]))


def measure(
    device: torch.device,
    shapes: Iterable[Shape],
    *,
    row: int = 128,
    rows: int = 10_000,
    sync: Callable[[], object] | None = None,
) -> Machine:
    """Measure the rates; ``rows`` and ``row`` are those of the table that is gathered from."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(0)
        return _measure(device, set(shapes), row, rows, sync)


def _measure(
    device: torch.device, shapes: set[Shape], row: int, rows: int, sync: Callable[[], object] | None
) -> Machine:
    def best(work: Callable[[], Any]) -> float:
        calls = 1
        while True:  # one call may be shorter than the clock's own noise

            def stretch(calls: int = calls) -> None:
                for _ in range(calls):
                    work()

            taken = seconds(stretch, repeats=BEST_OF, sync=sync)
            if min(taken) >= LEAST_SECONDS or calls >= 1 << 20:
                return min(taken) / calls
            calls *= 4

    def product(m: int, k: int, n: int) -> float:
        a, b = torch.randn(m, k, device=device), torch.randn(k, n, device=device)
        out = torch.empty(m, n, device=device)
        return 2 * m * k * n / best(lambda: torch.mm(a, b, out=out))

    def activate(function: Callable[..., Tensor]) -> float:
        return ACTIVATED / best(lambda: function(gates, out=out))

    source = torch.randn(COPIED, device=device)
    target, table = torch.empty_like(source), torch.randn(rows, row, device=device)
    index = torch.randint(rows, (GATHERED,), device=device)
    fetched = torch.empty(GATHERED, row, device=device)
    gates = torch.randn(ACTIVATED, device=device)
    out, tiny = torch.empty_like(gates), torch.zeros(1, device=device)
    rows_passed = best(lambda: torch.index_select(table, 0, index, out=fetched))
    return Machine(
        product={shape: product(*shape) for shape in sorted(shapes)},
        square=product(SQUARE, SQUARE, SQUARE),
        copy=2 * FLOAT * COPIED / best(lambda: target.copy_(source)),
        gather=FLOAT * GATHERED * row / rows_passed,
        sigmoid=activate(torch.sigmoid),
        tanh=max(activate(torch.tanh), activate(_tanh_by_sigmoid)),
        overhead=best(lambda: tiny.add_(1.0)),
    )


def _tanh_by_sigmoid(x: Tensor, *, out: Tensor) -> Tensor:
    """2 sigmoid(2 x) - 1: on some CPUs several times as fast as `torch.tanh`."""
    return torch.mul(x, 2.0, out=out).sigmoid_().mul_(2.0).sub_(1.0)
