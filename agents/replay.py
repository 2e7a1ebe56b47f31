"""A replay memory of tensors: a ring on the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Replay:
    """Keeps the last ``capacity`` rows of named tensors.

    Args:
        capacity: rows kept.
        device: where they lie.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        self.capacity, self.device = capacity, device
        self.rows: dict[str, Tensor] = {}
        self.size, self.next = 0, 0

    def add(self, rows: dict[str, Tensor]) -> Tensor:
        """Append N rows, each tensor [N, ...]; the oldest go. The places they took, [N]."""
        count = len(next(iter(rows.values())))
        for name, value in rows.items():
            if name not in self.rows:
                shape = (self.capacity, *value.shape[1:])
                self.rows[name] = torch.zeros(shape, dtype=value.dtype, device=self.device)
        place_N = (self.next + torch.arange(count, device=self.device)) % self.capacity
        for name, value in rows.items():
            self.rows[name][place_N] = value
        self.next = (self.next + count) % self.capacity
        self.size = min(self.capacity, self.size + count)
        return place_N

    def sample(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Rows drawn uniformly with replacement, each tensor [count, ...]."""
        index = torch.randint(self.size, (count,), generator=generator, device=self.device)
        return {name: value[index] for name, value in self.rows.items()}

    def take_in(self, rows: dict[str, Tensor], error_N: Tensor) -> None:
        """Hear how wrong the values of sampled rows were, [N]: all the same to uniform draws."""

    def state_dict(self) -> dict[str, Any]:
        """The rows that are kept, as copies."""
        rows = {name: value[: self.size].clone() for name, value in self.rows.items()}
        return {"rows": rows, "next": self.next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the memory whose state this is, which must have had the same capacity."""
        self.rows, self.size, self.next = {}, 0, 0
        if state["rows"]:
            self.add(state["rows"])
        self.next = int(state["next"])
