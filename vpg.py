# /// script
# requires-python = ">=3.10"
# dependencies = ["gymnasium>=0.29"]
# ///
"""REINFORCE, the vanilla policy gradient, in plain Python lists; learns CartPole.

The policy π(a|s) is a softmax of logits that are linear in the state. Its weights θ are
trained to maximise an episode's expected score, J(θ) = E[Σ_t r_t]. The policy's own
episodes suffice to estimate the gradient of J [W; SB §13.3],

    ∇J(θ) = E[Σ_t G_t ∇log π(a_t|s_t)],   G_t = Σ_{k≥t} r_k,

so after each episode θ moves by lr times the sum in the brackets. The code discounts
r_k in G_t by γ^{k−t}; update says what that means for J. Method and settings are those
of the notebook github.com/diracdyson/policygrad; its wrong G_t is notebook_returns.

Symbols: θ weights, z logits, p probs, u uniform, s state, a action, r reward; r_t is
[SB]'s R_{t+1}. [W] Williams (1992), Machine Learning 8:229–256. [SB n] Sutton & Barto
(2018), Reinforcement Learning, 2nd ed., equation n. [NT] Nota & Thomas (2020), Is the
Policy Gradient a Gradient?, arXiv:1906.07073.
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
Matrix = list[list[float]]  # weights[i][j]: component i of the state, action j
Env = Any  # a gymnasium.Env with Box(n,) observations, Discrete actions

EPISODES, LR, GAMMA, SEED = 20_000, 2.5e-5, 0.99, 1  # the notebook's


def add_up(numbers: Sequence[float]) -> float:
    """Σ_i x_i, left to right in every version: since 3.12, sum() rounds differently."""
    total = 0.0
    for x in numbers:
        total += x
    return total


def dot(u: Sequence[float], v: Sequence[float]) -> float:
    """u·v = Σ_i u_i v_i. Raises ValueError if the lengths differ.
    >>> dot([1.0, 2.0], [3.0, 4.0])
    11.0
    """
    if len(u) != len(v):
        raise ValueError(f"dot of {len(u)} and {len(v)} numbers; allowed: equally many")
    total = 0.0
    for i, u_i in enumerate(u):
        total += u_i * v[i]
    return total


def softmax(logits: Vector) -> Vector:
    """p_j = exp(z_j) / Σ_k exp(z_k) [SB 13.2]. Raises ValueError if there is no logit.
    >>> softmax([0.0, math.log(3.0)])
    [0.25, 0.75]
    """
    highest = max(logits)  # cancels in every p_j; without it, exp(710) would overflow
    exps = [math.exp(z - highest) for z in logits]
    total = add_up(exps)
    return [e / total for e in exps]


def softmax_jacobian(probs: Vector) -> Matrix:
    """∂p_i/∂z_j = p_i δ_ij − p_i p_j: the matrix diag(p) − p pᵀ.
    >>> softmax_jacobian([0.25, 0.75])
    [[0.1875, -0.1875], [-0.1875, 0.1875]]
    """
    jacobian = [[-p_i * p_j for p_j in probs] for p_i in probs]
    for i, p_i in enumerate(probs):
        jacobian[i][i] += p_i
    return jacobian


def policy(weights: Matrix, state: Vector) -> tuple[Vector, Vector]:
    """z = θᵀs [SB 13.3], the logits, and π(·|s) = softmax(z), the probs of the actions.
    Raises ValueError unless the state has one entry per row of θ.
    >>> policy([[1.0, 0.0], [0.0, 1.0]], [5.0, 5.0])
    ([5.0, 5.0], [0.5, 0.5])
    """
    logits = [dot(column, state) for column in zip(*weights)]
    return logits, softmax(logits)


def grad_log_policy(probs: Vector, action: int, state: Vector) -> Matrix:
    """∂log π(a|s)/∂θ_ij = s_i · (∂p_a/∂z_j / p_a), by the chain rule; shaped like θ.
    The bracket is δ_aj − p_j: [SB 13.9]. Raises ZeroDivisionError if p_a is 0.
    >>> grad_log_policy([0.25, 0.75], 0, [4.0, 8.0])
    [[3.0, -3.0], [6.0, -6.0]]
    """
    p_a = probs[action]
    by_logits = [dp_a / p_a for dp_a in softmax_jacobian(probs)[action]]
    return [[s_i * g_j for g_j in by_logits] for s_i in state]


def sample_action(probs: Vector, uniform: float) -> int:
    """The first a with (p_0 + … + p_a) / Σ_b p_b > u, so that u ~ U[0, 1) gives a ~ p.
    The division, as in np.random.choice, makes the last sum exactly 1; the strict >
    keeps even u = 0 from drawing an action of probability 0.
    Raises ArithmeticError if no a qualifies: the probs are NaN, or u ≥ 1.
    >>> sample_action([0.0, 0.25, 0.75], 0.0), sample_action([0.0, 0.25, 0.75], 0.25)
    (1, 2)
    """
    cumulative = list(accumulate(probs))
    for action, c in enumerate(cumulative):
        if c / cumulative[-1] > uniform:
            return action
    raise ArithmeticError(f"no action to draw: probs {probs}, uniform {uniform}")


class Step(NamedTuple):
    """Step t of an episode."""

    state: Vector
    logits: Vector
    probs: Vector
    uniform: float  # the draw that chose the action
    action: int
    reward: float
    grad_log_policy: Matrix


def rollout(env: Env, weights: Matrix, rng: Random, seed: int | None) -> list[Step]:
    """One episode s_0, a_0, r_0, s_1, … with a_t ~ π(·|s_t), to its end. The step limit
    (truncated) ends it too: rewards beyond it count as 0.
    The seed is for env.reset; None continues the environment's own stream.
    >>> import gymnasium
    >>> env, zeros = gymnasium.make("CartPole-v1"), [[0.0, 0.0]] * 4
    >>> steps = rollout(env, zeros, random_stream(1), seed=1)
    >>> [(round(step.uniform, 2), step.action) for step in steps[:2]]
    [(0.42, 0), (0.72, 1)]
    """
    offset = int(env.action_space.start)  # 0, except in a Discrete(n, start=offset)
    steps, done = [], False
    observation, _ = env.reset(seed=seed)
    while not done:
        state = observation.tolist()  # from NumPy's float32 to floats, exactly
        logits, probs = policy(weights, state)
        uniform = rng.random()
        action = sample_action(probs, uniform)
        grad = grad_log_policy(probs, action, state)
        observation, reward, terminated, truncated, _ = env.step(offset + action)
        steps.append(Step(state, logits, probs, uniform, action, float(reward), grad))
        done = terminated or truncated
    return steps


def discounted_returns(rewards: Vector, gamma: float) -> Vector:
    """G_t = Σ_{k≥t} γ^{k−t} r_k for every t, by G_t = r_t + γ G_{t+1} [SB 3.8, 3.9].
    >>> discounted_returns([1.0, 1.0, 1.0], 0.9)
    [2.71, 1.9, 1.0]
    """
    returns, return_t = [], 0.0
    for reward in reversed(rewards):
        return_t = reward + gamma * return_t
        returns.append(return_t)
    return returns[::-1]


def notebook_returns(rewards: Vector, gamma: float) -> Vector:
    """Σ_{k≥t} r_k γ^{r_k} for every t: the notebook's slip, γ^{r_k} for γ^{k−t}.
    Raises ArithmeticError where γ^{r_k} is infinite.
    >>> notebook_returns([1.0, 1.0, 1.0], 0.9)
    [2.7, 1.8, 0.9]
    """
    return discounted_returns([r * gamma**r for r in rewards], 1.0)


def update(weights: Matrix, grad: Matrix, return_t: float, lr: float) -> None:
    """θ_ij ← θ_ij + lr · ∂log π(a_t|s_t)/∂θ_ij · G_t, in place: step t's part of the
    ascent [W; SB 13.8]. The algorithm of [SB] §13.3 multiplies by γ^t as well. Without
    it, as is common, late steps keep their full weight, but for γ < 1 an episode's
    expected update is in general not the gradient of the discounted objective E[G_0],
    nor of any other function [NT].
    >>> weights = [[0.0, 0.0], [1.0, 1.0]]
    >>> update(weights, [[3.0, -3.0], [6.0, -6.0]], return_t=2.0, lr=0.5)
    >>> weights
    [[3.0, -3.0], [7.0, -5.0]]
    """
    for i, row in enumerate(grad):
        for j, grad_ij in enumerate(row):
            weights[i][j] += lr * grad_ij * return_t


def random_stream(seed: int) -> Random:
    """random() of this stream repeats np.random.rand() after np.random.seed(seed).
    A Mersenne Twister, begun with Knuth's multiplier (TAOCP 2, 3rd ed., p. 106): x_0 =
    seed, x_i = (1812433253 · (x_{i−1} ⊕ (x_{i−1} ≫ 30)) + i) mod 2³², 0 ≤ seed < 2³².
    >>> random_stream(1).random()
    0.417022004702574
    """
    xs = [seed]
    for i in range(1, 624):
        xs.append((1812433253 * (xs[-1] ^ (xs[-1] >> 30)) + i) % 2**32)
    rng = Random()
    rng.setstate((3, (*xs, 624), None))  # format 3; index 624: all xs are used up
    return rng


def initial_weights(rng: Random, env: Env) -> Matrix:
    """θ_ij ~ U[0, 1), row by row: as many as the environment's spaces ask for."""
    rows, columns = env.observation_space.shape[0], env.action_space.n
    return [[rng.random() for _ in range(columns)] for _ in range(rows)]


class Episode(NamedTuple):
    """A whole episode, and the weights after its update."""

    steps: list[Step]
    returns: Vector  # G_t of each step
    score: float  # Σ_t r_t
    weights: Matrix


def train(
    env: Env,
    episodes: int = EPISODES,
    lr: float = LR,
    gamma: float = GAMMA,
    seed: int = SEED,
    compute_returns: Callable[[Vector, float], Vector] = discounted_returns,
) -> Iterator[Episode]:
    """θ ← θ + lr Σ_t G_t ∇log π(a_t|s_t) after each episode, which is then yielded.
    Its gradients are all taken at the θ that played it. One stream draws the initial
    weights, then the actions. Raises ArithmeticError if θ or z overflows.
    >>> import gymnasium
    >>> env = gymnasium.make("CartPole-v1")
    >>> [episode.score for episode in train(env, episodes=3)]
    [91.0, 17.0, 26.0]
    """
    rng = random_stream(seed)
    weights = initial_weights(rng, env)
    for number in range(episodes):
        steps = rollout(env, weights, rng, seed if number == 0 else None)
        rewards = [step.reward for step in steps]
        returns = compute_returns(rewards, gamma)
        for step, return_t in zip(steps, returns):
            update(weights, step.grad_log_policy, return_t, lr)
        if not all(math.isfinite(weight) for row in weights for weight in row):
            raise ArithmeticError(f"weights no longer finite; use an lr below {lr}")
        copy = [row[:] for row in weights]  # the next update changes weights in place
        yield Episode(steps, returns, add_up(rewards), copy)


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


def complain(message: str, stops: list[int]) -> None:
    """The run is at fault: one line on stderr, exit status 1."""
    print("vpg.py:", message, file=sys.stderr)
    stops.append(1)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    about = "Train a softmax policy with REINFORCE, or watch a trained one play."
    parser = argparse.ArgumentParser("vpg.py", description=about)
    parser.error = fail  # type: ignore[method-assign]
    add, default = parser.add_argument, " (default: %(default)s)"
    add("--env", help="a gymnasium id (default: CartPole-v0, or the watched FILE's)")
    add("--episodes", type=int, default=EPISODES, help="to play, 1 or more" + default)
    add("--lr", type=float, default=LR, help="learning rate" + default)
    add("--gamma", type=float, default=GAMMA, help="discount, 0 to 1" + default)
    add("--seed", type=int, default=SEED, help="0 to 4294967295" + default)
    returns = "the right ones, or with the notebook's slip" + default
    add("--returns", default="discounted", choices=RETURNS, help=returns)
    add("--scores", metavar="FILE", help="write one score a line; - is stdout")
    add("--trace", metavar="FILE", help="write every step as JSON; - is stdout")
    add("--save", metavar="FILE", help="write the weights when training ends")
    watch = "don't train: play FILE's weights, or the notebook's, in a window"
    add("--watch", metavar="FILE", nargs="?", const="", help=watch)
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


def make_env(name: str, **options: Any) -> Env:
    """An environment that train can play. Only here is gymnasium imported."""
    try:
        import gymnasium
    except ModuleNotFoundError:
        fail("gymnasium is not installed; try: python -m pip install gymnasium")
    # v0 is v1 cut at 200 steps. The notebook has 200, so this is not out of date.
    notice = ".*CartPole-v0 is out of date"
    warnings.filterwarnings("ignore", notice, DeprecationWarning)
    try:
        env = gymnasium.make(name, **options)
    except (gymnasium.error.Error, ImportError, TypeError, ValueError) as error:
        fail(f"--env {name}: {error} (allowed: an id that gymnasium knows)")
    observed, taken = env.observation_space, env.action_space
    vector = isinstance(observed, gymnasium.spaces.Box) and len(observed.shape) == 1
    if not vector or not isinstance(taken, gymnasium.spaces.Discrete):
        fail(f"--env {name}: {observed}, {taken}; allowed: Box of shape (n,), Discrete")
    return env


def end_if(stopped: Callable[[], object], env: Env) -> None:
    """Once stopped() is true, end the episode: env.step raises KeyboardInterrupt."""
    step = env.step

    def step_or_end(action: int) -> Any:
        if stopped():
            raise KeyboardInterrupt
        return step(action)

    env.step = step_or_end


def opened(path: str | None) -> TextIO | None:
    """The file to write to; stdout for -."""
    try:
        if path is None:
            return None
        return sys.stdout if path == "-" else open(path, "w")
    except OSError as error:
        fail(f"{path}: {error.strerror}")


def put(file: TextIO | None, text: str, stops: list[int]) -> bool:
    """Write at once. That the disk is full, or the reader gone, goes into stops."""
    if file is None:
        return False
    try:
        file.write(text)
        file.flush()
    except OSError as error:
        # Python would try again at exit, and fail again: let it write to nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
        if isinstance(error, BrokenPipeError):
            stops.append(141)  # 128 + SIGPIPE
        else:
            complain(f"{file.name}: {error.strerror}", stops)
        return False
    return True


def scratch(path: str | None) -> str | None:
    """Where to write what shall replace path in one step; a device is not replaced."""
    if not path or (os.path.exists(path) and not os.path.isfile(path)):
        return path
    return f"{os.path.realpath(path)}.{os.getpid()}.tmp"


def keep(file: TextIO, path: str, text: str, stops: list[int]) -> None:
    """Write the file that opened(scratch(path)) gave; it takes the place of path."""
    try:
        if put(file, text, stops) and file.name != path:
            os.fsync(file.fileno())
            os.replace(file.name, os.path.realpath(path))
        elif file.name != path:
            os.unlink(file.name)
    except OSError as error:
        complain(f"{path}: {error.strerror}", stops)


def score_line(score: float) -> str:
    """The score, to the last digit, and without .0 if it is whole."""
    return repr(score).removesuffix(".0") + "\n"


def trace_lines(number: int, episode: Episode) -> str:
    """A line of JSON for each step as it was recorded, then one for the episode."""
    steps, returns, score, weights = episode
    lines: list[dict[str, Any]] = [
        {"episode": number, "step": t, **step._asdict(), "return": return_t}
        for t, (step, return_t) in enumerate(zip(steps, returns))
    ]
    lines.append({"episode": number, "score": score, "weights": weights})
    return "".join(json.dumps(line) + "\n" for line in lines)


def drawn(
    episodes: Iterator[Episode], total: int, spec: Any, out: TextIO, stops: list[int]
) -> Iterator[tuple[Episode, float]]:
    """Each episode, and the mean of the last 100; draws the curve as they go by."""
    limit, threshold = spec.max_episode_steps, spec.reward_threshold
    bar = "█" if "█".encode(out.encoding, "ignore") else "#"
    last: deque[float] = deque(maxlen=100)
    row_start, row_score = 0, 0.0
    start = refreshed = time.monotonic()
    for done, episode in enumerate(episodes, 1):
        last.append(episode.score)
        mean = fmean(last)
        row_score += episode.score
        text = ""
        if 20 * done // total > 20 * (done - 1) // total:  # every 5 %
            score = row_score / (done - row_start)
            width = round(50 * score / limit) if limit else 0
            text = f"{done:7}  {score:10.2f}  {bar * width}\n"
            row_start, row_score = done, 0.0
        if threshold is not None and done >= 100 and mean >= threshold:
            text += f"solved at episode {done}\n"
            threshold = None
        now = time.monotonic()
        if sys.stderr.isatty() and (text or now > refreshed + 0.1):
            left = (now - start) / done * (total - done)
            live = f"episode {done}, mean {mean:.2f}, {left:.0f} s left"
            put(sys.stderr, f"\r{'' if text else live:60}\r", stops)
            refreshed = now
        put(out, text, stops)
        yield episode, mean


def learn(args: argparse.Namespace, stops: list[int]) -> int:
    """Train to the end, or until something stops it, and report; exit status."""
    if args.env is None:
        args.env = "CartPole-v0"
    env = make_env(args.env)
    end_if(lambda: stops, env)
    scores, trace = opened(args.scores), opened(args.trace)
    saved = opened(scratch(args.save))
    out = sys.stderr if "-" in (args.scores, args.trace) else sys.stdout
    settings = {k: vars(args)[k] for k in ("env", "seed", "lr", "gamma", "returns")}
    weights = initial_weights(random_stream(args.seed), env)  # as train will draw them
    what = ", ".join(f"{key} {value}" for key, value in settings.items())
    put(out, f"{args.episodes} episodes: {what}\n\nepisode  mean score\n", stops)
    first = {"vpg_trace": 1, **settings, "weights": weights}
    put(trace, json.dumps(first) + "\n", stops)
    done, steps, mean, start = 0, 0, 0.0, time.monotonic()
    returns = RETURNS[args.returns]
    episodes = train(env, args.episodes, args.lr, args.gamma, args.seed, returns)
    try:
        for episode, mean in drawn(episodes, args.episodes, env.spec, out, stops):
            put(scores, score_line(episode.score), stops)
            if trace:
                put(trace, trace_lines(done, episode), stops)
            done, steps, weights = done + 1, steps + len(episode.steps), episode.weights
            if stops:
                break
    except KeyboardInterrupt:
        pass
    except ArithmeticError as error:
        complain(f"episode {done + 1}: {error}", stops)
    seconds = max(time.monotonic() - start, 1e-9)
    report = f"{steps} steps, {steps / seconds:.0f} per second\n{json.dumps(weights)}\n"
    if done:
        report = f"mean of the last {min(done, 100)}: {mean:.2f}\n{report}"
    put(out, "\n" + report, stops)
    if saved:
        kept = {"weights": weights, "episodes": done, **settings}
        keep(saved, args.save, json.dumps(kept) + "\n", stops)
    return stops[0] if stops else 0


def loaded(args: argparse.Namespace) -> tuple[Env, Matrix]:
    """A window, and the weights to play in it: FILE's, or those of the notebook."""
    saved: Any = {"weights": NOTEBOOK_WEIGHTS}
    try:
        if args.watch:
            with open(args.watch, encoding="utf-8") as file:
                saved = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        fail(f"--watch {args.watch}: {error}")
    saved = saved if isinstance(saved, dict) else {}
    name = str(saved.get("env", "CartPole-v0")) if args.env is None else args.env
    env = make_env(name, render_mode="human")
    rows, columns = env.observation_space.shape[0], int(env.action_space.n)
    weights = saved.get("weights")
    try:
        finite = [[math.isfinite(w) for w in row] for row in weights]
    except (TypeError, OverflowError):
        finite = []
    if finite != [[True] * columns] * rows:
        allowed = f"for {name}, {rows} × {columns} finite weights"
        fail(f"--watch {args.watch or 'without FILE'}: allowed: {allowed}")
    if importlib.util.find_spec("pygame") is None:
        fail('--watch needs pygame: pip install "gymnasium[classic-control]"')
    return env, weights


def watch(args: argparse.Namespace, stops: list[int]) -> int:
    """Play in gymnasium's window: all episodes, or until it is closed; exit status."""
    env, weights = loaded(args)
    os.environ["PYGAME_HIDE_SUPPORT_PROMPT"] = "1"  # else it greets on stdout

    def closed() -> bool:
        pygame: Any = sys.modules.get("pygame")  # gymnasium has it, for the window
        return pygame is not None and pygame.event.peek(pygame.QUIT) is True

    end_if(lambda: stops or closed(), env)
    rng = random_stream(args.seed)
    try:
        for number in range(args.episodes):
            steps = rollout(env, weights, rng, args.seed if number == 0 else None)
            put(sys.stdout, score_line(add_up([s.reward for s in steps])), stops)
            if stops:
                break
    except KeyboardInterrupt:
        pass
    except (ArithmeticError, RuntimeError) as error:  # overflow; pygame has no screen
        fail(f"--watch: {error}")
    return stops[0] if stops else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; exit status."""
    args = parse(argv)
    stops: list[int] = []  # exit statuses, of whatever has stopped the program
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda signum, frame: stops.append(128 + signum))
    return learn(args, stops) if args.watch is None else watch(args, stops)


if __name__ == "__main__":
    sys.exit(main())
