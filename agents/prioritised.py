"""Prioritised replay: rows whose values were wrong come back more often.

Paper: Schaul et al. 2016, "Prioritized experience replay", equation 1, P(j) = p_j^alpha / sum of
p^alpha, with the proportional p_j = |error_j| + LEAST; section 3.4, importance weights
(size P(j))^-beta over the highest of the batch, beta rising linearly to 1; algorithm 1, rows come
in with the highest p so far; appendix B.2.1, one draw from each of equal shares of the total.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agents.replay import Replay
from agents.sum_tree import SumTree

LEAST = 1e-3  # of a priority, in units of the error: a row that is right must come back too


class PrioritisedReplay(Replay):
    """A `Replay` that draws by priority.

    Args:
        capacity: rows kept.
        device: where they lie.
        alpha: how far priorities count; 0: not at all.
        beta: at first, how far importance weights make up for them.
        beta_steps: times that rows are added until beta is 1.
    """

    def __init__(
        self, capacity: int, device: torch.device, *, alpha: float, beta: float, beta_steps: int
    ) -> None:
        super().__init__(capacity, device)
        self.alpha, self.first_beta, self.beta_steps = alpha, beta, beta_steps
        self.tree = SumTree(capacity, device)
        self.highest = torch.ones((), dtype=torch.float64, device=device)  # p^alpha so far
        self.steps = 0

    @property
    def beta(self) -> float:
        """At this step."""
        return 1.0 - (1.0 - self.first_beta) * max(0.0, 1.0 - self.steps / self.beta_steps)

    def add(self, rows: dict[str, Tensor]) -> Tensor:
        """Append rows at the highest priority; the places they took, [N]."""
        place_N = super().add(rows)
        self.tree.update(place_N, self.highest.expand(len(place_N)))
        self.steps += 1
        return place_N

    def sample(self, count: int, *generators: torch.Generator) -> dict[str, Tensor]:
        """Rows, with their `place` and `importance`, each tensor [count, ...]; of one agent."""
        part_N = torch.arange(count, dtype=torch.float64, device=self.device)
        draw_N = torch.rand(count, generator=generators[0], dtype=torch.float64, device=self.device)
        place_N = self.tree.find((part_N + draw_N) / count)
        chance_N = self.tree.weights(place_N) / self.tree.total
        importance_N = (self.size * chance_N) ** -self.beta
        found = self._at(place_N)
        found["place"] = place_N
        found["importance"] = (importance_N / importance_N.max()).to(torch.float32)
        return found

    def take_in(self, rows: dict[str, Tensor], error_N: Tensor) -> None:
        """Set the priorities of sampled rows by their errors."""
        priority_N = (error_N.double().abs() + LEAST) ** self.alpha
        self.tree.update(rows["place"], priority_N)
        self.highest = torch.maximum(self.highest, priority_N.max())

    def state_dict(self) -> dict[str, Any]:
        """The rows that are kept and their priorities."""
        kept_N = torch.arange(self.size, device=self.device)
        return {
            **super().state_dict(),
            "priority": self.tree.weights(kept_N),
            "highest": self.highest,
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the memory whose state this is."""
        self.tree.node.zero_()
        super().load_state_dict(state)
        place_N = torch.arange(self.size, device=self.device)
        self.tree.update(place_N, state["priority"].to(self.device))
        self.highest, self.steps = state["highest"].to(self.device), int(state["steps"])


def replay_of(
    capacity: int,
    device: torch.device,
    priorities: tuple[float, float, int] | None,
    num_seeds: int = 1,
) -> Replay:
    """A memory that draws by these ``alpha``, ``beta`` and ``beta_steps``, or uniformly."""
    if priorities is None:
        return Replay(capacity, device, num_seeds)
    alpha, beta, beta_steps = priorities
    return PrioritisedReplay(capacity, device, alpha=alpha, beta=beta, beta_steps=beta_steps)
