"""The user model: fitted once for each log and settings, alone or as members of an ensemble."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from recgym import progress
from recgym.build import build, check_settings
from recgym.confounding import is_confounded
from recgym.errors import UserError
from recgym.locks import made_once
from recgym.logs.base import ReaderBase
from recgym.logs.log import Log
from recgym.onpolicy import on_policy_report, reference_of_held_out, reference_of_true_shop
from recgym.record import TrueShopLog
from recgym.settings import check
from recgym.stages.log import Settings, key_of, logging_policy
from recgym.types import After, Catalog, Kind, Sessions, Split
from recgym.users.assumed import assumed_range
from recgym.users.assumptions import assume_pages
from recgym.users.fit_settings import FitSettings
from recgym.users.likelihood import cart_counts
from recgym.users.propensities import weighed
from recgym.users.report import predictive_report
from recgym.users.returning import LEAST_RETURNS, fit_return_head, num_returns
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import rows_of
from recgym.users.store import SCHEMA_VERSION as MODEL_VERSION
from recgym.users.store import load_model, read_description, save_model
from recgym.users.text import (
    TextSettings,
    check_encoder,
    key_of_text,
    title_vectors,
    titles_of,
)
from recgym.users.training import fit

MEMBER_SEEDS = 1 << 20  # so that no member's seed is another fit's
CONFOUNDED = (
    "the logging policy saw hidden taste, so that no learned shop can play it: both sides show the "
    "log's pages at random"
)


def check_user_model(settings: Settings, num_slots: int) -> None:
    """Stop before any work where a setting of the user model cannot be used."""
    check_settings("user_model.model", settings["model"])
    check("user_model.fit", settings["fit"], FitSettings)
    FitSettings(**settings["fit"])
    check("user_model.text", settings.get("text", {}), TextSettings)
    check_encoder(TextSettings(**settings.get("text", {})))
    assumed_range(settings["assumptions"], num_slots)
    members = settings["ensemble"]["members"]
    whole = isinstance(members, int) and not isinstance(members, bool)
    if not whole or members % 2 or members < 0 or members == 2:
        raise UserError(
            f"user_model.ensemble.members={members}: expected 0, or an even number of at least 4, "
            "of which one half trains the agent and the other scores it."
        )


def check_shown(log: Log, members: int) -> None:
    """Stop where an ensemble would part over what is assumed of pages, and not over what is fitted.

    A lift that rests on assumptions is given with its range over them, which its members lack.
    """
    if members and log.sessions().page.item.shape[1] == 0:
        raise UserError(
            f"user_model.ensemble.members={members} needs a log that says what was shown, and "
            f"{log.meta.get('source', log.folder)} does not: its lifts are ranged over assumptions "
            "instead; set user_model.ensemble.members=0."
        )


def check_returns(log: Log, num_sessions: int) -> None:
    """Stop where several sessions of a shopper are to be played and nobody comes back."""
    if num_sessions > 1 and num_returns(log.sessions()) < LEAST_RETURNS:
        raise UserError(
            f"env.num_sessions={num_sessions} needs a log whose shoppers come back, and in the "
            f"training period of {log.meta.get('source', log.folder)} fewer than {LEAST_RETURNS} "
            "sessions follow another one of the same shopper: set env.num_sessions=1."
        )


def prepare_model(
    log: Log,
    reader: ReaderBase,
    settings: Settings,
    cache: Path,
    device: torch.device,
    seconds: dict[str, float],
    write: Callable[[str, float, int], Any] | None = None,
    member: int | None = None,
) -> tuple[SequenceModel, dict[str, Any], Path, bool]:
    """The user model, its report, its folder, and whether the fit was there already.

    Where the log does not say what was shown, the model is the fit under the assumptions of
    ``settings``, and the folder holds the fit itself too (`store.FIT`): other assumptions need no
    other fit. A ``member`` of an ensemble is fitted on shoppers drawn anew, and checked no further.
    A fit that was killed goes on where its last epoch ended.
    """
    apart = {"assumptions", "num_slots", "ensemble", "text"}
    apart |= {"on_policy"} if member is not None else set()
    decided = {k: v for k, v in settings.items() if k not in apart}
    text = TextSettings(**settings.get("text", {}))
    titles = None if text.encoder is None else titles_of(log, text.column)
    if titles is not None:
        decided["text"] = key_of_text(titles, text)
    decided["fields"] = log.fields()
    if member is not None:
        decided["member"] = member
    # last, and by names that no setting of a model has
    decided |= {"log": log.folder.name, "model_version": MODEL_VERSION}
    folder = cache / f"model-{key_of(decided)}"
    checkpoint = folder.with_name(f"{folder.name}.resume.pt")  # of a fit that was killed

    def make() -> None:
        catalog = log.catalog()
        if titles is not None:
            vector_IE = title_vectors(titles, text, cache, device)
            catalog = dataclasses.replace(catalog, title=vector_IE)
        model, report = _fit(log, catalog, settings, device, write, member, checkpoint)
        sessions = log.sessions()
        if member is None:
            report["on_policy"] = _check_on_policy(model, log, reader, sessions, settings)
        slots = sessions.page.item.shape[1]
        save_model(model, folder, {"report": report, "logged_slots": slots})
        checkpoint.unlink(missing_ok=True)

    with progress.stage("fit" if member is None else f"member {member + 1}", 1.0, seconds):
        reused = made_once(folder, "model.json", make)
        if read_description(folder)["extra"]["logged_slots"] == 0:
            folder = _assume(folder, settings, device)
        model = load_model(folder, device)
    model.requires_grad_(False)
    return model, read_description(folder)["extra"]["report"], folder, reused


def prepare_members(
    log: Log,
    reader: ReaderBase,
    settings: Settings,
    cache: Path,
    device: torch.device,
    seconds: dict[str, float],
) -> list[Path]:
    """Folders of the ensemble's members; none where ``settings`` ask for none."""
    spent: dict[str, float] = {}
    folders = [
        prepare_model(log, reader, settings, cache, device, spent, member=member)[2]
        for member in range(settings["ensemble"]["members"])
    ]
    if folders:
        seconds["ensemble"] = sum(spent.values())
    return folders


def _assume(fit_folder: Path, settings: Settings, device: torch.device) -> Path:
    """The folder of the fit under the assumptions of ``settings``, made where it is missing."""
    assumed = {name: settings["assumptions"][name] for name in ("rho", "page_share", "seed")}
    assumed["num_slots"] = int(settings["num_slots"])
    folder = fit_folder.with_name(f"{fit_folder.name}-assumed-{key_of(assumed)}")

    def make() -> None:
        model = load_model(fit_folder, device)
        said = assume_pages(model, **assumed)
        report = {**read_description(fit_folder)["extra"]["report"], "assumptions": said}
        save_model(model, folder, {"report": report}, fit_folder)

    made_once(folder, "model.json", make)
    return folder


def _fit(
    log: Log,
    catalog: Catalog,
    settings: Settings,
    device: torch.device,
    write: Callable[[str, float, int], Any] | None,
    member: int | None,
    checkpoint: Path,
) -> tuple[SequenceModel, dict[str, Any]]:
    sessions, seed = log.sessions(), int(settings["seed"])
    if member is not None:
        seed = MEMBER_SEEDS * (seed + 1) + member
    train_B = rows_of(sessions, Split.TRAIN)
    torch.manual_seed(seed)
    model: SequenceModel = build(
        settings["model"],
        catalog=catalog,
        seen_I=log.seen_item(),
        profile_BP=sessions.profile[train_B],
        start_ms_B=sessions.time_ms[sessions.offset[train_B]],
        quantity=mean_quantity(sessions),
        fields=log.fields(),
    )
    model.to(device)
    chosen = FitSettings(**settings["fit"])
    read, said = weighed(sessions, catalog, log.propensities(), train_B, chosen, seed)
    sessions = model.sees(sessions)
    done = 0.0

    def report_progress(share: float) -> None:
        nonlocal done
        progress.advance((share - done) * 0.8)  # the rest of the bar is the report
        done = share

    kept = fit(
        model,
        model.sees(read),
        chosen,
        seed=seed,
        bootstrap=member is not None,
        log=write,
        progress=report_progress,
        checkpoint=checkpoint,
    )
    if member is not None:
        return model, {"member": member}
    group_I = model.tables.groups(model.num_groups).cpu()
    head = fit_return_head(sessions, group_I, model.num_groups)
    model.return_head = None if head is None else head.to(device)
    test_B = rows_of(sessions, Split.TEST, Split.TEST_NEW)
    report: dict[str, Any] = dict(predictive_report(model, sessions, train_B, test_B))
    report["epochs_kept"] = kept["epoch"]
    report["valid_nll"] = kept["held_out_nll"]
    report["propensities"] = said
    return model, report


def mean_quantity(sessions: Sessions) -> float:
    """Pieces carted or bought at once, on average; 1 where nothing was."""
    quantity_S = sessions.event.quantity[sessions.event.after >= int(After.CART)]
    return float(quantity_S.mean()) if len(quantity_S) else 1.0


def cart_paid(sessions: Sessions) -> float:
    """Share of carted items that are paid in the end, in the same session; 0 if none is carted."""
    carted = int((sessions.event.after == int(After.CART)).sum())
    paid_S = sessions.event.kind == int(Kind.CHECKOUT)
    return int(cart_counts(sessions)[paid_S].sum()) / carted if carted else 0.0


def _check_on_policy(
    model: SequenceModel, log: Log, reader: ReaderBase, sessions: Sessions, settings: Settings
) -> dict[str, Any]:
    device = str(model.items.own.device)
    shop = reader.true_shop(device) if isinstance(reader, TrueShopLog) else None
    policy = logging_policy(log, reader, shop)
    check = settings["on_policy"]
    seed, num_slots = int(check["seed"]), sessions.page.item.shape[1]
    seen = (
        shop is not None
        and isinstance(reader, TrueShopLog)
        and is_confounded(reader.logging_policy(shop))
    )
    if shop is not None and policy is not None:
        num_sessions = int(check["true_sessions"])
        reference = reference_of_true_shop(shop, policy, num_slots, num_sessions, seed)
    else:
        reference = reference_of_held_out(log, seed)
    report = on_policy_report(model, policy, num_slots, reference, int(check["sessions"]), seed)
    return {**report, "confounded": CONFOUNDED} if seen else report
