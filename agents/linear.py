"""Linear bandits over retrieved items: LinUCB and Thompson sampling.

Papers: Li, Chu, Langford and Schapire 2010, "A contextual-bandit approach to personalized news
article recommendation", algorithm 1: with A = L + sum of x x^T and b the sum of x r, an item's
upper bound is x · A^-1 b + alpha sqrt(x^T A^-1 x); Agrawal and Goyal 2013, "Thompson sampling for
contextual bandits with linear payoffs", algorithm 1: the weights are drawn from
N(A^-1 b, alpha^2 A^-1) instead. Deviations: one set of weights for all items, whose vectors are
among the features, so that an item never shown is no stranger; each shown slot is a pull, paid with
the page's reward where it was clicked and with 0 where not (semi-bandit feedback: Kveton et al.
2015, "Tight regret bounds for stochastic combinatorial semi-bandits"); the prior's mean is that an
item brings what the fitted user model expects of it, its precision L is ``prior`` times the
identity. A bandit is myopic: what follows a page does not count.

Logged scalars: `error` (mean absolute of a shown slot, in middle prices), `width` (mean standard
deviation of a shown slot's mean), `clicks` (slots clicked a page).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agents.baselines import spread
from agents.exploring import lane_key
from agents.outlook import NUM_SIGNS, Retrieved, Retriever, fitted, middle_price
from recgym import rng
from recgym.envs.core import Transition
from recgym.errors import UserError
from recgym.settings import Count, Positive
from recgym.types import Observation
from recgym.users.sequence import SequenceModel


class Ridge:
    """Ridge regression by its sums, with the standard deviation of each mean.

    Args:
        count: Z, features.
        prior: precision L of each weight before any data; the first one's mean is 1.
        device: of the sums.
    """

    def __init__(self, count: int, prior: float, device: torch.device) -> None:
        # in float64: sums over millions of slots lose digits that the inverse needs
        eye_ZZ = torch.eye(count, dtype=torch.float64, device=device)
        self.precision_ZZ, self.sum_Z = prior * eye_ZZ, torch.zeros_like(eye_ZZ[0])
        self.sum_Z[0] = prior
        self.steps = 0

    def _mean(self) -> Tensor:
        mean_Z: Tensor = torch.linalg.solve(self.precision_ZZ, self.sum_Z)
        return mean_Z

    def _width(self, feature_XZ: Tensor) -> Tensor:
        """sqrt(x^T A^-1 x)."""
        inverse_ZZ = torch.linalg.inv(self.precision_ZZ)
        variance_X: Tensor = ((feature_XZ @ inverse_ZZ) * feature_XZ).sum(-1)
        return variance_X.clamp(min=0.0).sqrt()

    def _take_in(self, feature_RZ: Tensor, earned_R: Tensor) -> None:
        """Add pulls, each paid with what it earned."""
        self.precision_ZZ += feature_RZ.T @ feature_RZ
        self.sum_Z += feature_RZ.T @ earned_R
        self.steps += 1

    def state_dict(self, *, learning: bool = False) -> dict[str, Any]:
        """The sums, which are all of the agent."""
        return {"precision": self.precision_ZZ, "sum": self.sum_Z, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Act and learn on from saved sums."""
        if state["sum"].shape != self.sum_Z.shape:
            raise UserError(
                f"the saved bandit has {len(state['sum'])} weights: expected {len(self.sum_Z)}; "
                "use the user model of its run."
            )
        self.precision_ZZ, self.sum_Z = state["precision"].clone(), state["sum"].clone()
        self.steps = int(state["steps"])


class LinearBandit(Ridge):
    """Ridge regression of what a slot earns; see the module's docstring.

    Args:
        user_model: whose vectors and outlook are the features.
        num_slots: K.
        cart_paid: share of carted items that are paid, for the retrieval.
        kind: `ucb` or `thompson`.
        alpha: width of exploration, in standard deviations of unit noise.
        prior: precision of each weight before any data.
        num_candidates: M, items retrieved.
    """

    def __init__(
        self,
        *,
        user_model: SequenceModel | None,
        num_slots: int,
        cart_paid: float,
        kind: str = "ucb",
        alpha: Positive = 0.3,
        prior: Positive = 100.0,
        num_candidates: Count = 32,
    ) -> None:
        user_model = fitted(user_model, "agents of the kind of agent=linucb retrieve items")
        if kind not in ("ucb", "thompson"):
            raise UserError(f"agent.kind={kind}: expected ucb or thompson.")
        self.user_model, self.num_slots, self.kind, self.alpha = user_model, num_slots, kind, alpha
        self.retrieved = Retriever(user_model, cart_paid, max(num_candidates, num_slots))
        self.unit = middle_price(user_model)
        vector_ID = user_model.tables.vector_ID
        count = vector_ID.shape[1] + NUM_SIGNS + 2  # Z, features
        super().__init__(count, prior, vector_ID.device)  # the expected money has weight 1

    # ---- acting ---------------------------------------------------------------------------------

    @torch.no_grad()
    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], the best first; with ``explore`` by upper bounds or drawn weights."""
        found, feature_NMZ, mean_Z = self._known(observation)
        score_NM = feature_NMZ @ mean_Z
        if explore and self.kind == "ucb":
            score_NM = score_NM + self.alpha * self._width(feature_NMZ)
        elif explore:
            noise_NZ = rng.normal(lane_key(observation), len(mean_Z), torch.float64)
            # L^-T e has covariance (L L^T)^-1
            root_ZZ = torch.linalg.cholesky(self.precision_ZZ)
            drawn_NZ = torch.linalg.solve_triangular(root_ZZ.T, noise_NZ.T, upper=True).T
            score_NM = score_NM + self.alpha * (feature_NMZ @ drawn_NZ.unsqueeze(-1)).squeeze(-1)
        score_NM = score_NM.masked_fill(found.item < 0, -torch.inf)
        return found.item.gather(-1, score_NM.topk(self.num_slots, -1).indices)

    @torch.no_grad()
    def scores(self, observation: Observation) -> Tensor:
        """Expected money of each item, [N, I]; -inf for one that is not retrieved."""
        found, feature_NMZ, mean_Z = self._known(observation)
        return spread(found.item, feature_NMZ @ mean_Z, observation.catalog.num_items)

    def _known(self, observation: Observation) -> tuple[Retrieved, Tensor, Tensor]:
        """Retrieved items, their features [N, M, Z] and the weights of these [Z]."""
        found = self.retrieved(observation)
        return found, self._features(found.item, found.sign), self._mean()

    def _features(self, item_NM: Tensor, sign_NMS: Tensor) -> Tensor:
        """Expected money, 1, signs and vector of each item, [N, M, Z] float64."""
        money_NM1 = sign_NMS[..., :1].exp()
        vector_NMD = self.user_model.tables.vector_ID[item_NM.clamp(min=0)]
        parts = [money_NM1, torch.ones_like(money_NM1), sign_NMS, vector_NMD]
        return torch.cat(parts, -1).double()

    # ---- learning -------------------------------------------------------------------------------

    @torch.no_grad()
    def learn(
        self, observation: Observation, item_NK: Tensor, transition: Transition
    ) -> dict[str, Tensor]:
        """Take in what each shown slot earned."""
        found, event = self.retrieved(observation), transition.outcome.event
        place_NK = found.place(item_NK)
        index_NKS = place_NK.clamp(min=0).unsqueeze(-1).expand(-1, -1, NUM_SIGNS)
        feature_NKZ = self._features(item_NK, found.sign.gather(1, index_NKS))
        slot_K = torch.arange(item_NK.shape[1], device=item_NK.device)
        clicked_NK = event.slot.unsqueeze(-1) == slot_K
        earned_NK = clicked_NK * (transition.reward / self.unit).double().unsqueeze(-1)
        shown_NK = place_NK >= 0
        feature_RZ, earned_R = feature_NKZ[shown_NK], earned_NK[shown_NK]
        error_R = (feature_RZ @ self._mean() - earned_R).abs()
        self._take_in(feature_RZ, earned_R)
        return {
            "error": error_R.mean(),
            "width": self._width(feature_RZ).mean(),
            "clicks": clicked_NK.double().sum(-1).mean(),
        }
