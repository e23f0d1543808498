# /// script
# requires-python = ">=3.10"
# dependencies = ["gymnasium>=0.29"]
# ///
"""What is true of the policy gradient, and a check of other implementations of it.

python test_vpg.py                                    the tests
python test_vpg.py --check FILE... [--tolerance X]    are these traces right?
python test_vpg.py --benchmark                        microseconds a step
"""

import argparse
import ast
import contextlib
import doctest
import functools
import importlib.util
import io
import itertools
import json
import math
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
import unittest
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import vpg
from vpg import Matrix, Vector

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
        self.assertRaisesRegex(ArithmeticError, "lr below 1e\\+308", list, training)

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


# --------------------------------------------- the check of other implementations


def outer(state: Vector, by_logits: Vector) -> Matrix:
    """s gᵀ, shaped like the weights."""
    return [[s_i * g_j for g_j in by_logits] for s_i in state]


def updated(weights: Matrix, grads: list[Matrix], returns: Vector, lr: float) -> Matrix:
    """The weights after an episode."""
    weights = [row[:] for row in weights]
    for grad, return_t in zip(grads, returns):
        vpg.update(weights, grad, return_t, lr)
    return weights


def normalised(rewards: Vector, gamma: float) -> Vector:
    """(G_t − mean) / (sample standard deviation + 2⁻²³), as in PyTorch's example."""
    returns = vpg.discounted_returns(rewards, gamma)
    mean, std = statistics.fmean(returns), statistics.stdev(returns)
    return [(return_t - mean) / (std + 2**-23) for return_t in returns]


class Variant(NamedTuple):
    """Another way to compute a quantity, known from other implementations."""

    name: str
    formula: Callable[..., Any]  # its arguments are those of the right one
    words: str


VARIANTS = {
    "return": [
        Variant(
            "undiscounted",
            lambda rewards, gamma: vpg.discounted_returns(rewards, 1.0),
            "Σ_{k≥t} r_k, without discount: weight r_k by γ^{k−t}",
        ),
        Variant(
            "notebook",
            vpg.notebook_returns,
            "Σ_{k≥t} r_k γ^{r_k}, γ raised to the reward: raise it to k − t",
        ),
        Variant(
            "episode",
            lambda rewards, gamma: [vpg.add_up(rewards)] * len(rewards),
            "Σ_k r_k, the whole episode's at every step: sum from t on, discounted",
        ),
        Variant(
            "discounted-episode",
            lambda rewards, gamma: (
                vpg.discounted_returns(rewards, gamma)[:1] * len(rewards)
            ),
            "G_0 at every step: use the G_t of each",
        ),
        Variant(
            "no-sum",
            lambda rewards, gamma: [gamma**t * r for t, r in enumerate(rewards)],
            "γ^t r_t, one reward alone: sum γ^{k−t} r_k over all k ≥ t",
        ),
        Variant(
            "backward",
            lambda rewards, gamma: vpg.discounted_returns(rewards[::-1], gamma)[::-1],
            "G_t = r_t + γ G_{t−1}, the past: run the recursion from the last step",
        ),
        Variant(
            "prefactor",
            lambda rewards, gamma: [
                gamma**t * return_t
                for t, return_t in enumerate(vpg.discounted_returns(rewards, gamma))
            ],
            "γ^t G_t, Sutton & Barto's: drop γ^t to compare (it is right for E[G_0])",
        ),
        Variant(
            "normalised",
            normalised,
            "(G_t − mean) / std over the episode: use G_t as it is",
        ),
    ],
    "grad_log_policy": [
        Variant(
            "not-divided",
            lambda probs, action, state: outer(
                state, vpg.softmax_jacobian(probs)[action]
            ),
            "∇π, the gradient of the probability: divide it by π(a|s)",
        ),
        Variant(
            "negated",
            lambda probs, action, state: [
                [-g for g in row] for row in vpg.grad_log_policy(probs, action, state)
            ],
            "−∇log π, the gradient of a loss: turn the sign",
        ),
        Variant(
            "one-hot",
            lambda probs, action, state: outer(
                state, [float(j == action) for j in range(len(probs))]
            ),
            "state × one-hot(a), without the policy's part: subtract state × π(·|s)",
        ),
    ],
    "weights": [
        Variant(
            "descent",
            lambda weights, grads, returns, lr: updated(weights, grads, returns, -lr),
            "weights − lr Σ_t ∇log π G_t goes down: add it",
        ),
        Variant(
            "mean",
            lambda weights, grads, returns, lr: updated(
                weights, grads, returns, lr / len(grads)
            ),
            "the mean over the steps: do not divide the sum by their number",
        ),
        Variant(
            "mean-log-prob",
            lambda weights, grads, returns, lr: updated(
                weights, grads, [vpg.add_up(returns)] * len(grads), lr / len(grads)
            ),
            "lr · mean_t(∇log π) · Σ_t G_t: multiply step by step, then sum",
        ),
    ],
    "probs": [
        Variant(
            "sigmoid",
            lambda logits: [1 / (1 + math.exp(-z)) for z in logits],
            "1/(1+e^{−z}) of each logit: take the softmax of them all",
        ),
        Variant(
            "unnormalised",
            lambda logits: [math.exp(z) for z in logits],
            "e^z: divide by the sum over the actions",
        ),
    ],
}


def furthest(theirs: Any, ours: Any) -> tuple[float, str, Any, Any]:
    """The largest |a − b| / max(1, |a|, |b|) in two lists of one shape; where; a; b.
    None, infinite and NaN differ from everything.
    """
    if isinstance(theirs, list):
        ours = [None] * len(theirs) if ours is None else ours
        pairs = [furthest(a, b) for a, b in zip(theirs, ours)]
        i = max(range(len(pairs)), key=lambda i: pairs[i][0])
        difference, where, a, b = pairs[i]
        return difference, f"[{i}]{where}", a, b
    if ours is None or not math.isfinite(ours):
        return math.inf, "", theirs, ours
    difference = abs(theirs - ours) / max(1, abs(theirs), abs(ours))
    return difference, "", theirs, ours


class Tally:
    """What has been found out about one quantity of a trace."""

    def __init__(self, quantity: str, formula: Callable[..., Any], tolerance: float):
        self.quantity, self.formula, self.tolerance = quantity, formula, tolerance
        self.variants = VARIANTS.get(quantity, [])  # those that have agreed throughout
        self.checked, self.differing, self.worst, self.first = 0, 0, 0.0, ""

    def computed(self, formula: Callable[..., Any], inputs: Any, n: int) -> list[Any]:
        """The value at each of n places; None where there is none (0 to the −1)."""
        try:
            values = formula(*inputs)
        except (ArithmeticError, TypeError, ValueError):
            return [None] * n
        return values if self.quantity == "return" else [values]

    def check(self, places: list[str], theirs: list[Any], *inputs: Any) -> list[Any]:
        """Compare what is theirs with ours; give theirs back, but ours for None."""
        ours = self.computed(self.formula, inputs, len(places))
        given = [i for i, value in enumerate(theirs) if value is not None]
        if given:
            others = [
                self.computed(variant.formula, inputs, len(places))
                for variant in self.variants
            ]
            self.variants = [
                variant
                for variant, values in zip(self.variants, others)
                if all(self.agree(theirs[i], values[i]) for i in given)
            ]
        for i in given:
            difference, where, a, b = furthest(theirs[i], ours[i])
            self.checked += 1
            self.worst = max(self.worst, difference)
            if difference > self.tolerance:
                self.differing += 1
                entry = f", entry {where}" if where else ""
                self.first = self.first or f"{places[i]}{entry}: theirs {a}, ours {b}"
        return [a if a is not None else b for a, b in zip(theirs, ours)]

    def agree(self, theirs: Any, ours: Any) -> bool:
        """|a − b| ≤ tolerance · max(1, |a|, |b|) throughout."""
        return furthest(theirs, ours)[0] <= self.tolerance

    def report(self) -> str:
        """A line on the quantity; with a variant, a second one in words."""
        name = f"{self.quantity:16}"
        if not self.checked:
            return f"{name} not in the trace"
        if not self.differing:
            return f"{name} {self.checked} checked, worst difference {self.worst:.1e}"
        line = f"{name} MISMATCH: {self.differing} of {self.checked} differ"
        line += f", first at {self.first}"
        if self.variants:
            return f"{line}  variant: {self.variants[0].name}\n    {self.variants[0].words}"
        if self.worst <= 1e-5:
            return f"{line}  looks like float32; try --tolerance 1e-5"
        return line


def no_number(text: str) -> None:
    """For NaN and Infinity, which Python reads and JSON does not know."""
    raise ValueError(f"{text} is not JSON")


def typed(name: str, value: Any, shape: Any) -> Any:
    """The value, if it is a whole number of that range, or numbers of that shape."""
    if isinstance(shape, range):
        if type(value) is not int or value not in shape:
            allowed = f"whole numbers from {shape.start} to {shape.stop - 1}"
            raise ValueError(f"{name} is {json.dumps(value)}; allowed: {allowed}")
        return value
    if shape:
        if not isinstance(value, list) or len(value) != shape[0]:
            raise ValueError(f"{name} is not a list of {' × '.join(map(str, shape))}")
        return [typed(name, part, shape[1:]) for part in value]
    if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
        raise ValueError(f"{name} has {json.dumps(value)}; allowed: finite numbers")
    return float(value)


def fields(record: dict[str, Any], needed: Sequence[str], shapes: Any) -> Any:
    """The known fields of a line, typed."""
    for name in needed:
        if name not in record:
            raise ValueError(f"no {name}")
    return {
        name: typed(name, record[name], shape)
        for name, shape in shapes.items()
        if name in record
    }


def head_of(record: dict[str, Any]) -> dict[str, Any]:
    """The first line, typed; the weights give the sizes."""
    try:
        rows, columns = len(record["weights"]), len(record["weights"][0])
    except (TypeError, LookupError):
        rows = columns = 0
    if not columns:
        raise ValueError("no weights: the first line needs rows of numbers")
    shapes = {"lr": (), "gamma": (), "weights": (rows, columns)}
    head: dict[str, Any] = fields(record, list(shapes), shapes)
    head["returns"] = record.get("returns", "discounted")
    if head["returns"] not in list(vpg.RETURNS):
        allowed = " or ".join(vpg.RETURNS)
        raise ValueError(
            f"returns is {json.dumps(head['returns'])}; allowed: {allowed}"
        )
    return head


def read_trace(path: str) -> Iterator[dict[str, Any]]:
    """The lines of a trace, typed and in order: the first, then steps, then ends, one
    episode after the other. Raises ValueError where a line is none of these.
    """
    line, episode, step, ended = b"", -1, 0, True
    shapes: dict[str, Any] = {"episode": range(sys.maxsize), "step": range(sys.maxsize)}
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line.decode(), parse_constant=no_number)
                if type(record) is not dict:
                    raise ValueError("not an object")
                if number == 1:
                    record = head_of(record)
                    rows, columns = len(record["weights"]), len(record["weights"][0])
                    shapes |= dict.fromkeys(
                        ("uniform", "reward", "return", "score"), ()
                    )
                    shapes |= {"state": (rows,), "action": range(columns)}
                    shapes |= dict.fromkeys(("logits", "probs"), (columns,))
                    shapes |= dict.fromkeys(
                        ("grad_log_policy", "weights"), (rows, columns)
                    )
                elif {"step", "state", "action"} & record.keys():
                    needed = ("episode", "step", "state", "action", "reward")
                    record = fields(record, needed, shapes)
                    place = record["episode"], record["step"]
                    following = [(episode, step + 1)] * (not ended) + [(episode + 1, 0)]
                    if place not in following:
                        raise ValueError(
                            f"episode and step {place} out of order; allowed: {following}"
                        )
                    (episode, step), ended = place, False
                else:
                    record = fields(record, ("episode",), shapes)
                    if ended or record["episode"] != episode:
                        raise ValueError(
                            f"end of episode {record['episode']} out of order"
                        )
                    ended = True
            except json.JSONDecodeError as error:
                reason = f"not JSON, or cut off: {error.msg}, column {error.colno}"
                raise ValueError(f"line {number}: {reason}") from None
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {number}: {error}") from None
            yield record
    if not line:
        raise ValueError("line 1: the file is empty")


def check_trace(path: str, tolerance: float) -> tuple[str, bool]:
    """The report on a trace, and whether all that was checked agrees."""
    trace = read_trace(path)
    head = next(trace)
    weights, lr, gamma = head["weights"], head["lr"], head["gamma"]
    formulas: dict[str, Callable[..., Any]] = {
        "logits": lambda weights, state: vpg.policy(weights, state)[0],
        "probs": vpg.softmax,
        "action": vpg.sample_action,
        "grad_log_policy": vpg.grad_log_policy,
        "return": vpg.RETURNS[head["returns"]],
        "weights": updated,
        "score": vpg.add_up,
    }
    tallies = {name: Tally(name, formulas[name], tolerance) for name in formulas}

    def check(name: str, place: str, record: dict[str, Any], *inputs: Any) -> Any:
        return tallies[name].check([place], [record.get(name)], *inputs)[0]

    episodes = steps = 0
    for episode, group in itertools.groupby(trace, lambda record: record["episode"]):
        lines = list(group)
        end = {} if "step" in lines[-1] else lines.pop()
        grads, places = [], []
        for line in lines:
            place = f"episode {episode}, step {line['step']}"
            logits = check("logits", place, line, weights, line["state"])
            probs = check("probs", place, line, logits)
            if "probs" in line and "uniform" in line:
                check("action", place, line, probs, line["uniform"])
            action, state = line["action"], line["state"]
            grads.append(check("grad_log_policy", place, line, probs, action, state))
            places.append(place)
        rewards = [line["reward"] for line in lines]
        theirs = [line.get("return") for line in lines]
        returns = tallies["return"].check(places, theirs, rewards, gamma)
        place = f"episode {episode}"
        weights = check("weights", place, end, weights, grads, returns, lr)
        check("score", place, end, rewards)
        episodes, steps = episodes + 1, steps + len(lines)
    reports = [tally.report() for tally in tallies.values()]
    title = f"{path}: {episodes} episodes, {steps} steps"
    right = not any(tally.differing for tally in tallies.values())
    return "\n".join([title, *reports]), right


def check_files(paths: list[str], tolerance: float) -> int:
    """Report on each file; 0: all agree, 1: something differs, 2: one is no trace."""
    status = 0
    for path in paths:
        try:
            report, right = check_trace(path, tolerance)
        except (ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            print(f"test_vpg.py: {path}: {reason}", file=sys.stderr)
            status = 2
        else:
            print(report)
            status = max(status, int(not right))
    return status


# An implementation in NumPy from which faulty ones are made: each fault replaces one
# of these. None of it comes from vpg.py or from the table of variants.
def numpy_returns(rewards: Any, gamma: float) -> Any:
    k = np.arange(len(rewards))
    return np.triu(gamma ** np.maximum(k - k[:, None], 0)) @ rewards


def numpy_jacobian(probs: Any) -> Any:
    return np.diag(probs) - np.outer(probs, probs)


NUMPY: dict[str, Callable[..., Any]] = {
    "logits": lambda weights, state: state @ weights,
    "probs": lambda logits: np.exp(logits) / np.exp(logits).sum(),
    "grad_log_policy": lambda probs, action, state: np.outer(
        state, numpy_jacobian(probs)[action] / probs[action]
    ),
    "return": numpy_returns,
    "weights": lambda weights, grads, returns, lr: (
        weights + lr * np.tensordot(returns, grads, 1)
    ),
    "score": lambda rewards: rewards.sum(),
}
NUMPY_FAULTS: dict[tuple[str, str], Callable[..., Any]] = {
    ("return", "undiscounted"): lambda r, gamma: np.cumsum(r[::-1])[::-1],
    ("return", "notebook"): lambda r, gamma: np.cumsum((r * gamma**r)[::-1])[::-1],
    ("return", "episode"): lambda r, gamma: np.full(len(r), r.sum()),
    ("return", "discounted-episode"): lambda r, gamma: np.full(
        len(r), (r * gamma ** np.arange(len(r))).sum()
    ),
    ("return", "no-sum"): lambda r, gamma: r * gamma ** np.arange(len(r)),
    ("return", "backward"): lambda r, gamma: numpy_returns(r[::-1], gamma)[::-1],
    ("return", "prefactor"): lambda r, gamma: (
        numpy_returns(r, gamma) * gamma ** np.arange(len(r))
    ),
    ("return", "normalised"): lambda r, gamma: (
        (numpy_returns(r, gamma) - numpy_returns(r, gamma).mean())
        / (numpy_returns(r, gamma).std(ddof=1) + np.finfo(np.float32).eps)
    ),
    ("grad_log_policy", "not-divided"): lambda probs, action, state: np.outer(
        state, numpy_jacobian(probs)[action]
    ),
    ("grad_log_policy", "negated"): lambda probs, action, state: np.outer(
        state, probs - np.eye(len(probs))[action]
    ),
    ("grad_log_policy", "one-hot"): lambda probs, action, state: np.outer(
        state, np.eye(len(probs))[action]
    ),
    ("weights", "descent"): lambda weights, grads, returns, lr: (
        weights - lr * np.tensordot(returns, grads, 1)
    ),
    ("weights", "mean"): lambda weights, grads, returns, lr: (
        weights + lr * np.mean([r * g for r, g in zip(returns, grads)], axis=0)
    ),
    ("weights", "mean-log-prob"): lambda weights, grads, returns, lr: (
        weights + lr * np.mean(grads, axis=0) * np.sum(returns)
    ),
    ("probs", "sigmoid"): lambda logits: 1 / (1 + np.exp(-logits)),
    ("probs", "unnormalised"): lambda logits: np.exp(logits),
}
Line = dict[str, Any]


def numpy_trace(
    faults: dict[str, Callable[..., Any]] | None = None,
    spoil: Callable[[str, Any, int, int], Any] = lambda name, value, episode, t: value,
    dtype: Any = float,
) -> list[Line]:
    """A trace of three episodes, of 3 observations and 4 actions. What spoil makes of a
    value is what the rest is computed from, as it is for a fault in a program.
    """
    formulas = NUMPY | (faults or {})
    rng = np.random.RandomState(0)
    weights = rng.randn(3, 4).astype(dtype)
    lr, gamma = 0.05, 0.8
    lines: list[Line] = [{"lr": lr, "gamma": gamma, "weights": weights.tolist()}]

    def value(name: str, episode: int, t: int, *inputs: Any) -> Any:
        return spoil(name, formulas[name](*inputs), episode, t)

    for episode, length in enumerate((4, 3, 6)):
        steps: list[Line] = []
        for t in range(length):
            state = rng.randn(3).astype(dtype)
            logits = value("logits", episode, t, weights, state)
            probs = value("probs", episode, t, logits)
            uniform = rng.rand()
            share = np.cumsum(probs) / np.sum(probs)
            action = spoil("action", int(np.argmax(share > uniform)), episode, t)
            grad = value("grad_log_policy", episode, t, probs, action, state)
            steps.append(
                {
                    "episode": episode,
                    "step": t,
                    "state": state,
                    "logits": logits,
                    "probs": probs,
                    "uniform": uniform,
                    "action": action,
                    "reward": float(rng.randn()),
                    "grad_log_policy": grad,
                }
            )
        rewards = np.array([step["reward"] for step in steps]).astype(dtype)
        returns = formulas["return"](rewards, dtype(gamma))
        returns = [spoil("return", r, episode, t) for t, r in enumerate(returns)]
        grads = [step["grad_log_policy"] for step in steps]
        weights = value("weights", episode, 0, weights, grads, returns, dtype(lr))
        score = value("score", episode, 0, rewards)
        for step, return_t in zip(steps, returns, strict=True):
            arrays = {
                name: part.tolist() if isinstance(part, np.ndarray) else part
                for name, part in step.items()
            }
            lines.append({**arrays, "return": float(return_t)})
        end = {"episode": episode, "score": float(score), "weights": weights.tolist()}
        lines.append(end)
    return lines


def spoiled(where: Any, name: str, value: Any, episode: int, t: int) -> Any:
    """Another value, if this is where one is wanted."""
    if (name, episode, t) != where:
        return value
    if name == "action":
        return (value + 1) % 4
    changed = np.array(value)
    changed.flat[-1] += 0.125
    return changed if changed.shape else float(changed)


class TestCheck(unittest.TestCase):
    quantities = ("logits", "probs", "action", "grad_log_policy", "return", "weights")

    def check(self, lines: Any, *options: str) -> tuple[int, list[str], str]:
        """Exit status, report and errors of --check on a file with these lines."""
        text = lines if isinstance(lines, bytes) else as_json(lines)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "trace")
            path.write_bytes(text)
            return called(["--check", str(path), *options])

    def assert_only(self, quantity: str, report: list[str], ending: str = "") -> str:
        """One line tells of a mismatch, and it is that quantity's."""
        wrong = [line for line in report if "MISMATCH" in line]
        self.assertEqual([line.split()[0] for line in wrong], [quantity], report)
        self.assertTrue(wrong[0].endswith(ending), wrong[0])
        return wrong[0]

    def test_the_table_names_what_it_says(self) -> None:
        named = [(q, variant.name) for q in VARIANTS for variant in VARIANTS[q]]
        self.assertEqual(sorted(named), sorted(NUMPY_FAULTS))

    def test_a_right_trace_agrees(self) -> None:
        status, report, _ = self.check(numpy_trace())
        self.assertEqual(status, 0, report)
        self.assertRegex(report[0], "trace: 3 episodes, 13 steps$")
        counts = [(line.split()[0], line.split()[1]) for line in report[1:]]
        names = ("logits", "probs", "action", "grad_log_policy", "return")
        expected = [(name, "13") for name in names]
        self.assertEqual(counts, [*expected, ("weights", "3"), ("score", "3")])

    def test_a_right_trace_in_the_notebooks_convention_agrees(self) -> None:
        lines = numpy_trace({"return": NUMPY_FAULTS["return", "notebook"]})
        lines[0]["returns"] = "notebook"
        self.assertEqual(self.check(lines)[0], 0)

    def test_every_known_variant_is_named(self) -> None:
        for (quantity, name), fault in NUMPY_FAULTS.items():
            with self.subTest(quantity=quantity, name=name):
                status, report, _ = self.check(numpy_trace({quantity: fault}))
                self.assertEqual(status, 1)
                line = self.assert_only(quantity, report, f"  variant: {name}")
                words = report[report.index(line) + 1]
                expected = {v.name: v.words for v in VARIANTS[quantity]}[name]
                self.assertEqual(words.strip(), expected)

    def test_a_variant_that_agrees_to_the_tolerance_is_named(self) -> None:
        head = {"lr": 0, "gamma": 0.5, "weights": [[0]]}
        step = {"episode": 0, "state": [1], "action": 0, "reward": 1}
        steps = [step | {"step": t, "return": 3 - t} for t in range(3)]
        _, report, _ = self.check([head, *steps], "--tolerance", "0")
        self.assert_only("return", report, "  variant: undiscounted")

    def test_of_two_variants_that_agree_the_first_is_named(self) -> None:
        head = {"lr": 0, "gamma": 1, "weights": [[0]]}  # 1: G_0 is the whole sum
        step = {"episode": 0, "state": [1], "action": 0, "reward": 1, "return": 3}
        _, report, _ = self.check([head, *(step | {"step": t} for t in range(3))])
        line = self.assert_only("return", report, "  variant: episode")
        words = report[report.index(line) + 1].strip()
        self.assertEqual(words, VARIANTS["return"][2].words)

    def test_a_variant_that_agrees_only_at_first_is_not_named(self) -> None:
        undiscounted = NUMPY_FAULTS["return", "undiscounted"]
        lines = numpy_trace(
            {"return": lambda r, g: undiscounted(r, g) + (len(r) == 6)},
        )
        _, report, _ = self.check(lines)
        self.assertNotIn("variant", self.assert_only("return", report))

    def test_a_fault_in_one_place_is_found_there_and_nowhere_else(self) -> None:
        for quantity in (*self.quantities, "score"):
            once = quantity in ("weights", "score")
            for at in [(1, 0), (2, 0)] if once else [(0, 3), (1, 2), (2, 0)]:
                with self.subTest(quantity=quantity, at=at):
                    spoil = functools.partial(spoiled, (quantity, *at))
                    status, report, _ = self.check(numpy_trace(spoil=spoil))
                    self.assertEqual(status, 1)
                    line = self.assert_only(quantity, report)
                    place = f"episode {at[0]}" + f", step {at[1]}" * (not once)
                    total = 3 if once else 13
                    expected = f"MISMATCH: 1 of {total} differ, first at {place}"
                    self.assertIn(expected, line)

    def test_the_report_shows_the_entry_that_is_furthest_off(self) -> None:
        lines = numpy_trace()
        lines[3]["grad_log_policy"][1][2] += 0.25
        lines[3]["grad_log_policy"][2][1] += 0.5
        entry = lines[3]["grad_log_policy"][2][1]
        _, report, _ = self.check(lines)
        line = next(line for line in report if line.startswith("grad_log_policy"))
        self.assertIn("first at episode 0, step 2, entry [2][1]: theirs ", line)
        theirs, ours = re.findall(r"(?:theirs|ours) (\S+?)(?:,|$)", line)
        self.assertEqual(float(theirs), entry)
        self.assertAlmostEqual(float(ours), entry - 0.5, places=12)

    def test_numbers_agree_up_to_the_tolerance_and_no_further(self) -> None:
        head = {"lr": 0.0, "gamma": 0.5, "weights": [[0.0]]}
        step = {"episode": 0, "step": 0, "state": [1.0], "action": 0, "reward": 64.0}
        for theirs, reward, options, status in (
            (64.0, 64.0, ["--tolerance", "0"], 0),
            (math.nextafter(64.0, 65.0), 64.0, ["--tolerance", "0"], 1),
            (96.0, 64.0, ["--tolerance", "0.5"], 0),  # 32 ≤ 0.5 · 96, but > 0.25 · 96
            (96.0, 64.0, ["--tolerance", "0.25"], 1),
            (-64.0, -96.0, ["--tolerance", "0.34"], 0),
            (64.0, 96.0, ["--tolerance", "0.33"], 1),
            (0.5, 0.25, ["--tolerance", "0.25"], 0),  # below 1 the difference counts
            (0.5, 0.25, ["--tolerance", "0.24"], 1),
            (1.0, 1.0 + 0.9e-9, [], 0),
            (1.0, 1.0 + 1.1e-9, [], 1),
        ):
            step |= {"return": theirs, "reward": reward}
            self.assertEqual(self.check([head, step], *options)[0], status, theirs)

    def test_what_is_absent_is_not_checked_and_not_missed(self) -> None:
        for absent in (*self.quantities, "score", "uniform"):
            lines = numpy_trace()
            for line in lines[1:]:
                if absent != "action":
                    line.pop(absent, None)
            if absent in ("probs", "uniform"):
                self.assertIn("action           not in the trace", self.check(lines)[1])
            if absent not in ("action", "uniform"):
                expected = f"{absent:16} not in the trace"
                self.assertIn(expected, self.check(lines)[1])
            self.assertEqual(self.check(lines)[0], 0, absent)

    def test_a_bare_trace_is_enough_and_our_own_update_bridges_it(self) -> None:
        needed = ("episode", "step", "state", "action", "reward")
        lines = numpy_trace()
        steps = [line for line in lines if "step" in line]
        bare = [{name: line[name] for name in needed} for line in steps]
        self.assertEqual(self.check([lines[0], *bare])[0], 0)
        for line, step in zip(bare, steps, strict=True):
            line["logits"] = step["logits"]
        status, report, _ = self.check([lines[0], *bare])
        self.assertEqual(status, 0, report)
        self.assertRegex(report[1], "^logits +13 checked")
        self.assertEqual(report[-2], "weights          not in the trace")

    def test_a_quantity_may_be_there_at_some_steps_only(self) -> None:
        lines = numpy_trace()
        for name in ("logits", "probs", "grad_log_policy", "return"):
            del lines[2][name]
        status, report, _ = self.check(lines)
        self.assertEqual(status, 0, report)
        self.assertRegex(report[5], "^return +12 checked")

    def test_the_trace_s_latest_weights_are_in_force(self) -> None:
        def spoil(name: str, value: Any, episode: int, t: int) -> Any:
            return value + 1 if (name, episode) == ("weights", 0) else value

        _, report, _ = self.check(numpy_trace(spoil=spoil))
        self.assert_only("weights", report)

    def test_order_of_keys_further_keys_and_integers_do_not_matter(self) -> None:
        head = {"weights": [[1, 0], [0, 1]], "gamma": 1, "lr": 0, "mine": None}
        step = {"return": 2, "reward": 2, "probs": [0.5, 0.5], "logits": [3, 3]}
        step |= {"action": 1, "state": [3, 3], "step": 0, "episode": 0, "x": "y"}
        end = {"score": 2, "weights": [[1, 0], [0, 1]], "episode": 0, "more": []}
        status, report, _ = self.check([head, step, end])
        self.assertEqual(status, 0, report)

    def test_sizes_are_those_of_the_first_lines_weights(self) -> None:
        head = {"lr": 0, "gamma": 1, "weights": [[1.0]] * 300}
        step = {"episode": 0, "step": 0, "state": [1.0] * 300, "logits": [300.0]}
        step |= {"action": 0, "reward": sys.float_info.max}  # the largest there is
        status, report, _ = self.check([head, step])
        self.assertEqual(status, 0, report)
        head["weights"] = [[0.0] * 300]
        step = {"episode": 0, "step": 0, "state": [1.0], "action": 299, "reward": 0.0}
        step["grad_log_policy"] = [[0.0] * 299 + [1.0]]
        _, report, _ = self.check([head, step])
        self.assert_only("grad_log_policy", report, "  variant: one-hot")

    def test_what_can_not_be_computed_differs(self) -> None:
        head = {"lr": 1, "gamma": 0, "weights": [[1e308, 0]], "returns": "notebook"}
        step = {"episode": 0, "step": 0, "state": [10], "logits": [1e308, 0]}
        step |= {"action": 1, "probs": [1, 0], "uniform": 2, "reward": -1, "return": 1}
        end = {"episode": 0, "weights": [[0, 0]], "score": -1}
        status, report, _ = self.check([head, step, end])
        self.assertEqual(status, 1)
        wrong = [line.split()[0] for line in report if "MISMATCH" in line]
        self.assertEqual(wrong, ["logits", "action", "return", "weights"])

    def test_float32_is_recognised_and_agrees_at_1e_minus_5(self) -> None:
        lines = numpy_trace(dtype=np.float32)
        status, report, _ = self.check(lines)
        self.assertEqual(status, 1)
        hint = "  looks like float32; try --tolerance 1e-5"
        wrong = [line for line in report if "MISMATCH" in line]
        self.assertGreater(len(wrong), 3)
        self.assertTrue(all(line.endswith(hint) for line in wrong), report)
        self.assertEqual(self.check(lines, "--tolerance", "1e-5")[0], 0)

    def test_what_is_further_off_does_not_look_like_float32(self) -> None:
        for error, hint in ((1e-5, True), (1.01e-5, False)):
            lines = numpy_trace()
            lines[1]["return"] = 0.0
            lines[1]["reward"] = error
            lines[1:] = lines[1:2]
            line = self.assert_only("return", self.check(lines)[1])
            self.assertEqual("looks like float32" in line, hint)

    def test_numpy_on_cartpole_agrees(self) -> None:
        env, lr, gamma = cartpole(), 2.5e-5, 0.99
        weights = np.random.RandomState(1).rand(4, 2)
        lines: list[Line] = [{"lr": lr, "gamma": gamma, "weights": weights.tolist()}]
        training = numpy_train(env, 20, lr, gamma, 1, False)
        for episode, (steps, returns, weights) in enumerate(training):
            for t, (step, return_t) in enumerate(zip(steps, returns, strict=True)):
                arrays = json.loads(
                    json.dumps(step._asdict(), default=np.ndarray.tolist)
                )
                line = {"episode": episode, "step": t, **arrays, "return": return_t}
                lines.append(line)
            lines.append({"episode": episode, "weights": weights.tolist()})
        status, report, _ = self.check(lines)
        self.assertEqual(status, 0, report)
        self.assertEqual(report[3], "action           not in the trace")

    def test_a_file_that_is_no_trace_is_told_with_its_line(self) -> None:
        good = numpy_trace()
        text = as_json(good)

        def changed(line: int, **values: Any) -> bytes:
            lines = json.loads(json.dumps(good))
            lines[line - 1] |= values
            return as_json(lines)

        def without(line: int, name: str) -> bytes:
            lines = json.loads(json.dumps(good))
            del lines[line - 1][name]
            return as_json(lines)

        head = good[0]
        for number, reason, data in (
            (1, "empty", b""),
            (1, "no weights", as_json(good[1:])),
            (1, "no weights", as_json([{"lr": 1, "gamma": 1}])),
            (1, "no weights", as_json([{**head, "weights": []}])),
            (1, "no weights", as_json([{**head, "weights": [[]]}])),
            (1, "no weights", as_json([{**head, "weights": 5}])),
            (
                1,
                "list of 4",
                changed(1, weights=[[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3]]),
            ),
            (1, "weights is not a list of 1", changed(1, weights=["a", "b"])),
            (1, "no gamma", without(1, "gamma")),
            (1, "no lr", without(1, "lr")),
            (1, '"x"; allowed: finite numbers', changed(1, lr="x")),
            (1, "allowed: discounted or notebook", changed(1, returns="mine")),
            (1, "allowed: discounted or notebook", changed(1, returns=["discounted"])),
            (1, "decode", b"\xff\xfe\x00\x01"),
            (1, "not JSON", b"hello\n"),
            (1, "not an object", b"[1, 2]\n"),
            (1, "recursion", b"[" * 100_000),
            (
                3,
                "cut off",
                b"\n".join(text.split(b"\n")[:2]) + b"\n" + text.split(b"\n")[2][:40],
            ),
            (3, "not an object", b"\n".join(text.split(b"\n")[:2]) + b"\n17\n"),
            (
                4,
                "not JSON",
                b"\n".join([*text.split(b"\n")[:3], b"", *text.split(b"\n")[3:]]),
            ),
            *(
                (5, f"no {name}", without(5, name))
                for name in ("episode", "step", "state", "action", "reward")
            ),
            (6, "no episode", without(6, "episode")),
            (2, '"1"; allowed: finite numbers', changed(2, reward="1")),
            (2, "true; allowed: finite numbers", changed(2, reward=True)),
            (2, "null; allowed: finite numbers", changed(2, uniform=None)),
            (2, "NaN is not JSON", changed(2, reward=math.nan)),
            (2, "-Infinity is not JSON", changed(2, reward=-math.inf)),
            (
                2,
                "allowed: finite numbers",
                changed(2, reward=12345).replace(b"12345", b"1e999"),
            ),
            (2, "allowed: finite numbers", changed(2, reward=10**400)),
            (2, "state is not a list of 3", changed(2, state=[1, 2])),
            (2, "state is not a list of 3", changed(2, state=3)),
            (2, "logits is not a list of 4", changed(2, logits=[1, 2, 3])),
            (2, "probs is not a list of 4", changed(2, probs=[1, 2, 3, 4, 5])),
            (
                2,
                "grad_log_policy is not a list of 3 × 4",
                changed(2, grad_log_policy=[[1] * 4]),
            ),
            (
                2,
                "grad_log_policy is not a list of 4",
                changed(2, grad_log_policy=[[1] * 3] * 3),
            ),
            (
                2,
                "action is 4; allowed: whole numbers from 0 to 3",
                changed(2, action=4),
            ),
            (2, "action is -1; allowed", changed(2, action=-1)),
            (2, "action is 1.0; allowed", changed(2, action=1.0)),
            (2, "action is true; allowed", changed(2, action=True)),
            (2, "episode is -1; allowed", changed(2, episode=-1)),
            (2, "out of order", changed(2, episode=1)),
            (2, "out of order", changed(2, step=1)),
            (3, "out of order", changed(3, step=0)),
            (3, "out of order", changed(3, step=2)),
            (3, "out of order", changed(3, episode=1)),
            (6, "out of order", changed(6, episode=1)),
            (7, "out of order", changed(7, episode=0)),
            (7, "out of order", changed(7, episode=0, step=4)),
            (7, "out of order", changed(7, episode=2)),
            (10, "out of order", changed(10, episode=0)),
            (7, "out of order", as_json([*good[:6], *good[5:]])),
            (2, "out of order", as_json([good[0], *good[5:]])),
            (6, "weights is not a list of 3 × 4", changed(6, weights=[])),
            (6, "score has []; allowed", changed(6, score=[])),
        ):
            with self.subTest(reason=reason, number=number):
                status, report, errors = self.check(data)
                self.assertEqual((status, report), (2, []), errors)
                self.assertEqual(errors.count("\n"), 1, errors)
                self.assertIn(f"trace: line {number}: ", errors)
                self.assertIn(reason, errors)

    def test_a_file_that_can_not_be_read_is_told(self) -> None:
        for path, reason in ((str(HERE), "directory"), ("/no/such", "No such file")):
            status, report, errors = called(["--check", path])
            self.assertEqual((status, report, errors.count("\n")), (2, [], 1))
            self.assertIn(reason, errors)

    def test_of_several_files_the_worst_counts(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            paths = {
                name: str(Path(folder, name)) for name in ("right", "wrong", "none")
            }
            fault = {"return": NUMPY_FAULTS["return", "episode"]}
            Path(paths["right"]).write_bytes(as_json(numpy_trace()))
            Path(paths["wrong"]).write_bytes(as_json(numpy_trace(fault)))
            Path(paths["none"]).write_bytes(b"")
            for names, status in (
                (["right", "right"], 0),
                (["wrong", "right"], 1),
                (["right", "wrong"], 1),
                (["none", "right"], 2),
                (["wrong", "none"], 2),
                (["none", "wrong"], 2),
            ):
                found, report, _ = called(["--check", *(paths[name] for name in names)])
                self.assertEqual(found, status)
                titles = [line for line in report if line.startswith(folder)]
                self.assertEqual(len(titles), 2 - names.count("none"))

    def test_the_tolerance_is_checked(self) -> None:
        for value in ("-1", "nan", "inf", "x"):
            status, report, errors = called(["--tolerance", value])
            self.assertEqual((status, report, errors.count("\n")), (2, [], 1))

    def test_memory_is_that_of_the_longest_episode(self) -> None:
        lines = numpy_trace()
        end = lines[-1]
        peaks = []
        with tempfile.TemporaryDirectory() as folder:
            for repeats in (30, 300):
                path = Path(folder, str(repeats))
                episodes = [
                    {**line, "episode": episode}
                    for episode in range(repeats)
                    for line in [*lines[1:5], {"episode": 0, "score": 1.0}]
                ]
                path.write_bytes(as_json([lines[0], *episodes]))
                tracemalloc.start()
                check_trace(str(path), 1e-9)
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
        self.assertLess(peaks[1], 1.3 * peaks[0], end)

    def test_it_needs_neither_gymnasium_nor_numpy(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "trace")
            path.write_bytes(as_json(numpy_trace()))
            script = (
                "import sys, runpy; sys.modules['numpy'] = sys.modules['gymnasium'] = "
                f"None; sys.argv = ['test_vpg.py', '--check', {str(path)!r}]; "
                f"runpy.run_path({str(HERE / 'test_vpg.py')!r}, run_name='__main__')"
            )
            run = process([sys.executable, "-c", script])
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        self.assertIn("3 episodes", run.stdout)


def as_json(lines: list[Line]) -> bytes:
    """JSON Lines."""
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def called(argv: list[str]) -> tuple[int, list[str], str]:
    """Exit status, lines on stdout and text on stderr of this file's main."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            status = main(argv)
        except SystemExit as end:
            status = int(str(end.code))
    return status, out.getvalue().splitlines(), errors.getvalue()


# ------------------------------------------- the program, in processes of its own


def process(command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
    """A process that has ended, with what it wrote."""
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(
        command, check=False, text=True, timeout=60, cwd=HERE, **settings
    )


def run(*args: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """python vpg.py args"""
    return process([sys.executable, "vpg.py", *args], **options)


def refused(*args: str) -> str:
    """The line with which vpg.py refuses these arguments; its status is 2."""
    errors, signums = io.StringIO(), (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(signum) for signum in signums]
    status = 0
    try:
        with contextlib.redirect_stderr(errors), warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            vpg.main(args)
    except SystemExit as end:
        status = int(str(end.code))
    finally:
        for signum, handler in zip(signums, handlers, strict=True):
            signal.signal(signum, handler)
    if status != 2 or errors.getvalue().count("\n") != 1:
        raise AssertionError(f"{args}: status {status}, {errors.getvalue()!r}")
    return errors.getvalue()


def trace_of(path: Path) -> list[Line]:
    """The lines of a trace."""
    return [json.loads(line) for line in path.read_text().splitlines()]


ENVIRONMENTS = """
import gymnasium, numpy as np
class Endless(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2, start=1)
    steps = 0
    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.episodes = getattr(self, "episodes", 0) + 1
        self.steps = 0
        return np.zeros(1, np.float32), {}
    def step(self, action):
        assert action in (1, 2)
        self.steps += 1
        ended = self.episodes < 3 and self.steps == 2
        return np.zeros(1, np.float32), 0.25, ended, False, {}
gymnasium.register("Endless-v0", Endless)
"""


class TemporaryFile(unittest.TestCase):
    """A folder that a test may fill, and a name in it."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.file = self.folder / "file"


class TestProgram(TemporaryFile):
    def test_by_default_it_does_the_notebooks_job(self) -> None:
        args = vpg.parse([])
        settings = args.env, args.episodes, args.lr, args.gamma, args.seed, args.returns
        self.assertEqual(settings, (None, 20_000, 2.5e-5, 0.99, 1, "discounted"))
        self.assertRegex(run("--episodes", "1").stdout, "env CartPole-v0, seed 1, ")

    def test_help_shows_each_flag_with_its_default(self) -> None:
        text = " ".join(run("--help").stdout.split())
        for flag, default in (
            ("--env", "CartPole-v0"),
            ("--episodes", "20000"),
            ("--lr", "2.5e-05"),
            ("--gamma", "0.99"),
            ("--seed", "1"),
            ("--returns", "discounted"),
        ):
            self.assertRegex(text, rf"{flag} [^-].*?\(default: {default}")

    def test_the_report_draws_the_learning_curve(self) -> None:
        result = run("--episodes", "40", "--seed", "3")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        lines = result.stdout.splitlines()
        episodes = list(vpg.train(cartpole(), 40, 2.5e-5, 0.99, 3))
        scores = [episode.score for episode in episodes]
        self.assertRegex(
            lines[0], "^40 episodes: env CartPole-v0, seed 3, lr 2.5e-05, "
        )
        self.assertEqual(lines[2], "episode  mean score")
        rows = lines[3:23]
        for row, n in zip(rows, range(2, 41, 2), strict=True):
            mean = (scores[n - 2] + scores[n - 1]) / 2
            bar = "█" * round(50 * mean / 200)  # 200 is the episode limit: a full bar
            self.assertEqual(row, f"{n:7}  {mean:10.2f}  {bar}")
        self.assertEqual(lines[24], f"mean of the last 40: {sum(scores) / 40:.2f}")
        self.assertRegex(lines[25], f"^{sum(scores):.0f} steps, [0-9]+ per second$")
        self.assertEqual(json.loads(lines[26]), episodes[-1].weights)
        self.assertEqual(len(lines), 27)

    def test_it_says_when_the_threshold_is_first_reached(self) -> None:
        result = run("--lr", "2e-3", "--episodes", "360")
        self.assertEqual(result.stdout.count("solved"), 1)
        self.assertIn("solved at episode 339\n", result.stdout)

    def test_other_environments_with_vectors_and_discrete_actions_run(self) -> None:
        import gymnasium

        environments = ["MountainCar-v0"]
        if gymnasium.__version__ >= "1" or np.__version__ < "2":
            environments.append("Acrobot-v1")  # 0.29's own asks NumPy 2 for np.float_
        for env in environments:
            result = run("--env", env, "--episodes", "1")
            self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_an_environment_of_ones_own_without_limit_or_threshold(self) -> None:
        (self.folder / "endless.py").write_text(ENVIRONMENTS)
        env = os.environ | {"PYTHONPATH": str(self.folder)}
        result = run("--env", "endless:Endless-v0", "--episodes", "2", env=env)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertIn("      2        0.50", result.stdout)
        result = run(
            *("--env", "endless:Endless-v0", "--episodes", "2", "--scores", "-"),
            env=env,
        )
        self.assertEqual(result.stdout, "0.5\n0.5\n")

    def test_a_stdout_that_knows_no_blocks_gets_plain_bars(self) -> None:
        env = os.environ | {"PYTHONIOENCODING": "ascii"}
        result = run("--episodes", "1", env=env)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertIn(f"  {'#' * round(50 * 91 / 200)}\n", result.stdout)

    def test_a_live_line_is_for_a_terminal(self) -> None:
        import pty

        primary, secondary = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "vpg.py"],
            cwd=HERE,
            stdout=subprocess.DEVNULL,
            stderr=secondary,
        ) as child:
            os.close(secondary)
            shown = ""
            row = "\r" + " " * 60 + "\r"  # wiped, where a row of the curve comes
            while row not in shown and child.poll() is None:
                shown += os.read(primary, 1000).decode()
            child.terminate()
        os.close(primary)
        live = r"\repisode \d+, mean \d+\.\d\d, \d+ s left +\r"
        self.assertRegex(shown, f"^({live})+{row}")

    def test_bad_input_is_refused_in_one_line(self) -> None:
        for args, given, allowed in (
            ("--episodes 0", "0", "1 or more"),
            ("--episodes 1.5", "1.5", "int"),
            ("--lr=-1e-9", "-1e-09", "0 or more"),
            ("--lr nan", "nan", "finite"),
            ("--lr inf", "inf", "finite"),
            ("--lr x", "x", "float"),
            ("--gamma -0.01", "-0.01", "0 to 1"),
            ("--gamma 1.01", "1.01", "0 to 1"),
            ("--gamma nan", "nan", "0 to 1"),
            ("--seed -1", "-1", "0 to 4294967295"),
            ("--seed 4294967296", "4294967296", "0 to 4294967295"),
            ("--returns mine", "mine", "notebook"),
            ("--bogus", "--bogus", ""),
            ("--env Nope-v0", "Nope-v0", "allowed"),
            ("--env no_such_module:Env-v0", "no_such_module", "allowed"),
            ("--env a:b:c", "a:b:c", "allowed"),
            ("--env FrozenLake-v1", "Discrete(16)", "Box of shape (n,)"),
            ("--env Pendulum-v1", "Box(-2.0, 2.0, (1,), float32)", "Discrete"),
            ("--scores /no/such", "/no/such", ""),
            (f"--trace {HERE}", str(HERE), ""),
            (f"--save {HERE}", str(HERE), ""),
            ("--watch /no/such", "/no/such", ""),
        ):
            with self.subTest(args=args):
                line = refused(
                    *args.split(), *["--episodes", "1"] * ("--ep" not in args)
                )
                self.assertTrue(line.startswith("vpg.py: "))
                self.assertIn(given, line)
                self.assertIn(allowed, line)

    def test_bounds_are_allowed(self) -> None:
        args = vpg.parse(
            ["--lr", "0", "--gamma", "0", "--seed", "0", "--episodes", "1"]
        )
        self.assertEqual((args.lr, args.gamma, args.seed, args.episodes), (0, 0, 0, 1))
        args = vpg.parse(["--gamma", "1", "--seed", "4294967295"])
        self.assertEqual((args.gamma, args.seed), (1, 2**32 - 1))

    def test_a_box_of_two_axes_is_refused(self) -> None:
        import gymnasium

        box = gymnasium.spaces.Box(0, 1, (2, 2))
        space = gymnasium.spaces.Discrete(2)
        env = SimpleNamespace(observation_space=box, action_space=space)
        with mock.patch("gymnasium.make", return_value=env):
            self.assertIn("(2, 2)", refused("--env", "Picture-v0"))

    def test_a_missing_gymnasium_is_told_with_the_cure(self) -> None:
        with mock.patch.dict(sys.modules, {"gymnasium": None}):
            self.assertIn("python -m pip install gymnasium", refused())

    def test_only_the_notice_on_cartpole_v0_is_silenced(self) -> None:
        import gymnasium

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            vpg.make_env("CartPole-v0")
            self.assertEqual(caught, [])
            warnings.warn("anything else", DeprecationWarning, stacklevel=1)
            self.assertEqual(len(caught), 1)
            gymnasium.logger.deprecation("The environment Other-v0 is out of date.")
            self.assertEqual(len(caught), 2)

    def test_it_imports_the_standard_library_and_gymnasium_only(self) -> None:
        tree = ast.parse((HERE / "vpg.py").read_text(encoding="utf-8"))
        names = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names.append(str(node.module))
        roots = {name.split(".")[0] for name in names}
        self.assertEqual(roots - sys.stdlib_module_names, {"gymnasium"})
        self.assertEqual([name for name in names if "gym" in name], ["gymnasium"])

    def test_every_formula_works_without_gymnasium_and_numpy(self) -> None:
        script = (
            "import sys; sys.modules['gymnasium'] = sys.modules['numpy'] = None\n"
            "import vpg\n"
            "logits, probs = vpg.policy([[0.0, 0.0]], [1.0])\n"
            "action = vpg.sample_action(probs, vpg.random_stream(1).random())\n"
            "grad = vpg.grad_log_policy(probs, action, [1.0])\n"
            "vpg.update([[0.0, 0.0]], grad, vpg.discounted_returns([1.0], 1.0)[0], 1)\n"
        )
        result = process([sys.executable, "-c", script])
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    # Scores and traces.

    def test_scores_are_one_number_a_line(self) -> None:
        self.assertEqual(
            run("--episodes", "10", "--scores", str(self.file)).returncode, 0
        )
        expected = "91 17 26 13 18 35 36 16 15 19".replace(" ", "\n") + "\n"
        self.assertEqual(self.file.read_text(), expected)
        result = run("--episodes", "10", "--scores", "-")
        self.assertEqual(result.stdout, expected)
        self.assertIn("mean of the last 10", result.stderr)

    def test_a_trace_holds_what_the_algorithm_recorded(self) -> None:
        run("--episodes", "3", "--seed", "2", "--trace", str(self.file))
        lines = iter(trace_of(self.file))
        env = cartpole()
        expected: Line = {"vpg_trace": 1, "env": "CartPole-v0", "seed": 2, "lr": 2.5e-5}
        expected |= {"gamma": 0.99, "returns": "discounted"}
        expected["weights"] = vpg.initial_weights(vpg.random_stream(2), env)
        self.assertEqual(list(next(lines).items()), list(expected.items()))
        for number, episode in enumerate(vpg.train(env, 3, 2.5e-5, 0.99, 2)):
            for t, step in enumerate(episode.steps):
                line = {"episode": number, "step": t, **step._asdict()}
                line["return"] = episode.returns[t]
                self.assertEqual(list(next(lines).items()), list(line.items()))
            end: list[Any] = [("episode", number), ("score", episode.score)]
            end.append(("weights", episode.weights))
            self.assertEqual(list(next(lines).items()), end)
        self.assertEqual(list(lines), [])

    def test_a_trace_passes_the_check_in_both_conventions(self) -> None:
        for returns in vpg.RETURNS:
            run("--episodes", "20", "--returns", returns, "--trace", str(self.file))
            status, report, _ = called(["--check", str(self.file)])
            self.assertEqual(status, 0, report)
            self.assertTrue(
                all("worst difference 0.0e+00" in line for line in report[1:])
            )

    def test_the_same_command_gives_the_same_bytes(self) -> None:
        first, second = (
            run("--episodes", "5", "--trace", "-").stdout for _ in range(2)
        )
        self.assertEqual(first, second)
        self.assertEqual(first.count("\n"), 1 + 165 + 5)

    # Saved weights.

    def test_save_writes_the_weights_and_settings(self) -> None:
        self.file.write_text("old")
        result = run("--episodes", "3", "--gamma", "0.5", "--save", str(self.file))
        saved = json.loads(self.file.read_text())
        self.assertEqual(saved["weights"], json.loads(result.stdout.splitlines()[-1]))
        del saved["weights"]
        expected = {"env": "CartPole-v0", "seed": 1, "lr": 2.5e-5, "gamma": 0.5}
        self.assertEqual(saved, expected | {"returns": "discounted", "episodes": 3})
        self.assertEqual([path.name for path in self.folder.iterdir()], ["file"])

    def test_save_follows_a_link(self) -> None:
        link = self.folder / "link"
        link.symlink_to(self.file)
        run("--episodes", "1", "--save", str(link))
        self.assertTrue(link.is_symlink())
        self.assertIn("weights", json.loads(self.file.read_text()))

    def test_save_into_a_read_only_folder_is_refused_before_training(self) -> None:
        folder = self.folder
        if os.geteuid() == 0:  # whom permissions do not bind; nobody writes to /proc
            folder = Path("/proc")
        else:
            folder.chmod(0o500)
        self.assertIn(str(folder), refused("--save", str(folder / "file")))

    def test_a_disk_that_fills_up_leaves_the_old_file(self) -> None:
        import resource

        def limit() -> None:  # no file may become longer than 100 bytes
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

        self.file.write_text("old")
        result = run("--episodes", "1", "--save", str(self.file), preexec_fn=limit)
        self.assertEqual((result.returncode, result.stderr.count("\n")), (1, 1))
        self.assertIn("file", result.stderr)
        self.assertEqual(len(json.loads(result.stdout.splitlines()[-1])), 4)
        self.assertEqual(self.file.read_text(), "old")
        self.assertEqual([path.name for path in self.folder.iterdir()], ["file"])

    @unittest.skipUnless(os.path.exists("/dev/full"), "this system has no /dev/full")
    def test_a_full_disk_is_told_and_the_weights_are_shown(self) -> None:
        for flag in ("--scores", "--trace", "--save"):
            result = run("--episodes", "2", flag, "/dev/full")
            self.assertEqual(result.returncode, 1)
            self.assertEqual(
                result.stderr, "vpg.py: /dev/full: No space left on device\n"
            )
            self.assertEqual(len(json.loads(result.stdout.splitlines()[-1])), 4)
        with open("/dev/full", "w") as full:
            result = run(
                "--episodes",
                "2",
                stdout=full,
                stderr=subprocess.PIPE,
            )
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stderr, "vpg.py: <stdout>: No space left on device\n")

    # Ends before the end.

    def test_weights_that_do_not_stay_finite_end_the_run(self) -> None:
        result = run("--lr", "1e308", "--trace", str(self.file))
        self.assertEqual((result.returncode, result.stderr.count("\n")), (1, 1))
        self.assertIn("episode 1: weights no longer finite", result.stderr)
        weights = vpg.initial_weights(vpg.random_stream(1), cartpole())
        self.assertEqual(json.loads(result.stdout.splitlines()[-1]), weights)
        self.assertEqual(len(trace_of(self.file)), 1)

    def test_a_closed_pipe_ends_it_quietly(self) -> None:
        for args in ([], ["--trace", "-"]):
            child = subprocess.Popen(
                [sys.executable, "vpg.py", *args],
                cwd=HERE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if args else subprocess.PIPE,
                text=True,
            )
            assert child.stdout
            child.stdout.readline()
            child.stdout.close()
            self.assertEqual(child.wait(60), 141)
            if child.stderr:
                self.assertEqual(child.stderr.read(), "")
                child.stderr.close()

    def test_a_signal_leaves_whole_episodes(self) -> None:
        for signum, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            scores, trace, saved = (self.folder / name for name in "abc")
            scores.unlink(missing_ok=True)
            args = (
                "--scores",
                str(scores),
                "--trace",
                str(trace),
                "--save",
                str(saved),
            )
            with subprocess.Popen(
                [sys.executable, "vpg.py", *args],
                cwd=HERE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ) as child:
                while child.poll() is None and (
                    not scores.exists() or scores.read_text().count("\n") < 20
                ):
                    time.sleep(0.01)
                child.send_signal(signum)
                out, errors = child.communicate(timeout=60)
            self.assertEqual((child.returncode, errors), (status, ""))
            lines = trace_of(trace)
            ends = [line for line in lines if "step" not in line][1:]
            self.assertEqual(lines[-1], ends[-1])
            expected = "".join(vpg.score_line(end["score"]) for end in ends)
            self.assertEqual(scores.read_text(), expected)
            kept = json.loads(saved.read_text())
            self.assertEqual(kept["episodes"], len(ends))
            for weights in (kept["weights"], json.loads(out.splitlines()[-1])):
                self.assertEqual(weights, ends[-1]["weights"])
            self.assertRegex(out, "\nmean of the last [0-9]+: ")
            self.assertEqual(called(["--check", str(trace)])[0], 0)
            self.assertEqual(sorted(p.name for p in self.folder.iterdir()), list("abc"))

    def test_a_signal_ends_an_endless_episode(self) -> None:
        (self.folder / "endless.py").write_text(ENVIRONMENTS)
        with subprocess.Popen(
            [
                sys.executable,
                "vpg.py",
                "--env",
                "endless:Endless-v0",
                "--episodes",
                "5",
            ],
            cwd=HERE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(self.folder)},
            text=True,
        ) as child:
            assert child.stdout
            for line in child.stdout:
                if line.startswith("      2  "):
                    break
            time.sleep(0.1)
            child.send_signal(signal.SIGINT)
            out = child.communicate(timeout=60)[0]
        self.assertEqual(child.returncode, 130)
        self.assertIn("mean of the last 2: 0.50\n4 steps", out)


class TestWatch(TemporaryFile):
    def test_a_file_without_fitting_weights_is_refused(self) -> None:
        good = {"weights": vpg.NOTEBOOK_WEIGHTS, "env": "CartPole-v0"}
        text = json.dumps(good)
        rows = vpg.NOTEBOOK_WEIGHTS
        for content in (
            "",
            text[: len(text) // 2],  # cut in the middle
            "hello",
            "[1, 2]",
            "17",
            "{}",
            '{"weights": 5}',
            '{"weights": null}',
            '{"weights": [1, 2, 3, 4]}',
            "[" * 100_000,
            json.dumps({"weights": rows[:3]}),
            json.dumps({"weights": [row[:1] for row in rows]}),
            json.dumps({"weights": [*rows[:3], [1, "2"]]}),
            json.dumps({"weights": [*rows[:3], [1, math.nan]]}),
            json.dumps({"weights": [*rows[:3], [1, math.inf]]}),
            json.dumps({"weights": [*rows[:3], [1, 10**400]]}),
            json.dumps({"weights": [*rows[:3], [1, None]]}),
            json.dumps(good | {"env": "Acrobot-v1"}),
            json.dumps(good | {"env": "Nope-v0"}),
            json.dumps(good | {"env": 5}),
        ):
            with self.subTest(content=content[:100]):
                self.file.write_text(content)
                refused("--watch", str(self.file))
        self.file.write_bytes(b"\xff\x00")
        refused("--watch", str(self.file))
        refused("--watch", str(HERE))
        line = refused("--watch", "--env", "Acrobot-v1")
        self.assertIn("without FILE: allowed: for Acrobot-v1, 6 × 3 finite", line)

    def test_a_missing_pygame_is_told_with_the_cure(self) -> None:
        with mock.patch.dict(sys.modules, {"pygame": None}):
            line = refused("--watch")
        self.assertIn('pip install "gymnasium[classic-control]"', line)


@unittest.skipUnless(importlib.util.find_spec("pygame"), "pygame is not installed")
class TestWindow(TemporaryFile):
    clumsy = ((0.0, 9.0), (0.0, 9.0), (0.0, -9.0), (0.0, -9.0))  # falls at once
    env = os.environ | {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}

    def test_it_plays_episode_after_episode(self) -> None:
        self.file.write_text(json.dumps({"weights": self.clumsy, "env": "CartPole-v1"}))
        result = run(
            "--watch", str(self.file), "--episodes", "3", "--seed", "4", env=self.env
        )
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        env, rng = vpg.make_env("CartPole-v1"), vpg.random_stream(4)
        weights = [list(row) for row in self.clumsy]
        lengths = [
            len(vpg.rollout(env, weights, rng, 4 if number == 0 else None))
            for number in range(3)
        ]
        self.assertEqual([int(line) for line in result.stdout.split()], lengths)
        self.assertLess(max(lengths), 20)

    def test_a_closed_window_ends_it(self) -> None:
        script = (
            "import pygame, sys, threading, time, vpg\n"
            "def close():\n"
            "    while not pygame.display.get_surface():\n"
            "        time.sleep(0.05)\n"
            "    pygame.event.post(pygame.event.Event(pygame.QUIT))\n"
            "threading.Thread(target=close).start()\n"
            "sys.exit(vpg.main(['--watch']))\n"
        )
        env = self.env | {"PYGAME_HIDE_SUPPORT_PROMPT": "1"}
        result = process([sys.executable, "-c", script], env=env)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))

    def test_a_signal_ends_it(self) -> None:
        self.file.write_text(json.dumps({"weights": self.clumsy}))
        with subprocess.Popen(
            [sys.executable, "vpg.py", "--watch", str(self.file)],
            cwd=HERE,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout
            child.stdout.readline()
            child.send_signal(signal.SIGINT)
            errors = child.communicate(timeout=60)[1]
        self.assertEqual((child.returncode, errors), (130, ""))

    def test_no_screen_is_told_in_one_line(self) -> None:
        env = os.environ | {"SDL_VIDEODRIVER": "nonesuch"}
        result = run("--watch", env=env)
        self.assertEqual((result.returncode, result.stderr.count("\n")), (2, 1))


def benchmark() -> int:
    """Microseconds a step, of the same episodes, in one process, and their ratios."""
    print(
        "episodes       steps   environment        vpg.py         NumPy   (µs a step)"
    )
    for episodes, numpy_too in ((2_000, True), (20_000, False)):
        env, actions = cartpole(), []  # made, and gymnasium imported, before it counts
        start = time.perf_counter()
        for episode in vpg.train(env, episodes):
            actions.append([step.action for step in episode.steps])
        ours = time.perf_counter() - start
        env, start = cartpole(), time.perf_counter()
        for number, taken in enumerate(actions):
            env.reset(seed=1 if number == 0 else None)
            for action in taken:
                env.step(action)
        alone = time.perf_counter() - start
        env, start = cartpole(), time.perf_counter()
        for _ in numpy_train(env, episodes * numpy_too, 2.5e-5, 0.99, 1, False):
            pass
        theirs = time.perf_counter() - start
        steps = sum(map(len, actions))
        times = (alone, ours, theirs) if numpy_too else (alone, ours)
        columns = "".join(f"{seconds / steps * 1e6:14.2f}" for seconds in times)
        print(f"{episodes:8} {steps:11}{columns}")
        line = f"vpg.py takes {ours / alone:.2f} × the environment alone"
        print(line + f", NumPy {theirs / ours:.2f} × vpg.py" * numpy_too)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The tests, the check, or the benchmark; exit status."""
    parser = argparse.ArgumentParser(
        "test_vpg.py",
        usage=argparse.SUPPRESS,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", metavar="FILE", nargs="+", help="traces")
    parser.add_argument("--tolerance", metavar="X", type=float, default=1e-9)
    parser.add_argument("--benchmark", action="store_true")
    args, rest = parser.parse_known_args(argv)
    if not 0 <= args.tolerance < math.inf:
        parser.error(f"--tolerance {args.tolerance}; allowed: finite, 0 or more")
    if args.check:
        return check_files(args.check, args.tolerance)
    if args.benchmark:
        return benchmark()
    unittest.main(argv=[sys.argv[0], *rest])
    return 0


if __name__ == "__main__":
    sys.exit(main())
