"""What agents share that learn from the pages of a horizon and then forget them.

Paper: Schulman et al. 2017, "Proximal policy optimization algorithms", equations 7 (clipped
surrogate) and 9 (with value loss and entropy), with the advantages of `agents.returns`.

Logged scalars, means over the last horizon's minibatches: `policy_loss`, `value_loss` (Huber),
`entropy` (nats), `clipped` (share of pages whose ratio left the clip range), `kl` (estimate of the
divergence from the old policy, nats), `advantage_std`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from agents import ranks, seeds
from agents.returns import advantages

LEAST = 1e-6  # of a share or a spread, before a logarithm or a division


@dataclass(frozen=True)
class Horizon:
    """How the pages of a horizon are learned from; the words of `agents.ppo.PPO`."""

    gamma: float
    smoothing: float
    clip: float | None
    horizon: int
    epochs: int
    minibatches: int
    entropy: float
    value_weight: float
    learning_rate: float
    anneal_steps: int | None
    max_norm: float


def surrogate(ratio_N: Tensor, advantage_N: Tensor, clip: float | None) -> Tensor:
    """The objective of each page, to be raised (equation 7), [N]; without ``clip`` r · A."""
    if clip is None:
        return ratio_N * advantage_N
    return torch.minimum(ratio_N * advantage_N, ratio_N.clamp(1.0 - clip, 1.0 + clip) * advantage_N)


class OnPolicy:
    """Learns from rows of whole horizons; who stores them says what was done by `_judged`.

    Args:
        network: of the policy and, by its ``values``, of states.
        settings: of learning.
        seed: of minibatches.
        device: of the rows.
        num_seeds: agents that learn side by side; see `agents.seeds`.
    """

    def __init__(
        self,
        network: Any,
        settings: Horizon,
        seed: int,
        device: torch.device,
        num_seeds: int = 1,
    ) -> None:
        self.network, self.settings, self.num_seeds = network, settings, num_seeds
        self.optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, eps=1e-5)
        self.generators = seeds.generators(seed, num_seeds, device)
        self._losses = self._loss
        self.rows: list[dict[str, Tensor]] = []  # of the horizon so far
        self.metrics: dict[str, Tensor] = {}  # of the last horizon
        self.steps = 0

    def _judged(self, rows: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits [R, M], and the log-probability of what was done [R]."""
        raise NotImplementedError

    def _take_in(self, row: dict[str, Tensor]) -> dict[str, Tensor]:
        """Keep one step of all lanes; after a horizon of them, improve and forget them."""
        self.rows.append(ranks.gathered(row))
        self.steps += 1
        if len(self.rows) == self.settings.horizon:
            self.metrics = self._improve(self._pages())
            self.rows = []
        return self.metrics

    def _improve(self, pages: dict[str, Tensor]) -> dict[str, Tensor]:
        """Several passes over the pages of one horizon."""
        if self.settings.anneal_steps is not None:
            share = max(0.0, 1.0 - self.steps / self.settings.anneal_steps)
            for group in self.optimiser.param_groups:
                group["lr"] = self.settings.learning_rate * share
        found = []
        count, device = len(pages["old"]) // self.num_seeds, pages["old"].device
        first_S1 = (torch.arange(self.num_seeds, device=device) * count).unsqueeze(-1)
        for _ in range(self.settings.epochs):
            order_SR = torch.stack(
                [torch.randperm(count, generator=own, device=device) for own in self.generators]
            )
            for part_SR in order_SR.chunk(self.settings.minibatches, -1):
                index = (first_S1 + part_SR).flatten()
                part = {name: value.index_select(0, index) for name, value in pages.items()}
                found.append(self._update(ranks.share(part)))
        return {name: torch.stack([row[name] for row in found]).mean() for name in found[0]}

    def _pages(self) -> dict[str, Tensor]:
        """All pages of the horizon as rows, with standardised advantages and returns.

        Those of one seed's lanes stand together.
        """
        whole = {name: torch.stack([row[name] for row in self.rows]) for name in self.rows[0]}
        advantage_TN = advantages(
            whole["reward"], whole["value"], whole["next_value"], whole["terminated"],
            whole["truncated"], self.settings.gamma, self.settings.smoothing,
        )  # fmt: skip
        whole["return"] = advantage_TN + whole["value"]
        rows = {
            name: value.unflatten(1, (self.num_seeds, -1)).transpose(0, 1).flatten(1, 2)
            for name, value in {**whole, "advantage": advantage_TN}.items()
        }  # [S, pages of one seed, ...]
        advantage_SR = rows["advantage"]
        spread_S1 = advantage_SR.std(-1, keepdim=True).clamp(min=LEAST)
        rows["spread"] = spread_S1.expand_as(advantage_SR)
        rows["advantage"] = (advantage_SR - advantage_SR.mean(-1, keepdim=True)) / spread_S1
        return {name: value.flatten(0, 1) for name, value in rows.items()}

    def _update(self, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        """One gradient step on a minibatch of pages."""
        loss, said = self._losses(rows)
        self.optimiser.zero_grad(set_to_none=True)
        (self.num_seeds * loss).backward()
        seeds.clip_each(self.network.parameters(), self.settings.max_norm, self.num_seeds)
        self.optimiser.step()
        return said | {"advantage_std": rows["spread"].mean()}

    def _loss(self, rows: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """What a gradient step lowers, and scalars to log."""
        settings = self.settings
        logit_RM, chosen_R = self._judged(rows)
        change_R = chosen_R - rows["old"]
        ratio_R = change_R.exp()
        policy_loss = -surrogate(ratio_R, rows["advantage"], settings.clip).mean()
        value_loss = F.smooth_l1_loss(self.network.values(rows["feature"]), rows["return"])
        share_RM = logit_RM.softmax(-1)
        entropy = -(share_RM * share_RM.clamp(min=LEAST).log()).sum(-1).mean()
        loss = policy_loss + settings.value_weight * value_loss - settings.entropy * entropy
        outside_R = (ratio_R - 1.0).abs() > (settings.clip or torch.inf)
        return loss, {
            "policy_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "entropy": entropy.detach(),
            "clipped": outside_R.to(ratio_R.dtype).mean(),
            "kl": (ratio_R - 1.0 - change_R).mean().detach(),
        }

    # ---- keeping --------------------------------------------------------------------------------

    def state_dict(self, *, learning: bool = False) -> dict[str, Any]:
        """The network and the optimiser; with ``learning`` the horizon so far and the generator."""
        state: dict[str, Any] = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
        }
        if learning:
            state |= {"rows": self.rows, "metrics": self.metrics}
            state["generators"] = [own.get_state() for own in self.generators]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Act and learn on from a saved state."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps = int(state["steps"])
        if "rows" in state:
            self.rows, self.metrics = list(state["rows"]), dict(state["metrics"])
            for own, drawing in zip(self.generators, state["generators"], strict=True):
                own.set_state(drawing.cpu())
