"""What agents share that learn from a memory: store a step of all lanes, count it, improve."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from agents import ranks
from agents.replay import Replay
from agents.seeds import generators
from recgym.envs.core import Transition
from recgym.types import Observation


class Kept(Protocol):
    """Anything with a state: a network, an optimiser, a clone."""

    def state_dict(self) -> dict[str, Any]:
        """Its state."""
        ...

    def load_state_dict(self, state_dict: Any) -> Any:
        """Go on with this state."""
        ...


class FromMemory:
    """Learns by `_update` from rows drawn out of a memory.

    Args:
        kept: what acting and learning need, by its name in a saved state.
        replay: the memory.
        seed: of what is drawn from it.
        batch_size: rows of an update.
        learning_starts: rows before the first update.
        updates: gradient steps for each step of all lanes.
        num_seeds: agents that learn side by side; see `agents.seeds`.
    """

    def __init__(
        self,
        kept: dict[str, Kept],
        replay: Replay,
        *,
        seed: int,
        batch_size: int,
        learning_starts: int,
        updates: int,
        num_seeds: int = 1,
    ) -> None:
        self.num_seeds = num_seeds
        self.kept, self.replay = kept, replay
        self.generators = generators(seed, num_seeds, replay.device)
        self.batch_size, self.learning_starts, self.updates = batch_size, learning_starts, updates
        self.steps = 0

    def _update(self, rows: dict[str, Tensor], number: int = 0) -> dict[str, Tensor]:
        """One gradient step, the ``number``-th of this step of all lanes; metrics."""
        raise NotImplementedError

    def _improve(self, rows: dict[str, Tensor] | None) -> dict[str, Tensor]:
        """Store these rows of one step of all lanes, then take `updates` gradient steps."""
        if rows is not None:
            self.replay.add(ranks.gathered(rows))
        self.steps += 1
        metrics: dict[str, Tensor] = {}
        if self.replay.size >= self.learning_starts:
            for number in range(self.updates):
                drawn = self.replay.sample(self.batch_size, *self.generators)
                metrics = self._update(ranks.share(drawn), number)
        return metrics

    def state_dict(self, *, learning: bool = False) -> dict[str, Any]:
        """All of `kept`; with ``learning`` the memory and its generator too."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.kept.items()}
        state["steps"] = self.steps
        if learning:
            drawing = [generator.get_state() for generator in self.generators]
            state |= {"replay": self.replay.state_dict(), "generators": drawing}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Act and learn on from a saved state."""
        for name, part in self.kept.items():
            part.load_state_dict(state[name])
        self.steps = int(state["steps"])
        if "replay" in state:
            self.replay.load_state_dict(state["replay"])
            for generator, drawing in zip(self.generators, state["generators"], strict=True):
                generator.set_state(drawing.cpu())


class OffPolicy(FromMemory):
    """A recommender whose `_rows` fill the memory."""

    def _rows(self, observation: Observation, transition: Transition) -> dict[str, Tensor] | None:
        """What is kept of a step, each [N, ...]; None while its rows are not complete."""
        raise NotImplementedError

    def learn(
        self, observation: Observation, item_NK: Tensor, transition: Transition
    ) -> dict[str, Tensor]:
        """Store one step of all lanes, then take `updates` gradient steps."""
        with torch.no_grad():
            rows = self._rows(observation, transition)
        return self._improve(rows)
