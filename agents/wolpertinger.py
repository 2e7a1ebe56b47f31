"""Wolpertinger: an actor points into the space of items, and a critic picks among the nearest.

Paper: Dulac-Arnold et al. 2015, "Deep reinforcement learning in large discrete action spaces",
algorithms 1 and 2: the actor's proto-action f(s) is a vector, its k nearest items are found
(section 4.1), and the critic takes the best of them (section 4.2). f climbs it at f(s), as in
Lillicrap et al. 2015, "Continuous control with deep reinforcement learning", equation 6. Here items
are the rows of the fitted user model's table of vectors, and who picks the slate among the k
nearest is `agents.reranking`, so that the values of `agents.dqn` and all its switches hold. On a
page the catalogue is looked at once, for distances; all else is of k items a lane.

Deviations: the critic of items is not climbed itself, being linear in a vector and knowing more of
an item than that. A second critic W(s, e) learns from vectors alone what an item of vector e adds
to a slate: the score v(i) (a(i) - lambda) of `agents.slates` under the values as they are. It is
taught on some of the nearest items of each page and on as many at random, so that the actor sees
beyond what it points at, and counts in the batch's mean size of a score. The k nearest items of s'
are those found when the step is stored; the search is exact, among items that may be shown (theirs
is approximate); slots filled at random explore, where they add noise to f(s).

What it cannot: where vectors have nothing in common, what lies near f(s) says nothing of f(s), and
the actor may settle between what is good for some states and for others. In the probe shops of six
one-hot items, with k = 3, it solves those whose best page is the same in all states, and reaches
76 % of the optimum where tastes differ, 90 % under fatigue and 31 % under delay.

Logged scalars: those of `agents.dqn`; `pointing_loss` (Huber, of W), `pointed` (mean W at f(s)),
both in mean sizes of a score.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from agents.exploring import lane_key
from agents.outlook import LEAST, Outlook, in_parts, outlook_of
from agents.reranking import Reranking
from recgym import rng
from recgym.envs.core import Transition
from recgym.settings import Count, Positive
from recgym.types import Observation

REACH = 3.0  # standard deviations of the items' vectors that the actor can point to


class Pointer(nn.Module):
    """The actor f(s) and its critic W(s, e), from bodies of their own.

    Args:
        num_features: O, of the observation.
        vector_ID: of the items, whose place and spread the actor begins with.
        hidden: width of the layers.
    """

    middle_D: Tensor
    spread_D: Tensor

    def __init__(self, num_features: int, vector_ID: Tensor, hidden: int) -> None:
        super().__init__()
        size = vector_ID.shape[1]
        self.actor = nn.Sequential(
            nn.Linear(num_features, hidden), nn.ReLU(), nn.Linear(hidden, size), nn.Tanh()
        )
        self.of_state, self.of_item = nn.Linear(num_features, hidden), nn.Linear(size, hidden)
        self.rest = nn.Sequential(
            nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )
        self.register_buffer("middle_D", vector_ID.mean(0))
        self.register_buffer("spread_D", REACH * vector_ID.std(0))

    def proto(self, feature_NO: Tensor) -> Tensor:
        """f(s), [N, D]."""
        proto_ND: Tensor = self.middle_D + self.spread_D * self.actor(feature_NO)
        return proto_ND

    def worth(self, feature_NO: Tensor, vector_NJD: Tensor) -> Tensor:
        """W(s, e) of J vectors a lane, [N, J]."""
        state_N1H, item_NJH = self.of_state(feature_NO).unsqueeze(1), self.of_item(vector_NJD)
        match_NJ = (F.relu(state_N1H) * item_NJH).sum(-1)  # who likes what, learned soonest
        worth_NJ: Tensor = match_NJ + self.rest(state_N1H + item_NJH).squeeze(-1)
        return worth_NJ


def nearest(
    query_ND: Tensor, vector_ID: Tensor, square_I: Tensor, allowed_NI: Tensor, count: int
) -> Tensor:
    """Items of least Euclidean distance, the nearest first, [N, count]; -1 where fewer may be.

    ``square_I`` are the vectors' squared lengths.
    """
    near_NI = torch.addmm(square_I, query_ND, vector_ID.T, beta=-0.5)
    best = near_NI.masked_fill(~allowed_NI, -torch.inf).topk(count, -1)
    return best.indices.masked_fill(best.values == -torch.inf, -1)


class Wolpertinger(Reranking):
    """Actor, k nearest items and critic over slates; see the module's docstring.

    Args:
        num_features, seed, hidden: as of `agents.dqn.DQN`, and of the actor alike.
        num_taught: nearest items on which W is taught, and as many drawn at random.
        actor_rate: Adam's of the actor and of W.
        settings: the others of `agents.reranking.Reranking`; ``num_retrieved`` is k.
    """

    name = "wolpertinger"

    def __init__(
        self,
        *,
        num_features: int,
        seed: int = 0,
        hidden: Count = 128,
        num_taught: Count = 16,
        actor_rate: Positive = 1e-3,
        **settings: Any,
    ) -> None:
        super().__init__(num_features=num_features, seed=seed, hidden=hidden, **settings)
        self.num_nearest, self.num_taught = self.looks_at, min(num_taught, self.looks_at)
        # what the model says of an item in one lane holds a number for each category
        self.looks_at *= self.user_model.catalog.num_categories
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            pointer = Pointer(num_features, self.vector_ID.cpu(), hidden)
        self.pointer = pointer.to(self.vector_ID.device)
        self.pointing = torch.optim.Adam(self.pointer.parameters(), lr=actor_rate)
        self.square_I = self.vector_ID.square().sum(-1)

    # ---- acting ---------------------------------------------------------------------------------

    def _retrieved(self, observation: Observation) -> tuple[Tensor, Outlook]:
        item_NM = self._nearest(observation, self.num_nearest)
        return item_NM, outlook_of(self.user_model, observation, item_NM)

    def _nearest(self, observation: Observation, count: int) -> Tensor:
        """The nearest items to f(s), [N, count]; -1 where fewer may be shown."""

        def found(part: Observation) -> Tensor:
            query_ND = self.pointer.proto(self._read(part))
            return nearest(query_ND, self.vector_ID, self.square_I, part.eligible, count)

        return in_parts(observation, found, len(self.vector_ID))

    # ---- learning -------------------------------------------------------------------------------

    def _more(self, observation: Observation, transition: Transition) -> dict[str, Tensor]:
        """Items of the page's own state on which W is taught: the nearest, and some others."""
        return in_parts(observation, self._taught_on, self.looks_at)

    def _taught_on(self, observation: Observation) -> dict[str, Tensor]:
        u_NR = rng.uniform(lane_key(observation), self.num_taught, torch.float64)
        random_NR = (u_NR * len(self.vector_ID)).long()
        random_NR = random_NR.masked_fill(~observation.eligible.gather(-1, random_NR), -1)
        item_NJ = torch.cat([self._nearest(observation, self.num_taught), random_NR], -1)
        seen = outlook_of(self.user_model, observation, item_NJ)
        return {
            "near": item_NJ,
            "near_added": seen.added,
            "near_sold": seen.sold,
            "near_go_on": seen.go_on,
        }

    def _update(self, rows: dict[str, Tensor], number: int = 0) -> dict[str, Tensor]:
        """A step of Q, then one of W on Q's scores and of the actor up W."""
        said = super()._update(rows, number)
        feature_NO = rows["feature"]
        with torch.no_grad():
            values = self.network(feature_NO)
            near = (rows[f"near{of}"] for of in ("", "_added", "_sold", "_go_on"))
            score_NJ = self._among(values, *near)
            taught_NJ = score_NJ > -torch.inf
            score_NJ = score_NJ.masked_fill(~taught_NJ, 0.0)
            count = taught_NJ.sum().clamp(min=1)
            score_NJ = score_NJ / (score_NJ.abs().sum() / count).clamp(min=LEAST)
        worth_NJ = self.pointer.worth(feature_NO, self.vector_ID[rows["near"].clamp(min=0)])
        error_NJ = F.smooth_l1_loss(worth_NJ, score_NJ, reduction="none")
        loss = (error_NJ * taught_NJ).sum() / count
        self.pointing.zero_grad(set_to_none=True)
        loss.backward()
        pointed = self._point(feature_NO)
        self.pointing.step()
        return {**said, "pointing_loss": loss.detach(), "pointed": pointed}

    def _point(self, feature_NO: Tensor) -> Tensor:
        """Gradients of the actor alone: W is read at f(s), and not taught that f(s) is good."""
        proto_N1D = self.pointer.proto(feature_NO).unsqueeze(1)
        pointed = self.pointer.worth(feature_NO, proto_N1D).mean()
        weights = list(self.pointer.actor.parameters())
        for weight, slope in zip(weights, torch.autograd.grad(-pointed, weights), strict=True):
            weight.grad = slope
        return pointed.detach()

    # ---- keeping --------------------------------------------------------------------------------

    def state_dict(self, *, learning: bool = False) -> dict[str, Any]:
        """As of `agents.dqn.DQN`, with actor and W."""
        kept = {name: getattr(self, name).state_dict() for name in ("pointer", "pointing")}
        return {**super().state_dict(learning=learning), **kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Act and learn on from a saved state."""
        super().load_state_dict(state)
        for name in ("pointer", "pointing"):
            getattr(self, name).load_state_dict(state[name])
