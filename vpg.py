# /// script
# requires-python = ">=3.10"
# dependencies = ["gymnasium>=0.29"]
# ///
"""REINFORCE, the vanilla policy gradient, in plain Python lists. It learns CartPole.

CartPole is a cart that carries a pole. A state s is four numbers: the position and the
velocity of the cart, the angle and the angular velocity of the pole. An action a is 0
or 1: push the cart to the left or right. Every step earns a reward r of 1, until the
pole falls, the cart leaves its track, or 200 steps are over. Their sum is the score.

The policy π(a|s) is the probability of action a in state s. It depends on weights θ.
The policy plays an episode of states s_t, actions a_t and rewards r_t, t = 0, 1, 2, …
Then the weights move. Each step pushes its log π(a_t|s_t) up, weighted by the return
G_t: the rewards from step t on, where later ones count less if the discount γ is below
1. With a learning rate lr, and ∇ for the derivatives by θ, the method is, after [W]:

    θ ← θ + lr Σ_t G_t ∇log π(a_t|s_t),    G_t = r_t + γ r_{t+1} + γ² r_{t+2} + …

If G_t > 0, its term makes a_t likelier. As one action gains, others lose: on average,
those with larger returns win. Why the logarithm? If an episode has probability P, the
expected score is Σ P·score. Its gradient Σ ∇P·score is Σ (P ∇log P)·score, since ∇P is
P ∇log P: an expectation again, which played episodes estimate. README.md has the rest.

The algorithm, down to train, is the whole method. The second part repeats the notebook
github.com/diracdyson/policygrad, the source of method and settings. The third part, the
program, is the command line: `python vpg.py` trains, and `--help` tells more. "13.2" is
an equation and "§13.3" a section of Sutton & Barto (2018), Reinforcement Learning, 2nd
ed., whose R_{t+1} is r_t here. [W] is Williams (1992), Machine Learning 8:229–256, who
has no γ, and [NT] is Nota & Thomas (2020), arXiv:1906.07073.
"""

import argparse
import json
import math
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import accumulate, chain
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, NoReturn, TextIO

if sys.hexversion < 0x030A0000:
    sys.exit("vpg.py: this Python is too old; needs 3.10 or later")

# ------------------------------------------------------------------ the algorithm
#
# θ, in the code weights: 4 rows of 2; θ[i][j] is the weight of s[i] for action j
# z, logits: 2 sums of weighted s[i]; the larger z[a], the likelier is a
# p, probs: 2 numbers; p[a] is π(a|s)
# ∇log π, grad_log_policy: 4 rows of 2, the derivative of log π(a|s) by each weight
# In formulas, x[i] is an entry of x, and x_t belongs to step t. In code, x_i is x[i].
# This part has no sum(), which rounds in another way since Python 3.12.

Vector = list[float]
Matrix = list[list[float]]  # a list of rows
Env = Any  # a simulation, gymnasium.Env: states of n numbers, actions 0 to m − 1
EPISODES, LR, GAMMA, SEED = 20_000, 2.5e-5, 0.99, 1  # as in the notebook


def dot(u: Sequence[float], v: Sequence[float]) -> float:
    """The dot product Σ_i u[i] v[i]; a ValueError if the lengths differ.

    >>> dot([1.0, 2.0], [3.0, 4.0])
    11.0
    """
    total = 0.0
    for u_i, v_i in zip(u, v, strict=True):
        total += u_i * v_i
    return total


def softmax(logits: Vector) -> Vector:
    """The probs of logits: p[j] = exp(z[j]) / Σ_k exp(z[k]) (13.2).

    >>> softmax([7.0, 7.0, 7.0, 7.0])
    [0.25, 0.25, 0.25, 0.25]
    """
    highest = max(logits)  # cancels in the quotient; without it exp(710.0) overflows
    exps = [math.exp(z_j - highest) for z_j in logits]
    total = math.fsum(exps)
    return [e / total for e in exps]


def softmax_jacobian(probs: Vector) -> Matrix:
    """∂p[i]/∂z[j] = p[i] δ_ij − p[i] p[j], where δ_ij is 1 if i = j, and else 0.

    >>> softmax_jacobian([0.25, 0.75])
    [[0.1875, -0.1875], [-0.1875, 0.1875]]
    """
    jacobian = []
    for i, p_i in enumerate(probs):
        row = []
        for j, p_j in enumerate(probs):
            delta = 1.0 if i == j else 0.0
            row.append(p_i * delta - p_i * p_j)
        jacobian.append(row)
    return jacobian


def policy(weights: Matrix, state: Vector) -> tuple[Vector, Vector]:
    """The logits z[j] = Σ_i s[i] θ[i][j] and their softmax, the probs (13.3).

    >>> policy([[1.0, 2.0], [3.0, 2.0]], [1.0, 1.0])
    ([4.0, 4.0], [0.5, 0.5])
    """
    logits = [dot(column, state) for column in zip(*weights)]
    return logits, softmax(logits)


def grad_log_policy(probs: Vector, action: int, state: Vector) -> Matrix:
    """∂log π(a|s)/∂θ[i][j] for every weight, by the chain rule.

    π(a|s) is p[a]. Of the logits, only z[j] depends on θ[i][j]:

        ∂log p[a]/∂θ[i][j] = (1 / p[a]) (∂p[a]/∂z[j]) (∂z[j]/∂θ[i][j])

    The last factor is s[i]. The first two multiply to δ_aj − p[j], so that the whole is
    s[i] (δ_aj − p[j]), which is 13.9. The code keeps the factors apart, to show why.

    >>> grad_log_policy([0.25, 0.75], 0, [4.0, 8.0])
    [[3.0, -3.0], [6.0, -6.0]]
    """
    dp_dz = softmax_jacobian(probs)[action]
    dlog_dz = [dp_dz_j / probs[action] for dp_dz_j in dp_dz]
    return [[s_i * dlog_dz_j for dlog_dz_j in dlog_dz] for s_i in state]


def sample_action(probs: Vector, uniform: float) -> int:
    """Choose action a with probability p[a], by a random number u with 0 ≤ u < 1.

    The probs cut the interval from 0 to 1 into pieces, p[a] long for action a. The
    action is the one whose piece holds u.

    >>> sample_action([0.25, 0.5, 0.25], 0.125), sample_action([0.25, 0.5, 0.25], 0.25)
    (0, 1)
    """
    ends = list(accumulate(probs))  # of the pieces: p[0], p[0] + p[1], …
    for action, end in enumerate(ends):
        if end / ends[-1] > uniform:  # divided, as rounding may leave ends[-1] below 1
            return action
    raise FloatingPointError(f"no action to draw: probs {probs}, uniform {uniform}")


class Step(NamedTuple):  # of an episode
    state: Vector
    logits: Vector
    probs: Vector
    uniform: float  # the draw that chose the action
    action: int
    reward: float
    grad_log_policy: Matrix


def rollout(env: Env, weights: Matrix, rng: Random, seed: int | None) -> Iterator[Step]:
    """Play one episode, and yield each step as it is played.

    It ends terminated (the pole fell) or truncated (200 steps are over). Both count
    alike: we want the score of 200 steps. A seed starts the environment's random
    numbers anew. Yielding lets --watch stop between two steps.
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
    """G_t = Σ_{k≥t} γ^{k−t} r_k for every t (3.11), by G_t = r_t + γ G_{t+1} (3.9).

    >>> discounted_returns([1.0, 1.0, 1.0], 0.5)
    [1.75, 1.5, 1.0]
    """
    returns = []
    return_t = 0.0
    for reward in reversed(rewards):
        return_t = reward + gamma * return_t
        returns.append(return_t)
    return returns[::-1]


def update(weights: Matrix, grads: list[Matrix], returns: Vector, lr: float) -> Matrix:
    """The new weights, θ + lr Σ_t G_t ∇log π(a_t|s_t), after an episode.

    All gradients are taken at the weights that played the episode. The textbook (§13.3,
    in the box) moves θ after each term, and takes the next gradient at the moved θ. It
    also multiplies the term of step t by γ^t. Most programs leave γ^t out, as we do, so
    that late steps still count. This has a price. If γ = 1, the sum is an unbiased
    estimate of the gradient of the expected score. If γ < 1, with γ^t it would estimate
    the gradient of the expected G_0; ours, in general, no function's gradient [NT].

    >>> update([[0.0, 0.0], [1.0, 1.0]], [[[3.0, -3.0], [6.0, -6.0]]], [2.0], lr=0.5)
    [[3.0, -3.0], [7.0, -5.0]]
    """
    new_weights = [row[:] for row in weights]
    for i, row in enumerate(new_weights):
        for j in range(len(row)):
            for grad, return_t in zip(grads, returns, strict=True):
                term = lr * grad[i][j] * return_t
                row[j] += term
    return new_weights


class Episode(NamedTuple):
    weights_before: Matrix  # the weights that played it
    steps: list[Step]
    returns: Vector  # G_t of each step
    score: float
    weights_after: Matrix  # the weights after its update


def train(
    env: Env,
    episodes: int = EPISODES,
    lr: float = LR,
    gamma: float = GAMMA,
    seed: int = SEED,
    compute_returns: Callable[[Vector, float], Vector] = discounted_returns,
) -> Iterator[Episode]:
    """Play an episode, update the weights, and again; yield each episode.

    The weights stay fixed within an episode, since G_t is known only at its end. They
    begin as random numbers from 0 to 1, drawn row by row. The actions are drawn from
    the same stream of random numbers; the environment has its own, from the same seed.
    """
    rng = random_stream(seed)  # Python's Random, seeded as in NumPy: see below
    rows, columns = env.observation_space.shape[0], env.action_space.n
    weights = [[rng.random() for _ in range(columns)] for _ in range(rows)]
    for number in range(episodes):
        steps = list(rollout(env, weights, rng, seed if number == 0 else None))
        rewards = [step.reward for step in steps]
        grads = [step.grad_log_policy for step in steps]
        returns = compute_returns(rewards, gamma)
        new_weights = update(weights, grads, returns, lr)
        score = discounted_returns(rewards, gamma=1.0)[0]  # Σ_t r_t, no sum()
        yield Episode(weights, steps, returns, score, new_weights)
        weights = new_weights


# ------------------------------------------------------------------- the notebook


def random_stream(seed: int) -> Random:
    """The random numbers of NumPy's np.random.rand() after np.random.seed(seed).

    Python has the same generator, MT19937, and makes 53-bit floats in the same way. But
    its seeding differs. NumPy makes its state, 624 words, each from the last one.

    >>> random_stream(1).random()
    0.417022004702574
    """
    words = [seed]
    for i in range(1, 624):
        mixed = words[-1] ^ (words[-1] >> 30)
        words.append((1812433253 * mixed + i) % 2**32)
    next_word = 624  # all are used up: new ones are made at the first draw
    rng = Random()
    rng.setstate((Random.VERSION, (*words, next_word), None))
    return rng


def notebook_returns(rewards: Vector, gamma: float) -> Vector:
    """Σ_{k≥t} r_k γ^{r_k} for every t: the notebook has γ^{r_k} instead of γ^{k−t}.

    >>> notebook_returns([1.0, 1.0, 1.0], 0.5)
    [1.5, 1.0, 0.5]
    """
    terms = [reward * gamma**reward for reward in rewards]
    return discounted_returns(terms, gamma=1.0)


RETURNS = {"discounted": discounted_returns, "notebook": notebook_returns}
NOTEBOOK_WEIGHTS = [  # as given there, of a run of only 5,000 episodes
    [1.06721556, 0.07013094],
    [-0.71238789, 1.01483483],
    [-1.22409825, 1.46319274],
    [-2.51589573, 3.04771667],
]

# -------------------------------------------------------------------- the program


def fail(message: str, status: int = 1) -> NoReturn:
    """End the program with one line; status 2 is for bad input."""
    print(f"vpg.py: {message}", file=sys.stderr)
    sys.exit(status)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser("vpg.py", description="REINFORCE on CartPole.")
    add, shown = parser.add_argument, " (default: %(default)s)"
    absolute = os.path.abspath  # as an environment may change the working folder
    add("--env", default="CartPole-v0", help="a gymnasium id" + shown)
    add("--episodes", type=int, default=EPISODES, help="number of episodes" + shown)
    add("--lr", type=float, default=LR, help="learning rate, 0 or more" + shown)
    add("--gamma", type=float, default=GAMMA, help="discount, 0 to 1" + shown)
    add("--seed", type=int, default=SEED, help="0 to 4294967295" + shown)
    add("--returns", default="discounted", choices=RETURNS, help="kind of G_t" + shown)
    add("--scores", metavar="FILE", type=absolute, help="write the scores, one a line")
    add("--trace", metavar="FILE", type=absolute, help="write every step, in JSON")
    add("--save", metavar="FILE", type=absolute, help="write the weights in the end")
    watch = "play in a window (needs pygame): weights of --save, or else the notebook's"
    add("--watch", metavar="FILE", nargs="?", const="", help=watch)
    return parser


def parse(argv: Sequence[str] | None) -> Any:
    """The arguments, if they are allowed."""
    parser = make_parser()
    args = parser.parse_args(argv)
    highest = {"episodes": 10**9, "lr": 1e308, "gamma": 1, "seed": 2**32 - 1}
    for name, high in highest.items():
        given = getattr(args, name)
        low = 1 if name == "episodes" else 0
        if not low <= given <= high:
            parser.error(f"--{name} {given}; allowed: {low} to {high}")
    if args.returns == "notebook" and args.gamma == 0:  # fails if r < 0
        parser.error("--returns notebook --gamma 0; allowed: a gamma above 0")
    args.outputs = [args.scores, args.trace, args.save]
    files = [f for f in args.outputs if f not in (None, os.path.abspath(os.devnull))]
    if len(set(files)) < len(files):
        parser.error("two outputs to one file; allowed: a file for each")
    if files and args.watch is not None:
        parser.error("--watch writes nothing; allowed: no --scores, --trace, --save")
    return args


def catch_signals() -> list[int]:
    """A list, empty until a signal asks to end; a second one ends the program."""
    caught: list[int] = []
    known = [n for n in signal.Signals if n.name in ("SIGINT", "SIGTERM", "SIGHUP")]
    heard = [n for n in known if signal.getsignal(n) != signal.SIG_IGN]  # see nohup

    def catch(number: int, _: Any) -> None:
        """Note the signal; from now on, one ends the program as usual."""
        caught.append(number)
        for n in heard:
            signal.signal(n, signal.SIG_DFL)

    for n in heard:
        signal.signal(n, catch)
    return caught


def make_env(name: str, **options: Any) -> Env:
    """An environment that train can play."""
    try:
        import gymnasium  # only here: the algorithm does without
    except ImportError as error:
        fail(f"{error}; to install it: python -m pip install gymnasium", 2)
    # CartPole-v0 is v1 with 200 steps instead of 500; the notebook plays it.
    warnings.filterwarnings("ignore", ".*CartPole-v0 is out of date")
    try:
        env = gymnasium.make(name, **options)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        fail(f"--env {name}: {error}", 2)
    states, actions = env.observation_space, env.action_space
    is_vector = isinstance(states, gymnasium.spaces.Box) and len(states.shape) == 1
    is_number = isinstance(actions, gymnasium.spaces.Discrete) and actions.start == 0
    if not is_vector or not is_number or states.shape == (0,):
        fail(f"--env {name}: {states}, {actions}; allowed: Box(n,), Discrete from 0", 2)
    return env


def load_weights(path: str, env: Env) -> Matrix:
    """The weights of a file, or the notebook's, if they fit the environment."""
    weights: Matrix = NOTEBOOK_WEIGHTS
    rows, columns = env.observation_space.shape[0], int(env.action_space.n)
    try:
        if path:
            weights = json.loads(Path(path).read_text())["weights"]
        if [len(row) for row in weights] != [columns] * rows:
            raise ValueError(f"not for {env.spec.id}, which has {rows} × {columns}")
        if not all(map(math.isfinite, chain(*weights))):
            raise ValueError("a number is not finite")
    except (ArithmeticError, LookupError, OSError, TypeError, ValueError) as error:
        name = path or "the notebook's weights"
        fail(f"--watch {name}: {error!r}; allowed: weights that --save wrote", 2)
    return weights


def open_output(path: str | None, files: ExitStack) -> TextIO | None:
    """A file to write to, opened to append, so that opening does not empty it."""
    if path is None:
        return None
    try:
        return files.enter_context(open(path, "a", newline="\n"))
    except OSError as error:
        fail(f"{path}: {error.strerror}", 2)


def write(file: TextIO | None, *lines: str, anew: bool = False) -> None:
    """Write lines at once; anew: empty the file first."""
    if file is None or file.closed:
        return
    try:
        if anew and os.path.isfile(file.name):  # a pipe can't be emptied
            file.truncate(0)
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
    except OSError as error:
        with suppress(OSError):
            file.close()  # or Python would write what is buffered at exit
        fail(f"{file.name}: {error.strerror}")


def trace_lines(number: int, episode: Episode, settings: Any) -> Iterator[Any]:
    """The lines of a trace for an episode: the head, if it is the first; steps; an end.

    {"env": …, "seed": …, "lr": …, "gamma": …, "returns": …, "weights": before training}
    {"episode": 0, "step": 0, "state": […], …, as in Step, …, "return": 59.9}
    {"episode": 0, "score": 91.0, "weights": after the episode}
    """
    if number == 0:
        yield {**settings, "weights": episode.weights_before}
    for t, step in enumerate(episode.steps):
        line = {"episode": number, "step": t, **step._asdict()}
        line["return"] = episode.returns[t]
        yield line
    yield {"episode": number, "score": episode.score, "weights": episode.weights_after}


class Run:
    """What a training has done so far."""

    def __init__(self, env: Env, episodes: int):
        self.limit, self.goal = env.spec.max_episode_steps, env.spec.reward_threshold
        self.every = max(1, episodes // 20)  # so many episodes make a row of the curve
        self.scores: Vector = []
        self.steps = 0

    def add(self, episode: Episode) -> Iterator[str]:
        """Count one more episode, and yield what there is to tell of it."""
        self.scores.append(episode.score)
        self.steps += len(episode.steps)
        self.weights = episode.weights_after
        done = len(self.scores)
        if done % self.every == 0:
            mean = sum(self.scores[-self.every :]) / self.every
            yield f"{done:8}  {mean:#10.5g}  {bar(mean, self.limit)}"
        enough = self.goal is not None and done >= 100
        if enough and sum(self.scores[-100:]) >= 100 * self.goal:
            yield f"solved after {done} episodes"
            self.goal = None  # told once

    def report(self) -> Iterator[str]:
        """What there is to tell in the end."""
        last = self.scores[-100:]
        yield f"\nmean of the last {len(last)}: {sum(last) / len(last):#.5g}"
        yield f"{len(self.scores)} episodes, {self.steps} steps"
        yield json.dumps(self.weights)


def bar(mean: float, limit: int | None) -> str:
    """A bar of the learning curve; the environment's step limit fills it."""
    if limit is None or sys.stdout is None:
        return ""
    longest = 50
    if sys.stdout.isatty():
        longest = min(50, shutil.get_terminal_size().columns - 23)
    block = "█" if "utf" in str(sys.stdout.encoding).lower() else "#"
    return block * round(longest * max(0, min(mean, limit)) / limit)


def run_training(args: Any, caught: list[int], files: ExitStack) -> None:
    """Train, draw the learning curve, and report, however it ends."""
    env = files.enter_context(make_env(args.env))
    scores, trace, save = [open_output(path, files) for path in args.outputs]
    settings = {k: getattr(args, k) for k in ("env", "seed", "lr", "gamma", "returns")}
    returns = RETURNS[args.returns]
    training = train(env, args.episodes, args.lr, args.gamma, args.seed, returns)
    run = Run(env, args.episodes)
    write(scores, anew=True)
    write(trace, anew=True)
    try:
        write(sys.stdout, f"episodes of {args.episodes}, mean score")
        for number, episode in enumerate(training):
            if not math.isfinite(episode.score + sum(chain(*episode.weights_after))):
                fail("weights or score not finite; try a smaller --lr, smaller rewards")
            write(trace, *map(json.dumps, trace_lines(number, episode, settings)))
            write(scores, repr(episode.score).removesuffix(".0"))
            write(sys.stdout, *run.add(episode))
            if caught:
                break
    finally:
        if run.scores:
            try:
                write(sys.stdout, *run.report())
            finally:  # save even if the report can't be written
                saved = {"weights": run.weights, "episodes": len(run.scores)}
                write(save, json.dumps({**saved, **settings}), anew=True)


def watch(args: Any, caught: list[int], files: ExitStack) -> None:
    """Play in a window until it is closed, a signal comes, or the episodes are over."""
    env = files.enter_context(make_env(args.env, render_mode="human"))
    weights = load_weights(args.watch, env)
    rng = random_stream(args.seed)
    for number in range(args.episodes):
        score = 0.0
        for step in rollout(env, weights, rng, args.seed if number == 0 else None):
            score += step.reward
            if caught or window_is_closed():
                return
        write(sys.stdout, f"{score:g}")


def window_is_closed() -> Any:
    """Has somebody closed the window that gymnasium opened with pygame?"""
    pygame: Any = sys.modules.get("pygame")
    return pygame and pygame.display.get_init() and pygame.event.peek(pygame.QUIT)


def main(argv: Sequence[str] | None = None) -> int | str:
    """Run the program; its exit status."""
    args = parse(argv)
    caught = catch_signals()
    try:
        with ExitStack() as files:
            run = run_training if args.watch is None else watch
            run(args, caught, files)
    except SystemExit as end:
        return end.code or 1  # an environment's sys.exit(0) is no success
    return 128 + caught[0] if caught else 0


if __name__ == "__main__":
    sys.exit(main())
