"""What the log itself says of the policies of a finished run, beside what the learned shop claims.

``python -m agents.ope run=DIR [policy=module:function]``; see `agents.auditing` for the estimate.
It reads the held-out sessions of the run's log, which no fit has seen.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from agents.auditing import MEASURES, audit
from agents.evaluate import Run, open_run
from agents.foreign import foreign_policy
from agents.seeds import policies
from agents.valuing import honest_policies, shop_specs
from recgym import metrics, progress
from recgym.cli import command
from recgym.errors import UserError
from recgym.files import write_json
from recgym.runs import run_folder
from recgym.shops import choose_device
from recgym.types import Policy

SCHEMA_VERSION = 1
AUDITED = ("random", "popular", "greedy")  # beside the agent: those that show something


def check_log(run: Run, folder: Path) -> None:
    """Stop where the log cannot say anything of what a policy would show."""
    if run.offered["num_sessions"] > 1:
        raise UserError(
            f"run={folder} plays up to {run.offered['num_sessions']} sessions a shopper, and a "
            "log's are read one by one: expected a run of env.num_sessions=1."
        )
    if run.log.propensities() is None:
        raise UserError(
            f"run={folder}: its log does not say how likely each item was to be shown, so that it "
            "says nothing of other policies: expected a log with a column propensity of its "
            "impressions."
        )
    if not len(run.log.held_out()[0]):
        raise UserError(
            f"run={folder}: its log holds out no whole session: raise log.test_share and train "
            "again."
        )


def table(found: dict[str, Any], claimed: dict[str, float | None]) -> str:
    """A row a policy and measure; below, what the log cannot say."""
    lines = [
        "| policy | measure | claim a session | log ÷ claim | 95 % interval | corrected claim |",
        "|---|---|---|---|---|---|",
    ]
    notes = []
    for name, one in found.items():
        for measure in MEASURES:
            factor, value = one[measure]["brought_of_claimed"], one[measure]["claim"]
            if factor["mean"] is None:
                lines.append(f"| {name} | {measure} | {value:.3f} | - | - | - |")
                continue
            lines.append(
                f"| {name} | {measure} | {value:.3f} | {factor['mean']:.2f} | "
                f"{factor['low']:.2f} to {factor['high']:.2f} | {value * factor['mean']:.3f} |"
            )
        if one["overlap"]["warning"]:
            notes.append(f"{name}: {one['overlap']['warning']}")
        else:
            size = one["overlap"]["effective"]
            notes.append(f"{name}: an effective {size:,.0f} logged impressions speak for it.")
        if claimed.get(name) is not None:
            notes[-1] += f" The learned shop claims {claimed[name]:+.2f} of revenue a session."
    return "\n".join([*lines, "", *notes])


def claims_of(summary: dict[str, Any]) -> dict[str, float | None]:
    """Incremental revenue a session that the learned shop claims, by policy."""
    found: dict[str, float | None] = {}
    for name, shops in summary["policies"].items():
        claim = (shops.get("learned") or {}).get(metrics.INCREMENTAL) or {}
        found[name] = claim.get("mean")
    return found


@command("ope")
def main(cfg: DictConfig) -> None:
    """Hold the claims for the policies of a finished run against its log."""
    folder = run_folder(cfg)
    clip = cfg.clip
    if isinstance(clip, bool) or not isinstance(clip, int | float) or clip < 1:
        raise UserError(f"clip={clip}: expected a number of at least 1.")
    begun = time.perf_counter()
    run = open_run(folder, choose_device(cfg.device))
    check_log(run, folder)
    rules = honest_policies(run.offered)
    valued: dict[str, Policy] = {name: rules[name] for name in AUDITED}
    valued |= policies(run.agent, run.summary["agent"])
    if cfg.policy is not None:
        valued[str(cfg.policy).partition(":")[2] or str(cfg.policy)] = foreign_policy(cfg.policy)
    row_B, num_cut = run.log.held_out()
    spec = shop_specs(run.model, None, run.offered["num_slots"])["learned"]
    found = audit(
        run.model, spec, run.log, row_B, valued,
        cart_paid=run.offered["cart_paid"], clip=float(clip),
    )  # fmt: skip
    claimed = claims_of(run.summary)
    content = {
        "schema_version": SCHEMA_VERSION,
        "run": str(cfg.run),
        "clip": clip,
        "sessions": len(row_B),
        "sessions_cut": num_cut,
        "policies": found,
        "claimed": claimed,
        "seconds": time.perf_counter() - begun,
    }
    target = folder / "off_policy.json"
    write_json(target, content)
    progress.say(table(found, claimed))
    progress.say(f"\nfiles        {target}")


if __name__ == "__main__":
    main()
