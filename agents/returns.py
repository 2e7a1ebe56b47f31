"""Returns over several steps, of all lanes at once.

Paper: Sutton 1988, "Learning to predict by the methods of temporal differences"; in DQN: Hessel et
al. 2018, "Rainbow", section "Multi-step learning": R = sum over k < n of gamma^k r_k, bootstrapped
with gamma^n times the value of the state n steps on. Actions after the first are not corrected for
being those of an older policy, as there. `advantages` weighs the returns over all n: Schulman et
al. 2016, "High-dimensional continuous control using generalized advantage estimation", equation 16.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class NStep:
    """Holds the last n steps of all lanes and gives the oldest of them its return.

    Each step's row comes out n - 1 steps later, with those of all lanes, so that shapes never
    depend on when episodes end; a window that an episode's end falls into is cut there.

    Args:
        n: steps of a return.
        gamma: discount of a step.
    """

    def __init__(self, n: int, gamma: float) -> None:
        self.n, self.gamma = n, gamma
        self.window: list[dict[str, dict[str, Tensor]]] = []  # the oldest first

    def push(self, step: dict[str, dict[str, Tensor]]) -> dict[str, Tensor] | None:
        """Take in one step of all lanes; the oldest one's rows, None before there are n.

        Args:
            step: `first`, what is known where a step begins; `last`, what is known where it ended,
                both of any columns [N, ..]; `end`: `reward`, `terminated` and `over`, whether the
                episode ended there for any reason, [N] each.

        Returns:
            Columns of `first`, of the first step; those of `last`, of the last one before the cut;
            `reward`, the discounted sum of these steps; `discount` of what follows, 0 where
            nothing does.
        """
        self.window = [*self.window, step][-self.n :]
        if len(self.window) < self.n:
            return None
        ends = [kept["end"] for kept in self.window]
        total_N = ends[0]["reward"]
        discount_N = torch.full_like(total_N, self.gamma)
        going_N, last_N = ~ends[0]["over"], torch.zeros_like(ends[0]["over"], dtype=torch.int64)
        for k, end in enumerate(ends[1:], start=1):
            total_N = torch.where(going_N, total_N + self.gamma**k * end["reward"], total_N)
            discount_N = torch.where(going_N, self.gamma ** (k + 1), discount_N)
            last_N = torch.where(going_N, k, last_N)
            going_N = going_N & ~end["over"]
        gone_N = _at([end["terminated"] for end in ends], last_N)
        kept_last = [kept["last"] for kept in self.window]
        return {
            **self.window[0]["first"],
            **{name: _at([one[name] for one in kept_last], last_N) for name in kept_last[0]},
            "reward": total_N,
            "discount": discount_N * ~gone_N,
        }

    def state_dict(self) -> list[Any]:
        """The steps that wait for their return."""
        return list(self.window)

    def load_state_dict(self, state: list[Any]) -> None:
        """Go on from these."""
        self.window = list(state)


def advantages(
    reward_TN: Tensor,
    value_TN: Tensor,
    next_value_TN: Tensor,
    terminated_TN: Tensor,
    truncated_TN: Tensor,
    gamma: float,
    smoothing: float,
) -> Tensor:
    """Generalised advantages [T, N]; ``smoothing`` is lambda.

    ``next_value_TN`` is of the state that followed, before any reset: nothing follows where a
    shopper left, and no advantage runs on from one episode into the next.
    """
    going_TN = (~terminated_TN).to(reward_TN.dtype)
    same_TN = going_TN * ~truncated_TN
    error_TN = reward_TN + gamma * going_TN * next_value_TN - value_TN
    found, running_N = [], torch.zeros_like(reward_TN[0])
    for error_N, same_N in zip(error_TN.flip(0), same_TN.flip(0), strict=True):
        running_N = error_N + gamma * smoothing * same_N * running_N
        found.append(running_N)
    return torch.stack(found[::-1])


def _at(column: list[Tensor], index_N: Tensor) -> Tensor:
    """Of each lane the entry at this place of the window, [N, ..]."""
    lane_N = torch.arange(len(index_N), device=index_N.device)
    return column[0] if len(column) == 1 else torch.stack(column)[index_N, lane_N]
