"""A catalogue of 100,000 items for the tests of agents that are made for it, and their memory."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recgym.envs.core import ShopCore


class Largest(TorchDispatchMode):
    """Sees every tensor that is made, and remembers how many numbers the largest holds."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        for value in tree_leaves(made):
            if isinstance(value, Tensor):
                # an expanded row takes no more memory than the row
                held = value.untyped_storage().nbytes() // value.element_size()
                self.numbers = max(self.numbers, min(value.numel(), held))
        return made


def play(agent: Any, core: ShopCore, steps: int) -> Any:
    """Act, step and learn; what the agent said last."""
    observation, said = core.reset(0), {}
    for _ in range(steps):
        item_NK = agent.act(observation, explore=True)
        transition = core.step(item_NK)
        said = agent.learn(observation, item_NK, transition)
        observation = transition.observation
    return said
