"""Fitted Q evaluation: what a policy will bring from a page on, regressed on the log itself.

Le, Voloshin and Yue 2019, "Batch policy learning under constraints", algorithm 3: Q_k is the
regression of r + E[Q_{k-1}(next history, a page of the policy)] on (history, page). Deviation: Q is
linear in features, so that the pages' expected features stand for the expectation and all rounds
share one decomposition; nothing is discounted, as sessions end.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recgym.errors import UserError


def fitted_q(
    feature_SF: Tensor,
    following_SF: Tensor,
    reward_SR: Tensor,
    *,
    rounds: int = 50,
    ridge: float = 1.0,
) -> Tensor:
    """Weights of Q, [F, R] float64.

    Args:
        feature_SF: of each logged page in its history.
        following_SF: the same of the page after it, in expectation over the evaluated policy's
            pages; 0 where the session is over.
        reward_SR: R rewards of each page.
        rounds: pages that are looked ahead; no session's end is missed from its longest on.
        ridge: squares of weights count so much, beside the squares of S errors.
    """
    if rounds < 1 or ridge <= 0.0:
        raise UserError(f"rounds={rounds}, ridge={ridge}: expected at least 1, and above 0.")
    feature_SF = feature_SF.double()
    gram_FF = feature_SF.T @ feature_SF
    gram_FF += ridge * torch.eye(len(gram_FF), dtype=gram_FF.dtype, device=gram_FF.device)
    factor_FF = torch.linalg.cholesky(gram_FF)
    now_FR = torch.cholesky_solve(feature_SF.T @ reward_SR.double(), factor_FF)
    moved_FF = torch.cholesky_solve(feature_SF.T @ following_SF.double(), factor_FF)
    weight_FR = now_FR
    for _ in range(rounds - 1):
        weight_FR = now_FR + moved_FF @ weight_FR
    return weight_FR


def values(
    feature_SF: Tensor,
    expected_SF: Tensor,
    reward_SR: Tensor,
    last_S: Tensor,
    fold_S: Tensor,
    *,
    rounds: int = 50,
    ridge: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Q of each logged page and V of its history, [S, R] each, none by a fit that saw its session.

    Args:
        feature_SF: of each logged page, session after session.
        expected_SF: the same in expectation over the evaluated policy's pages.
        reward_SR: as in `fitted_q`.
        last_S: pages that are their session's last, bool.
        fold_S: part of the log, [S] int64, one for all pages of a shopper; each part is valued by a
            fit to the others (cross-fitting: Chernozhukov et al. 2018, "Double/debiased machine
            learning", definition 3.1).
        rounds: as in `fitted_q`.
        ridge: as in `fitted_q`.
    """
    following_SF = torch.cat([expected_SF[1:], expected_SF[:1]]).masked_fill(
        last_S.unsqueeze(-1), 0.0
    )
    q_SR = torch.zeros_like(reward_SR, dtype=torch.float64)
    v_SR = torch.zeros_like(q_SR)
    for fold in fold_S.unique().tolist():
        own_S = fold_S == fold
        seen_S = ~own_S
        weight_FR = fitted_q(
            feature_SF[seen_S], following_SF[seen_S], reward_SR[seen_S], rounds=rounds, ridge=ridge
        )
        q_SR[own_S] = feature_SF[own_S].double() @ weight_FR
        v_SR[own_S] = expected_SF[own_S].double() @ weight_FR
    return q_SR, v_SR
