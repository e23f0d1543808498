# /// script
# requires-python = ">=3.10"
# dependencies = ["gymnasium>=0.29"]
# ///
"""What is true of the policy gradient, and a check of other implementations of it.

python test_vpg.py                                    the tests
python test_vpg.py --check FILE... [--tolerance X]    are these traces right?
python test_vpg.py --benchmark                        microseconds a step
"""

import contextlib
import doctest
import json
import math
import os
import random
import statistics
import sys
import tracemalloc
import unittest
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import vpg
from vpg import Vector

with contextlib.suppress(ModuleNotFoundError):  # --check does without it
    import numpy as np

HERE = Path(__file__).resolve().parent

# --------------------------------------------------------- the truths of the method


def cartpole() -> vpg.Env:
    """The environment of the notebook."""
    return vpg.make_env("CartPole-v0")


class NumpyStep(NamedTuple):
    """A step of numpy_train; the names are those of a trace."""

    state: Any
    logits: Any
    probs: Any
    action: int
    reward: float
    grad_log_policy: Any


def numpy_train(
    env: vpg.Env, episodes: int, lr: float, gamma: float, seed: int, notebook: bool
) -> Iterator[tuple[list[NumpyStep], Vector, Any]]:
    """REINFORCE on arrays, the notebook's way: each episode's steps, returns, weights."""
    rng = np.random.RandomState(seed)
    weights = rng.rand(env.observation_space.shape[0], env.action_space.n)
    for episode in range(episodes):
        state, _ = env.reset(seed=seed) if episode == 0 else env.reset()
        steps: list[NumpyStep] = []
        done = False
        while not done:
            logits = state @ weights
            probs = np.exp(logits) / np.exp(logits).sum()
            action = int(rng.choice(len(probs), p=probs))
            following, reward, terminated, truncated, _ = env.step(action)
            jacobian = np.diagflat(probs) - np.outer(probs, probs)
            grad = np.outer(state, jacobian[action] / probs[action])
            steps.append(NumpyStep(state, logits, probs, action, float(reward), grad))
            state, done = following, terminated or truncated
        returns = []
        for t in range(len(steps)):
            rest = [step.reward for step in steps[t:]]
            powers = rest if notebook else range(len(rest))
            returns.append(sum(r * gamma**k for r, k in zip(rest, powers)))
        for step, return_t in zip(steps, returns):
            weights = weights + lr * step.grad_log_policy * return_t
        yield steps, returns, weights


class Scripted:
    """An environment that gives what it is told to, and keeps what it was given."""

    def __init__(self, script: list[tuple[Vector, float, bool, bool]], start: int = 0):
        self.observation_space = SimpleNamespace(shape=(len(script[0][0]),))
        self.action_space = SimpleNamespace(n=2, start=start)
        self.script, self.t = script, 0
        self.seeds: list[int | None] = []
        self.actions: list[int] = []

    def reset(self, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        self.seeds.append(seed)
        self.t = 0
        return np.array(self.script[0][0], dtype=np.float32), {}

    def step(self, action: int) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.actions.append(action)
        _, reward, terminated, truncated = self.script[self.t]
        self.t += 1
        following = self.script[min(self.t, len(self.script) - 1)][0]
        observation = np.array(following, dtype=np.float32)
        return observation, np.float32(reward), terminated, truncated, {}


# A tiny MDP, small enough that all its trajectories can be written down: two states,
# two actions, at most three steps. For (state, action): (probability, reward, next).
FEATURES = [[1.0, -0.5], [0.25, 2.0]]
MDP: dict[tuple[int, int], list[tuple[float, float, int | None]]] = {
    (0, 0): [(0.5, 1.0, 0), (0.5, -2.0, 1)],
    (0, 1): [(0.75, 0.0, 1), (0.25, 5.0, None)],
    (1, 0): [(1.0, 3.0, 0)],
    (1, 1): [(0.25, -1.0, 0), (0.5, 2.0, 1), (0.25, 0.5, None)],
}
Trajectory = list[tuple[int, int, float]]  # (state, action, reward) for each t


def numpy_policy(weights: Any, state: Vector) -> Any:
    """π(·|s), independently of vpg.py."""
    exps = np.exp(np.array(state) @ np.array(weights))
    return exps / exps.sum()


def trajectories(
    weights: Any, state: int | None = 0, horizon: int = 3
) -> Iterator[tuple[float, Trajectory]]:
    """Every trajectory of the MDP from a state on, with its probability."""
    if state is None or horizon == 0:
        yield 1.0, []
        return
    for action, prob in enumerate(numpy_policy(weights, FEATURES[state])):
        for chance, reward, following in MDP[state, action]:
            for rest_prob, rest in trajectories(weights, following, horizon - 1):
                yield prob * chance * rest_prob, [(state, action, reward), *rest]


def central_difference(f: Callable[[Any], Any], x: Any, h: float = 1e-5) -> Any:
    """∂f/∂x_i = (f(x + h e_i) − f(x − h e_i)) / 2h, shaped like f, then like x."""
    x = np.array(x)
    grad = np.zeros((*np.shape(f(x)), *x.shape))
    for index in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[index] = h
        grad[(..., *index)] = (np.array(f(x + step)) - f(x - step)) / (2 * h)
    return grad


LOGITS = [0.3, -1.2, 2.0, 0.0]
WEIGHTS = [[0.2, -0.4, 0.1], [1.0, 0.5, -0.3]]
STATE = [0.7, -1.1]
SQUARE = [[0.5, -0.5], [0.25, 1.0]]  # weights for two numbers, two actions
REWARDS = [1.0, -2.0, 0.5, 3.0, 1.0]
SCRIPT = [
    ([1.0, 2.0], 3.0, False, False),
    ([0.5, -1.0], -1.5, False, False),
    ([0.1, 0.3], 4.0, True, False),
]


class TestVectors(unittest.TestCase):
    def test_the_docstrings_examples_are_true(self) -> None:
        result = doctest.testmod(vpg)
        self.assertEqual(result.failed, 0)
        self.assertGreater(result.attempted, 15)

    def test_dot_is_numpys(self) -> None:
        u, v = [1.5, -2.0, 3.0], [4.0, 0.5, -6.0]
        self.assertEqual(vpg.dot(u, v), np.dot(u, v))

    def test_sums_run_from_left_to_right(self) -> None:
        # sum() compensates from Python 3.12 on, and would give 1.0 and another softmax.
        self.assertEqual(vpg.dot([1e16, 1.0, -1e16], [1.0, 1.0, 1.0]), 0.0)
        logits = [math.log(x) for x in (0.1, 0.2, 0.3, 0.7, 0.9)]
        exps = [math.exp(z - logits[-1]) for z in logits]
        total = (((exps[0] + exps[1]) + exps[2]) + exps[3]) + exps[4]
        self.assertEqual(vpg.softmax(logits), [e / total for e in exps])
        script = [([1.0], r, False, i == 2) for i, r in enumerate((1e9, 1e-8, -1e9))]
        (episode,) = vpg.train(Scripted(script), 1, 0.0, 1.0, 1)
        rewards = [step.reward for step in episode.steps]
        self.assertEqual(episode.score, (rewards[0] + rewards[1]) + rewards[2])

    def test_vectors_of_two_lengths_have_no_dot_product(self) -> None:
        for u, v in ([1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0]):
            self.assertRaises(ValueError, vpg.dot, u, v)
        self.assertRaises(ValueError, vpg.policy, [[1.0, 2.0]], [1.0, 2.0])


class TestPolicy(unittest.TestCase):
    def test_softmax_is_numpys(self) -> None:
        exps = np.exp(LOGITS)
        np.testing.assert_allclose(vpg.softmax(LOGITS), exps / exps.sum(), rtol=1e-15)

    def test_softmax_does_not_see_a_shift_of_all_logits(self) -> None:
        for shift in (-1000.0, 3.0, 1000.0):
            shifted = [z + shift for z in LOGITS]
            np.testing.assert_allclose(
                vpg.softmax(shifted), vpg.softmax(LOGITS), rtol=1e-12
            )

    def test_softmax_of_huge_logits_does_not_overflow(self) -> None:
        for z in (1000.0, 1e308):
            self.assertEqual(vpg.softmax([z, -z]), [1.0, 0.0])
            self.assertEqual(vpg.softmax([-z, z]), [0.0, 1.0])
            self.assertEqual(vpg.softmax([z, z]), [0.5, 0.5])
            self.assertEqual(vpg.softmax([-z, -z]), [0.5, 0.5])

    def test_softmax_of_nothing_is_an_error(self) -> None:
        self.assertRaises(ValueError, vpg.softmax, [])

    def test_policy_is_the_softmax_of_the_linear_logits(self) -> None:
        logits, probs = vpg.policy(WEIGHTS, STATE)
        np.testing.assert_allclose(logits, np.array(STATE) @ WEIGHTS)
        np.testing.assert_allclose(probs, numpy_policy(WEIGHTS, STATE))
        self.assertIsInstance(logits, list)

    def test_jacobian_is_the_derivative_of_softmax(self) -> None:
        jacobian = central_difference(lambda z: vpg.softmax(list(z)), LOGITS)
        ours = vpg.softmax_jacobian(vpg.softmax(LOGITS))
        np.testing.assert_allclose(ours, jacobian, atol=1e-9)

    def test_jacobian_is_diag_p_minus_p_p_transposed(self) -> None:
        p = np.array(vpg.softmax(LOGITS))
        expected = np.diagflat(p) - np.outer(p, p)
        np.testing.assert_allclose(vpg.softmax_jacobian(list(p)), expected, atol=1e-16)

    def test_grad_log_policy_is_the_derivative_of_log_policy(self) -> None:
        grads = central_difference(lambda w: np.log(numpy_policy(w, STATE)), WEIGHTS)
        probs = vpg.policy(WEIGHTS, STATE)[1]
        for action, grad in enumerate(grads):
            ours = vpg.grad_log_policy(probs, action, STATE)
            np.testing.assert_allclose(ours, grad, atol=1e-9)

    def test_the_expected_grad_log_policy_is_zero(self) -> None:
        probs = vpg.policy(WEIGHTS, STATE)[1]
        grads = [vpg.grad_log_policy(probs, a, STATE) for a in range(3)]
        np.testing.assert_allclose(np.tensordot(probs, grads, 1), 0, atol=1e-15)


class TestRandomness(unittest.TestCase):
    def test_the_stream_is_numpys(self) -> None:
        for seed in (0, 1, 2**32 - 1):
            stream, rng = vpg.random_stream(seed), np.random.RandomState(seed)
            ours = [stream.random() for _ in range(2000)]
            self.assertEqual(ours, rng.random_sample(2000).tolist())

    def test_the_first_draws_are_the_weights_row_by_row(self) -> None:
        env = Scripted([([0.0, 0.0, 0.0], 1.0, True, False)])
        weights = vpg.initial_weights(vpg.random_stream(7), env)
        expected = np.random.RandomState(7).rand(3, 2)
        self.assertEqual(weights, expected.tolist())
        (episode,) = vpg.train(env, 1, 0.0, 1.0, seed=7)
        self.assertEqual(episode.weights, weights)
        stream = np.random.RandomState(7)
        stream.rand(6)
        self.assertEqual(episode.steps[0].uniform, stream.rand())

    def test_the_action_is_numpys_choice(self) -> None:
        source, rng = random.Random(0), np.random.RandomState(0)
        for _ in range(10_000):
            probs = vpg.softmax([source.gauss(0, 2) for _ in range(4)])
            state = rng.get_state()
            choice = rng.choice(4, p=probs)
            rng.set_state(state)
            self.assertEqual(vpg.sample_action(probs, rng.random_sample()), choice)

    def test_an_action_of_probability_zero_is_never_chosen(self) -> None:
        below_one = math.nextafter(1.0, 0.0) if sys.version_info >= (3, 9) else 0
        self.assertEqual(vpg.sample_action([0.0, 1.0, 0.0], 0.0), 1)
        self.assertEqual(vpg.sample_action([0.0, 1.0, 0.0], below_one), 1)
        self.assertEqual(vpg.sample_action([0.1] * 10 + [0.0], below_one), 9)

    def test_the_draw_is_compared_with_the_share_of_the_total(self) -> None:
        self.assertEqual(vpg.sample_action([1.0, 3.0], 0.24), 0)
        self.assertEqual(vpg.sample_action([1.0, 3.0], 0.25), 1)

    def test_what_is_no_distribution_draws_no_action(self) -> None:
        nan = math.nan
        for probs, u in ([nan, nan], 0.5), ([0.5, 0.5], 1.0), ([0.0, 0.0], 0.5):
            self.assertRaises(ArithmeticError, vpg.sample_action, probs, u)


class TestRollout(unittest.TestCase):
    def play(self, env: Scripted, seed: int | None = None) -> list[vpg.Step]:
        return vpg.rollout(env, SQUARE, vpg.random_stream(3), seed)

    def test_a_step_holds_what_was_seen_done_and_computed(self) -> None:
        env, rng = Scripted(SCRIPT), np.random.RandomState(3)
        steps = self.play(env)
        self.assertEqual(len(steps), 3)
        for step, (state, reward, _, _) in zip(steps, SCRIPT):
            self.assertEqual(step.state, np.array(state, np.float32).tolist())
            self.assertEqual((step.reward, type(step.reward)), (reward, float))
            self.assertEqual(step.uniform, rng.random_sample())
            logits, probs = vpg.policy(SQUARE, step.state)
            self.assertEqual((step.logits, step.probs), (logits, probs))
            self.assertEqual(step.action, vpg.sample_action(probs, step.uniform))
            grad = vpg.grad_log_policy(probs, step.action, step.state)
            self.assertEqual(step.grad_log_policy, grad)
        self.assertEqual(env.actions, [step.action for step in steps])
        self.assertEqual(set(env.actions), {0, 1})

    def test_an_episode_ends_when_it_is_terminated_or_truncated(self) -> None:
        for terminated, truncated in (True, False), (False, True), (True, True):
            script = [([1.0], 1.0, False, False), ([1.0], 1.0, terminated, truncated)]
            steps = vpg.rollout(
                Scripted(script), [[0.0, 0.0]], vpg.random_stream(1), None
            )
            self.assertEqual(len(steps), 2)

    def test_actions_are_counted_from_the_first_of_the_space(self) -> None:
        env = Scripted(SCRIPT, start=-1)
        steps = self.play(env)
        self.assertEqual(env.actions, [step.action - 1 for step in steps])

    def test_only_the_first_reset_is_seeded(self) -> None:
        env = Scripted(SCRIPT)
        list(vpg.train(env, 3, 0.0, 1.0, seed=5))
        self.assertEqual(env.seeds, [5, None, None])


class TestReturns(unittest.TestCase):
    def test_the_return_is_its_definition(self) -> None:
        for gamma in (0.0, 0.3, 0.99, 1.0):
            for t, return_t in enumerate(vpg.discounted_returns(REWARDS, gamma)):
                later = REWARDS[t:]
                expected = sum(gamma**k * r for k, r in enumerate(later))
                self.assertAlmostEqual(return_t, expected, places=14)

    def test_the_notebooks_return_is_its_definition(self) -> None:
        for gamma in (0.3, 0.99, 1.0):
            for t, return_t in enumerate(vpg.notebook_returns(REWARDS, gamma)):
                expected = sum(r * gamma**r for r in REWARDS[t:])
                self.assertAlmostEqual(return_t, expected, places=13)

    def test_all_returns_of_an_episode_take_linear_time(self) -> None:
        class Reward(float):
            operations = 0

            def count(self, *_: object) -> float:
                Reward.operations += 1
                return 1.0

            __add__ = __radd__ = __mul__ = __rmul__ = __pow__ = __rpow__ = count

        for compute_returns in vpg.RETURNS.values():
            counts = []
            for length in (100, 200):
                Reward.operations = 0
                compute_returns([Reward(1.0)] * length, 0.9)
                counts.append(Reward.operations)
            self.assertGreater(counts[0], 0)
            self.assertEqual(counts[1], 2 * counts[0])


class TestPolicyGradientTheorem(unittest.TestCase):
    def expected_return(self, weights: Any, gamma: float) -> float:
        """J(θ) = Σ_τ P(τ) Σ_t γ^t r_t, exactly."""
        return sum(
            prob * sum(gamma**t * reward for t, (_, _, reward) in enumerate(trajectory))
            for prob, trajectory in trajectories(weights)
        )

    def expected_estimate(self, gamma: float, prefactor: bool) -> Any:
        """Σ_τ P(τ) Σ_t ∇log π(a_t|s_t) G_t, by the functions of vpg.py."""
        expectation = [[0.0, 0.0], [0.0, 0.0]]
        for prob, trajectory in trajectories(SQUARE):
            rewards = [reward for _, _, reward in trajectory]
            returns = vpg.discounted_returns(rewards, gamma)
            for t, (state, action, _) in enumerate(trajectory):
                _, probs = vpg.policy(SQUARE, FEATURES[state])
                grad = vpg.grad_log_policy(probs, action, FEATURES[state])
                factor = gamma**t if prefactor else 1.0
                vpg.update(expectation, grad, returns[t], lr=prob * factor)
        return np.array(expectation)

    def gradient(self, gamma: float) -> Any:
        return central_difference(
            lambda weights: self.expected_return(weights, gamma), SQUARE
        )

    def test_trajectories_are_all_there_are(self) -> None:
        probs, paths = zip(*trajectories(SQUARE))
        self.assertAlmostEqual(sum(probs), 1.0, places=14)
        self.assertEqual(len(paths), 40)
        self.assertEqual({len(path) for path in paths}, {1, 2, 3})

    def test_without_discount_the_estimate_is_the_gradient(self) -> None:
        for prefactor in (False, True):
            estimate = self.expected_estimate(1.0, prefactor)
            np.testing.assert_allclose(estimate, self.gradient(1.0), atol=1e-8)

    def test_with_discount_it_is_with_the_factor_gamma_to_the_t(self) -> None:
        estimate = self.expected_estimate(0.8, prefactor=True)
        np.testing.assert_allclose(estimate, self.gradient(0.8), atol=1e-8)

    def test_with_discount_it_is_not_without_that_factor(self) -> None:
        error = self.expected_estimate(0.8, prefactor=False) - self.gradient(0.8)
        self.assertGreater(np.abs(error).min(), 0.01)


class TestTraining(unittest.TestCase):
    def train(self, episodes: int, returns: str = "discounted", seed: int = 1) -> Any:
        return vpg.train(cartpole(), episodes, 2.5e-5, 0.99, seed, vpg.RETURNS[returns])

    def test_an_episode_adds_lr_grad_return_of_each_step(self) -> None:
        lr, gamma = 0.5, 0.9
        env = Scripted(SCRIPT)
        weights: Any = np.array(vpg.initial_weights(vpg.random_stream(1), env))
        for episode in vpg.train(env, 4, lr, gamma, 1):
            self.assertEqual(episode.score, 5.5)
            rewards = [step.reward for step in episode.steps]
            self.assertEqual(episode.returns, vpg.discounted_returns(rewards, gamma))
            for step in episode.steps:  # at the weights before the update, all of them
                logits = np.array(step.state) @ weights
                np.testing.assert_allclose(step.logits, logits, rtol=1e-14)
            for step, return_t in zip(episode.steps, episode.returns):
                weights = weights + lr * np.array(step.grad_log_policy) * return_t
            np.testing.assert_allclose(episode.weights, weights, rtol=1e-14)

    def test_update_multiplies_from_left_to_right(self) -> None:
        weights = [[0.0]]
        vpg.update(weights, [[1e200]], return_t=1e-200, lr=1e-200)
        self.assertEqual(weights, [[1e-200 * 1e200 * 1e-200]])

    def test_it_retraces_numpy(self) -> None:
        for name in vpg.RETURNS:
            notebook = name == "notebook"
            theirs = numpy_train(cartpole(), 300, 2.5e-5, 0.99, 1, notebook)
            for ours, (steps, returns, weights) in zip(self.train(300, name), theirs):
                self.assertEqual(ours.score, sum(step.reward for step in steps))
                np.testing.assert_allclose(ours.returns, returns, rtol=1e-12)
                np.testing.assert_allclose(ours.weights, weights, atol=1e-9, rtol=0)

    def test_the_published_figures_300_episodes(self) -> None:
        last_rows = {
            "discounted": (7120, [0.09402103058103414, 0.4377999078396827]),
            "notebook": (7428, [0.06721735962100751, 0.4646035787997089]),
        }
        for returns, (total, last_row) in last_rows.items():
            episodes = list(self.train(300, returns))
            scores = [episode.score for episode in episodes]
            self.assertEqual(scores[:10], [91, 17, 26, 13, 18, 35, 36, 16, 15, 19])
            self.assertEqual(sum(scores), total)
            np.testing.assert_allclose(
                episodes[-1].weights[-1], last_row, atol=1e-9, rtol=0
            )

    @unittest.skipUnless(os.environ.get("VPG_FULL"), "two minutes; VPG_FULL=1 runs it")
    def test_the_published_figures_20_000_episodes(self) -> None:
        published = {
            "discounted": (
                (3_403_301, 197.74, 7649),
                [-2.710010627624543, 3.2418315660453967],
            ),
            "notebook": (
                (3_563_911, 199.96, 4509),
                [-3.4213649592471507, 3.9531858976677987],
            ),
        }
        for returns, (figures, last_row) in published.items():
            scores, weights = [], []
            for episode in self.train(20_000, returns):
                scores.append(int(episode.score))
                weights = episode.weights
            means = (sum(scores[n - 100 : n]) / 100 for n in range(100, 20_001))
            solved = next(n for n, mean in enumerate(means, 100) if mean >= 195)
            last = sum(scores[-100:]) / 100
            self.assertEqual((sum(scores), last, solved), figures)
            np.testing.assert_allclose(weights[-1], last_row, atol=1e-9, rtol=0)

    def test_training_keeps_the_row_sums_of_the_weights(self) -> None:
        env = cartpole()
        sums = np.sum(vpg.initial_weights(vpg.random_stream(1), env), axis=1)
        for episode in self.train(50):
            np.testing.assert_allclose(np.sum(episode.weights, 1), sums, rtol=1e-12)
        published = np.sum(vpg.NOTEBOOK_WEIGHTS, axis=1)
        np.testing.assert_allclose(published, sums, atol=1.5e-8, rtol=0)

    def test_the_published_weights_score_197(self) -> None:
        env, rng = cartpole(), vpg.random_stream(1)
        lengths = [
            len(vpg.rollout(env, vpg.NOTEBOOK_WEIGHTS, rng, 1 if n == 0 else None))
            for n in range(100)
        ]
        self.assertAlmostEqual(statistics.fmean(lengths), 197, delta=1)

    def test_two_interleaved_trainings_do_not_disturb_one_another(self) -> None:
        alone = list(self.train(5)), list(self.train(5, "notebook", seed=2))
        together = list(zip(self.train(5), self.train(5, "notebook", seed=2)))
        self.assertEqual(together, list(zip(*alone)))

    def test_a_process_pool_gives_the_serial_result(self) -> None:
        with ProcessPoolExecutor(2) as pool:
            parallel = list(pool.map(scores_of_seed, (1, 2)))
        self.assertEqual(parallel, [scores_of_seed(1), scores_of_seed(2)])

    def test_what_an_episode_yields_stays_as_it_is(self) -> None:
        training = self.train(3)
        first = next(training)
        kept = json.dumps(first)
        next(training)
        self.assertEqual(json.dumps(first), kept)

    def test_weights_that_do_not_stay_finite_are_an_error(self) -> None:
        training = vpg.train(cartpole(), 5, 1e308, 0.99, 1)
        self.assertRaisesRegex(ArithmeticError, "lr of 1e\\+308", list, training)

    def test_memory_does_not_grow_with_the_number_of_episodes(self) -> None:
        peaks = []
        for episodes in (50, 500):
            tracemalloc.start()
            for _ in vpg.train(Scripted(SCRIPT), episodes, 0.0, 1.0, 1):
                pass
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        self.assertLess(peaks[1], 1.2 * peaks[0])


def scores_of_seed(seed: int) -> Vector:
    """At the top of the file, so that another process finds it."""
    training = vpg.train(cartpole(), 20, 2.5e-5, 0.99, seed)
    return [episode.score for episode in training]


if __name__ == "__main__":
    unittest.main()
