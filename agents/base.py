"""What every learner offers to the one training loop."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from recgym.envs.core import Transition
from recgym.types import Observation


class Lanes(Protocol):
    """What the training loop steps: the lanes of a shop, or of a log that is played again."""

    num_envs: int
    device: torch.device
    observation: Observation  # of every lane now

    def reset(self, seed: int | Tensor) -> Observation:
        """Begin an episode in every lane; ``seed`` is that of the first, or one a lane, [N]."""
        ...

    def step(self, item_NK: Tensor) -> Transition:
        """Show a page in every lane; a lane whose episode ends begins its next one."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that the running lanes are, as tensors."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the lanes whose state this is."""
        ...


class Agent(Protocol):
    """A policy that learns; its storage, schedules and optimisers are its own.

    One that learns from the log's own pages has the class attribute ``from_log = True``.
    """

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items to show, [N, K] int64, -1 for an empty slot."""
        ...

    def learn(
        self, observation: Observation, item_NK: Tensor, transition: Transition
    ) -> dict[str, Tensor]:
        """Take in one step of all lanes and improve; metrics as scalar tensors."""
        ...

    def state_dict(self, *, learning: bool = False) -> dict[str, Any]:
        """All that acting needs, as tensors and plain values; with ``learning`` all of the agent.

        From the second it goes on as if it had never been saved: memories and noise included.
        """
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Act as the agent whose state this is; learn on as it, where all of it was saved."""
        ...
