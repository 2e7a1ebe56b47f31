"""Tabular Q-learning for slates: a value for each item in each cell, joined by counted click odds.

Papers: Watkins and Dayan 1992, "Q-learning", equation 1, on the values that Ie et al. 2019,
"SlateQ", equations 14 to 16, give to items: with r the reward and s' the cell after it,
Q(s, i) <- Q(s, i) + alpha (r + gamma max over A of Q(s', A) - Q(s, i)) where item i was clicked,
and the same for Q0(s), the value of everything else, where nothing on the page was;
Q(s, A) = (Q0(s) + sum over i in A of v(s, i) Q(s, i)) / (1 + sum over i in A of v(s, i)).
A cell is what a site sees: the profile's largest channel, the page number, and whether anything was
bought on the views remembered. Deviations: SlateQ is given its choice model, here the odds v of a
click against no click are counted (under a logit, clicks over pages passed by, whatever stood
beside); "everything else" has a value of its own; the slate is the best full one for these values
(see `agents.slates`) and not the top K by v(s, i) Q(s, i); all lanes are taken in at once, those
that meet in an entry by their mean; alpha falls with the visits n of an entry as n^-rate (Even-Dar
and Mansour 2003, "Learning rates for Q-learning", section 3);
`terminated` stops the target, a page limit does not. Undiscounted by default: sessions end.

Logged scalars: `td_error` (mean absolute, in reward units), `q_null` (mean Q0 of the cells met),
`visited` (share of a cell's items that were clicked there at least once, over all cells), `epsilon`
(share of slots filled at random).
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from agents import slates
from agents.baselines import top_k
from agents.exploring import falling, some_at_random
from recgym.envs.core import Transition
from recgym.errors import UserError
from recgym.settings import Count, Share, Within
from recgym.types import After, Observation

MAX_ENTRIES = 1_000_000  # values of items in cells
PRIOR_PAGES = 20.0  # pages passed by without a click, before any was counted


class Cells:
    """What a table tells apart: kind of shopper, page number, bought or not.

    Args:
        num_kinds: channels at the head of the profile; the largest one is the kind.
        num_pages: page numbers told apart; later pages count as the last.
    """

    def __init__(self, num_kinds: int, num_pages: int) -> None:
        self.num_kinds, self.num_pages = num_kinds, num_pages
        self.size = num_kinds * num_pages * 2

    def __call__(self, observation: Observation) -> Tensor:
        """Each lane's cell, [N] int64 in [0, size)."""
        visit = observation.visit
        kind_N = observation.arrival.profile[:, : self.num_kinds].argmax(-1)
        page_N = visit.page_number.clamp(max=self.num_pages - 1)
        bought_N = (visit.history_after == int(After.BUY)).any(-1).long()
        return (kind_N * self.num_pages + page_N) * 2 + bought_N


class TabularQ:
    """Q-learning over items in cells; see the module's docstring.

    Args:
        num_items: I, of the catalogue.
        num_slots: K.
        seed: of nothing: exploration follows from the lanes' seeds.
        gamma: discount a page.
        num_kinds, num_pages: of `Cells`.
        rate: exponent of the learning rate; above 0.5 the values converge.
        epsilon: slots filled at random, at the start and at the end of exploration.
        epsilon_steps: steps of all lanes over which exploration falls.
    """

    def __init__(
        self,
        *,
        num_items: int,
        num_slots: int,
        seed: int = 0,
        gamma: Share = 1.0,
        num_kinds: Count = 3,
        num_pages: Count = 5,
        rate: Annotated[float, Within(0.5, 1.0)] = 0.8,
        epsilon: tuple[Share, Share] = (1.0, 0.2),
        epsilon_steps: Count = 400,
    ) -> None:
        self.cells, self.num_slots = Cells(num_kinds, num_pages), num_slots
        if num_items * self.cells.size > MAX_ENTRIES:
            raise UserError(
                f"a table would need {num_items * self.cells.size:,} values for {num_items:,}"
                f" items in {self.cells.size} cells: expected at most {MAX_ENTRIES:,}; use "
                "agent=dqn, or a smaller shop."
            )
        self.gamma, self.rate = gamma, rate
        self.epsilon, self.epsilon_steps = epsilon, epsilon_steps
        # column 0 is everything else, column 1 + i a click on item i
        self.value_SJ = torch.zeros(self.cells.size, 1 + num_items)
        self.visits_SJ = torch.zeros_like(self.value_SJ)
        self.passed_SI = torch.full((self.cells.size, num_items), PRIOR_PAGES)
        self.steps = 0

    # ---- acting ---------------------------------------------------------------------------------

    @torch.no_grad()
    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K] of the best slate; with ``explore`` some slots hold random ones."""
        self._move(observation.feature.device)
        item_NK = self._best(observation)[0]
        return some_at_random(observation, item_NK, self._epsilon()) if explore else item_NK

    @torch.no_grad()
    def scores(self, observation: Observation) -> Tensor:
        """Of each item, [N, I]: the best slate holds the K highest; -inf for one not sought."""
        self._move(observation.feature.device)
        _, odds_NI, gain_NI = self._known(observation)
        return slates.scores(odds_NI, gain_NI, observation.eligible, self.num_slots)

    def q_values(self, observation: Observation) -> Tensor:
        """What is expected from now on where an item is clicked, [N, I]."""
        return self.value_SJ[self.cells(observation), 1:]

    def _known(self, observation: Observation) -> tuple[Tensor, Tensor, Tensor]:
        """Q0 [N], and of every item its odds, 0 where it may not be shown, and Q - Q0, [N, I]."""
        cell_N = self.cells(observation)
        null_N, value_NI = self.value_SJ[cell_N, 0], self.value_SJ[cell_N, 1:]
        odds_NI = (self.visits_SJ[:, 1:] / self.passed_SI)[cell_N]
        return null_N, odds_NI * observation.eligible, value_NI - null_N.unsqueeze(-1)

    def _best(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """The slate of highest value among items that may be shown, [N, K], and its value [N]."""
        null_N, odds_NI, gain_NI = self._known(observation)
        score_NI = slates.scores(odds_NI, gain_NI, observation.eligible, self.num_slots)
        item_NK = top_k(score_NI, observation.eligible, self.num_slots)
        # of a column that may not be shown there are no odds: as an empty slot
        best_NK = score_NI.topk(item_NK.shape[1], -1).indices
        return item_NK, null_N + slates.lifted(odds_NI, gain_NI, best_NK)

    def _epsilon(self) -> float:
        return falling(self.epsilon, self.steps, self.epsilon_steps)

    # ---- learning -------------------------------------------------------------------------------

    @torch.no_grad()
    def learn(
        self, observation: Observation, item_NK: Tensor, transition: Transition
    ) -> dict[str, Tensor]:
        """One update of every entry that the lanes met."""
        event, page_NK = transition.outcome.event, transition.outcome.page.item
        following_N = self._next_value(transition.final_observation)
        going_N = self.gamma * torch.where(transition.terminated, 0.0, following_N)
        target_N = transition.reward.to(going_N.dtype) + going_N
        cell_N, clicked_N = self.cells(observation), event.slot >= 0
        column_N = torch.where(clicked_N, event.item + 1, 0)
        error_N = target_N - self.value_SJ[cell_N, column_N]
        self._update(cell_N * self.value_SJ.shape[1] + column_N, error_N)
        passed_NK = (page_NK >= 0) & ~clicked_N.unsqueeze(-1)
        entry_NK = cell_N.unsqueeze(-1) * self.passed_SI.shape[1] + page_NK.clamp(min=0)
        self.passed_SI.view(-1).index_add_(
            0, entry_NK.flatten(), passed_NK.flatten().to(self.passed_SI.dtype)
        )
        self.steps += 1
        return {
            "td_error": error_N.abs().mean(),
            "q_null": self.value_SJ[cell_N, 0].mean(),
            "visited": (self.visits_SJ[:, 1:] > 0).float().mean(),
            "epsilon": torch.tensor(self._epsilon()),
        }

    def _next_value(self, observation: Observation) -> Tensor:
        """What the rest of the session is worth under the best slates known, [N]."""
        return self._best(observation)[1]

    def _update(self, entry_N: Tensor, error_N: Tensor) -> None:
        """Move each entry met by the mean of its errors."""
        count, total = torch.zeros(2, self.value_SJ.numel(), device=error_N.device).unbind(0)
        count = count.index_add(0, entry_N, torch.ones_like(error_N))
        total = total.index_add(0, entry_N, error_N)
        visits = self.visits_SJ.view(-1).add_(count)
        # many visits at once move as far as one after another, and never beyond their mean
        alpha = (count * visits.clamp(min=1.0) ** -self.rate).clamp(max=1.0)
        self.value_SJ.view(-1).add_(alpha * total / count.clamp(min=1.0))

    def _move(self, device: torch.device) -> None:
        """The tables live where the observations do."""
        self.value_SJ, self.visits_SJ = self.value_SJ.to(device), self.visits_SJ.to(device)
        self.passed_SI = self.passed_SI.to(device)

    # ---- keeping --------------------------------------------------------------------------------

    def state_dict(self, *, learning: bool = False) -> dict[str, Any]:
        """The tables, which are all of the agent."""
        return {
            "value": self.value_SJ,
            "visits": self.visits_SJ,
            "passed": self.passed_SI,
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Act and learn on from saved tables."""
        if state["value"].shape != self.value_SJ.shape:
            raise UserError(
                f"the saved table is {tuple(state['value'].shape)}: expected "
                f"{tuple(self.value_SJ.shape)}; use the shop, num_kinds and num_pages of its run."
            )
        self.value_SJ, self.visits_SJ = state["value"].clone(), state["visits"].clone()
        self.passed_SI, self.steps = state["passed"].clone(), int(state["steps"])
