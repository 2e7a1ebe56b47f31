"""A replay memory of tensors: a ring on the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Replay:
    """Keeps the last ``capacity`` rows of named tensors, for each of S agents side by side.

    Args:
        capacity: rows kept of each.
        device: where they lie.
        num_seeds: S; see `agents.seeds`.
    """

    def __init__(self, capacity: int, device: torch.device, num_seeds: int = 1) -> None:
        self.capacity, self.device, self.num_seeds = capacity, device, num_seeds
        self.rows: dict[str, Tensor] = {}
        self.size, self.next = 0, 0  # of each agent's

    def add(self, rows: dict[str, Tensor]) -> Tensor:
        """Append N rows, each tensor [N, ...]; the oldest go. The places they took, [N]."""
        count = len(next(iter(rows.values()))) // self.num_seeds
        for name, value in rows.items():
            if name not in self.rows:
                shape = (self.num_seeds * self.capacity, *value.shape[1:])
                self.rows[name] = torch.zeros(shape, dtype=value.dtype, device=self.device)
        place_N = (self.next + torch.arange(count, device=self.device)) % self.capacity
        place_N = (self._first().unsqueeze(-1) + place_N).flatten()
        for name, value in rows.items():
            self.rows[name][place_N] = value
        self.next = (self.next + count) % self.capacity
        self.size = min(self.capacity, self.size + count)
        return place_N

    def _first(self) -> Tensor:
        """Where the rows of each agent begin, [S]."""
        return torch.arange(self.num_seeds, device=self.device) * self.capacity

    def sample(self, count: int, *generators: torch.Generator) -> dict[str, Tensor]:
        """``count`` rows of each agent drawn uniformly with replacement by its own generator."""
        drawn = [
            torch.randint(self.size, (count,), generator=generator, device=self.device)
            for generator in generators
        ]
        index = (self._first().unsqueeze(-1) + torch.stack(drawn)).flatten()
        return self._at(index)

    def _at(self, place_N: Tensor) -> dict[str, Tensor]:
        """The rows that stand there."""
        # on a CPU several times as fast as an index
        return {name: value.index_select(0, place_N) for name, value in self.rows.items()}

    def take_in(self, rows: dict[str, Tensor], error_N: Tensor) -> None:
        """Hear how wrong the values of sampled rows were, [N]: all the same to uniform draws."""

    def state_dict(self) -> dict[str, Any]:
        """The rows that are kept, as copies."""
        rows = {}
        for name, value in self.rows.items():
            whole = value.unflatten(0, (self.num_seeds, self.capacity))
            rows[name] = whole[:, : self.size].flatten(0, 1).clone()
        return {"rows": rows, "next": self.next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the memory whose state this is, which must have had the same capacity."""
        self.rows, self.size, self.next = {}, 0, 0
        if state["rows"]:
            self.add(state["rows"])
        self.next = int(state["next"])
