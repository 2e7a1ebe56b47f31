"""``python -m experiments.throughput``: how fast everything is, each figure beside its limit."""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from experiments.speed.figure import Figure
from experiments.speed.guide import FIGURES, help_text
from experiments.speed.setting import Setting, commit, device_name
from recgym.cli import use_threads
from recgym.errors import UserError
from recgym.shops import choose_device

RECORD = Path(__file__).resolve().parent / "results" / "throughput.jsonl"
MODULES = {  # in which each figure's function stands, which bears its name
    "simulator": "stepping",
    "simulator_compiled": "stepping",
    "true_shop": "stepping",
    "vector_env": "environments",
    "single_env": "environments",
    "single_env_compiled": "environments",
    "scaling_shoppers": "scaling",
    "scaling_items": "scaling",
    "dqn": "learning",
    "ppo": "learning",
    "dqn_compiled": "learning",
    "ppo_compiled": "learning",
    "ten_seeds": "many_seeds",
    "sb3_ppo": "learning_sb3",
    "fit": "fitting",
    "ingest": "ingest",
    "policy_value": "valuing",
}
NUMBERS = ("num_threads", "repeats", "lanes", "items")
LEAST = {"items": 100}  # of the others 1; a tenth of the items must still fill a page
KEYS = ("device", *NUMBERS)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, as the other mains do."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; python -m experiments.throughput --help says what there is.")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    built = _Parser(
        prog="python -m experiments.throughput",
        description=help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    built.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these figures")
    built.add_argument("--record", action="store_true", help=f"append the lines to {RECORD.name}")
    built.add_argument("settings", nargs="*", metavar="KEY=VALUE", help=", ".join(KEYS))
    return built


def read(arguments: Sequence[str] | None) -> tuple[list[str], Setting, bool]:
    """Names of figures in their order, the setting, and whether to record."""
    given = parser().parse_intermixed_args(arguments)
    # a setting behind --only reads as one more name
    names = [word for word in given.only if "=" not in word]
    pairs = [word for word in given.only if "=" in word] + given.settings
    for name in names:
        if name not in FIGURES:
            raise UserError(_unknown(f"figure {name!r}", name, FIGURES, "the figures"))
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise UserError(f"{pair!r} is no setting: expected KEY=VALUE, or --only {pair}.")
        if key not in KEYS:
            raise UserError(_unknown(f"setting {key!r}", key, KEYS, "the settings"))
        values[key] = choose_device(text) if key == "device" else _number(key, text)
    values.setdefault("device", choose_device("auto"))
    chosen = [name for name in FIGURES if not names or name in names]
    return chosen, Setting(**values), bool(given.record)


def _number(key: str, text: str) -> int:
    least = LEAST.get(key, 1)
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise UserError(f"{key}={text}: expected a whole number of at least {least}.")
    return int(text)


def _unknown(what: str, name: str, known: Iterable[str], all_of: str) -> str:
    nearest = difflib.get_close_matches(name, known, 1)
    meant = f"did you mean {nearest[0]}? If not, " if nearest else ""
    return f"{what} is unknown: {meant}{all_of} are {', '.join(known)}."


def measured(name: str, setting: Setting) -> Figure:
    """One figure; only what it needs is imported."""
    module = importlib.import_module(f"experiments.speed.{MODULES[name]}")
    function: Callable[..., Figure] = getattr(module, name)
    if name == "ingest":  # it has no lanes, no items and no device
        return function(repeats=setting.repeats)
    return function(setting)


def line_of(figure: Figure, device: torch.device) -> dict[str, Any]:
    """What is printed and recorded of a figure."""
    return {
        "figure": figure.figure,
        "value": figure.value,
        "unit": figure.unit,
        "min": min(figure.values),
        "max": max(figure.values),
        "limit": figure.limit,
        "ratio": figure.ratio,
        "goal": figure.goal,
        "settings": figure.settings,
        "device": device_name(device),
        "torch": torch.__version__,
        "commit": commit(),
    }


def record(line: str, path: Path = RECORD) -> None:
    """Append a line; what stands there stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def lines_for_people(line: dict[str, Any]) -> list[str]:
    """The figure, its parts and what binds its limit."""
    settings = line["settings"]
    beside = "" if line["limit"] is None else f"; limit {_short(line['limit'])}"
    ratio = "" if line["ratio"] is None else f", ratio {line['ratio']:.3f}"
    told = [
        f"{line['figure']}: {_short(line['value'])} {line['unit']} "
        f"({_short(line['min'])} to {_short(line['max'])}){beside}{ratio}; goal: {line['goal']}"
    ]
    if "limit_of" in settings:
        terms = settings["limit_of"]["by_term"]
        whole = sum(terms.values())
        shares = ", ".join(f"{name} {value / whole:.0%}" for name, value in terms.items())
        told.append(f"  limit: most of it is {settings['limit_of']['binding']} ({shares})")
    if "parts" in settings:
        told += [f"  {1e3 * value:12.4f} ms  {name}" for name, value in settings["parts"].items()]
    for key, value in settings.items():
        if isinstance(value, dict) and key not in ("parts", "limit_of", "machine"):
            pairs = ", ".join(f"{name}: {_short(number)}" for name, number in value.items())
            told.append(f"  {key}: {pairs}")
    return told


def _short(number: Any) -> str:
    if not isinstance(number, int | float) or not math.isfinite(number):
        return str(number)
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the figures asked for."""
    try:
        names, setting, recording = read(arguments)
        use_threads(setting.num_threads)
        for name in names:
            print(f"measuring {name}", file=sys.stderr, flush=True)
            line = line_of(measured(name, setting), setting.device)
            text = json.dumps(line, allow_nan=False)
            print(text, flush=True)
            print("\n".join(lines_for_people(line)), file=sys.stderr, flush=True)
            if recording:
                record(text, RECORD)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
