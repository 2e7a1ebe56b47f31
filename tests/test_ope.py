"""recgym.ope: estimators against closed forms, enumeration, and Open Bandit Pipeline."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recgym import ope
from recgym.errors import UserError

# Four rounds of a bandit with two actions, by hand. The log drew action 0 with probability 0.6 and
# 1 with 0.4; the evaluated policy draws them with 0.3 and 0.7.
ACTION = torch.tensor([0, 0, 0, 1])
REWARD = torch.tensor([[1.0], [0.0], [1.0], [1.0]], dtype=torch.float64)
LOGGED, EVALUATED = (
    torch.tensor([0.6, 0.4], dtype=torch.float64),
    torch.tensor([0.3, 0.7], dtype=torch.float64),
)
MODEL = torch.tensor([0.5, 0.8], dtype=torch.float64)  # what a model says of the actions
LOG_RATIO = (EVALUATED / LOGGED)[ACTION].log().unsqueeze(-1)
Q = MODEL[ACTION].unsqueeze(-1)
V = torch.full_like(Q, 0.3 * 0.5 + 0.7 * 0.8)  # 0.71


def by_hand() -> dict[str, tuple[ope.Parts, float]]:
    weight = ope.cumulative(LOG_RATIO)  # 0.5, 0.5, 0.5, 1.75
    return {
        "ips": (ope.ips(weight, REWARD), (0.5 + 0.5 + 1.75) / 4),
        "trajectory_ips": (ope.trajectory_ips(weight, REWARD), 0.6875),
        "snips": (ope.snips(weight, REWARD), 2.75 / 3.25),
        "dm": (ope.dm(V), 0.71),
        "dr": (ope.dr(weight, REWARD, Q, V), 0.71 + (0.25 - 0.25 + 0.25 + 0.35) / 4),
        "weighted_dr": (ope.weighted_dr(weight, REWARD, Q, V), 0.71 + 0.6 / 3.25),
        "switch_dr": (ope.switch_dr(weight, REWARD, Q, V, threshold=1.0), 0.71 + 0.25 / 4),
        "clipped": (ope.ips(ope.cumulative(LOG_RATIO, clip=1.0), REWARD), (0.5 + 0.5 + 1.0) / 4),
    }


@pytest.mark.parametrize("name", by_hand())
def test_each_estimator_gives_what_is_computed_by_hand(name: str) -> None:
    # Why: with two actions and four rounds there is nothing to argue about.
    parts, expected = by_hand()[name]
    assert parts.value() == pytest.approx(expected, abs=1e-12)


def test_effective_sample_size_by_hand() -> None:
    # Why: (0.5 + 0.5 + 0.5 + 1.75)^2 / (3 * 0.25 + 3.0625) = 10.5625 / 3.8125.
    weight = ope.cumulative(LOG_RATIO)[:, -1]
    assert ope.effective_sample_size(weight) == pytest.approx(2.770492, abs=1e-6)
    assert ope.effective_sample_size(torch.ones(7)) == 7.0
    assert ope.effective_sample_size(torch.zeros(7)) == 0.0


def sessions_of_two_pages() -> tuple[Tensor, Tensor, Tensor, float]:
    """All sessions of a small shop: probability, log ratio [B, 2], reward [B, 2], true value.

    Two actions a page. Action 1 ends the session with probability 1/2; on the second page the
    rewards hang on the first action. So weights carry over an end, and later ones matter.
    """
    logged, evaluated = ((0.6, 0.4), (0.2, 0.8)), ((0.3, 0.7), (0.5, 0.5))
    rows, value = [], 0.0
    for first in (0, 1):
        ends = 0.5 * first
        if ends:
            one = evaluated[0][first] / logged[0][first]
            rows.append((logged[0][first] * ends, (math.log(one), 0.0), (1.0 + first, 0.0)))
            value += evaluated[0][first] * ends * (1.0 + first)
        for second in (0, 1):
            chance = logged[0][first] * (1 - ends) * logged[1][second]
            log_ratio = tuple(
                math.log(evaluated[t][a] / logged[t][a]) for t, a in ((0, first), (1, second))
            )
            reward = 1.0 + first, 3.0 * first - second
            rows.append((chance, log_ratio, reward))
            value += evaluated[0][first] * (1 - ends) * evaluated[1][second] * sum(reward)
    chance_B, log_ratio_B2, reward_B2 = (
        torch.tensor(x, dtype=torch.float64) for x in zip(*rows, strict=True)
    )
    return chance_B, log_ratio_B2, reward_B2, value


def expected(parts: ope.Parts, chance_B: Tensor) -> float:
    """What the estimate tends to where session b comes up with probability chance_B[b]."""
    return ope.Parts(
        chance_B.unsqueeze(-1) * parts.numerator, chance_B.unsqueeze(-1) * parts.denominator
    ).value()


def test_estimators_of_sessions_are_right_on_average_over_all_sessions() -> None:
    # Why: unbiasedness, held by enumeration and not by a large sample; the model is made up, and
    # the doubly robust ones do not mind. Value by hand: 0.3 + 0.7 * 2 = 1.7 of the first page, and
    # 0.3 * (-0.5) + 0.7 * 0.5 * 2.5 = 0.725 of the second.
    chance_B, log_ratio_B2, reward_B2, value = sessions_of_two_pages()
    assert float(chance_B.sum()) == pytest.approx(1.0)
    assert value == pytest.approx(2.425)
    weight_B2 = ope.cumulative(log_ratio_B2)
    # a wrong model, but one whose v is the mean of its q over the policy's pages
    first_B = (reward_B2[:, 0] > 1.5).double()
    goes_on_B = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    second_B = (reward_B2[:, 1] < 3.0 * first_B).double() * goes_on_B
    q_B2 = torch.stack([0.2 + first_B, goes_on_B * (1.0 - 2.0 * second_B)], -1)
    v_B2 = torch.stack([0.2 + torch.full_like(first_B, 0.7), goes_on_B * 0.0], -1)
    for parts in (
        ope.trajectory_ips(weight_B2, reward_B2),
        ope.ips(weight_B2, reward_B2),
        ope.snips(weight_B2, reward_B2),
        ope.dr(weight_B2, reward_B2, q_B2, v_B2),
        ope.weighted_dr(weight_B2, reward_B2, q_B2, v_B2),
        ope.switch_dr(weight_B2, reward_B2, q_B2, v_B2, threshold=1e9),
    ):
        assert expected(parts, chance_B) == pytest.approx(value, abs=1e-12)
    # and a right model alone is right: Q of the second page is its reward
    assert expected(ope.dm(torch.full_like(v_B2, value)), chance_B) == pytest.approx(value)


def test_switching_gives_the_rest_of_a_session_to_the_model() -> None:
    # Why: beyond the threshold neither the reward nor later pages may count. By hand: weights 2, 6;
    # at threshold 3 the first page counts: 1 + 2 * (5 - 3), then the model's v_2 = 4 at weight 2.
    weight = torch.tensor([[2.0, 6.0]], dtype=torch.float64)
    reward, q, v = (
        torch.tensor([x], dtype=torch.float64) for x in ([5.0, 9.0], [3.0, 7.0], [1.0, 4.0])
    )
    assert ope.switch_dr(weight, reward, q, v, 3.0).value() == pytest.approx(1 + 4 + 8)
    assert ope.switch_dr(weight, reward, q, v, 1.0).value() == pytest.approx(1.0)


def test_fitted_q_of_two_pages_is_what_is_computed_by_hand() -> None:
    # Why: one feature for each (page, action), so that Q is a table. Action 1 brings 1 on the first
    # page and 2 on the second, action 0 nothing; the policy takes 1 with probability 1/4, so that
    # V = 0.5 on the second page and Q = 0.5 or 1.5 on the first.
    step = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1])
    action = torch.tensor([0, 0, 0, 1, 1, 0, 1, 1])
    feature = torch.nn.functional.one_hot(2 * step + action, 4).double()
    share = torch.tensor([0.75, 0.25], dtype=torch.float64)
    following = torch.zeros(8, 4).double()
    following[step == 0, 2:] = share
    reward = (action * (1.0 + step)).double().unsqueeze(-1)
    found = ope.fitted_q(feature, following, reward, ridge=1e-9).squeeze(-1)
    assert found.tolist() == pytest.approx([0.5, 1.5, 0.0, 2.0], abs=1e-6)
    short = ope.fitted_q(feature, following, reward, rounds=1, ridge=1e-9).squeeze(-1)
    assert short.tolist() == pytest.approx([0.0, 1.0, 0.0, 2.0], abs=1e-6)
    with pytest.raises(UserError, match="rounds=0"):
        ope.fitted_q(feature, following, reward, rounds=0)


def test_values_of_a_page_come_from_a_fit_that_never_saw_its_session() -> None:
    # Why: a model that has seen the noise it is corrected by corrects nothing. Two sessions of one
    # page; each is valued by the other's reward.
    one = torch.ones(2, 1).double()
    reward = torch.tensor([[2.0], [8.0]], dtype=torch.float64)
    last, fold = torch.tensor([True, True]), torch.tensor([0, 1])
    q, v = ope.values(one, one, reward, last, fold, ridge=1e-9)
    assert q.squeeze(-1).tolist() == pytest.approx([8.0, 2.0])
    assert v.squeeze(-1).tolist() == pytest.approx([8.0, 2.0])


def test_pages_are_laid_out_by_session() -> None:
    # Why: pages come in any order; what no page stands on is 0.
    found = ope.pad(
        torch.tensor([3.0, 1.0, 2.0]), torch.tensor([1, 0, 0]), torch.tensor([0, 0, 1]), 2
    )
    assert found.tolist() == [[1.0, 2.0], [3.0, 0.0]]


def test_interval_is_that_of_shoppers_and_not_of_sessions() -> None:
    # Why: four sessions of one shopper that go alike say as much as one.
    value = torch.rand(500, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parts = ope.Parts(value, torch.ones_like(value))
    alone = ope.estimate(parts, torch.arange(500))
    four = ope.estimate(
        ope.Parts(parts.numerator.repeat(4, 1), parts.denominator.repeat(4, 1)),
        torch.arange(500).repeat(4),
    )
    assert four == alone
    assert alone.low is not None and alone.high is not None
    assert alone.high - alone.low == pytest.approx(
        2 * 1.96 * float(value.std()) / 500**0.5, rel=0.1
    )
    # 20,000 shoppers in 1,000 groups have the interval of their own number
    many = value.repeat(40, 1)[torch.randperm(20_000, generator=torch.Generator().manual_seed(1))]
    wide = ope.estimate(ope.Parts(many, torch.ones_like(many)), torch.arange(20_000))
    assert wide.low is not None and wide.high is not None
    assert wide.high - wide.low == pytest.approx(
        2 * 1.96 * float(value.std()) / 20_000**0.5, rel=0.15
    )


def test_no_weight_at_all_has_no_value() -> None:
    # Why: 0 / 0 is not 0: a policy whose pages were never shown is worth nobody knows what.
    weight = torch.zeros(3, 1)
    assert ope.estimate(ope.snips(weight, torch.ones(3, 1)), torch.arange(3)).mean is None


def test_small_overlap_is_said_in_a_sentence() -> None:
    # Why: an interval around the few sessions that fit looks precise and is not.
    assert ope.overlap(torch.ones(1000)).warning() is None
    nothing = ope.overlap(torch.zeros(1000)).warning()
    assert nothing is not None and "none of 1,000 logged sessions" in nothing
    few = ope.overlap(torch.cat([torch.zeros(900), torch.ones(100)])).warning()
    assert few is not None and "an effective 100" in few
    heavy = ope.overlap(torch.cat([torch.ones(1000), torch.tensor([100.0])])).warning()
    assert heavy is not None and "9% of the weight" in heavy
    missing = ope.overlap(torch.full((1000,), 0.5)).warning()
    assert missing is not None and "the mean weight is 0.50" in missing
    assert ope.overlap(torch.tensor([1.0, 2.0, 2.0, 0.5]), clip=2.0).clipped == 0.5


def test_estimates_are_those_of_open_bandit_pipeline() -> None:
    # Not in CI, whose environment its pins do not fit: pip install --no-deps obp==0.4.1, then
    # pandas, seaborn, tqdm and mypy-extensions, which it imports.
    # Why: an implementation of other people, on a bandit of five actions with uneven propensities.
    obp = pytest.importorskip("obp.ope", reason="Open Bandit Pipeline is not installed")
    generator = np.random.default_rng(0)
    count, actions, threshold = 2000, 5, 2.0
    logged, evaluated = generator.dirichlet(np.ones(actions), size=(2, count))
    action = np.array([generator.choice(actions, p=p) for p in logged])
    reward = generator.binomial(1, 0.1 + 0.15 * action).astype(float)
    model = generator.random((count, actions))
    row = np.arange(count)
    given = {"reward": reward, "action": action, "pscore": logged[row, action],
             "action_dist": evaluated[:, :, None]}  # fmt: skip
    modelled = {**given, "estimated_rewards_by_reg_model": model[:, :, None]}
    theirs = {
        "ips": obp.InverseProbabilityWeighting().estimate_policy_value(**given),
        "snips": obp.SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**given),
        "dm": obp.DirectMethod().estimate_policy_value(**modelled),
        "dr": obp.DoublyRobust().estimate_policy_value(**modelled),
        "weighted_dr": obp.SelfNormalizedDoublyRobust().estimate_policy_value(**modelled),
        "switch_dr": obp.SwitchDoublyRobust(tau=threshold).estimate_policy_value(**modelled),
    }
    weight, reward_B1, q, v = (
        torch.from_numpy(x).unsqueeze(-1)
        for x in (
            evaluated[row, action] / logged[row, action],
            reward,
            model[row, action],
            (evaluated * model).sum(1),
        )
    )
    ours = {
        "ips": ope.ips(weight, reward_B1),
        "snips": ope.snips(weight, reward_B1),
        "dm": ope.dm(v),
        "dr": ope.dr(weight, reward_B1, q, v),
        "weighted_dr": ope.weighted_dr(weight, reward_B1, q, v),
        "switch_dr": ope.switch_dr(weight, reward_B1, q, v, threshold),
    }
    assert 0.05 < float((weight > threshold).double().mean()) < 0.5  # or else nothing is switched
    for name, parts in ours.items():
        assert parts.value() == pytest.approx(theirs[name]), name


def test_slate_estimates_are_those_of_open_bandit_pipeline() -> None:
    # Not in CI, as above.
    # Why: three slots, each drawn by itself, whose rewards differ by slot.
    obp = pytest.importorskip("obp.ope", reason="Open Bandit Pipeline is not installed")
    generator = np.random.default_rng(1)
    count, slots = 1500, 3
    logged_BK, evaluated_BK = generator.uniform(0.1, 0.9, size=(2, count, slots))
    reward_BK = generator.binomial(1, [0.5, 0.3, 0.1], size=(count, slots)).astype(float)
    given = {
        "slate_id": np.repeat(np.arange(count), slots),
        "position": np.tile(np.arange(slots), count),
        "reward": reward_BK.ravel(),
    }

    def whole(chance_BK: Any) -> Any:  # of the slate, on each of its rows
        return chance_BK.prod(1).repeat(slots)

    def until(chance_BK: Any) -> Any:
        return chance_BK.cumprod(1).ravel()

    theirs = {
        "standard": obp.SlateStandardIPS(len_list=slots).estimate_policy_value(
            **given, pscore=whole(logged_BK), evaluation_policy_pscore=whole(evaluated_BK)
        ),
        "independent": obp.SlateIndependentIPS(len_list=slots).estimate_policy_value(
            **given,
            pscore_item_position=logged_BK.ravel(),
            evaluation_policy_pscore_item_position=evaluated_BK.ravel(),
        ),
        "interaction": obp.SlateRewardInteractionIPS(len_list=slots).estimate_policy_value(
            **given,
            pscore_cascade=until(logged_BK),
            evaluation_policy_pscore_cascade=until(evaluated_BK),
        ),
    }
    ratio_B1K, reward_B1K = (
        torch.from_numpy(x).unsqueeze(1) for x in (evaluated_BK / logged_BK, reward_BK)
    )
    past_B1 = torch.ones(count, 1, dtype=torch.float64)
    ours = {
        "standard": ope.ips(ratio_B1K.prod(-1), reward_B1K.sum(-1)),
        "independent": ope.independent(past_B1, ratio_B1K, reward_B1K),
        "interaction": ope.interaction(past_B1, ratio_B1K.log(), reward_B1K),
    }
    for name, parts in ours.items():
        assert parts.value() == pytest.approx(theirs[name]), name
