"""Stable-Baselines3's DQN and PPO on our shoppers, as checked settings make them.

They see the features that our agents see and are paid alike. PPO fills every slot through a
`MultiDiscrete` space, in which each slot's item is drawn apart from the others and an item drawn
twice leaves its slot empty. DQN knows `Discrete` alone: one item, so that its pages hold one slot.
Neither is told what an item is; both have one output for each item of the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stable_baselines3 import DQN, PPO

from agents.loop import SEED_BASE
from agents.sb3 import PredictPolicy, ShopVecEnv
from experiments.training import REWARD
from recgym.build import build
from recgym.envs.vector import RecVectorEnv
from recgym.settings import Count, Positive, Share
from recgym.users.sequence import SequenceModel
from recgym.worlds.base import TrueShop

ONE_ITEM = (f"{__name__}.dqn",)  # targets that fill one slot and no more


def dqn(
    *,
    env: ShopVecEnv,
    seed: int,
    gamma: Share,
    learning_rate: Positive,
    batch_size: Count,
    capacity: Count,
    hidden: Count,
    target_rate: Share,
    epsilon: tuple[Share, Share],
    epsilon_share: Share,
    learning_starts: Count,
    updates: Count,
) -> DQN:
    """Mnih et al. 2015, "Human-level control through deep reinforcement learning", as SB3 has it.

    Args:
        env: of one item a page.
        seed: of networks, replay and exploration.
        gamma: discount a page.
        learning_rate: Adam's.
        batch_size: transitions of an update.
        capacity: transitions kept.
        hidden: width of each of two layers.
        target_rate: share of the online network that enters the target at each step of all lanes.
        epsilon: share of items drawn at random, at first and at last.
        epsilon_share: of the steps, over which it falls.
        learning_starts: transitions before the first update.
        updates: gradient steps for each step of all lanes.
    """
    return DQN(
        "MlpPolicy", env, seed=seed, gamma=gamma, learning_rate=learning_rate,
        batch_size=batch_size, buffer_size=capacity, tau=target_rate,
        target_update_interval=env.num_envs,  # it counts transitions
        exploration_initial_eps=epsilon[0], exploration_final_eps=epsilon[1],
        exploration_fraction=epsilon_share, learning_starts=learning_starts, train_freq=1,
        gradient_steps=updates, policy_kwargs={"net_arch": [hidden, hidden]},
        device=env.env.shell.core.device,
    )  # fmt: skip


def ppo(
    *,
    env: ShopVecEnv,
    seed: int,
    gamma: Share,
    smoothing: Share,
    clip: Positive,
    horizon: Count,
    epochs: Count,
    minibatches: Count,
    entropy: Share,
    value_weight: Positive,
    learning_rate: Positive,
    hidden: Count,
    max_norm: Positive,
) -> PPO:
    """Schulman et al. 2017, "Proximal policy optimization algorithms", as SB3 has it.

    Args:
        env: of slates.
        seed: of networks and exploration.
        gamma: discount a page.
        smoothing: lambda of the advantages.
        clip: of the probability ratio.
        horizon: steps of all lanes between two rounds of updates.
        epochs: passes over each horizon.
        minibatches: of each pass.
        entropy: weight of the entropy.
        value_weight: of the value's loss.
        learning_rate: Adam's.
        hidden: width of each of two layers.
        max_norm: largest norm of a gradient.
    """
    batch_size = max(2, horizon * env.num_envs // minibatches)
    return PPO(
        "MlpPolicy", env, seed=seed, gamma=gamma, gae_lambda=smoothing, clip_range=clip,
        n_steps=horizon, n_epochs=epochs, batch_size=batch_size, ent_coef=entropy,
        vf_coef=value_weight, learning_rate=learning_rate, max_grad_norm=max_norm,
        policy_kwargs={"net_arch": [hidden, hidden]},
        device=env.env.shell.core.device,
    )  # fmt: skip


def learn(
    settings: Mapping[str, Any],
    world: TrueShop,
    encoder: SequenceModel,
    *,
    num_slots: int,
    num_envs: int,
    steps: int,
    seed: int,
) -> tuple[PredictPolicy, int]:
    """A model trained in the true shop as a policy, and the environment steps that it took."""
    env = ShopVecEnv(
        RecVectorEnv(
            world,
            num_envs=num_envs,
            action="item" if num_slots == 1 else "slate",
            num_slots=num_slots,
            reward=REWARD,
            encoder=encoder,
        )
    )
    model = build(settings, env=env, seed=seed)
    env.seed(SEED_BASE + (seed << 32))  # the shoppers that our own agents are trained on
    model.learn(steps)
    return PredictPolicy(model), int(model.num_timesteps)
