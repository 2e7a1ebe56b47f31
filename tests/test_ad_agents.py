"""agents.ads: what every ad agent owes, steps by hand, and problems that each learner solves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ad_probe import AdProbe, agent_named, observed, options_of, same, trained
from tiny import agent_settings, compose

from agents.ads.dual import Multiplier

CONF = Path(__file__).resolve().parents[1] / "conf" / "agent"
NAMES = sorted(path.stem for path in CONF.glob("ad_*.yaml"))
LEARNERS = [name for name in NAMES if hasattr(agent_named(name), "learn")]
# more ads pay more at once and drive shoppers off; each page brings 1 besides. By hand, with
# gamma 0.9: none is worth 1 / (1 - 0.9 * 0.9) = 5.3, one 1.6 / (1 - 0.9 * 0.85) = 6.8, two
# 2 / (1 - 0.9 * 0.5) = 3.6
PAYS, LEAVES = [[0.0, 0.6, 0.2, 1.0]], [0.1, 0.15, 0.15, 0.5]
FAR = {
    "ad_dqn": (250, {"gamma": 0.9, "epsilon_steps": 100, "updates": 4}),
    "ad_ppo": (160, {"gamma": 0.9}),
    "ad_lagrangian_ppo": (160, {"gamma": 0.9}),
}
NEAR: dict[str, tuple[int, dict[str, Any]]] = {
    "ad_dqn": (120, {"gamma": 0.0, "epsilon_steps": 60}),
    "ad_ppo": (80, {"gamma": 0.0}),
    "ad_lagrangian_ppo": (80, {"gamma": 0.0}),
    "ad_linucb": (40, {"prior": 1.0}),
}


def test_every_ad_agent_is_told_from_recommenders_by_its_target() -> None:
    # Why: the mains and the contract tests tell them apart by it.
    for path in CONF.glob("*.yaml"):
        settings = agent_settings(path.stem)
        ads = settings["_target_"].startswith("agents.ads.")
        assert ads == path.stem.startswith("ad_")
        if ads:  # of the others test_configs holds it
            assert compose("train", f"agent={path.stem}")["agent"] == settings


@pytest.mark.parametrize("name", LEARNERS)
def test_exploration_is_a_function_of_the_lane(name: str) -> None:
    # Why: results must not depend on the number of lanes or on what was drawn before.
    wide = {"ad_dqn": {"epsilon": (1.0, 1.0)}, "ad_linucb": {}}.get(name, {"sharpness": 0.0})
    agent, pays = agent_named(name, **wide), torch.rand(32, 4).mul(torch.tensor([0.0, 1, 1, 1]))
    many = agent.act(observed(options_of(pays)), explore=True)
    few = agent.act(observed(options_of(pays[:8])), explore=True)
    assert torch.equal(few, many[:8])
    assert len(set(many.tolist())) == 4 or name == "ad_linucb"


@pytest.mark.parametrize("explore", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_allowed_is_never_chosen(name: str, explore: bool) -> None:
    # Why: caps, distances and budgets are the market's, and hold while exploring too.
    options = options_of(torch.tensor([0.0, 0.1, 0.2, 0.3]).expand(300, -1))
    options.allowed[:, 3] = options.allowed[:150, 1] = False
    agent = agent_named(name)
    index = agent.act(observed(options), explore=explore)
    assert bool(options.allowed[torch.arange(300), index].all())


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_what_options_are_chosen_by(name: str) -> None:
    # Why: an inspector shows them as the reason of a choice.
    options = options_of(torch.rand(40, 4, generator=torch.Generator().manual_seed(3)))
    options.allowed[:20, 2] = False
    seen, agent = observed(options), agent_named(name)
    if hasattr(agent, "scores"):
        score_NJ = agent.scores(seen).masked_fill(~options.allowed, -torch.inf)
        assert torch.equal(agent.act(seen), score_NJ.argmax(-1))
    else:
        assert name in ("ad_fixed", "ad_none")


@pytest.mark.parametrize("name", list(FAR))
def test_a_far_sighted_agent_finds_the_load_inside(name: str) -> None:
    # Why: the optimum by hand is one ad a page, though two pay more on each page.
    steps, changed = FAR[name]
    probe = AdProbe(PAYS, LEAVES, organic=1.0)
    agent = trained(agent_named(name, **changed), probe, steps)
    assert agent.act(probe.now).tolist() == [1] * probe.num


@pytest.mark.parametrize("name", list(NEAR))
def test_a_short_sighted_agent_shows_all_ads_there(name: str) -> None:
    # Why: the same pages and the same agent but for its horizon: what follows must not leak in.
    steps, changed = NEAR[name]
    probe = AdProbe(PAYS, LEAVES, organic=1.0)
    agent = trained(agent_named(name, **changed), probe, steps)
    assert agent.act(probe.now).tolist() == [3] * probe.num


@pytest.mark.parametrize("name", list(NEAR))
def test_it_learns_what_ads_bring_against_what_they_are_said_to(name: str) -> None:
    # Why: the market's estimate of a click has an error of its own, and an ad may cost sales. On
    # every page the first ad, said to pay most, costs 1; rewards of it must lead away from it.
    steps, changed = NEAR[name]
    probe = AdProbe([[0.0, 0.6, 0.5, 1.0]], [0.0] * 4, earns=[[0.0, -1.0, 0.5, -0.5]])
    agent = trained(agent_named(name, **changed), probe, 2 * steps)
    assert agent.act(probe.now).tolist() == [2] * probe.num


@pytest.mark.parametrize("name", ["ad_dqn", "ad_ppo", "ad_lagrangian_ppo"])
def test_it_tells_states_apart(name: str) -> None:
    # Why: whom ads pay is the point; with the same payments said, only the state tells the two.
    steps, changed = NEAR[name]
    said = [[0.0, 0.5, 0.4, 0.8]]
    probe = AdProbe(said * 2, [0.0] * 4, earns=[[0.0, 0.5, 0.4, 0.8], [0.0, -0.5, -0.4, -0.8]])
    agent = trained(agent_named(name, **changed), probe, 3 * steps)
    assert agent.act(probe.of(torch.tensor([0, 1]))).tolist() == [3, 0]


@pytest.mark.parametrize("name", ["ad_dqn", "ad_lagrangian_ppo"])
def test_a_load_cap_is_kept_and_the_best_pages_get_the_ads(name: str) -> None:
    # Why: half of the pages pay 0.5 an ad, half 0.1. A cap of 0.1 of ten slots is an ad a page: by
    # hand two ads on the first half and none on the second, at a price between 0.1 and 0.5.
    pays = [[0.0, 0.5, 0.5, 1.0], [0.0, 0.1, 0.1, 0.2]]
    probe = AdProbe(pays, [0.0] * 4)
    settings = {"load_cap": 0.1, "gamma": 0.0, "learning_rate": 3e-3}
    agent = trained(agent_named(name, **settings), probe, 400)
    assert 0.1 < float(agent.multiplier.price) < 0.5
    assert agent.act(probe.of(torch.tensor([0, 1]))).tolist() == [3, 0]
    free = trained(agent_named(name, **{**settings, "constrained": False}), probe, 100)
    assert float(free.multiplier.price) == 0.0
    assert free.act(probe.of(torch.tensor([0, 1]))).tolist() == [3, 3]


def test_the_price_of_an_ad_by_hand() -> None:
    # Why: a price of the wrong sign or unit raises the load. A cap of 0.1 of 10 slots is 1 ad; 2
    # are shown, as much again, and the best option pays 0.6 an ad: 0.1 * 0.6 * 1 = 0.06.
    price = Multiplier(0.1, 0.1, torch.device("cpu"))
    unit, ten = torch.tensor(0.6), torch.tensor([10.0])
    price.step(torch.tensor([2.0]), ten, unit)
    assert float(price.price) == pytest.approx(0.06)
    assert price.excess(torch.tensor([2.0]), ten).tolist() == [1.0]
    price.step(torch.tensor([0.0]), ten, unit)
    price.step(torch.tensor([0.0]), ten, unit)
    assert float(price.price) == 0.0  # never below
    free = Multiplier(None, 0.1, torch.device("cpu"))
    free.step(torch.tensor([2.0]), ten, unit)
    assert float(free.price) == 0.0 and free.excess(torch.tensor([2.0]), ten).tolist() == [0.0]


def test_the_three_terms_of_the_price_by_hand() -> None:
    # Why: the same pages, with all gains: as much again above the cap adds 0.1 * 0.6 to the
    # integral and, smoothed to a half, is felt as (0.4 + 0.2) * 0.6 / 2. At the cap a quarter of it
    # is left, and no rise; below it the integral stops at 0, and so does the price.
    price = Multiplier(
        0.1, 0.1, torch.device("cpu"),
        proportional=0.4, derivative=0.2, smoothing=0.5, settling=None,
    )  # fmt: skip
    seen = []
    for ads in (2.0, 1.0, 0.0):
        price.step(torch.tensor([ads]), torch.tensor([10.0]), torch.tensor(0.6))
        seen.append([float(price.integral), float(price.violation), float(price.price)])
    assert seen[0] == pytest.approx([0.06, 0.5, 0.24])
    assert seen[1] == pytest.approx([0.06, 0.25, 0.12])
    assert seen[2] == pytest.approx([0.0, -0.375, 0.0], abs=1e-7)


@pytest.mark.parametrize("seed", [0, 1])
def test_lagrangian_ppo_ends_at_the_cap(seed: int) -> None:
    # Why: a price that needs a hundred steps of all lanes to arrive leaves the load 3 points above
    # a cap of 10 % after as many. 200 kinds of pages, so that every load has its price; the first
    # policy shows two ads on each.
    generator = torch.Generator().manual_seed(seed)
    pays_R2 = 0.02 * (0.7 * torch.randn(200, 2, generator=generator)).exp()
    zero_R1 = torch.zeros(200, 1)
    pays = torch.cat([zero_R1, pays_R2, pays_R2.sum(-1, keepdim=True)], -1).tolist()
    probe = AdProbe(pays, [0.1] * 4, organic=0.05)
    agent = trained(agent_named("ad_lagrangian_ppo", load_cap=0.1, seed=seed), probe, 96)
    page = probe.of(torch.arange(200))
    num_ads = page.options.num_ads[torch.arange(200), agent.act(page)]
    assert float(num_ads.sum() / 2000) == pytest.approx(0.1, abs=0.005)


def test_the_target_by_hand() -> None:
    # Why: bootstrapping on the wrong network or option, or beyond a shopper's leaving, is the
    # classical trap. The online network adds 1 to every ad, the target network 0.25 and a V of 2.
    agent = agent_named("ad_dqn", gamma=0.5, load_cap=0.1)
    with torch.no_grad():
        agent.network.gain.bias.copy_(torch.tensor([1.0, 0.0]))
        agent.target.gain.bias.copy_(torch.tensor([0.25, 0.0]))
        agent.target.value.bias.copy_(torch.tensor([2.0, -1.0]))
    next_known = torch.tensor([[[0.0, 0.0], [0.6, 1.0], [1.0, 2.0]]])
    rows = {
        "reward": torch.tensor([[3.0, 1.0]]),
        "going": torch.tensor([1.0]),
        "next_state": torch.zeros(1, 2),
        "next_option": torch.zeros(1, 3, 6),
        "next_known": next_known,
        "next_allowed": torch.ones(1, 3, dtype=torch.bool),
    }
    # two ads: 3 + 0.5 (2 + 1 + 0.25), and 1 + 0.5 (-1 + 2) ads beyond the cap
    assert agent._target(rows).tolist() == [[pytest.approx(4.625), pytest.approx(1.5)]]
    agent.multiplier.price = torch.tensor(0.5)  # one ad: 1.6 - 0.5 beats 2 - 1
    assert agent._target(rows).tolist() == [[pytest.approx(4.425), pytest.approx(1.0)]]
    rows["going"] = torch.tensor([0.0])
    assert agent._target(rows).tolist() == [[3.0, 1.0]]


def test_scales_by_hand() -> None:
    # Why: a feature that never varies must not become infinite, and what is known stays in units.
    agent = agent_named("ad_dqn")
    options = options_of(torch.tensor([[0.0, 0.2, 0.1, 0.3], [0.0, 0.4, 0.3, 0.5]]))
    scale, feature = agent.network.scale, torch.tensor([[1.0, 7.0], [3.0, 7.0]])
    scale.take(feature, options, torch.tensor([1.0, 5.0]))
    assert float(scale.unit) == 2.0  # the rewards' standard deviation; the best pay 0.4 on average
    assert scale.state(feature).tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    scale.take(feature, options, torch.tensor([0.1, 0.1]))
    assert float(scale.unit) == pytest.approx(0.4)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_saved_agent_acts_alike_and_learns_on_alike(name: str, tmp_path: Path) -> None:
    # Why: a checkpoint is what an evaluation opens and what a killed run goes on from; it loads
    # without pickled code.
    pays = [[0.0, 0.6, 0.5, 1.0], [0.0, 0.1, 0.3, 0.4]]
    changed: dict[str, Any] = {} if name == "ad_linucb" else {"load_cap": 0.1}
    probe = AdProbe(pays, LEAVES, earns=[[0.0, -1.0, 0.5, 0.2], [0.0, 1.0, 0.0, 0.5]], num=64)
    agent = trained(agent_named(name, **changed), probe, 21)
    torch.save(agent.state_dict(learning=True), tmp_path / "agent.pt")
    torch.save(agent.state_dict(), tmp_path / "acts.pt")
    other, acting = agent_named(name, **changed), agent_named(name, **changed)
    other.load_state_dict(torch.load(tmp_path / "agent.pt", weights_only=True))
    acting.load_state_dict(torch.load(tmp_path / "acts.pt", weights_only=True))
    page = probe.of(torch.tensor([0, 1] * 20))
    assert torch.equal(agent.act(page), acting.act(page)) and acting.steps == 21
    probes = [AdProbe(pays, LEAVES, num=64) for _ in range(2)]
    first, second = trained(agent, probes[0], 9), trained(other, probes[1], 9)
    kept, gone_on = first.state_dict(), second.state_dict()
    assert kept.keys() == gone_on.keys()
    assert all(same(kept[part], gone_on[part]) for part in kept)


def test_every_learner_is_put_to_it() -> None:
    # Why: an agent that is added must be shown to learn.
    assert set(NEAR) == set(LEARNERS) and set(FAR) | {"ad_linucb"} == set(LEARNERS)
