"""What each figure means, in words: the text of `python -m experiments.throughput --help`."""

from __future__ import annotations

INTRODUCTION = """\
Measures how fast RecGym is, each figure beside its limit. All shoppers are those of a learned shop
with an LSTM of 128 and item vectors of 128, pages of 10 slots and 10,000 items, unless said. Its
weights are random and its rates those of a plausible log (sessions of about 8 pages, a fifth of the
views clicked), so nothing has to be fitted first. All is float32. Medians of the repeats, after
warm-up; figures that are divided by one another take turns within one process.

Each figure is one JSON line on standard output: figure, value (the median), unit, min, max, limit,
ratio (value / limit where more is better, limit / value where less is), goal, settings (sizes,
parts of the time, the terms of the limit), device, torch, commit. Lines for people go to standard
error. With --record the same lines are appended to experiments/results/throughput.jsonl.

KEY=VALUE: device (auto, cpu, cuda), num_threads (of torch; all cores if not given), repeats (at
least 1; a figure to quote needs 5), lanes (N of every figure that has lanes; each figure's own if
not given), items (I of the catalogue).
"""

LIMIT = """\
The limit of a step is what the machine needs for the work that no program can avoid, its terms one
after another: FLOPs / the rate of matrix products of the step's own shapes (LSTM gates, heads,
scores of categories and slots) + bytes gathered (vectors of the page's items, prices) and bytes of
the records read and written / copy bandwidth + sigmoids and tanhs / their rate. All rates are
measured in the same process, before and after the steps, best of ten, and stand in the settings
beside that of a large square product (2,048), the bandwidth of gathering item vectors and the time
of one tiny operation; `limit_at_square_rate` is the limit if every product ran at the rate of the
large square one.
Results between two operations count as staying in the cache; exponentials and integers count as
free. The settings name the term that binds, and where the program's time goes by part; what is not
named there is bookkeeping. Parts are timed apart, with a clock around each: shares, not figures.
"""

# name: what is timed; what the limit is made of; the goal
FIGURES = {
    "simulator": """\
Steps of one shopper a second, N = 4,096 lanes. One step shows a page in every lane: prices of the
page, Simulator.step, and the next session begun in the lanes whose shopper left. Pages are drawn
beforehand and nothing is observed. `step_without_refill` is Simulator.step alone.
Limit: as below. Goal: ratio at least 0.5 (stretch 0.8); at least 50 times RL4RS and KuaiSim.""",
    "simulator_compiled": """\
The same through torch.compile, as compile=True runs it; needs a C++ compiler. Limit and goal: as
those of `simulator`.""",
    "true_shop": """\
The same with the default true shop at this size, N = 10,000 (as RecSim NG was measured with).
Limit: as below, with the true shop's own sizes. Goal: at least RecSim NG's 379,000 steps/s.""",
    "vector_env": """\
Steps a second of RecVectorEnv, NumPy actions in and NumPy observations, rewards and infos out,
auto-reset included, N = 4,096.
Limit: the simulator alone, as above, taking turns with it. Goal: ratio at least 0.87, that is at
most 15 % on top of the simulator.""",
    "single_env": """\
Steps a second of RecEnv, one shopper and one thread, resets included.
Limit: none. Goal: at least 1,500 steps/s.""",
    "single_env_compiled": """\
The same with compile=True: the same code through torch.compile. How long one waits for the first
step is in the settings. Needs a C++ compiler. Limit: none. Goal: at least 1,500 steps/s.""",
    "scaling_shoppers": """\
Time per shopper at N = 16,384 / the least over N = 1, 4, 16 ... 16,384; the whole table is in the
settings.
Limit: none. Goal: at most 1.2, and falling until at least N = 1,024.""",
    "scaling_items": """\
Time of a step with 1,000,000 items / with 1,000, N = 4,096; times with 10,000 and 100,000 and the
memory of all tables in MiB are in the settings.
Limit: none. Goal: at most 3.""",
    "dqn": """\
Environment steps a second of the training loop of agents.train with the DQN of its defaults, and at
its default number of lanes; curves included.
Limit: simulator alone + the agent's act and learn alone on one stored transition, added. Goal:
ratio at least 0.8; on an H200 2 million steps/s.""",
    "ppo": """\
The same with our PPO of its defaults; a call is whole horizons. Limit and goal: as those of
`dqn`.""",
    "dqn_compiled": """\
`dqn` with compile=true: steps and the agent's own through torch.compile, and on a GPU as one graph
each. How long the first steps took is in the settings. Limit: as that of `dqn`, the simulator
compiled too. Goal: as that of `dqn`.""",
    "ppo_compiled": """\
The same with our PPO.""",
    "ten_seeds": """\
Time of the training loop with agent.num_seeds=10 / with one DQN of its defaults, as many lanes for
each, the two taking turns; the same for PPO and all times are in the settings.
Limit: none. Goal: at most 3 on a GPU, 6 on a CPU.""",
    "sb3_ppo": """\
Environment steps a second of Stable-Baselines3's PPO over agents.sb3.ShopVecEnv, one slot a page,
as many lanes as the DQN, 2,048 transitions an update and two passes over them.
Limit: simulator alone + PPO alone on an environment of the same spaces that returns constants,
added. Goal: ratio at least 0.8.""",
    "fit": """\
Batches a second of a real fit of the user model (recgym.users.training.fit): expectations of the
epoch, likelihood, gradient, update.
Limit: a bare nn.LSTM and a softmax over the catalogue, forward, backward and step, on the same
sessions padded; without the softmax the ratio is in the settings. Goal: ratio at least 0.6.""",
    "ingest": """\
Rows a second from a CSV of 20 million rows (REES46 layout) to clean, sessionised Parquet.
Limit: reading all columns of the same file alone with the same engine and options. Goal: ratio at
least 0.5, that is at most twice the time; peak memory under 2 GB.""",
    "policy_value": """\
Seconds to value one policy (fixed pages) over 1,000,000 sessions with recgym.rollout; on a CPU
100,000 are played and the time is scaled, which the settings say.
Limit: the simulator alone over as many pages. Goal: at most 2 s on an H200; none on a CPU.""",
}

PEERS = """\
Peers, as measured on one 2-core machine (steps of one shopper a second, random policy, newest
public version, November 2026). With a learned user model: RL4RS 500-800 (LSTM, batches of 32-256),
KuaiSim 370-850 (batches of 32-512), VirtualTaobao 1,000-1,300. Hand-made shoppers, one at a
time: RecSim 350-4,200 (13,400 in its lightest world), RecoGym 1,300-4,100, SARDINE 3,800-5,300,
scope-rl's RECGym 27,000 (a dot product). Hand-made and batched: RecSim NG 63,000 with 64 users and
379,000 with 10,000. Training end to end: EasyRL4Rec logs 491 (A2C) and 49 (DQN) steps/s on a GPU;
Stable-Baselines3's own loop tops out near 285,000 (PPO) and 80,000 (DQN) steps/s whatever the
environment.
"""


def help_text() -> str:
    """All of the above."""
    figures = "\n\n".join(f"{name}\n{_indented(text)}" for name, text in FIGURES.items())
    title = "Figures, in the order in which they run:"
    return "\n".join([INTRODUCTION, title, "", figures, "", LIMIT, PEERS])


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
