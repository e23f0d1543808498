# /// script
# requires-python = ">=3.10"
# dependencies = ["gymnasium>=0.29"]
# ///
"""The vanilla policy gradient (REINFORCE) in plain Python lists, trained on CartPole.

A policy π(a|s), a softmax that is linear in the state, plays one episode with its
weights θ. Then every action taken is made more likely, in proportion to the return G_t
that followed it, and the next episode begins:

    θ ← θ + lr Σ_t ∇log π(a_t|s_t) G_t,   G_t = Σ_{k≥t} γ^{k−t} r_k.

The functions are the equations of the derivation, in its order. Their sources: [W]
Williams (1992), Machine Learning 8:229–256; [SB n] Sutton & Barto (2018), Reinforcement
Learning, 2nd ed., equation n; [NT] Nota & Thomas (2020), arXiv:1906.07073.
"""

import argparse
import importlib.util
import json
import math
import os
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from random import Random
from statistics import fmean
from typing import Any, NamedTuple, NoReturn, TextIO

# ------------------------------------------------------------------ the algorithm

Vector = list[float]
Matrix = list[list[float]]  # weights[i][j] leads from number i of a state to action j
Env = Any  # a gymnasium.Env whose states are Box(n,) and whose actions are Discrete


def dot(u: Sequence[float], v: Sequence[float]) -> float:
    """u·v = Σ_i u_i v_i; unequal lengths are a ValueError.
    Here and below, sums are plain loops, from left to right: sum() rounds differently
    from Python 3.12 on.
    >>> dot([1.0, 2.0], [3.0, 4.0])
    11.0
    """
    total = 0.0
    for u_i, v_i in zip(u, v, strict=True):
        total += u_i * v_i
    return total


def softmax(logits: Vector) -> Vector:
    """p_j = exp(z_j) / Σ_k exp(z_k), for one or more logits z [SB 13.2].
    >>> softmax([0.0, math.log(3.0)])
    [0.25, 0.75]
    """
    highest = max(logits)  # cancels in the fraction; exp(710) would overflow
    exps = [math.exp(z - highest) for z in logits]
    total = 0.0
    for e in exps:
        total += e
    return [e / total for e in exps]


def softmax_jacobian(probs: Vector) -> Matrix:
    """∂p_i/∂z_j, which is the matrix diag(p) − p pᵀ.
    >>> softmax_jacobian([0.25, 0.75])
    [[0.1875, -0.1875], [-0.1875, 0.1875]]
    """
    jacobian = [[-p_i * p_j for p_j in probs] for p_i in probs]
    for i, p_i in enumerate(probs):
        jacobian[i][i] += p_i
    return jacobian


def policy(weights: Matrix, state: Vector) -> tuple[Vector, Vector]:
    """z = θᵀs, the logits, and π(·|s) = softmax(z), the probs of the actions [SB 13.3].
    A state that has not one number for each row of θ is a ValueError.
    >>> policy([[1.0, 0.0], [0.0, 1.0]], [5.0, 5.0])
    ([5.0, 5.0], [0.5, 0.5])
    """
    logits = [dot(column, state) for column in zip(*weights)]
    return logits, softmax(logits)


def grad_log_policy(probs: Vector, action: int, state: Vector) -> Matrix:
    """∂log π(a|s)/∂θ_ij = s_i (∂p_a/∂z_j) / p_a, by the chain rule [SB 13.9].
    >>> grad_log_policy([0.25, 0.75], 0, [4.0, 8.0])
    [[3.0, -3.0], [6.0, -6.0]]
    """
    prob = probs[action]
    grad_logits = [d / prob for d in softmax_jacobian(probs)[action]]
    return [[s_i * g_j for g_j in grad_logits] for s_i in state]


def sample_action(probs: Vector, uniform: float) -> int:
    """The first a with Σ_{b≤a} p_b / Σ_b p_b > u, so that u ~ U[0, 1) gives a ~ p.
    The inequality is strict: not even u = 0 gives an action of probability 0. Where no
    a fulfils it (the probs are NaN, or u ≥ 1), that is an ArithmeticError.
    >>> sample_action([0.0, 0.25, 0.75], 0.0), sample_action([0.0, 0.25, 0.75], 0.25)
    (1, 2)
    """
    cumulative = list(accumulate(probs))
    for action, c in enumerate(cumulative):
        if c / cumulative[-1] > uniform:
            return action
    raise ArithmeticError(f"no action to draw: probs {probs}, uniform {uniform}")


class Step(NamedTuple):
    """What one step of an episode saw, computed and did."""

    state: Vector
    logits: Vector
    probs: Vector
    uniform: float  # the draw that chose the action
    action: int
    reward: float
    grad_log_policy: Matrix


def rollout(env: Env, weights: Matrix, rng: Random, seed: int | None) -> list[Step]:
    """One episode s_0, a_0, r_0, s_1, … with a_t ~ π(·|s_t), until env says it is over.
    The step limit is an end like any other: no reward is imagined beyond it. The seed
    is for env.reset; None lets the environment's own random numbers run on.
    >>> import gymnasium  # random_stream(1) draws 0.42, 0.72, 0.00, 0.30, ...
    >>> env, undecided = gymnasium.make("CartPole-v1"), [[0.0, 0.0]] * 4
    >>> [step.action for step in rollout(env, undecided, random_stream(1), 1)][:4]
    [0, 1, 0, 0]
    """
    first_action = int(env.action_space.start)  # 0, but for a Discrete(n, start=...)
    steps, done = [], False
    observation, _ = env.reset(seed=seed)
    while not done:
        state = observation.tolist()
        logits, probs = policy(weights, state)
        uniform = rng.random()
        action = sample_action(probs, uniform)
        observation, reward, terminated, truncated, _ = env.step(first_action + action)
        grad = grad_log_policy(probs, action, state)
        steps.append(Step(state, logits, probs, uniform, action, float(reward), grad))
        done = terminated or truncated
    return steps


def discounted_returns(rewards: Vector, gamma: float) -> Vector:
    """G_t = Σ_{k≥t} γ^{k−t} r_k for each t, as G_t = r_t + γ G_{t+1} [SB 3.9].
    >>> discounted_returns([1.0, 1.0, 1.0], 0.9)
    [2.71, 1.9, 1.0]
    """
    returns, return_t = [], 0.0
    for reward in reversed(rewards):
        return_t = reward + gamma * return_t
        returns.append(return_t)
    return returns[::-1]


def notebook_returns(rewards: Vector, gamma: float) -> Vector:
    """Σ_{k≥t} r_k γ^{r_k} for each t: the notebook's slip, γ raised to the reward.
    >>> notebook_returns([1.0, 1.0, 1.0], 0.9)
    [2.7, 1.8, 0.9]
    """
    return discounted_returns([r * gamma**r for r in rewards], 1.0)


def update(weights: Matrix, grad: Matrix, return_t: float, lr: float) -> None:
    """θ_ij ← θ_ij + lr ∂log π(a_t|s_t)/∂θ_ij G_t, in place: one ascent [W; SB 13.8].
    The algorithm in [SB]'s §13.3 has a factor γ^t here. Without it, as in common use,
    late steps count as much as early ones; but for γ < 1 the sum over an episode is then,
    in expectation, not the gradient of the discounted objective E[G_0] [NT].
    >>> weights = [[0.0, 0.0], [1.0, 1.0]]
    >>> update(weights, [[3.0, -3.0], [6.0, -6.0]], return_t=2.0, lr=0.5)
    >>> weights
    [[3.0, -3.0], [7.0, -5.0]]
    """
    for i, row in enumerate(grad):
        for j, grad_ij in enumerate(row):
            weights[i][j] += lr * grad_ij * return_t


def random_stream(seed: int) -> Random:
    """A stream whose random() is np.random.rand() after np.random.seed(seed).
    It is a Mersenne Twister begun by Knuth's initialiser (TAOCP 2, 3rd ed., p. 106),
    x_0 = seed < 2³², x_i = 1812433253 (x_{i−1} ⊕ (x_{i−1} ≫ 30)) + i mod 2³².
    >>> random_stream(1).random()
    0.417022004702574
    """
    xs = [seed]
    for i in range(1, 624):
        xs.append((1812433253 * (xs[-1] ^ (xs[-1] >> 30)) + i) % 2**32)
    rng = Random()
    rng.setstate((3, (*xs, 624), None))  # version 3; 624 of the 624 x used up
    return rng


def initial_weights(rng: Random, env: Env) -> Matrix:
    """θ_ij ~ U[0, 1), drawn row by row: a row per observation, a column per action."""
    rows, columns = env.observation_space.shape[0], env.action_space.n
    return [[rng.random() for _ in range(columns)] for _ in range(rows)]


class Episode(NamedTuple):
    """What one episode was, and what was learnt from it."""

    steps: list[Step]
    returns: Vector  # G_t, one per step
    score: float  # Σ_t r_t
    weights: Matrix  # after the update


def train(
    env: Env,
    episodes: int,
    lr: float,
    gamma: float,
    seed: int,
    compute_returns: Callable[[Vector, float], Vector] = discounted_returns,
) -> Iterator[Episode]:
    """θ ← θ + lr Σ_t ∇log π(a_t|s_t) G_t, episode by episode: play, look back, climb.
    All gradients of an episode are taken at the weights that it was played with. If lr
    is so large that the weights do not stay finite, that is an ArithmeticError.
    >>> import gymnasium
    >>> env = gymnasium.make("CartPole-v1")
    >>> [e.score for e in train(env, episodes=3, lr=2.5e-5, gamma=0.99, seed=1)]
    [91.0, 17.0, 26.0]
    """
    rng = random_stream(seed)
    weights = initial_weights(rng, env)
    for number in range(episodes):
        steps = rollout(env, weights, rng, seed if number == 0 else None)
        rewards = [step.reward for step in steps]
        returns = compute_returns(rewards, gamma)
        score = 0.0
        for step, return_t in zip(steps, returns):
            update(weights, step.grad_log_policy, return_t, lr)
            score += step.reward
        if not all(math.isfinite(weight) for row in weights for weight in row):
            raise ArithmeticError(f"weights no longer finite; lower the lr of {lr}")
        copy = [row[:] for row in weights]  # they themselves go on changing, in place
        yield Episode(steps, returns, score, copy)


# ------------------------------------------------------------------ the program

RETURNS = {"discounted": discounted_returns, "notebook": notebook_returns}
NOTEBOOK_WEIGHTS = [  # as the notebook printed them, after 5,000 episodes
    [1.06721556, 0.07013094],
    [-0.71238789, 1.01483483],
    [-1.22409825, 1.46319274],
    [-2.51589573, 3.04771667],
]


def fail(message: str) -> NoReturn:
    """Bad input: one line on stderr, exit status 2."""
    print("vpg.py:", " ".join(message.split()), file=sys.stderr)
    sys.exit(2)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    about = "Train a softmax policy with REINFORCE, or watch a trained one play."
    parser = argparse.ArgumentParser("vpg.py", description=about)
    parser.error = fail  # type: ignore[method-assign]
    flag, default = parser.add_argument, " (default: %(default)s)"
    flag("--env", help="a gymnasium id (default: CartPole-v0, or as in --watch FILE)")
    flag("--episodes", type=int, default=20_000, help="1 or more" + default)
    flag("--lr", type=float, default=2.5e-5, help="learning rate" + default)
    flag("--gamma", type=float, default=0.99, help="discount, 0 to 1" + default)
    flag("--seed", type=int, default=1, help="0 to 4294967295" + default)
    flag("--returns", default="discounted", choices=RETURNS, help="G_t" + default)
    flag("--scores", metavar="FILE", help="write a score a line; - is stdout")
    flag("--trace", metavar="FILE", help="write every step as JSON; - is stdout")
    flag("--save", metavar="FILE", help="write the weights when training ends")
    shown = "play the weights of FILE, or without it the notebook's, in a window"
    flag("--watch", metavar="FILE", nargs="?", const="", help=shown)
    args = parser.parse_args(argv)
    for name, ok, allowed in (
        ("episodes", args.episodes >= 1, "1 or more"),
        ("lr", 0 <= args.lr < math.inf, "finite, 0 or more"),
        ("gamma", 0 <= args.gamma <= 1, "0 to 1"),
        ("seed", 0 <= args.seed < 2**32, "0 to 4294967295"),
    ):
        if not ok:
            fail(f"--{name} {getattr(args, name)}; allowed: {allowed}")
    return args


def make_env(name: str, render_mode: str | None = None) -> Env:
    """An environment that train can play; only here is gymnasium imported."""
    try:
        import gymnasium
    except ModuleNotFoundError:
        fail("gymnasium is not installed; try: python -m pip install gymnasium")
    # v0 is v1 cut at 200 steps: not outdated, but what the notebook played.
    notice = ".*CartPole-v0 is out of date"
    warnings.filterwarnings("ignore", notice, DeprecationWarning)
    try:
        env = gymnasium.make(name, render_mode=render_mode)
    except (gymnasium.error.Error, ImportError) as error:
        fail(f"--env {name}: {error} (allowed: an id that gymnasium knows)")
    state, action = env.observation_space, env.action_space
    vector = isinstance(state, gymnasium.spaces.Box) and len(state.shape) == 1
    if not vector or not isinstance(action, gymnasium.spaces.Discrete):
        fail(f"--env {name}: {state}, {action}; allowed: Box of shape (n,), Discrete")
    return env


def opened(path: str | None) -> TextIO:
    """The file to write to: stdout for -, nowhere for None."""
    try:
        return sys.stdout if path == "-" else open(path or os.devnull, "w")
    except OSError as error:
        fail(f"{path}: {error.strerror}")


def put(file: TextIO, text: str, stops: list[int]) -> bool:
    """Write at once. A full disk, or a reader that has left, stops the run."""
    try:
        file.write(text)
        file.flush()
    except OSError as error:
        # What the buffer holds, and all that follows, now goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
        if isinstance(error, BrokenPipeError):
            stops.append(141)  # as the shell counts it
        else:
            print(f"vpg.py: {file.name}: {error.strerror}", file=sys.stderr)
            stops.append(1)
        return False
    return True


def score_text(score: float) -> str:
    """The score to the last digit, on a line; without .0 where it is whole."""
    return repr(score).removesuffix(".0") + "\n"


def trace_text(number: int, episode: Episode) -> str:
    """JSON Lines: each step as the algorithm recorded it, then what came of them."""
    lines: list[dict[str, Any]] = [
        {"episode": number, "step": t, **step._asdict(), "return": return_t}
        for t, (step, return_t) in enumerate(zip(episode.steps, episode.returns))
    ]
    end = {"score": episode.score, "weights": episode.weights}
    lines.append({"episode": number, **end})
    return "".join(json.dumps(line) + "\n" for line in lines)


def drawn(
    episodes: Iterator[Episode], total: int, spec: Any, out: TextIO, stops: list[int]
) -> Iterator[tuple[Episode, float]]:
    """Pass on each episode, and the mean of the last 100; draw the curve meanwhile."""
    bar = "█" if "█".encode(out.encoding, "ignore") else "#"
    limit, threshold = spec.max_episode_steps, spec.reward_threshold
    last: deque[float] = deque(maxlen=100)
    start = shown = time.monotonic()
    row_start, row_score = 0, 0.0
    for done, episode in enumerate(episodes, 1):
        last.append(episode.score)
        mean = fmean(last)
        row_score += episode.score
        row = 20 * done // total > 20 * (done - 1) // total  # every 5 %
        if sys.stderr.isatty() and (row or time.monotonic() > shown + 0.1):
            shown = time.monotonic()
            left = (shown - start) / done * (total - done)
            live = "" if row else f"episode {done}, mean {mean:.2f}, {left:.0f} s left"
            put(sys.stderr, f"\r{live:60}\r", stops)
        if row:
            score = row_score / (done - row_start)
            width = round(50 * score / limit) if limit else 0
            put(out, f"{done:7}  {score:10.2f}  {bar * width}\n", stops)
            row_start, row_score = done, 0.0
        if threshold is not None and done >= 100 and mean >= threshold:
            put(out, f"solved at episode {done}\n", stops)
            threshold = None  # once is enough
        yield episode, mean


def learn(args: argparse.Namespace, stops: list[int]) -> int:
    """Train to the end, or until something stops it, and report; exit status."""
    args.env = "CartPole-v0" if args.env is None else args.env
    env = make_env(args.env)
    scores, trace = opened(args.scores), opened(args.trace)
    # --save replaces its file in one step, at the end; but a device can't be replaced.
    device = args.save and os.path.exists(args.save) and not os.path.isfile(args.save)
    temporary = args.save and not device and f"{os.path.realpath(args.save)}.tmp"
    saved = opened(temporary or args.save)
    out = sys.stderr if "-" in (args.scores, args.trace) else sys.stdout
    names = ("env", "seed", "lr", "gamma", "returns")
    settings = {name: getattr(args, name) for name in names}
    weights = initial_weights(random_stream(args.seed), env)
    shown = ", ".join(f"{name} {value}" for name, value in settings.items())
    put(out, f"{args.episodes} episodes: {shown}\n\nepisode  mean score\n", stops)
    first = {"vpg_trace": 1, **settings, "weights": weights}
    put(trace, json.dumps(first) + "\n", stops)
    done, steps, mean, start = 0, 0, 0.0, time.monotonic()
    returns = RETURNS[args.returns]
    episodes = train(env, args.episodes, args.lr, args.gamma, args.seed, returns)
    try:
        for episode, mean in drawn(episodes, args.episodes, env.spec, out, stops):
            put(scores, score_text(episode.score), stops)
            if args.trace:
                put(trace, trace_text(done, episode), stops)
            done, steps, weights = done + 1, steps + len(episode.steps), episode.weights
            if stops:
                break
    except ArithmeticError as error:
        print(f"vpg.py: episode {done + 1}: {error}", file=sys.stderr)
        stops.append(1)
    seconds = time.monotonic() - start
    report = f"{steps} steps, {steps / seconds:.0f} per second\n{json.dumps(weights)}\n"
    if done:
        report = f"mean of the last {min(done, 100)}: {mean:.2f}\n{report}"
    put(out, "\n" + report, stops)
    kept = {"weights": weights, "episodes": done, **settings}
    if put(saved, json.dumps(kept) + "\n", stops) and temporary:
        os.fsync(saved.fileno())
        os.replace(temporary, os.path.realpath(args.save))
    elif temporary:
        os.unlink(temporary)
    return stops[0] if stops else 0


def watch(args: argparse.Namespace, stops: list[int]) -> int:
    """Play weights in gymnasium's window, until it is closed; exit status."""
    saved: Any = {"weights": NOTEBOOK_WEIGHTS}
    try:
        if args.watch:
            with open(args.watch, encoding="utf-8") as file:
                saved = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        fail(f"--watch {args.watch}: {error}")
    saved = saved if isinstance(saved, dict) else {}
    name = str(saved.get("env", "CartPole-v0")) if args.env is None else args.env
    env = make_env(name, "human")
    rows, columns = env.observation_space.shape[0], int(env.action_space.n)
    try:
        weights = saved["weights"]
        sound = [[abs(w) <= sys.float_info.max for w in row] for row in weights]
    except (TypeError, KeyError):
        sound = []
    if sound != [[True] * columns] * rows:
        fail(f"--watch {args.watch}: allowed: {rows} × {columns} finite weights")
    if importlib.util.find_spec("pygame") is None:
        fail('--watch needs pygame: pip install "gymnasium[classic-control]"')
    step, rng = env.step, random_stream(args.seed)

    def step_while_open(action: int) -> Any:
        pygame: Any = sys.modules["pygame"]  # imported by gymnasium, with the window
        if stops or pygame.event.peek(pygame.QUIT):
            raise KeyboardInterrupt
        return step(action)

    env.step = step_while_open
    try:
        for number in range(args.episodes):
            steps = rollout(env, weights, rng, args.seed if number == 0 else None)
            put(sys.stdout, score_text(math.fsum(step.reward for step in steps)), stops)
    except KeyboardInterrupt:
        pass
    except RuntimeError as error:
        fail(f"--watch: {error}")
    return stops[0] if stops else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; exit status."""
    args = parse(argv)
    stops: list[int] = []  # the exit statuses of all that has stopped the program
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stops.append(128 + number))
    return learn(args, stops) if args.watch is None else watch(args, stops)


if __name__ == "__main__":
    sys.exit(main())
