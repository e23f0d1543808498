# /// script
# requires-python = ">=3.10"
# dependencies = ["gymnasium>=0.29"]
# ///
"""REINFORCE, the vanilla policy gradient, in plain Python lists; learns CartPole.

The policy π(a|s), a softmax of logits linear in the state, plays an episode of states
s_t, actions a_t and rewards r_t. Then its weights θ move, to raise each log π(a_t|s_t)
in proportion to the return G_t that followed a_t [W]:

    θ ← θ + lr Σ_t G_t ∇log π(a_t|s_t),   G_t = Σ_{k≥t} γ^{k−t} r_k

Method and settings are those of the notebook github.com/diracdyson/policygrad, except
for its wrong G_t (notebook_returns). [n] is equation, [§n] section n of Sutton & Barto
(2018), Reinforcement Learning, 2nd ed., whose R_{t+1} is r_t here; [W] Williams (1992),
Machine Learning 8:229–256; [NT] Nota & Thomas (2020), arXiv:1906.07073.
"""

import argparse
import json
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, NamedTuple, TextIO

# ------------------------------------------------------------------ the algorithm

Vector = list[float]
Matrix = list[list[float]]  # rows; weights[i][j]: from s_i to the logit of action j
Env = Any  # a gymnasium.Env that observes a Box(n,) and takes Discrete(m) actions
EPISODES, LR, GAMMA, SEED = 20_000, 2.5e-5, 0.99, 1  # the notebook's


def dot(u: Sequence[float], v: Sequence[float]) -> float:
    """u·v = Σ_i u_i v_i; a ValueError if the lengths differ.
    >>> dot([1.0, 2.0], [3.0, 4.0])
    11.0
    """
    total = 0.0
    for u_i, v_i in zip(u, v, strict=True):
        total += u_i * v_i  # sum() would round differently from Python 3.12 on
    return total


def softmax(logits: Vector) -> Vector:
    """p_j = exp(z_j) / Σ_k exp(z_k), the probs of logits z [13.2].
    >>> softmax([0.0, math.log(3.0)])
    [0.25, 0.75]
    """
    highest = max(logits)  # cancels in every p_j; without it, exp(710) would overflow
    exps = [math.exp(z - highest) for z in logits]
    total = math.fsum(exps)  # rounded once, so the same on every Python
    return [e / total for e in exps]


def softmax_jacobian(probs: Vector) -> Matrix:
    """∂p_i/∂z_j = p_i δ_ij − p_i p_j: the matrix diag(p) − p pᵀ.
    >>> softmax_jacobian([0.25, 0.75])
    [[0.1875, -0.1875], [-0.1875, 0.1875]]
    """
    each = range(len(probs))
    return [[probs[i] * (i == j) - probs[i] * probs[j] for j in each] for i in each]


def policy(weights: Matrix, state: Vector) -> tuple[Vector, Vector]:
    """The logits z = θᵀs [13.3] and the probs π(·|s) = softmax(z) of the actions.
    >>> policy([[1.0, 2.0], [3.0, 2.0]], [1.0, 1.0])
    ([4.0, 4.0], [0.5, 0.5])
    """
    logits = [dot(column, state) for column in zip(*weights)]
    return logits, softmax(logits)


def grad_log_policy(probs: Vector, action: int, state: Vector) -> Matrix:
    """∂log π(a|s)/∂θ_ij = s_i · (∂p_a/∂z_j / p_a), by the chain rule.
    The bracket is δ_aj − p_j [13.9; x(s,a) is s in column a]; the Jacobian shows why.
    >>> grad_log_policy([0.25, 0.75], 0, [4.0, 8.0])
    [[3.0, -3.0], [6.0, -6.0]]
    """
    by_logits = [dp_a / probs[action] for dp_a in softmax_jacobian(probs)[action]]
    return [[s_i * g_j for g_j in by_logits] for s_i in state]


def sample_action(probs: Vector, uniform: float) -> int:
    """The first a with (p_0 + … + p_a) / Σ_b p_b > u, so that u ~ U[0, 1) gives a ~ p.
    >>> sample_action([0.0, 0.25, 0.75], 0.0), sample_action([0.0, 0.25, 0.75], 0.25)
    (1, 2)
    """
    cumulative = list(accumulate(probs))
    for action, c in enumerate(cumulative):
        if c / cumulative[-1] > uniform:  # divided, as the sum may round below 1
            return action
    raise FloatingPointError(f"no action to draw: probs {probs}, uniform {uniform}")


class Step(NamedTuple):  # step t of an episode
    state: Vector
    logits: Vector
    probs: Vector
    uniform: float  # the draw that chose the action
    action: int
    reward: float
    grad_log_policy: Matrix


def rollout(env: Env, weights: Matrix, rng: Random, seed: int | None) -> Iterator[Step]:
    """One episode s_0, a_0, r_0, s_1, … with a_t ~ π(·|s_t), till it ends or is cut at
    its step limit (truncated), and is over either way. A seed restarts env's stream.
    """
    observation, _ = env.reset(seed=seed)
    terminated = truncated = False
    while not (terminated or truncated):
        state = observation.tolist()  # from NumPy's float32 to floats, exactly
        logits, probs = policy(weights, state)
        uniform = rng.random()
        action = sample_action(probs, uniform)
        grad = grad_log_policy(probs, action, state)
        observation, reward, terminated, truncated, _ = env.step(action)
        yield Step(state, logits, probs, uniform, action, float(reward), grad)


def discounted_returns(rewards: Vector, gamma: float) -> Vector:
    """G_t = Σ_{k≥t} γ^{k−t} r_k for every t, by G_t = r_t + γ G_{t+1} [3.8, 3.9].
    >>> discounted_returns([1.0, 1.0, 1.0], 0.9)
    [2.71, 1.9, 1.0]
    """
    returns, return_t = [], 0.0
    for reward in reversed(rewards):
        return_t = reward + gamma * return_t
        returns.append(return_t)
    return returns[::-1]


def update(weights: Matrix, grads: list[Matrix], returns: Vector, lr: float) -> Matrix:
    """θ + lr Σ_t G_t ∇log π(a_t|s_t), with each gradient at the θ that played.
    The box in [§13.3], the episode over, moves θ once for each t, by γ^t times [13.8].
    Most code leaves γ^t out, as here: late steps keep their full weight. But if γ < 1,
    the sum's mean over all episodes that θ may play is in general no gradient, neither
    of E[G_0] nor of any other function [NT].
    >>> update([[0.0, 0.0], [1.0, 1.0]], [[[3.0, -3.0], [6.0, -6.0]]], [2.0], lr=0.5)
    [[3.0, -3.0], [7.0, -5.0]]
    """
    updated = [row[:] for row in weights]
    entries = [(i, j) for i, row in enumerate(weights) for j in range(len(row))]
    for grad, return_t in zip(grads, returns, strict=True):
        for i, j in entries:
            updated[i][j] += lr * grad[i][j] * return_t
    return updated


class Episode(NamedTuple):
    before: Matrix  # the weights θ that played it
    steps: list[Step]
    returns: Vector  # G_t of each step
    score: float  # Σ_t r_t
    weights: Matrix  # θ after its update


def train(
    env: Env,
    episodes: int = EPISODES,
    lr: float = LR,
    gamma: float = GAMMA,
    seed: int = SEED,
    compute_returns: Callable[[Vector, float], Vector] = discounted_returns,
) -> Iterator[Episode]:
    """Play an episode, update θ, and again. One random stream, np.random.rand's, draws
    first θ_ij ~ U[0, 1), row by row, then every action; the environment has its own.
    """
    rng = random_stream(seed)
    rows, columns = env.observation_space.shape[0], env.action_space.n
    weights = [[rng.random() for _ in range(columns)] for _ in range(rows)]
    for number in range(episodes):
        steps = list(rollout(env, weights, rng, seed if number == 0 else None))
        rewards = [step.reward for step in steps]
        returns = compute_returns(rewards, gamma)
        grads = [step.grad_log_policy for step in steps]
        before, weights = weights, update(weights, grads, returns, lr)
        yield Episode(before, steps, returns, math.fsum(rewards), weights)


# ------------------------------------------------------------------- the notebook


def random_stream(seed: int) -> Random:
    """random() of this stream repeats np.random.rand() after np.random.seed(seed).
    Both are the Mersenne Twister MT19937, two outputs a, b of which make a draw of 53
    bits, ((a ≫ 5) 2²⁶ + (b ≫ 6)) / 2⁵³. The seeding differs: NumPy fills the state by
    x_0 = seed < 2³², x_i = (1812433253 · (x_{i−1} ⊕ (x_{i−1} ≫ 30)) + i) mod 2³².
    >>> random_stream(1).random()
    0.417022004702574
    """
    xs = [seed]
    for i in range(1, 624):
        xs.append((1812433253 * (xs[-1] ^ (xs[-1] >> 30)) + i) % 2**32)
    rng = Random()
    rng.setstate((3, (*xs, 624), None))  # format 3; at 624 the twist of the xs is next
    return rng


def notebook_returns(rewards: Vector, gamma: float) -> Vector:
    """Σ_{k≥t} r_k γ^{r_k} for every t: the notebook's slip, γ^{r_k} for γ^{k−t}.
    >>> notebook_returns([1.0, 1.0, 1.0], 0.9)
    [2.7, 1.8, 0.9]
    """
    return discounted_returns([r * gamma**r for r in rewards], 1.0)


RETURNS = {"discounted": discounted_returns, "notebook": notebook_returns}
NOTEBOOK_WEIGHTS = [  # as the notebook has them, from a run of only 5,000 episodes
    [1.06721556, 0.07013094],
    [-0.71238789, 1.01483483],
    [-1.22409825, 1.46319274],
    [-2.51589573, 3.04771667],
]

# -------------------------------------------------------------------- the program


def trace_lines(number: int, episode: Episode, settings: Any) -> Iterator[Any]:
    """A trace is JSON, an object a line (here wrapped and shortened): a head, with the
    weights before training; an episode's steps, and its end, with the weights after it.
    {"env": "CartPole-v0", "seed": 1, "lr": 2.5e-05, "gamma": 0.99,
     "returns": "discounted", "weights": [[0.4, 0.7], …]}
    {"episode": 0, "step": 0, "state": […], "logits": […], "probs": […], "uniform": 0.4,
     "action": 0, "reward": 1.0, "grad_log_policy": [[…], …], "return": 59.9}
    {"episode": 0, "score": 91.0, "weights": [[…], …]}
    Episodes, steps count from 0. To test_vpg.py --check 1 is 1.0, 1e-9 off is right.
    """
    if number == 0:
        yield {**settings, "weights": episode.before}
    for t, (step, return_t) in enumerate(zip(episode.steps, episode.returns)):
        yield {"episode": number, "step": t, **step._asdict(), "return": return_t}
    yield {"episode": number, "score": episode.score, "weights": episode.weights}


def make_env(name: str, render_mode: str | None = None) -> Env:
    """An environment that train can play; a ValueError if its spaces don't fit."""
    import gymnasium  # only here: the formulas do without

    # v0 is v1 cut at 200 steps. The notebook has 200, so this is not out of date.
    warnings.filterwarnings("ignore", ".*CartPole-v0 is out of date")
    env = gymnasium.make(name, render_mode=render_mode)
    seen, taken = env.observation_space, env.action_space
    fits = isinstance(seen, gymnasium.spaces.Box) and len(seen.shape) == 1
    if not fits or not isinstance(taken, gymnasium.spaces.Discrete) or taken.start:
        raise ValueError(f"{name}: {seen}, {taken}; allowed: Box (n,), Discrete from 0")
    return env


def write(file: TextIO | None, lines: Iterable[str]) -> None:
    """Write at once; if that fails, end the program with one line, status 1."""
    if file is not None and not file.closed:
        try:
            print(*lines, sep="\n", file=file, flush=True)
        except OSError as error:
            with suppress(OSError):
                file.close()  # or Python would try to write once more, at the end
            sys.exit(f"vpg.py: {file.name}: {error.strerror}")


def learn(args: Any, env: Env, caught: list[int]) -> None:
    """Train, draw the learning curve, and report, however it ends."""
    score_file, trace = [path and open(path, "w") for path in (args.scores, args.trace)]  # noqa: SIM115
    settings = {k: vars(args)[k] for k in ["env", "seed", "lr", "gamma", "returns"]}
    total, compute_returns = args.episodes, RETURNS[args.returns]
    training = train(env, total, args.lr, args.gamma, args.seed, compute_returns)
    limit, threshold = env.spec.max_episode_steps, env.spec.reward_threshold
    weights, scores = Matrix(), Vector()
    steps, row, recent, start = 0, 0, 0.0, time.perf_counter()
    try:
        write(sys.stdout, ["episodes  mean score"])
        for number, episode in enumerate(training):
            weights = weights or episode.before
            if not all(math.isfinite(w) for ws in episode.weights for w in ws):
                sys.exit(f"vpg.py: weights not finite; allowed: an lr below {args.lr}")
            write(trace, map(json.dumps, trace_lines(number, episode, settings)))
            write(score_file, [repr(episode.score).removesuffix(".0")])
            scores.append(episode.score)
            steps, weights = steps + len(episode.steps), episode.weights
            done, recent = len(scores), fmean(scores[-100:])
            if 20 * done // total > 20 * number // total:  # every 5 %
                mean, row = fmean(scores[row:]), done
                bar = "█" * min(50, round(50 * mean / (limit or math.inf)))
                write(sys.stdout, [f"{done:8}  {mean:#10.5g}  {bar}"])
            if threshold is not None and done >= 100 and recent >= threshold:
                write(sys.stdout, [f"solved after {done} episodes"])
                threshold = None
            if caught:
                break
    finally:
        done, speed = len(scores), steps / (time.perf_counter() - start)
        last = f"\nmean of the last {min(done, 100)}: {recent:#.5g}"
        counts = f"{done} episodes, {steps} steps, {speed:.0f} per second"
        saved = {"weights": weights, "episodes": done, **settings}
        try:
            write(sys.stdout, [last, counts, json.dumps(weights)])
        finally:
            write(args.save and open(args.save, "w"), [json.dumps(saved)])  # noqa: SIM115


def watch(args: Any, env: Env, caught: list[int]) -> None:
    """Play in a window until it is closed; a ValueError if the weights don't fit."""
    weights: Any = NOTEBOOK_WEIGHTS
    if args.watch:
        weights = json.loads(Path(args.watch).read_text())["weights"]
    rows, columns = env.observation_space.shape[0], int(env.action_space.n)
    finite = [[math.isfinite(weight) for weight in row] for row in weights]
    if finite != [[True] * columns] * rows:
        raise ValueError(f"weights for {args.env}; allowed: {rows} × {columns}")
    rng = random_stream(args.seed)
    for number in range(args.episodes):
        score = 0.0
        for step in rollout(env, weights, rng, args.seed if number == 0 else None):
            score += step.reward
            pygame: Any = sys.modules.get("pygame")  # gymnasium's, for the window
            if caught or (pygame and pygame.event.peek(pygame.QUIT)):
                return
        write(sys.stdout, [f"{score:g}"])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; exit status."""
    parser = argparse.ArgumentParser("vpg.py", description="REINFORCE on CartPole.")
    add, default = parser.add_argument, " (default: %(default)s)"
    add("--env", default="CartPole-v0", help="a gymnasium id" + default)
    add("--episodes", type=int, default=EPISODES, help="to play" + default)
    add("--lr", type=float, default=LR, help="learning rate, 0 or more" + default)
    add("--gamma", type=float, default=GAMMA, help="discount, 0 to 1" + default)
    add("--seed", type=int, default=SEED, help="0 to 4294967295" + default)
    add("--returns", default="discounted", choices=RETURNS, help="which G_t" + default)
    add("--scores", metavar="FILE", help="write the scores, one a line")
    add("--trace", metavar="FILE", help="write every step, as JSON")
    add("--save", metavar="FILE", help="write the weights, when training ends")
    add("--watch", metavar="FILE", nargs="?", const="", help="play, don't train")
    args = parser.parse_args(argv)
    most = {"episodes": 10**9, "lr": sys.float_info.max, "gamma": 1, "seed": 2**32 - 1}
    for name, high in most.items():
        low, given = int(name == "episodes"), getattr(args, name)
        if not low <= given <= high:
            parser.error(f"--{name} {given}; allowed: {low} to {high}")
    caught: list[int] = []  # the first signal that asks to end; the next does end

    def catch(number: int, _: Any) -> None:
        if caught:
            os._exit(128 + number)
        caught.append(number)

    for name in {"SIGINT", "SIGTERM", "SIGHUP"} & {*dir(signal)}:
        if signal.getsignal(getattr(signal, name)) != signal.SIG_IGN:  # as nohup does
            signal.signal(getattr(signal, name), catch)
    try:
        env = make_env(args.env, None if args.watch is None else "human")
        paths = args.scores, args.trace, args.save  # opened, but not emptied yet
        files = [open(path, "a") for path in paths if path is not None]  # noqa: SIM115
        if len({os.fstat(file.fileno())[1:3] for file in files}) < len(files):
            raise ValueError("two outputs to one file; allowed: a file for each")
        if args.watch is not None:
            watch(args, env, caught)
    except Exception as error:  # noqa: BLE001
        parser.error(f"--watch {args.watch}: {error}" if args.watch else str(error))
    if args.watch is None:
        learn(args, env, caught)
    return 128 + caught[0] if caught else 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a closed pipe ends it quietly
    sys.exit(main())
