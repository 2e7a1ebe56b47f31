"""The Open Bandit Dataset: what one policy's log says of the other, whose own log knows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from experiments.evaluating.estimates import Logged, estimates, overlap_of
from recgym import ope
from recgym.logs.open_bandit import NUM_POSITIONS, BanditLog, Rounds, shares

FOLDS = 5
RIDGE = 100.0  # rounds: an item is shown a few hundred times, and clicked once or twice


def judge(
    logs: dict[str, BanditLog], *, clip: float, threshold: float, seed: int
) -> dict[str, Any]:
    """Each policy from the other's log, beside its own click-through rate."""
    num_items = 1 + max(int(log.rounds.item.max()) for log in logs.values())
    share = {name: shares(log.rounds, num_items) for name, log in logs.items()}
    result: dict[str, Any] = {"rows": {name: log.rows for name, log in logs.items()}}
    for log, policy in (("random", "bts"), ("bts", "random")):
        rounds, own = logs[log].rounds, logs[policy].rounds
        # the random policy's probabilities are known, and not to be taken from what it drew
        known_PI = (
            share[policy] if policy == "bts" else torch.full_like(share[policy], 1 / num_items)
        )
        logged = _logged(rounds, known_PI)
        found = estimates(logged, clip=clip, threshold=threshold, seed=seed)
        result[f"{policy} from the {log} log"] = {
            "own": _own(own, seed),
            "overlap": overlap_of(logged, clip),
            "estimates": {name: one.as_dict() for name, one in found.items()},
        }
    return result


def _own(rounds: Rounds, seed: int) -> dict[str, float | None]:
    """The policy's own click-through rate."""
    reward_N1 = rounds.clicked.double().unsqueeze(-1)
    parts = ope.Parts(reward_N1, torch.ones_like(reward_N1))
    return ope.estimate(parts, torch.arange(len(reward_N1)), seed).as_dict()


def _logged(rounds: Rounds, share_PI: Tensor) -> Logged:
    """Rounds as sessions of one page; the model is a regression on item and position."""
    num_items = share_PI.shape[1]
    chance_N = share_PI[rounds.position, rounds.item]
    position_NP = torch.nn.functional.one_hot(rounds.position, NUM_POSITIONS).double()
    item_NI = torch.nn.functional.one_hot(rounds.item, num_items).double()
    reward_N1 = rounds.clicked.double().unsqueeze(-1)
    count = len(reward_N1)
    q_N1, v_N1 = ope.values(
        torch.cat([position_NP, item_NI], -1),
        torch.cat([position_NP, share_PI[rounds.position]], -1),
        reward_N1,
        torch.ones(count, dtype=torch.bool),
        torch.arange(count) % FOLDS,
        rounds=1,
        ridge=RIDGE,
    )
    return Logged(
        log_ratio_BT=(chance_N / rounds.propensity).log().unsqueeze(-1),
        reward_BT=reward_N1,
        q_BT=q_N1,
        v_BT=v_N1,
        shopper_B=torch.arange(count),  # the data name no shopper: rows are resampled
    )
