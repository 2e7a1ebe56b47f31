"""Recurrent DQN: values of a state that a network of its own reads from raw events.

Papers: Hausknecht and Stone 2015, "Deep recurrent Q-learning for partially observable MDPs": an
LSTM (Hochreiter and Schmidhuber 1997) in place of a hand-made state, trained by the TD error alone;
Kapturowski et al. 2019, "Recurrent experience replay in distributed reinforcement learning" (R2D2),
section 3, on the state that an LSTM begins with in replay. Everything else is `agents.dqn`, whose
switches all hold.

One LSTM runs over the views of the session that an observation holds (item, clicked or found alone,
what followed, seconds before it, price), one over its last pages (the items shown), the oldest
first, both from a zero state. Beside them stands what the site knows: profile, cart, page number,
time. The fitted user model's encoded state is not read. Items have learned vectors of their own,
with a part that is linear in the catalogue's features.

Deviations: the window of an observation, 8 views and 5 pages of one session, is all that is
remembered: within it a state is a function of the observation, the same in acting, in replay and in
an evaluation that refills its lanes, so that no state is stored and none burnt in, which R2D2 needs
since states stored or begun at zero are not those of the weights now; what lies before the window
is forgotten. The last state alone is trained on, where DRQN unrolls over a sequence of them. Prices
of past views are those of today, and a page's items are one mean vector. Odds of a click and what
an item sells are still the user model's (see `agents.slateq`): what is learned here is what a state
is worth and who likes what.

Logged scalars: those of `agents.dqn`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from agents import slateq
from agents.dqn import DQN
from recgym.settings import Count
from recgym.spaces import NUM_SITE, site_features
from recgym.types import Catalog, Observation
from recgym.visit import HISTORY, RECENT_PAGES

NUM_COLUMNS = 5  # of a view: item, clicked, what followed, gap, log price
NUM_AFTER = 4  # kinds of what followed


def events(observation: Observation, unit: Tensor, middle: Tensor) -> Tensor:
    """What is read of each lane, one row of numbers: what the site knows, then views, then pages.

    Items are written as their numbers, exact in float32 up to 16 million; -1 for none. A view that
    there was not holds -1, then zeros. ``unit`` is the money of `site_features`, ``middle`` that of
    a view's price.
    """
    visit, who = observation.visit, observation.arrival
    item_NL, seen_NL = visit.history_item, visit.history_item >= 0
    price_NL = observation.catalog.price_of(item_NL.clamp(min=0), visit.time_ms)
    parts_NL = [
        (visit.history_slot >= 0).to(price_NL.dtype),
        visit.history_after.to(price_NL.dtype),
        visit.history_gap.log1p() / 5.0,
        (price_NL.clamp(min=1e-6) / middle).log(),
    ]
    view_NLC = torch.stack(
        [item_NL.to(price_NL.dtype), *(part_NL * seen_NL for part_NL in parts_NL)], -1
    )
    site_NS = site_features(visit, who, unit)
    count_N1 = visit.page_number.clamp(max=RECENT_PAGES).unsqueeze(-1)
    recent_NR = visit.recent_item.to(price_NL.dtype)
    parts = [who.profile, site_NS, view_NLC.flatten(1), count_N1, recent_NR]
    return torch.cat([part.to(price_NL.dtype) for part in parts], -1)


class EventNetwork(slateq.SlateQNetwork):
    """`SlateQNetwork` on what two LSTMs make of a row of `events`.

    Args:
        catalog: of the items.
        num_profile: P, of the shopper.
        item_size: width of an item's own vector.
        recurrent: width of each LSTM.
        sizes, switches: of `SlateQNetwork` but the number of features.
    """

    feature_IE: Tensor

    def __init__(
        self,
        catalog: Catalog,
        num_profile: int,
        item_size: int,
        recurrent: int,
        *sizes: Any,
        **switches: Any,
    ) -> None:
        self.num_known = num_profile + NUM_SITE
        super().__init__(self.num_known + 2 * recurrent, *sizes, **switches)
        # scaled alike: some features are counts, others shares
        spread_E = catalog.feature.std(0, correction=0).clamp(min=1e-6)
        feature_IE = (catalog.feature - catalog.feature.mean(0)) / spread_E
        self.register_buffer("feature_IE", feature_IE, persistent=False)
        self.own = nn.Embedding(catalog.num_items, item_size)
        self.of_feature = nn.Linear(catalog.feature.shape[1], item_size, bias=False)
        self.views = nn.LSTM(item_size + NUM_COLUMNS - 2 + NUM_AFTER, recurrent, batch_first=True)
        self.pages = nn.LSTM(item_size, recurrent, batch_first=True)

    def forward(self, read_NX: Tensor, key_N: Tensor | None = None) -> slateq.Values:
        """Of states; see `SlateQNetwork`."""
        width = HISTORY * NUM_COLUMNS
        known_NS, view_NX, count_N1, recent_NR = read_NX.tensor_split(
            [self.num_known, self.num_known + width, self.num_known + width + 1], -1
        )
        view_NLC = view_NX.unflatten(-1, (HISTORY, NUM_COLUMNS))
        viewed_N = (view_NLC[..., 0] >= 0).sum(-1)
        views_NH = last_state(self.views, self._tokens(view_NLC), viewed_N)
        page_NTK = recent_NR.unflatten(-1, (RECENT_PAGES, -1))
        pages_NH = last_state(self.pages, self._vectors(page_NTK).mean(2), count_N1[:, 0].long())
        return super().forward(torch.cat([known_NS, views_NH, pages_NH], -1), key_N)

    def _tokens(self, view_NLC: Tensor) -> Tensor:
        """What the LSTM reads of each view, [N, L, ...]."""
        item_NL, clicked_NL, after_NL, *rest = view_NLC.unbind(-1)
        after_NLF = F.one_hot(after_NL.long(), NUM_AFTER).to(item_NL.dtype)
        told_NLX = torch.stack([clicked_NL, *rest], -1)
        return torch.cat([self._vectors(item_NL), after_NLF, told_NLX], -1)

    def _vectors(self, item_X: Tensor) -> Tensor:
        """Of items of any shape, [.., item_size]; zeros for none."""
        row_X = item_X.long().clamp(min=0)
        vector_XD = self.own(row_X) + self.of_feature(self.feature_IE[row_X])
        return torch.where((item_X >= 0).unsqueeze(-1), vector_XD, 0.0)


def last_state(lstm: nn.LSTM, token_NTX: Tensor, count_N: Tensor) -> Tensor:
    """The state after the ``count_N`` newest tokens, which come first, [N, H]; zeros after none."""
    step_T = torch.arange(token_NTX.shape[1], device=token_NTX.device)
    # the oldest of them first; what stands behind the newest is not looked at
    order_NT1 = (count_N.unsqueeze(-1) - 1 - step_T).clamp(min=0).unsqueeze(-1)
    state_NTH, _ = lstm(token_NTX.gather(1, order_NT1.expand_as(token_NTX)))
    last_N11 = (count_N - 1).clamp(min=0).view(-1, 1, 1).expand(-1, 1, state_NTH.shape[-1])
    last_NH: Tensor = state_NTH.gather(1, last_N11).squeeze(1)
    return torch.where((count_N > 0).unsqueeze(-1), last_NH, 0.0)


class RecurrentDQN(DQN):
    """DQN on raw events; see the module's docstring.

    Args:
        item_size: width of an item's own vector.
        recurrent: width of each LSTM.
        settings: of `agents.dqn.DQN`.
    """

    name = "recurrent_dqn"

    def __init__(self, *, item_size: Count = 16, recurrent: Count = 64, **settings: Any) -> None:
        self.item_size, self.recurrent = item_size, recurrent
        super().__init__(**settings)
        self.site_unit = self.user_model.catalog.price.mean()

    def compile(self) -> None:
        """As it is: the compiler does not take an LSTM whole."""

    def _network(self, num_features: int, *sizes: Any, **switches: Any) -> slateq.SlateQNetwork:
        catalog = self.user_model.catalog
        zero_1 = torch.zeros(1, dtype=torch.int64, device=catalog.category.device)
        num_profile = self.user_model.arrive(zero_1, zero_1).profile.shape[1]
        return EventNetwork(
            catalog.to("cpu"), num_profile, self.item_size, self.recurrent, *sizes, **switches
        )

    def _read(self, observation: Observation) -> Tensor:
        return events(observation, self.site_unit, self.unit)
