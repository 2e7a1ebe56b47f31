"""DQN for slates, from double DQN to Rainbow: each improvement is a switch.

A step of all lanes waits in `agents.returns` for its return over n steps; `agents.replay` keeps it.
`_update` draws rows, asks `_target` for the law of each one's return and takes a gradient step.
`agents.slateq` values items and slates; shown is the best full slate of `agents.slates` for the
mass that items *add* to what would be found anyway.

Papers: Mnih et al. 2015, "Human-level control through deep reinforcement learning"; `double`: van
Hasselt, Guez and Silver 2016, equation 4; `duelling`: Wang et al. 2016, see `agents.slateq`;
`n_step`: `agents.returns`; `prioritised`: Schaul et al. 2016, see `agents.prioritised`; `noisy`:
Fortunato et al. 2018, see `agents.noisy`; `returns`: QR-DQN and C51, see `agents.distributions`;
all of them: Hessel et al. 2018, "Rainbow" (``agent=rainbow``).

It begins at a first guess: an item is worth what the fitted user model expects it to sell, and a
cart the share of it that is paid. What is learned is a doubt about that guess. Rewards are shaped
by the cart's worth Phi, r + gamma Phi(s') - Phi(s) (Ng, Harada and Russell 1999, "Policy invariance
under reward transformations", equation 2), which is as if Q0 began at Phi (Wiewiora 2003): else an
item that goes into the cart is taken for worthless until Q0 has learned what a full cart is worth.
And the weights by which a state moves the worth of items, and that of staying, 0 at first, are held
there by ``anchor`` times their square (Krogh and Hertz 1991, "A simple weight decay can improve
generalization", equation 2): to whom an item is worth more than guessed is seen through much noise.

Deviations: what is learned is the value of the clicked item, or of a find, or of no view, where
nothing on the page was clicked (SlateQ, see `agents.slateq`); over several steps it is that of the
first step's. The next slate is sought among the ``num_candidates`` items that score best when the
transition is stored. The target network follows at each update by a share. Rows of one update share
one draw of noise, with another for the target and a third for the choice of the next slate
(Fortunato et al., section 3.1). Priorities are the error of the mean or, where a law is learned,
its loss (Rainbow).

Logged scalars: `loss` (of a row: Huber, quantile Huber or divergence, in middle prices or nats),
`q_null` and `q_away` (mean Q0 - Phi of finds and Q- - Phi of no view), `advantage` (mean of Q - Q0
over clicked items), `doubt` (those weights' square), `td_error` (mean absolute, of the means),
`epsilon` (share of slots filled at random), `importance` (mean weight of a row; 1 without
priorities).
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Annotated, Any, Self

import torch
from torch import Tensor

from agents import seeds, slateq, slates
from agents.choosing import Chooser
from agents.distributions import Atoms, head_of
from agents.exploring import falling, some_at_random
from agents.noisy import step_key
from agents.off_policy import OffPolicy
from agents.outlook import fitted, in_parts, middle_price
from agents.prioritised import replay_of
from agents.returns import NStep
from recgym.compiling import compiled
from recgym.envs.core import Transition
from recgym.settings import Count, Positive, Share, Within
from recgym.types import Observation
from recgym.users.sequence import SequenceModel

KEPT = ("network", "target", "optimiser")


class DQN(Chooser, OffPolicy):
    """DQN over slates; see the module's docstring.

    Others build on it: they may choose among fewer items (see `agents.choosing`), keep more of a
    step (`_more`), add to the loss (`_penalty`), and read a state by another network (`_network`).

    Args:
        user_model: whose embeddings, choice model and sales the values build on.
        num_features, num_slots: O, of the observation, and K.
        cart_paid: share of carted items that are paid: the first guess of a cart's worth.
        seed: of the network, of replay and, through the lanes' seeds, of exploration.
        gamma, learning_rate, clip: discount a page; Adam's; the largest norm of a gradient.
        batch_size, capacity: transitions of an update, and those that are kept.
        num_candidates: items of each next state among which the next slate is sought.
        hidden, anchor: width of the network; weight of the square of its weights on the state.
        target_rate: share of the online network that enters the target at each update.
        epsilon: slots filled at random, at first and after ``epsilon_steps`` of all lanes.
        learning_starts, updates: transitions before the first update; gradient steps for each step.
        slate_optimiser: how the best slate is sought, of `agents.slates`.
        double, duelling: whether the online network picks the next slate, else the target network;
            whether an item's value builds on that of a find.
        n_step: steps of a return.
        prioritised: whether rows are drawn by priority, to the power ``alpha``; ``beta`` is the
            power of importance weights at first, which reaches 1 after ``beta_steps`` of all lanes.
        noisy: whether noise on the weights, of ``sigma`` at first, replaces random slots.
        returns: `mean`, `quantiles` or `categorical`: what is learned of a return.
        num_atoms: quantiles, or atoms on the range ``support``, in middle prices.
        num_seeds: agents that learn side by side; see `agents.seeds`.
    """

    name = "dqn"
    largest_error = 1.0  # of a mean, in middle prices; a larger one counts linearly

    def __init__(
        self,
        *,
        user_model: SequenceModel | None,
        num_features: int,
        num_slots: int,
        cart_paid: float,
        seed: int = 0,
        gamma: Share = 0.95,
        learning_rate: Positive = 1e-3,
        batch_size: Count = 1024,
        capacity: Count = 100_000,
        num_candidates: Count = 32,
        hidden: Count = 128,
        anchor: Annotated[float, Within(0.0)] = 0.1,
        target_rate: Share = 0.01,
        epsilon: tuple[Share, Share] = (0.5, 0.05),
        epsilon_steps: Count = 400,
        learning_starts: Count = 5_000,
        updates: Count = 4,
        clip: Positive = 10.0,
        slate_optimiser: str = "ratio",
        double: bool = True,
        duelling: bool = True,
        n_step: Count = 1,
        prioritised: bool = False,
        alpha: Share = 0.5,
        beta: Share = 0.4,
        beta_steps: Count = 800,
        noisy: bool = False,
        sigma: Positive = 0.5,
        returns: str = "mean",
        num_atoms: Count = 51,
        support: tuple[float, float] = (-5.0, 20.0),
        num_seeds: Count = 1,
    ) -> None:
        switches = {"num_seeds": num_seeds, "prioritised": prioritised, "noisy": noisy}
        seeds.check_alone(switches, self.name, batched=type(self) is DQN)
        user_model = fitted(user_model, f"agents of the kind of agent={self.name} score items")
        self.user_model, self.num_slots = user_model, num_slots
        self.cart_paid, self.anchor = cart_paid, anchor
        self.slate_optimiser = slates.known(slate_optimiser)
        self.target_rate, self.double = target_rate, double
        self.num_candidates = min(max(num_candidates, num_slots), user_model.catalog.num_items)
        self.epsilon, self.epsilon_steps, self.noisy = epsilon, epsilon_steps, noisy
        self.clip, self.vector_ID = clip, user_model.tables.vector_ID
        self.looks_at = user_model.catalog.num_items  # of each lane, see `in_parts`
        device, embedding = self.vector_ID.device, self.vector_ID.shape[1]
        self.head = head_of(returns, num_atoms, support, device, self.largest_error)
        networks = []
        with torch.random.fork_rng(devices=[]):
            for own in range(seed, seed + num_seeds):
                torch.manual_seed(own)
                networks.append(self._network(
                    num_features, embedding, hidden, cart_paid, self.head,
                    duelling=duelling, sigma=sigma if noisy else None,
                ))  # fmt: skip
        self.network = seeds.stacked(networks).to(device)
        self.target = copy.deepcopy(self.network)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=learning_rate)
        self.n_step = NStep(n_step, gamma)
        priorities = (alpha, beta, beta_steps) if prioritised else None
        self.seed_1 = torch.tensor([seed], device=device)
        self.unit = middle_price(user_model)
        self._shown, self._stored = self._explored, self._step
        super().__init__(
            {name: getattr(self, name) for name in KEPT},
            replay_of(capacity, device, priorities, num_seeds), num_seeds=num_seeds,
            seed=seed, batch_size=batch_size, learning_starts=learning_starts, updates=updates,
        )  # fmt: skip

    def compile(self) -> None:
        """Choose pages and make rows to store by `recgym.compiling`."""
        self._shown, self._stored = compiled(self._explored), compiled(self._step)

    def alone(self, seed: int) -> Self:
        """The agent of one of the seeds, to act."""
        agent = copy.copy(self)
        agent.network, agent.num_seeds = seeds.alone(self.network, seed), 1
        agent._shown = agent._explored
        return agent

    def _network(self, *sizes: Any, **switches: Any) -> slateq.SlateQNetwork:
        """What values items, of the arguments of `SlateQNetwork`."""
        return slateq.SlateQNetwork(*sizes, **switches)

    # ---- acting ---------------------------------------------------------------------------------

    @torch.no_grad()
    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], the best first; with ``explore`` of noisy weights or with random slots."""
        if explore:
            return some_at_random(observation, self._shown(observation), self._epsilon())
        return in_parts(observation, partial(self._page, explore=False), self.looks_at)

    def _explored(self, observation: Observation) -> Tensor:
        return in_parts(observation, partial(self._page, explore=True), self.looks_at)

    def _epsilon(self) -> float:
        return 0.0 if self.noisy else falling(self.epsilon, self.steps, self.epsilon_steps)

    # ---- learning -------------------------------------------------------------------------------

    def _rows(self, observation: Observation, transition: Transition) -> dict[str, Tensor] | None:
        """The first of the last steps, where its return is known."""
        return self.n_step.push(self._stored(observation, transition))

    def _step(
        self, observation: Observation, transition: Transition
    ) -> dict[str, dict[str, Tensor]]:
        """What `NStep.push` takes in."""
        following = transition.final_observation
        first = {
            "feature": self._read(observation),
            **slateq.chosen(self.user_model, observation, transition.outcome.event),
            **self._more(observation, transition),
        }
        last = {
            "next_feature": self._read(following),
            **in_parts(following, self._candidates, self.looks_at),
        }
        kept_N = self.n_step.gamma * self._cart_worth(following) * ~transition.terminated
        end = {
            "reward": transition.reward / self.unit + kept_N - self._cart_worth(observation),
            "terminated": transition.terminated,
            "over": transition.terminated | transition.truncated,
        }
        return {"first": first, "last": last, "end": end}

    def _cart_worth(self, observation: Observation) -> Tensor:
        """Phi, the first guess of what the cart will bring, in middle prices, [N]."""
        return self.cart_paid * observation.visit.cart_value() / self.unit

    def _more(self, observation: Observation, transition: Transition) -> dict[str, Tensor]:
        """What else is kept of a step, known where it begins, each [N, ...]."""
        return {}

    def _update(self, rows: dict[str, Tensor], number: int = 0) -> dict[str, Tensor]:
        """One gradient step on the error of the chosen item, of a find or of no view."""
        target = self._target(rows, number)
        values = self.network(rows["feature"], self._noise(number, 0))
        clicked_N = rows["chosen"] >= 0
        gain_N1Z = self._gains(values, rows["chosen"].unsqueeze(-1), rows["sold"].unsqueeze(1))
        output_NZ = slateq.of_choice(values, gain_N1Z.squeeze(1), rows)
        loss_N = self.head.losses(output_NZ, target)
        importance_N = rows.get("importance", torch.ones_like(loss_N))
        penalty, said = self._penalty(rows, values)
        doubt = self.network.doubt()
        loss = (importance_N * loss_N).mean()
        total = self.num_seeds * loss + self.anchor * doubt + penalty
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        seeds.clip_each(self.network.parameters(), self.clip, self.num_seeds)
        self.optimiser.step()
        with torch.no_grad():
            slateq.follow(self.target, self.network, self.target_rate)
            error_N = (self.head.mean(output_NZ) - target.mean()).abs()
            # a law may be wrong where its mean is right
            self.replay.take_in(rows, error_N if self.head.num_outputs == 1 else loss_N.detach())
            gain_N = slateq.advantages(self.head, values.null, gain_N1Z).squeeze(1) * clicked_N
            return {
                "loss": loss.detach(),
                "q_null": self.head.mean(values.null).mean(),
                "q_away": self.head.mean(values.away).mean(),
                "advantage": gain_N.sum() / clicked_N.sum().clamp(min=1),
                "td_error": error_N.mean(),
                "doubt": doubt.detach() / self.num_seeds,
                "epsilon": torch.tensor(self._epsilon()),
                "importance": importance_N.mean(),
                **said,
            }

    def _penalty(
        self, rows: dict[str, Tensor], values: slateq.Values
    ) -> tuple[Tensor | float, dict[str, Tensor]]:
        """What the loss holds beside the error, and scalars to log."""
        return 0.0, {}

    @torch.no_grad()
    def _target(self, rows: dict[str, Tensor], number: int = 0) -> Atoms:
        """The law of the return: one network picks the next slate, the target network values it."""
        picking = self.network if self.double else self.target
        values = picking(rows["next_feature"], self._noise(number, 1))
        seen = (rows["candidate"], rows["added"], rows["next_sold"], rows["go_on"])
        score_NC = self._among(values, *seen)
        slate_NK = score_NC.topk(min(self.num_slots, score_NC.shape[1]), -1).indices
        values = self.target(rows["next_feature"], self._noise(number, 2))
        gain_NCZ = self._gains(values, rows["candidate"], rows["next_sold"])
        page_weight = self.user_model.answers.page_weight
        after = slateq.after_slate(self.head, values, gain_NCZ, rows, slate_NK, page_weight)
        return after.before(rows["reward"], rows["discount"])

    def _noise(self, number: int, purpose: int) -> Tensor | None:
        """Key of the noise of an update, a function of seed and step; None without noise."""
        return step_key(self.seed_1, self.steps, 3 * number + purpose) if self.noisy else None

    # ---- keeping --------------------------------------------------------------------------------

    def state_dict(self, *, learning: bool = False) -> dict[str, Any]:
        """With ``learning`` the steps that wait for their return too."""
        waiting = {"n_step": self.n_step.state_dict()} if learning else {}
        return super().state_dict(learning=learning) | waiting

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Act and learn on from a saved state."""
        super().load_state_dict(state)
        if "n_step" in state:
            self.n_step.load_state_dict(state["n_step"])
