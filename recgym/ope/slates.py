"""Estimators that look into pages: rewards are known slot by slot, and weights need less of a page.

``past_BT`` is the weight of a session up to the page before (`recgym.ope.weights.before`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from recgym.ope.estimators import Parts


def independent(past_BT: Tensor, marginal_BTK: Tensor, reward_BTK: Tensor) -> Parts:
    """Item-position weights: a slot's reward hangs on its own item alone (IIPS).

    Li, Abbasi-Yadkori, Kveton, Muthukrishnan, Vinay and Wen 2018, "Offline evaluation of ranking
    policies with click models", their item-position estimator.

    Args:
        past_BT: see above.
        marginal_BTK: P(this item in this slot) under the evaluated policy, over that under the
            logging one, whatever stands above.
        reward_BTK: what each slot brought.
    """
    return _summed(past_BT, (marginal_BTK * reward_BTK).sum(-1))


def interaction(past_BT: Tensor, log_ratio_BTK: Tensor, reward_BTK: Tensor) -> Parts:
    """Weights from the top to the slot: a slot's reward hangs on what stands above too (RIPS).

    McInerney, Brost, Chandar, Mehrotra and Carterette 2020, "Counterfactual evaluation of slate
    recommendations with sequential reward interactions", their RIPS, before its normalisation.

    Args:
        past_BT: see above.
        log_ratio_BTK: of P(this item in this slot | the items above).
        reward_BTK: what each slot brought.
    """
    return _summed(past_BT, (log_ratio_BTK.double().cumsum(-1).exp() * reward_BTK).sum(-1))


def pseudoinverse(past_BT: Tensor, marginal_BTK: Tensor, reward_BT: Tensor) -> Parts:
    """A page's reward is a sum over its slots that nobody saw apart (PI).

    Swaminathan, Krishnamurthy, Agarwal, Dudik, Langford, Jose and Zitouni 2017, "Off-policy
    evaluation for slate recommendation", their PI. Deviation: the form for a logging policy that
    fills slots independently, weight 1 - K + sum over slots of the ratios; for one that draws
    without replacement it is an approximation, close where no item has much of a slot.
    """
    weight_BT = 1.0 + (marginal_BTK - 1.0).sum(-1)
    return _summed(past_BT, weight_BT * reward_BT)


def _summed(past_BT: Tensor, brought_BT: Tensor) -> Parts:
    value_B1 = (past_BT * brought_BT).sum(-1, keepdim=True)
    return Parts(value_B1, torch.ones_like(value_B1))
