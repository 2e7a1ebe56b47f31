"""The structure of DESIGN section 4, read from the imports themselves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From the bottom up; a module may import its own line and those above it in this list. The longest
# name that fits decides, so that `recgym.users.base` is not judged as `recgym.users`.
LAYERS = [
    [
        "recgym.errors",
        "recgym.files",
        "recgym.lanes",
        "recgym.types",
        "recgym.metrics",
        "recgym.refill",
        "recgym.compiling",
        "recgym.rng",
        "recgym.plackett_luce",
        "recgym.settings",
        "recgym.build",
        "recgym.progress",
        "recgym.locks",
        "recgym.cli",
        "recgym.runs",
    ],
    ["recgym.logs"],
    [
        "recgym.choice",
        "recgym.organic",
        "recgym.visit",
        "recgym.users.base",
        "recgym.worlds.base",
    ],
    ["recgym.users", "recgym.worlds"],
    [
        "recgym.simulator",
        "recgym.spaces",
        "recgym.reward",
        "recgym.ads",
        "recgym.shops",
    ],
    ["recgym.rollout", "recgym.logging_policy", "recgym.confounding"],
    [
        "recgym.users.assumptions",
        "recgym.users.assumed",
        "recgym.worlds.truth",
        "recgym.worlds.tree",
        "recgym.worlds.exact",
        "recgym.onpolicy",
        "recgym.record",
        "recgym.log_rows",
    ],
    [
        "recgym.fidelity",
        "recgym.ope",
        "recgym.report",
        "recgym.log_parts",
        "recgym.stages",
        "recgym.explain",
    ],
    ["recgym.envs"],
    ["agents"],
    ["experiments"],
    ["recgym.fit", "recgym.forecast", "recgym.replay"],
]
TRUTH = ("recgym.worlds.truth", "recgym.worlds.exact", "recgym.worlds.tree")
# whoever learns, or makes what is learned from; the mains around them value with the truth
LEARNERS = ("recgym.users", "recgym.logs", "recgym.envs", "recgym.simulator", "recgym.spaces",
            "recgym.reward", "recgym.stages", "recgym.record", "recgym.fit", "agents")  # fmt: skip
VALUING = ("agents.train", "agents.evaluate", "agents.judging", "agents.verdict", "agents.ranges",
           "agents.cases", "agents.scoring", "agents.valuing", "agents.checks", "agents.ope",
           "agents.ads.job", "agents.ads.playing", "agents.ads.evaluating")  # fmt: skip


def modules() -> dict[str, ast.Module]:
    found = {}
    for package in ("recgym", "agents", "experiments"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.Module, known: set[str]) -> set[str]:
    """Modules of ours that are imported anywhere in the file, functions included."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"relative import of {node.module}: write the whole name"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in names}
    return {name for name in found if name.split(".")[0] in ("recgym", "agents", "experiments")}


def layer(module: str) -> int:
    best, rank = "", -1
    for number, names in enumerate(LAYERS):
        for name in names:
            fits = module == name or module.startswith(name + ".")
            if fits and len(name) > len(best):
                best, rank = name, number
    return rank


def test_every_module_has_a_place() -> None:
    # Why: a new file must be put into the structure by hand, once.
    homeless = [name for name in modules() if name != "recgym" and layer(name) < 0]
    assert not homeless, f"add to LAYERS: {homeless}"


def test_imports_run_downwards() -> None:
    # Why: only then can a part be understood, tested and replaced without those above it.
    found = modules()
    upward = {
        (name, other)
        for name, tree in found.items()
        for other in imports(tree, set(found))
        if other != "recgym" and layer(other) > layer(name) >= 0
    }
    assert not upward


@pytest.mark.parametrize("bad", ["agents.dqn", "recgym.users.lstm", "recgym.envs.core"])
def test_the_check_itself_sees_a_climbing_import(bad: str) -> None:
    # Why: a test that cannot fail holds nothing.
    tree = ast.parse("def f():\n    from experiments import report\n")
    assert imports(tree, {"experiments.report"}) == {"experiments.report"}
    assert layer("experiments.report") > layer(bad) >= 0


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == one or module.startswith(one + ".") for one in packages)


def reached(start: str, edges: dict[str, set[str]]) -> set[str]:
    """All modules that an import of ``start`` runs, those of its packages' __init__ included."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting += edges.get(name, set())
        waiting += [name.rpartition(".")[0]] if "." in name else []
    return found


def test_only_evaluation_and_experiments_know_the_truth() -> None:
    # Why: a learner that may look at true probabilities proves nothing.
    found = modules()
    assert set(found) >= set(TRUTH)
    knowing = {
        name
        for name, tree in found.items()
        if any(within(other, TRUTH) for other in imports(tree, set(found)))
    }
    outside = {name for name in knowing if not within(name, ("experiments", *TRUTH))}
    assert outside == {"agents.valuing"}


def test_no_learner_reaches_the_truth_by_any_path() -> None:
    # Why: a helper that a learner imports may not look either, however far down.
    found = modules()
    edges = {name: imports(tree, set(found)) for name, tree in found.items()}
    assert any(within(name, TRUTH) for name in reached("agents.train", edges))
    learners = [name for name in found if within(name, LEARNERS) and name not in VALUING]
    assert {"agents.dqn", "recgym.users.lstm", "recgym.fit", "recgym.envs.core"} <= set(learners)
    for name in learners:
        seen = {other for other in reached(name, edges) if within(other, TRUTH)}
        assert not seen, f"{name} reaches {seen}"


def test_no_user_model_knows_a_true_shop() -> None:
    # Why: not even its law: knobs, tastes and catalogue stay behind the log.
    found = modules()
    edges = {name: imports(tree, set(found)) for name, tree in found.items()}
    for name in [name for name in found if within(name, ("recgym.users", "recgym.logs"))]:
        seen = {other for other in reached(name, edges) if within(other, ("recgym.worlds",))}
        assert not seen, f"{name} reaches {seen}"


def test_instantiate_is_called_in_one_place() -> None:
    # Why: Hydra 1.4 changes it, and a config must not wander below the mains.
    calling = {
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and node.id == "instantiate")
        or (isinstance(node, ast.Attribute) and node.attr == "instantiate")
        or (isinstance(node, ast.alias) and node.name == "instantiate")
    }
    assert calling == {"recgym.build"}


def test_what_is_compiled_compares_tensors_with_plain_ints() -> None:
    # Why: torch.compile takes `tensor == Kind.VIEW` (an IntEnum member) for the bool False.
    users = ("answers", "cell", "heads", "items", "lstm", "segments", "senses", "states", "tastes")
    compiled = (
        "recgym.choice", "recgym.visit", "recgym.simulator", *(f"recgym.users.{n}" for n in users)
    )  # fmt: skip
    wrong = [
        (name, node.lineno)
        for name, tree in modules().items()
        if name.startswith((*compiled, "recgym.worlds"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Attribute)
        and isinstance(side.value, ast.Name)
        and side.value.id in ("Kind", "After")
    ]
    assert not wrong, f"write int(Kind.VIEW): {wrong}"
