# /// script
# requires-python = ">=3.10"
# dependencies = ["gymnasium>=0.29"]
# ///
"""What is true of the policy gradient, and a check of other implementations of it.

python test_vpg.py                                    the tests
python test_vpg.py --check FILE... [--tolerance X]    are these traces right? (-: stdin)
python test_vpg.py --benchmark                        microseconds a step

Three rooms, each to be read alone: the truths of the method; the check, with its tests;
the program.
"""

import argparse
import contextlib
import doctest
import functools
import importlib.util
import io
import itertools
import json
import math
import operator
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import unittest
import warnings
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import vpg
from vpg import Matrix, Vector

with contextlib.suppress(ModuleNotFoundError):  # --check does without it
    import numpy as np

HERE = Path(__file__).resolve().parent

# --------------------------------------------------------- the truths of the method


def cartpole() -> vpg.Env:
    """The environment of the notebook."""
    return vpg.make_env("CartPole-v0")


def numpy_train(
    env: vpg.Env, episodes: int, lr: float, gamma: float, seed: int, notebook: bool
) -> Iterator[tuple[list[vpg.Step], Vector, Any]]:
    """REINFORCE on arrays, the notebook's way: each episode's steps, returns, weights."""
    rng = np.random.RandomState(seed)
    weights = rng.rand(env.observation_space.shape[0], env.action_space.n)
    for episode in range(episodes):
        state, _ = env.reset(seed=seed) if episode == 0 else env.reset()
        steps: list[vpg.Step] = []
        done = False
        while not done:
            logits = state @ weights
            probs = np.exp(logits) / np.exp(logits).sum()
            a = int(rng.choice(len(probs), p=probs))
            following, reward, terminated, truncated, _ = env.step(a)
            jacobian = np.diagflat(probs) - np.outer(probs, probs)
            grad: Any = np.outer(state, jacobian[a] / probs[a])
            step = vpg.Step(state, logits, probs, math.nan, a, float(reward), grad)
            steps.append(step)
            state, done = following, terminated or truncated
        returns = []
        for t in range(len(steps)):
            rest = [step.reward for step in steps[t:]]
            powers = rest if notebook else range(len(rest))
            returns.append(sum(r * gamma**k for r, k in zip(rest, powers)))
        for step, return_t in zip(steps, returns):
            weights = weights + lr * np.array(step.grad_log_policy) * return_t
        yield steps, returns, weights


class Scripted:
    """An environment that gives what it is told to, and keeps what it was given."""

    def __init__(self, script: list[tuple[Vector, float, bool, bool]]):
        self.observation_space = SimpleNamespace(shape=(len(script[0][0]),))
        self.action_space = SimpleNamespace(n=2)
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


class Corridor:
    """Sutton & Barto's example 13.1: three states that look alike, the goal right of the
    last; in the second one, left and right are switched. Every step costs 1.
    """

    observation_space = SimpleNamespace(shape=(1,))
    action_space = SimpleNamespace(n=2)
    after = ((0, 1), (2, 0), (1, 3))  # by state and action, left or right

    def reset(self, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        self.state = 0
        return np.ones(1), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.state = self.after[self.state][action]
        return np.ones(1), -1.0, self.state == 3, False, {}


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
        self.assertEqual((result.failed, result.attempted), (0, 10))

    def test_dot_is_numpys(self) -> None:
        u, v = [1.5, -2.0, 3.0], [4.0, 0.5, -6.0]
        self.assertEqual(vpg.dot(u, v), np.dot(u, v))

    def test_sums_are_the_same_on_every_python(self) -> None:
        # sum() compensates from Python 3.12 on, and would give 1.0 and other probs.
        self.assertEqual(vpg.dot([1e16, 1.0, -1e16], [1.0, 1.0, 1.0]), 0.0)
        logits = [math.log(x) for x in (0.1, 0.2, 0.3, 0.7, 0.9)]
        exps = [math.exp(z - logits[-1]) for z in logits]
        self.assertEqual(vpg.softmax(logits), [e / math.fsum(exps) for e in exps])
        script = [([1.0], r, False, i == 2) for i, r in enumerate((1e9, 1e-8, -1e9))]
        (episode,) = vpg.train(Scripted(script), 1, 0.0, 1.0, 1)
        rewards = [step.reward for step in episode.steps]
        self.assertEqual(episode.score, math.fsum(rewards))
        self.assertNotEqual(episode.score, (rewards[0] + rewards[1]) + rewards[2])

    def test_what_is_not_equally_long_is_an_error(self) -> None:
        for u, v in ([1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0]):
            self.assertRaises(ValueError, vpg.dot, u, v)
        self.assertRaises(ValueError, vpg.policy, [[1.0, 2.0]], [1.0, 2.0])
        self.assertRaises(ValueError, vpg.update, SQUARE, [SQUARE], [1.0, 2.0], 1.0)


class TestPolicy(unittest.TestCase):
    def test_softmax_is_numpys(self) -> None:
        exps = np.exp(LOGITS)
        np.testing.assert_allclose(vpg.softmax(LOGITS), exps / exps.sum(), rtol=1e-15)

    def test_softmax_does_not_see_a_shift_of_all_logits(self) -> None:
        for shift in (-1000.0, 3.0, 1000.0):
            shifted = vpg.softmax([z + shift for z in LOGITS])
            np.testing.assert_allclose(shifted, vpg.softmax(LOGITS), rtol=1e-12)

    def test_softmax_of_huge_logits_does_not_overflow(self) -> None:
        for z in (1000.0, 1e308):
            self.assertEqual(vpg.softmax([z, -z]), [1.0, 0.0])
            self.assertEqual(vpg.softmax([z, z]), [0.5, 0.5])
            self.assertEqual(vpg.softmax([-z, -z]), [0.5, 0.5])

    def test_policy_is_the_softmax_of_the_linear_logits(self) -> None:
        logits, probs = vpg.policy(WEIGHTS, STATE)
        np.testing.assert_allclose(logits, np.array(STATE) @ WEIGHTS)
        np.testing.assert_allclose(probs, numpy_policy(WEIGHTS, STATE))

    def test_jacobian_is_the_derivative_of_softmax(self) -> None:
        jacobian = central_difference(lambda z: vpg.softmax(list(z)), LOGITS)
        ours = vpg.softmax_jacobian(vpg.softmax(LOGITS))
        np.testing.assert_allclose(ours, jacobian, atol=1e-9)

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
        stream = np.random.RandomState(7)
        env = Scripted([([0.0, 0.0, 0.0], 1.0, True, False)])
        (episode,) = vpg.train(env, 1, 0.0, 1.0, seed=7)
        self.assertEqual(episode.before, stream.rand(3, 2).tolist())
        self.assertEqual(episode.weights, episode.before)
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
        below_one = math.nextafter(1.0, 0.0)
        self.assertEqual(vpg.sample_action([0.0, 1.0, 0.0], 0.0), 1)
        self.assertEqual(vpg.sample_action([0.0, 1.0, 0.0], below_one), 1)
        self.assertEqual(vpg.sample_action([0.1] * 10 + [0.0], below_one), 9)

    def test_the_draw_is_compared_with_the_share_of_the_total(self) -> None:
        self.assertEqual(vpg.sample_action([1.0, 3.0], 0.24), 0)
        self.assertEqual(vpg.sample_action([1.0, 3.0], 0.25), 1)

    def test_what_is_no_distribution_draws_no_action(self) -> None:
        for probs, u in ([math.nan] * 2, 0.5), ([0.5, 0.5], 1.0), ([0.0, 0.0], 0.5):
            self.assertRaises(ArithmeticError, vpg.sample_action, probs, u)


class TestRollout(unittest.TestCase):
    def test_a_step_holds_what_was_seen_done_and_computed(self) -> None:
        env, rng = Scripted(SCRIPT), np.random.RandomState(3)
        steps = list(vpg.rollout(env, SQUARE, vpg.random_stream(3), None))
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
        for ended in (True, False), (False, True), (True, True):
            env = Scripted([([1.0], 1.0, False, False), ([1.0], 1.0, *ended)])
            steps = vpg.rollout(env, [[0.0, 0.0]], vpg.random_stream(1), None)
            self.assertEqual(len(list(steps)), 2)

    def test_it_may_be_left_between_two_steps(self) -> None:
        env = Scripted(SCRIPT)
        next(vpg.rollout(env, SQUARE, vpg.random_stream(3), None))
        self.assertEqual(len(env.actions), 1)

    def test_only_the_first_reset_is_seeded(self) -> None:
        env = Scripted(SCRIPT)
        list(vpg.train(env, 3, 0.0, 1.0, seed=5))
        self.assertEqual(env.seeds, [5, None, None])


class TestReturns(unittest.TestCase):
    def test_the_return_is_its_definition(self) -> None:
        for gamma in (0.0, 0.3, 0.99, 1.0):
            for t, return_t in enumerate(vpg.discounted_returns(REWARDS, gamma)):
                later = enumerate(REWARDS[t:])
                expected = math.fsum(gamma**k * r for k, r in later)
                self.assertAlmostEqual(return_t, expected, places=14)

    def test_the_notebooks_return_is_its_definition(self) -> None:
        for gamma in (0.3, 0.99, 1.0):
            for t, return_t in enumerate(vpg.notebook_returns(REWARDS, gamma)):
                expected = math.fsum(r * gamma**r for r in REWARDS[t:])
                self.assertAlmostEqual(return_t, expected, places=13)


class TestPolicyGradientTheorem(unittest.TestCase):
    def expected_return(self, weights: Any, gamma: float) -> float:
        """E[G_0] = Σ_τ P(τ) Σ_t γ^t r_t, exactly."""
        return sum(
            prob * sum(gamma**t * reward for t, (_, _, reward) in enumerate(trajectory))
            for prob, trajectory in trajectories(weights)
        )

    def expected_update(self, gamma: float, prefactor: bool) -> Any:
        """Σ_τ P(τ) Σ_t G_t ∇log π(a_t|s_t), by the functions of vpg.py."""
        expectation = [[0.0, 0.0], [0.0, 0.0]]
        for prob, trajectory in trajectories(SQUARE):
            rewards = [reward for _, _, reward in trajectory]
            returns = vpg.discounted_returns(rewards, gamma)
            if prefactor:
                returns = [gamma**t * return_t for t, return_t in enumerate(returns)]
            grads = []
            for state, action, _ in trajectory:
                _, probs = vpg.policy(SQUARE, FEATURES[state])
                grads.append(vpg.grad_log_policy(probs, action, FEATURES[state]))
            expectation = vpg.update(expectation, grads, returns, lr=prob)
        return np.array(expectation)

    def gradient(self, gamma: float) -> Any:
        return central_difference(lambda w: self.expected_return(w, gamma), SQUARE)

    def test_trajectories_are_all_there_are(self) -> None:
        probs, paths = zip(*trajectories(SQUARE))
        self.assertAlmostEqual(sum(probs), 1.0, places=14)
        self.assertEqual((len(paths), {len(p) for p in paths}), (40, {1, 2, 3}))

    def test_without_discount_the_expected_update_is_the_gradient(self) -> None:
        for prefactor in (False, True):
            expected = self.expected_update(1.0, prefactor)
            np.testing.assert_allclose(expected, self.gradient(1.0), atol=1e-8)

    def test_with_discount_it_is_with_the_factor_gamma_to_the_t(self) -> None:
        expected = self.expected_update(0.8, prefactor=True)
        np.testing.assert_allclose(expected, self.gradient(0.8), atol=1e-8)

    def test_with_discount_it_is_not_without_that_factor(self) -> None:
        error = self.expected_update(0.8, prefactor=False) - self.gradient(0.8)
        self.assertGreater(np.abs(error).min(), 0.01)


class TestShortCorridor(unittest.TestCase):
    best = 2 - math.sqrt(2)  # the probability of right

    def value_and_update(self, right: float) -> tuple[float, Any]:
        """v(s_0), and E[Σ_t G_t ∇log π], by linear algebra."""
        weights = [[0.0, math.log(right / (1 - right))]]
        probs = vpg.policy(weights, [1.0])[1]
        moves = np.zeros((3, 2, 4))  # by state, action and next state
        for state, action in np.ndindex(3, 2):
            moves[state, action, Corridor.after[state][action]] = 1
        following = np.einsum("a,san->sn", probs, moves)[:, :3]
        values = np.linalg.solve(np.eye(3) - following, -np.ones(3))
        visits = np.linalg.solve(np.eye(3) - following.T, np.eye(3)[0])
        action_values = -1 + moves @ np.append(values, 0)
        grads = [vpg.grad_log_policy(probs, action, [1.0])[0] for action in (0, 1)]
        update = np.einsum("s,a,sa,ai->i", visits, probs, action_values, grads)
        return values[0], update

    def test_the_best_policy_goes_right_with_probability_2_minus_root_2(self) -> None:
        value, update = self.value_and_update(self.best)
        self.assertAlmostEqual(value, -11.66, places=2)
        np.testing.assert_allclose(update, 0, atol=1e-12)
        for right in (0.05, 0.3, 0.55, 0.62, 0.8, 0.95):
            other_value, update = self.value_and_update(right)
            self.assertLess(other_value, value)
            self.assertEqual(update[1] > 0, right < self.best)
            self.assertAlmostEqual(update.sum(), 0)

    def test_training_comes_near_it(self) -> None:
        scores = []
        for seed in range(1, 11):
            training = vpg.train(Corridor(), 1000, 2**-12, 1.0, seed)
            scores += [episode.score for episode in training][-200:]
        self.assertAlmostEqual(statistics.fmean(scores), -11.8, delta=0.05)


class TestTraining(unittest.TestCase):
    def train(self, episodes: int, returns: str = "discounted", seed: int = 1) -> Any:
        return vpg.train(cartpole(), episodes, 2.5e-5, 0.99, seed, vpg.RETURNS[returns])

    def test_an_episode_adds_lr_grad_return_of_each_step(self) -> None:
        lr, gamma = 0.5, 0.9
        weights: Any = None
        for episode in vpg.train(Scripted(SCRIPT), 4, lr, gamma, 1):
            self.assertEqual(episode.before, weights or episode.before)
            self.assertEqual(episode.score, 5.5)
            rewards = [step.reward for step in episode.steps]
            self.assertEqual(episode.returns, vpg.discounted_returns(rewards, gamma))
            expected = np.array(episode.before)
            for step, return_t in zip(episode.steps, episode.returns):
                # all of them at the weights before the update
                logits = np.array(step.state) @ episode.before
                np.testing.assert_allclose(step.logits, logits, rtol=1e-14)
                expected += lr * np.array(step.grad_log_policy) * return_t
            np.testing.assert_allclose(episode.weights, expected, rtol=1e-14)
            weights = episode.weights

    def test_update_multiplies_from_left_to_right_and_makes_new_weights(self) -> None:
        weights = [[0.0]]
        updated = vpg.update(weights, [[[1e200]]], [1e-200], 1e-200)
        self.assertEqual((updated, weights), ([[1e-200 * 1e200 * 1e-200]], [[0.0]]))

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
            *_, last = episodes = list(self.train(300, returns))
            scores = [episode.score for episode in episodes]
            self.assertEqual(scores[:10], [91, 17, 26, 13, 18, 35, 36, 16, 15, 19])
            self.assertEqual(sum(scores), total)
            np.testing.assert_allclose(last.weights[-1], last_row, atol=1e-9, rtol=0)

    @unittest.skipUnless(os.environ.get("VPG_FULL"), "two minutes; VPG_FULL=1 runs it")
    def test_the_published_figures_20_000_episodes(self) -> None:
        published = {
            "discounted": (
                3_403_301,
                197.74,
                7649,
                [-2.7100106276245, 3.2418315660454],
            ),
            "notebook": (3_563_911, 199.96, 4509, [-3.4213649592472, 3.9531858976678]),
        }
        for returns, (*figures, last_row) in published.items():
            scores, weights = [], []
            for episode in self.train(20_000, returns):
                scores.append(int(episode.score))
                weights = episode.weights
            means = (sum(scores[n - 100 : n]) / 100 for n in range(100, 20_001))
            solved = next(n for n, mean in enumerate(means, 100) if mean >= 195)
            last = sum(scores[-100:]) / 100
            self.assertEqual([sum(scores), last, solved], figures)
            np.testing.assert_allclose(weights[-1], last_row, atol=1e-9, rtol=0)

    def test_training_keeps_the_row_sums_of_the_weights(self) -> None:
        episodes = list(self.train(50))
        sums = np.sum(episodes[0].before, 1)
        np.testing.assert_allclose(np.sum(episodes[-1].weights, 1), sums, rtol=1e-12)
        published = np.sum(vpg.NOTEBOOK_WEIGHTS, 1)
        np.testing.assert_allclose(published, sums, atol=1.5e-8, rtol=0)

    def test_the_published_weights_score_197(self) -> None:
        env, rng = cartpole(), vpg.random_stream(1)
        lengths = [
            len(list(vpg.rollout(env, vpg.NOTEBOOK_WEIGHTS, rng, None if n else 1)))
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

    def test_by_default_it_does_the_notebooks_job(self) -> None:
        (ours,), (theirs,) = vpg.train(cartpole(), episodes=1), self.train(1)
        self.assertEqual(ours, theirs)
        defaults: Any = vpg.train.__defaults__
        self.assertEqual(defaults[:4], (20_000, 2.5e-5, 0.99, 1))

    def test_weights_that_overflow_end_in_an_error(self) -> None:
        training = vpg.train(cartpole(), 5, 1e308, 0.99, 1)
        self.assertRaises(ArithmeticError, list, training)


def scores_of_seed(seed: int) -> Vector:
    """At the top of the file, so that another process finds it."""
    training = vpg.train(cartpole(), 20, 2.5e-5, 0.99, seed)
    return [episode.score for episode in training]


# ---------------------------------------------- the check of other implementations
#
# A trace is what a program computed; vpg.trace_lines shows one. The check computes each of
# its numbers again, by vpg.py's formula, from the trace's own inputs. A MISMATCH is not
# that formula: by mistake (backward, accumulated, …) or by choice (prefactor, normalised,
# mean, …). To tell which, known variants, here readings, are tried, and the simplest is
# named that agrees with all that is there:
#
#   return   another sum of the rewards, a base; or a base minus its mean, and divided by
#            its standard deviation, over an episode or a batch of episodes
#   weights  they move by lr · c · S, where S = Σ_t G_t ∇log π is an episode's or a batch's;
#            c is 1, 1/steps or 1/episodes, or negative; S may have γ^t in it, or all
#            earlier sums (gradients never zeroed), or be mean(∇log π) · Σ G_t
#   loss     c · S with −log π for ∇log π
#   logits   at weights that move within the episode; grad_log_policy too, or ∇π, or
#            without the policy's part; probs: a sigmoid, or not divided

NETWORK = ("weights", "logits", "probs", "grad_log_policy")
QUANTITIES = (*NETWORK[1:3], "action", NETWORK[3], "return", "loss", "weights", "score")
PRECISIONS = ((1e-9, 2.0**-52), (1e-5, 2.0**-23))  # tolerance, epsilon: double, single
Names = tuple[str, ...]  # a reading: keys of WORDS, and marks to tell two apart
Readings = dict[Names, Callable[[int], Any]]  # the value at step t
discounted = vpg.discounted_returns
BASES: dict[str, Callable[[Vector, float], Vector]] = {  # the last two are no sums
    "": discounted,
    "undiscounted": lambda r, gamma: discounted(r, 1.0),
    "notebook": vpg.notebook_returns,
    "prefactor": lambda r, gamma: [
        gamma**t * return_t for t, return_t in enumerate(discounted(r, gamma))
    ],
    "episode": lambda r, gamma: [math.fsum(r)] * len(r),
    "discounted-episode": lambda r, gamma: discounted(r, gamma)[:1] * len(r),
    "backward": lambda r, gamma: discounted(r[::-1], gamma)[::-1],
    "reward": lambda r, gamma: r,
    "no-sum": lambda r, gamma: [gamma**t * r_t for t, r_t in enumerate(r)],
}
WORDS = {
    "undiscounted": "Σ_{k≥t} r_k, without discount: weight r_k by γ^{k−t}",
    "notebook": "Σ_{k≥t} r_k γ^{r_k}, γ raised to the reward: raise it to k − t",
    "prefactor": "times γ^t, which is right for E[G_0]: to compare, drop it",
    "episode": "Σ_k r_k, the whole episode's at every step: sum from t on, discounted",
    "discounted-episode": "G_0 at every step: use the G_t of each",
    "backward": "r_t + γ G_{t−1}, the past: run the recursion from the last step",
    "reward": "r_t, one reward alone: sum γ^{k−t} r_k over all k ≥ t",
    "no-sum": "γ^t r_t, one reward alone: sum γ^{k−t} r_k over all k ≥ t",
    "centred": "minus the episode's mean, a baseline: to compare, don't subtract it",
    "batch-centred": "minus the mean of a batch: to compare, don't subtract it",
    "normalised": "(G_t − mean) / std of the episode: to compare, use G_t",
    "batch-normalised": "(G_t − mean) / std of a batch: to compare, use G_t",
    "sample": "the std is the sample's, with n − 1",
    "population": "the std is the population's, with n",
    "sigmoid": "1/(1+e^{−z}) of each logit: take the softmax of them all",
    "unnormalised": "e^z: divide by the sum over the actions",
    "not-divided": "∇π, the gradient of the probability: divide it by π(a|s)",
    "one-hot": "state × one-hot(a), without the policy's part: subtract state × π(·|s)",
    "stepwise": "at weights that move within the episode: update at its end",
    "mean-log-prob": "mean_t(log π) · Σ_t G_t: multiply step by step, then sum",
    "accumulated": "all earlier gradients are still in the sum: set them to zero",
    "batch": "of several episodes together: to compare, update after each",
    "descent": "the sum is subtracted: add it",
    "negated": "the sign is turned: ∇log π is ascended, −Σ_t G_t log π descended",
    "mean": "divided by the number of steps, a smaller lr: to compare, take the sum",
    "episode-mean": "divided by the number of episodes: to compare, take the sum",
    "unchanged": "never moved (or one array was written again and again)",
    "adam": "the first move is of one size: Adam or RMSprop? Check with plain SGD",
}
SPREADS = ("sample", "population")  # in the words only
TOO_SMALL = "moves of a few units in the last place of the weights; use a larger lr"


def distance(theirs: Any, ours: Any) -> float:
    """The largest |a − b| / max(1, |a|, |b|) in two lists of one shape.
    None, infinite and NaN are far from everything.
    """
    if theirs == ours:
        return 0.0
    if ours is None:
        return math.inf
    if isinstance(theirs, list):
        return max(map(distance, theirs, ours))
    difference = abs(theirs - ours) / max(1, abs(theirs), abs(ours))
    return difference if math.isfinite(ours) else math.inf


class Tally:
    """What is known of a quantity."""

    def __init__(self, name: str, tolerance: float):
        self.name, self.tolerance = name, tolerance
        self.checked = self.differing = self.untold = 0
        self.lacks = self.first = self.note = ""
        self.worst: dict[Names, float] = {}  # of each reading; () is right
        self.shown: set[Names] = set()  # readings that could have differed
        self.dead: set[Names] = set()  # readings that did

    def add(self, names: Names, difference: float, **more: Any) -> None:
        """How far a reading is off in one more place; more: a text on it, and whether
        rounding explains it, and whether the reading could have been told here.
        """
        difference = math.inf if math.isnan(difference) else difference
        self.worst[names] = max(difference, self.worst.get(names, 0.0))
        differs = difference > self.tolerance and not more.get("rounding", False)
        if more.get("shown", True):
            self.shown.add(names)
        if differs:
            self.dead.add(names)
        if not names:
            self.checked, self.differing = self.checked + 1, self.differing + differs
            self.first = self.first or more.get("text", "") * differs

    def compare(self, place: str, theirs: Any, ours: Any, names: Names = ()) -> None:
        """Their value, and a reading's."""
        difference, entry = distance(theirs, ours), ""
        if not difference <= self.tolerance and not self.first:
            while isinstance(theirs, list) and ours is not None:
                far = [distance(a, b) for a, b in zip(theirs, ours)]
                i = far.index(max(far))
                theirs, ours, entry = theirs[i], ours[i], f"{entry}[{i}]"
            place += f", entry {entry}" if entry else ""
            place += f": theirs {theirs}, ours {ours}"
        self.add(names, difference, text=place)

    def reading(self) -> Names | None:
        """() if it is right, else the reading of fewest names that agrees, or None."""
        agreeing = self.shown - self.dead - {()}
        alive = [names for names in self.worst if names in agreeing]  # in their order
        shortest = min(alive, key=lambda names: len(shown(names)), default=None)
        return shortest if self.differing else ()

    def report(self, names: Names | None, excused: str) -> str:
        """A line, and a second one for the names of a reading, but for an excused one."""
        line = f"{self.name:16} "
        wrong = [name for name in shown(names or ()) if name != excused]
        if not self.checked:
            lacks = f"no {self.lacks}" if self.lacks else self.untold and TOO_SMALL
            return line + (f"not checked: {lacks}" if lacks else "not in the trace")
        if names is None or wrong:
            line += f"MISMATCH: {self.differing} of {self.checked} differ"
            line += f", first at {self.first}"
        else:
            line += f"{self.checked} checked, worst difference {self.worst[names]:.1e}"
        line += f", {excused}: right together, as descent on a loss" * bool(excused)
        line += f"; {self.untold} not checked: {TOO_SMALL}" * bool(self.untold)
        line += self.note
        if wrong:
            words = [WORDS[n] for n in names or () if n in wrong or n in SPREADS]
            line += f"  variant: {' + '.join(wrong)}\n    {'; '.join(words)}"
        return line


def shown(names: Names) -> list[str]:
    """Without what only tells two of a name apart."""
    return [name for name in names if name in WORDS and name not in SPREADS]


class Scaled:
    """A reading of the returns: a base minus its mean, and divided by its std + ε.
    Then y = a x + b, with one a and b for a group of steps: two points tell them, the
    group grows while they fit, and at its end a = 1 / (std + ε), b = −a · mean.
    """

    def __init__(self, base: str, batch: bool, spread: str):
        kind = "batch-" * batch + ("normalised" if spread else "centred")
        self.base, self.batch, self.spread = base, batch, spread
        self.names: Names = tuple(filter(None, (base, kind, spread)))
        self.begin()

    def begin(self) -> None:
        """A new group of steps; a and b are not known yet."""
        self.xs: Vector = []
        self.ys: Vector = []
        self.ends: list[tuple[float, float]] = []  # the lowest and the highest x, y
        self.line: Vector = []  # a, b
        self.episodes = 0

    def join(self, xs: Vector, ys: Vector) -> bool:
        """Add an episode, if its a and b are the group's."""
        (x, y), high = ends = [f([*self.ends, *zip(xs, ys)]) for f in (min, max)]
        run, rise = high[0] - x, high[1] - y
        a = rise / run if run else 0.0
        line = [a, y - a * x]
        all_xs, all_ys = self.xs + xs, self.ys + ys
        if off(line, *((xs, ys) if ends == self.ends else (all_xs, all_ys))) > 1e-4:
            return False
        self.xs, self.ys, self.ends, self.line = all_xs, all_ys, ends, line * bool(run)
        self.episodes += 1
        return True

    def add(self, tally: Tally, xs: Vector, ys: Vector, ends: bool) -> None:
        """One more episode; its group ends with it, or before it, or goes on."""
        if not self.join(xs, ys):
            self.close(tally)
            if not self.join(xs, ys):
                tally.add(self.names, math.inf)
        if self.line and off([1.0, 0.0], self.line, [1.0, 0.0]) < 1e-6:
            tally.add(self.names, math.inf)  # the base as it is
        if ends or not self.batch:
            self.close(tally)

    def close(self, tally: Tally) -> None:
        """The group is whole: are a and b those of its mean and std?"""
        xs, ys, n = self.xs, self.ys, len(self.xs) - (self.spread == "sample")
        worst, told = 0.0, bool(self.line) and n > 0
        if told:
            mean = statistics.fmean(xs)
            std = math.dist(xs, [mean] * len(xs)) / math.sqrt(n)
            epsilon = 1 / self.line[0] - std if self.line[0] else 0.0  # 0 to 0.01
            a = (
                1 / max(std + min(max(epsilon, 0.0), 0.01), 1e-300)
                if self.spread
                else 1.0
            )
            worst = off([a, -a * mean], xs, ys)
        shown = told and (not self.batch or self.episodes > 1)
        tally.add(self.names, worst, shown=shown)
        self.begin()


def off(line: Vector, xs: Vector, ys: Vector) -> float:
    """How far ys are from a x + b."""
    a, b = line
    return max(abs(a * x + b - y) / max(1, abs(y)) for x, y in zip(xs, ys))


def sums(returns: Vector, vectors: Matrix, gamma: float) -> Matrix:
    """Of an episode: Σ v_t, Σ G_t v_t, Σ γ^t G_t v_t, Σ |G_t v_t|, Σ G_t, steps, 1."""

    def total(factors: Vector, columns: Iterable[Any]) -> Vector:
        return [math.fsum(map(operator.mul, factors, column)) for column in columns]

    powers = [gamma**t * return_t for t, return_t in enumerate(returns)]
    columns, ones = list(zip(*vectors)), [1.0] * len(returns)
    products = [total(factors, columns) for factors in (ones, returns, powers)]
    sizes = total([*map(abs, returns)], (map(abs, column) for column in columns))
    return [*products, sizes, [math.fsum(returns)], [math.fsum(ones)], [1.0]]


class Moves:
    """Readings of the weights' moves, or of losses: unit · c · S."""

    def __init__(self, tally: Tally, down: str, gamma: float | None, epsilon: float):
        self.tally, self.down, self.epsilon = tally, down, epsilon
        bases = ("", "prefactor", "mean-log-prob") if gamma else ("", "mean-log-prob")
        kept = ("", "accumulated") if down == "descent" else ("",)
        shares = ("", "mean", "episode-mean")
        options = itertools.product(bases, kept, ("", "batch"), ("", down), shares)
        self.readings: list[Names] = [tuple(filter(None, names)) for names in options]
        self.kept: dict[Names, Vector] = {}  # what has accumulated
        self.many: Matrix = []  # the sums since the last move
        self.moved = self.even = False

    def expected(self, names: Names, totals: Matrix) -> Vector:
        """c · S"""
        vectors, plain, prefactor, _, [returns], [steps], [episodes] = totals
        c = -1.0 if self.down in names else 1.0
        c /= steps if "mean" in names else episodes if "episode-mean" in names else 1
        if "mean-log-prob" in names:
            move = [c * v * returns / steps for v in vectors]
        else:
            move = [c * s for s in (prefactor if "prefactor" in names else plain)]
        if "accumulated" in names:
            before = self.kept.get(names, [0.0] * len(move))
            move = self.kept[names] = list(map(operator.add, before, move))
        return move

    def add(self, totals: Matrix, theirs: Any, ours: Any, unit: float, of: Any) -> None:
        """The sums of an episode, and after it their move (None: not told) and ours; of:
        the size of what was moved, and the text on an entry.
        """
        (sizes, text), tally = of, self.tally
        pairs = zip(self.many or [[0.0] * len(row) for row in totals], totals)
        self.many = many = [list(map(operator.add, *pair)) for pair in pairs]
        if theirs is None:
            return
        still = self.down == "descent" and not any(theirs)
        largest, expected = max(map(abs, theirs)), max(map(abs, ours))
        rounding = self.epsilon * (1 + math.sqrt(many[5][0]))
        noise = [rounding * (size + unit * s) for size, s in zip(sizes, many[3])]
        least = 4 * max(noise) if self.down == "descent" else 0.0
        least = least if math.isfinite(expected) else 0.0
        told = not (largest or expected) <= least or largest == expected
        tally.untold += not told
        for names in self.readings:
            if (names and names in tally.dead) or (still and "batch" in names):
                continue
            pool = many if "batch" in names else totals
            move = [unit * m for m in self.expected(names, pool)] if names else ours
            if told:
                scale = max(largest, *map(abs, move)) or 1.0
                off = [abs(a - b) / scale for a, b in zip(theirs, move)]
                beyond = [o for o, n in zip(off, noise) if not o * scale <= n]
                more = {"rounding": max(beyond, default=0.0) <= tally.tolerance}
                more |= {"shown": not still, "text": text(off.index(max(off)))}
                tally.add(names, max(off), **more)
        if not still:
            if told and expected and not self.moved:
                first = [abs(a) / unit for a, b in zip(theirs, ours) if b]
                trivial = len(first) < 3 and abs(max(first) - 1) > 0.02
                self.even = max(first) <= 1.02 * min(first) and not trivial
            self.moved, self.many = True, []


NUMBERS = {"state": "n", "logits": "m", "probs": "m", "grad_log_policy": "nm"}
NUMBERS |= dict.fromkeys(("uniform", "reward", "return", "loss", "score"), "")
NUMBERS |= {"weights": "nm", "lr": "", "gamma": ""}
LARGEST = sys.float_info.max
OF_STEPS = {"uniform", "action", "reward", "return", "step", *list(NUMBERS)[:4]}
ALIKE = {"total": "score", "obs": "state", "advantage": "return", "G": "return"}
ALIKE |= {"learning_rate": "lr", "alpha": "lr", "discount": "gamma"}


class Trace:
    """A trace's head, and then its episodes. A ValueError tells which line is none."""

    def __init__(self, file: Iterable[bytes]):
        self.file = file
        self.sizes: dict[str, int] = {}  # n and m
        self.notes: dict[str, str] = {}  # of keys that look like those that are known
        self.place = -1, 0, True  # episode, step, whether the episode has ended
        self.cut = ""  # what is left out, as its end is not there
        self.records = self.read()
        self.head = next(self.records, {})

    def read(self) -> Iterator[dict[str, Any]]:
        """The lines' known fields; first the head's, {} if there is none."""
        number, blank = 0, False
        for number, line in enumerate(self.file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if text and blank:
                    raise ValueError("blank lines before it")
                blank = not text
                record = {} if blank else json.loads(text)
                if type(record) is not dict:
                    raise ValueError("not an object")
                if number == 1 and "episode" in record:
                    yield {}
                if not blank:
                    yield self.fields(record, number == 1 and "episode" not in record)
            except (json.JSONDecodeError, UnicodeDecodeError):
                if number == 1 or line.endswith(b"\n"):
                    raise ValueError(f"line {number}: not JSON") from None
                self.cut = "the last line"
            except RecursionError:
                raise ValueError(f"line {number}: nested too deeply") from None
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
        if not number:
            raise ValueError("line 1: the file is empty")

    def fields(self, record: dict[str, Any], head: bool) -> dict[str, Any]:
        """The known fields of a line, typed, if it may follow the lines before."""
        fields: dict[str, Any] = {}
        for name, value in record.items():
            if name in NUMBERS:
                fields[name] = self.numbers(name, value, NUMBERS[name])
            elif name in ("episode", "step"):
                fields[name] = whole(name, value, sys.maxsize)
            elif name not in ("action", "returns" * head):
                alike = [n for n in NUMBERS if n.startswith(name) or name.startswith(n)]
                alike += [ALIKE[name]] if name in ALIKE else []
                if (
                    (len(name) > 2 or name in ALIKE)
                    and alike
                    and alike[0] not in record
                ):
                    self.notes[name] = f"{name} is not read; {alike[0]} would be"
        if "action" in record:
            size = self.sizes.get("m", sys.maxsize)
            value = record["action"]
            value = value[0] if isinstance(value, list) and len(value) == 1 else value
            fields["action"] = whole("action", value, size)
        if head:
            if not 0 <= fields.get("gamma", 0) <= 1:
                raise ValueError(f"gamma is {fields['gamma']}; allowed: 0 to 1")
            fields["returns"] = record.get("returns", "discounted")
            if fields["returns"] not in list(vpg.RETURNS):
                allowed = " or ".join(vpg.RETURNS)
                raise ValueError(f"returns is {fields['returns']}; allowed: {allowed}")
            return fields
        step = bool(OF_STEPS & record.keys())
        for name in ("episode", "step", "reward") if step else ("episode",):
            if name not in fields:
                raise ValueError(f"no {name}")
        episode, t, ended = self.place
        following = [(episode, t + 1)] * (not ended) + [(episode + 1, 0)]
        places = following if step else [(episode, t)] * (not ended)
        place = fields["episode"], fields["step"] if step else t
        if place not in places:
            raise ValueError(f"episode, step {place} out of order; allowed: {places}")
        self.place = *place, not step
        return fields

    def numbers(self, name: str, value: Any, axes: str) -> Any:
        """Numbers of a shape; a size that is not known yet is that of the first."""
        while len(axes) < 2 and isinstance(value, list) and len(value) == 1:
            if axes and not isinstance(value[0], list):
                break
            value = value[0]  # a batch of one
        if axes:
            size = len(value) if isinstance(value, list) else 0
            allowed = self.sizes.setdefault(axes[0], size)
            if not size or size != allowed:
                given = f"{name} has {size} entries"
                hint = " (one sigmoid output: see README.md)" if allowed == 1 else ""
                hint += " (the rows of weights)" if name == "state" else ""
                raise ValueError(f"{given}; allowed: {allowed or 'a list'}{hint}")
            if len(axes) > 1:
                return [self.numbers(name, part, axes[1:]) for part in value]
            plain = all(type(v) is float and -LARGEST <= v <= LARGEST for v in value)
            return value if plain else [self.numbers(name, v, "") for v in value]
        if type(value) in (int, float) and -LARGEST <= value <= LARGEST:
            return float(value)
        nan = name == "return" and isinstance(value, float)
        hint = "; a std of 0 makes a NaN: divide by std + 1e-8" if nan else ""
        given = f"{name} is {json.dumps(value)}"
        raise ValueError(f"{given}; allowed: finite numbers{hint}")

    def episodes(self) -> Iterator[tuple[list[dict[str, Any]], dict[str, Any]]]:
        """Their steps, and ends, {} where there is none; but not a last one that is cut."""
        steps: list[dict[str, Any]] = []
        ends = False
        for fields in self.records:
            if steps and ("step" not in fields or fields["step"] == 0):
                yield steps, {} if "step" in fields else fields
                steps, ends = [], ends or "step" not in fields
            if "step" in fields:
                steps.append(fields)
        if steps and (ends or self.cut):
            self.cut = f"episode {steps[0]['episode']}"
        elif steps:
            yield steps, {}


def whole(name: str, value: Any, size: int) -> int:
    """A whole number from 0 on, in any form: 1, 1.0, true."""
    if isinstance(value, (int, float)) and 0 <= value < size and value == int(value):
        return int(value)
    allowed = f"whole numbers from 0 to {size - 1}"
    raise ValueError(f"{name} is {json.dumps(value)}; allowed: {allowed}")


def in_single(numbers: Any) -> tuple[bool, bool]:
    """Are they in single precision; and are they not only 0, 1, 0.25 and the like?"""
    if isinstance(numbers, list) and isinstance(numbers[0], list):
        pairs = [in_single(part) for part in numbers]
        return all(short for short, _ in pairs), any(telling for _, telling in pairs)
    flat = numbers if isinstance(numbers, list) else [numbers]
    return array("f", flat).tolist() == flat, any(x * 1024 % 1 for x in flat)


def outer(state: Vector, action: int, n: int) -> Matrix:
    """state × one-hot(action)"""
    return [[s_i * (j == action) for j in range(n)] for s_i in state]


def times(factor: float, matrix: Matrix) -> Matrix:
    """Each entry times the factor."""
    return [[factor * entry for entry in row] for row in matrix]


class Check:
    """A trace against the formulas of vpg.py, an episode at a time."""

    def __init__(self, head: dict[str, Any], tolerance: float, epsilon: float):
        self.weights: Any = head.get("weights")
        self.lr: Any = head.get("lr")
        self.gamma: Any = head.get("gamma")
        self.tallies = {name: Tally(name, tolerance) for name in QUANTITIES}
        self.bases = BASES | {"": vpg.RETURNS[head.get("returns", "discounted")]}
        options = itertools.product(list(BASES)[:-2], (False, True), ("", *SPREADS))
        self.scaled = [Scaled(*option) for option in options]
        self.moves = Moves(self.tallies["weights"], "descent", self.gamma, epsilon)
        self.losses = Moves(self.tallies["loss"], "negated", self.gamma, epsilon)
        self.held: Any = (
            None  # the weights before an update that the trace does not tell
        )
        self.assumed = False  # are the weights ours, then?
        self.given: dict[str, list[Any]] = {}  # of the steps of an episode

    def compare(self, name: str, needs: Any, readings: Readings) -> None:
        """A quantity of the steps, where it is given and all that it needs is there."""
        tally, theirs = self.tallies[name], self.given[name]
        rows = [t for t, value in enumerate(theirs) if value is not None]
        for need, values in needs.items():
            if any(values[t] is None for t in rows):
                tally.lacks = need
                rows = [t for t in rows if values[t] is not None]
        for names, ours_at in readings.items():
            for t in rows:
                if names and names in tally.dead:
                    break
                try:
                    ours = ours_at(t)
                except (ArithmeticError, TypeError, ValueError):
                    ours = None
                tally.compare(f"{self.place}, step {t}", theirs[t], ours, names)

    def episode(self, steps: list[dict[str, Any]], end: dict[str, Any]) -> None:
        """Check one more."""
        self.place = f"episode {steps[0]['episode']}"
        self.given = {name: [step.get(name) for step in steps] for name in OF_STEPS}
        states, actions = self.given["state"], self.given["action"]
        rewards, uniforms = self.given["reward"], self.given["uniform"]
        for k, name in enumerate(("logits", "probs")):
            theirs = self.given[name][0]
            if self.held and theirs and states[0]:  # was there an update?
                both = (vpg.policy(w, states[0])[k] for w in (self.held, self.weights))
                before, after = (distance(theirs, ours) for ours in both)
                if before < after and after > self.tallies[name].tolerance:
                    self.weights = self.held
        if self.held and self.weights is not self.held:
            self.assumed, self.moves.many = True, []
        self.held = None
        old, gamma = self.weights, self.gamma
        ours = [old and s and vpg.policy(old, s)[0] for s in states]
        logits = [z or o for z, o in zip(self.given["logits"], ours)]
        probs = [p or z and vpg.softmax(z) for p, z in zip(self.given["probs"], logits)]

        def gradient(t: int, probs: Any) -> Any:
            inputs = probs, actions[t], states[t]
            if None in inputs or not probs[actions[t]]:
                return None
            return vpg.grad_log_policy(*inputs)

        given = enumerate(self.given["grad_log_policy"])
        grads = [gradient(t, probs[t]) if grad is None else grad for t, grad in given]

        @functools.cache
        def base(name: str) -> list[Any]:
            try:
                return self.bases[name](rewards, gamma)
            except (ArithmeticError, TypeError):
                return [None] * len(rewards)

        given_or_ours = zip(self.given["return"], base(""))
        returns = [ours if theirs is None else theirs for theirs, ours in given_or_ours]

        @functools.cache
        def moving(up: float, factor: float) -> list[Matrix]:
            """The weights at each step, if every step moves them."""
            weights = [old]
            for t, grad in enumerate(grads):
                return_t = up * factor**t * returns[t]
                weights.append(vpg.update(weights[t], [grad], [return_t], self.lr))
            return weights

        def at_moving(value: Callable[[int, Vector, Vector], Any]) -> Readings:
            """What value makes of the step, its logits and probs at weights that move."""

            def at(option: tuple[float, float], t: int) -> Any:
                return value(t, *vpg.policy(moving(*option)[t], states[t]))

            options = itertools.product((1.0, -1.0), (1.0, gamma or 1.0))
            return {("stepwise", str(o)): functools.partial(at, o) for o in options}

        readings: Readings = {(): lambda t: ours[t]}
        readings |= at_moving(lambda _, logits, probs: logits)
        needs: Any = {"weights": [old] * len(steps), "state": states}
        self.compare("logits", needs, readings)
        readings = {
            (): lambda t: vpg.softmax(logits[t]),
            ("sigmoid",): lambda t: [1 / (1 + math.exp(-z)) for z in logits[t]],
            ("unnormalised",): lambda t: [math.exp(z) for z in logits[t]],
        }
        self.compare("probs", {"logits": logits}, readings)
        for t, p in enumerate(
            self.given["probs"]
        ):  # without logits, their sum at least
            if p and not logits[t] and (min(p) < 0 or abs(math.fsum(p) - 1) > 1e-4):
                size = math.fsum(map(abs, p)) or 1.0
                share = [abs(entry) / size for entry in p]
                place = f"{self.place}, step {t} (sum {math.fsum(p)})"
                self.tallies["probs"].compare(place, p, share)
        readings = {(): lambda t: vpg.sample_action(probs[t], uniforms[t])}
        self.compare("action", {"uniform": uniforms, "probs": probs}, readings)
        readings = {
            (): lambda t: gradient(t, probs[t]),
            ("not-divided",): lambda t: times(probs[t][actions[t]], readings[()](t)),
            ("one-hot",): lambda t: outer(states[t], actions[t], len(probs[t])),
            **at_moving(lambda t, logits, probs: gradient(t, probs)),
        }
        for names, value in list(readings.items()):
            negated = functools.partial(lambda value, t: times(-1.0, value(t)), value)
            readings[(*names[:1], "negated", *names[1:])] = negated
        needs = {"probs": probs, "action": actions, "state": states}
        self.compare("grad_log_policy", needs, readings)
        at: Callable[[str, int], Any] = lambda name, t: base(name)[t]
        readings = {(n,) * bool(n): functools.partial(at, n) for n in BASES}
        self.compare("return", {"gamma": [gamma] * len(steps)}, readings)
        told, tally = end.get("weights"), self.tallies["return"]
        ends = "loss" in end or told not in (None, old)
        for scaled in self.scaled if None not in (gamma, *self.given["return"]) else ():
            if scaled.names not in tally.dead and None not in base(scaled.base):
                scaled.add(tally, base(scaled.base), self.given["return"], ends)
        if "score" in end:
            self.tallies["score"].compare(self.place, end["score"], math.fsum(rewards))
        self.loss(probs, actions, returns, end.get("loss"))
        self.update(grads, returns, told)

    def lacks(self, name: str, given: Any, needs: dict[str, Any]) -> bool:
        """Is something missing? If it is for a given value, note what."""
        missing = next((need for need, values in needs.items() if None in values), "")
        if missing and given is not None:
            self.tallies[name].lacks = missing
        return bool(missing)

    def loss(self, probs: Any, actions: Any, returns: Any, theirs: Any) -> None:
        """−Σ_t G_t log π(a_t|s_t)"""
        pairs = [(p or [], a) for p, a in zip(probs, actions)]
        taken = [p[a] if a is not None and p and p[a] > 0 else None for p, a in pairs]
        needs = {"action": actions, "probs above 0": taken, "return": returns}
        if not self.lacks("loss", theirs, needs):
            logs = [[-math.log(p or 1)] for p in taken]
            totals = sums(returns, logs, self.gamma or 1.0)
            text = f"{self.place}: theirs {theirs}, ours {totals[1][0]}"
            of = [math.fsum(map(abs, returns))], lambda _: text
            told = None if theirs is None else [theirs]
            self.losses.add(totals, told, totals[1], 1.0, of)

    def update(self, grads: Any, returns: Any, told: Any) -> None:
        """θ + lr Σ_t G_t ∇log π(a_t|s_t)"""
        old, lr, self.weights = self.weights, self.lr, told
        needs = {"weights before": [old], "lr": [lr]}
        needs |= {"return": returns, "gradient": grads}
        if self.lacks("weights", told, needs):
            return
        new = vpg.update(old, grads, returns, lr)
        if told is None:
            self.weights, self.held = new, old
        matrices = old, told or new, new, *grads
        before, after, ours, *flat = ([w for row in m for w in row] for m in matrices)
        theirs, move = (list(map(operator.sub, x, before)) for x in (after, ours))

        def text(k: int) -> str:
            i, j = divmod(k, len(new[0]))
            return f"{self.place}, entry [{i}][{j}]: theirs {after[k]}, ours {ours[k]}"

        of = [max(abs(a), abs(b)) for a, b in zip(before, after)], text
        totals = sums(returns, flat, self.gamma or 1.0)
        self.moves.add(totals, theirs if told else None, move, lr, of)

    def report(self, cut: bool, notes: Iterable[str]) -> list[str]:
        """A line or two on each quantity."""
        returns, weights = self.tallies["return"], self.tallies["weights"]
        for scaled in self.scaled if not cut else ():
            if scaled.xs and scaled.names not in returns.dead:
                scaled.close(returns)
        readings = {name: tally.reading() for name, tally in self.tallies.items()}
        if weights.differing and not self.moves.moved:
            readings["weights"] = ("unchanged",)
        elif readings["weights"] is None and self.moves.even:
            readings["weights"] = ("adam",)
        if self.assumed:
            name = "logits" if self.tallies["logits"].checked else "probs"
            self.tallies[name].note = "; our updates, where an end has no weights"
        excused = {"grad_log_policy": "negated", "weights": "descent"}
        if any(word not in (readings[name] or ()) for name, word in excused.items()):
            excused = {}
        if not any(tally.checked + tally.untold for tally in self.tallies.values()):
            lacks = [
                f"{t.name} has no {t.lacks}" for t in self.tallies.values() if t.lacks
            ]
            known = f"known: {', '.join(QUANTITIES)}"
            raise ValueError("; ".join(["nothing to check", *lacks, *notes, known]))
        both = [(readings[name], excused.get(name, "")) for name in QUANTITIES]
        return [tally.report(*pair) for tally, pair in zip(self.tallies.values(), both)]


def check(
    file: Iterable[bytes], path: str, tolerance: float | None
) -> tuple[str, bool]:
    """The report on a trace, and whether all that was checked is right."""
    trace, counts = Trace(file), [0, 0]
    double, single = (
        Check(trace.head, *(precision if tolerance is None else (tolerance, 0.0)))
        for precision in PRECISIONS
    )
    telling: dict[str, bool] = {}  # the quantities that are there
    finer: set[str] = set()  # those that are not in single precision
    for steps, end in trace.episodes():
        counts = [counts[0] + 1, counts[1] + len(steps)]
        for name in (*NETWORK, "return"):
            for line in (trace.head, *steps, end) if name not in finer else ():
                if name in line:
                    short, tells = in_single(line[name])
                    telling[name] = tells or telling.get(name, False)
                    finer |= set() if short else {name}
        told = {name for name in telling if telling[name] or name in finer}
        network = told - {"return"} or told
        double.episode(steps, end)
        if network - finer or not network:  # it may still be single precision
            single.episode(steps, end)
    is_single = counts[0] > 0 and bool(network - finer)
    title = f"{path}: {counts[0]} episodes, {counts[1]} steps"
    title += ", single precision" * is_single
    title += f"; {trace.cut}, not finished, is left out" * bool(trace.cut)
    notes = trace.notes.values()
    lines = (single if is_single else double).report(bool(trace.cut), notes)
    report = "\n".join([title, *notes, *lines])
    return report, "MISMATCH" not in report


# An independent trainer, in NumPy, of any base × scale × batch × move × sign × precision.
# None of it comes from vpg.py or from the check.
Line = dict[str, Any]
NUMPY_BASES: dict[str, Callable[..., Any]] = {
    "": lambda r, k, g: np.triu(g ** np.maximum(k - k[:, None], 0)) @ r,
    "undiscounted": lambda r, k, g: np.cumsum(r[::-1])[::-1],
    "notebook": lambda r, k, g: np.cumsum((r * g**r)[::-1])[::-1],
    "prefactor": lambda r, k, g: np.cumsum((r * g**k)[::-1])[::-1],
    "episode": lambda r, k, g: np.full(len(r), r.sum()),
    "discounted-episode": lambda r, k, g: np.full(len(r), (r * g**k).sum()),
    "backward": lambda r, k, g: np.tril(g ** np.maximum(k[:, None] - k, 0)) @ r,
    "reward": lambda r, k, g: r,
    "no-sum": lambda r, k, g: r * g**k,
}
NUMPY_GRADS: dict[str, Callable[..., Any]] = {
    "": lambda s, p, one: np.outer(s, one - p),
    "negated": lambda s, p, one: np.outer(s, p - one),
    "not-divided": lambda s, p, one: np.outer(s, one - p) * (p @ one),
    "not-divided + negated": lambda s, p, one: -np.outer(s, one - p) * (p @ one),
    "one-hot": lambda s, p, one: np.outer(s, one),
}
NUMPY_PROBS: dict[str, Callable[..., Any]] = {
    "": lambda z: np.exp(z) / np.exp(z).sum(),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "unnormalised": lambda z: np.exp(z),
}


Spoil = Callable[[str, Any, int, int], Any]  # name, value, episode, step


def numpy_trace(
    seed: int = 0,
    sizes: tuple[int, int] = (3, 4),
    lengths: Sequence[int] = (4, 3, 6, 2, 5, 4),
    lr: float = 0.05,
    gamma: float = 0.8,
    base: str = "",
    scale: str = "",  # centred, normalised, batch-centred or batch-normalised
    ddof: int = 1,
    batch: int = 1,
    move: tuple[str, ...] = (),
    grad: str = "",
    probs: str = "",
    stepwise: str = "",  # acting or learning
    dtype: Any = float,
    spoil: Spoil = lambda name, value, episode, t: value,
) -> list[Line]:
    """A trace, in which what spoil makes of a value is what the rest is computed from."""
    rng = np.random.RandomState(seed)
    weights = rng.randn(*sizes).astype(dtype)
    lines: list[Line] = [{"lr": lr, "gamma": gamma, "weights": weights}]
    lr, gamma = dtype(lr), dtype(gamma)
    kept: Any = 0
    for first in range(0, len(lengths), batch):
        group: list[list[Line]] = []
        for n, length in enumerate(lengths[first : first + batch], first):
            group.append([])
            moving = weights
            for t in range(length):
                state, reward = rng.randn(sizes[0]).astype(dtype), dtype(rng.randn())
                acting = moving if stepwise == "acting" else weights
                logits = spoil("logits", state @ acting, n, t)
                p = spoil("probs", NUMPY_PROBS[probs](logits), n, t)
                uniform = rng.rand()
                action = int(np.argmax(np.cumsum(p) / np.sum(p) > uniform))
                action = spoil("action", action, n, t)
                one = np.eye(sizes[1], dtype=dtype)[action]
                learning = NUMPY_PROBS[""](state @ moving) if stepwise else p
                g = NUMPY_GRADS[grad](state, learning, one)
                g = spoil("grad_log_policy", g, n, t)
                step = {"episode": n, "step": t, "state": state, "logits": logits}
                step |= {"probs": p, "uniform": uniform, "action": action}
                group[-1].append(step | {"reward": reward, "grad_log_policy": g})
                if stepwise:  # with base reward
                    moving = (moving + lr * g * reward).astype(dtype)
        rewards = [np.array([s["reward"] for s in steps], dtype) for steps in group]
        returns = [NUMPY_BASES[base](r, np.arange(len(r)), gamma) for r in rewards]
        pools = [np.concatenate(returns)] * len(group) if "batch" in scale else returns
        if scale:
            returns = [r - pool.mean() for r, pool in zip(returns, pools)]
        if "normalised" in scale:
            stds = [pool.std(ddof=ddof) + 1e-8 for pool in pools]
            returns = [r / std for r, std in zip(returns, stds)]
        total: Any = 0  # of ∇log π, and after its entries −log π
        plain: Any = 0
        for steps, values in zip(group, returns):
            for t, (step, value) in enumerate(zip(steps, values)):
                step["return"] = spoil("return", value, step["episode"], t)
                log = -np.log(step["probs"][step["action"]])
                vector = np.append(step["grad_log_policy"], log)
                factor = gamma**t if "prefactor" in move else 1
                total = total + factor * step["return"] * vector
                plain = plain + vector
        every = [step["return"] for steps in group for step in steps]
        if "mean-log-prob" in move:
            total = plain * sum(every) / len(every)
        share = dtype(-1 if "down" in move else 1)
        share /= len(every) if "mean" in move else 1
        share /= len(group) if "episode-mean" in move else 1
        update = share * total[:-1].reshape(sizes)
        kept = update + (kept if "accumulated" in move else 0)
        for steps in group:
            n, last = steps[0]["episode"], steps is group[-1]
            if last and "unchanged" not in move:
                moved = weights + lr * (np.sign(kept) if "adam" in move else kept)
                weights = spoil("weights", moved.astype(dtype), n, 0)
            score = spoil("score", np.sum([step["reward"] for step in steps]), n, 0)
            more = {"loss": spoil("loss", share * total[-1], n, 0)} if last else {}
            lines += [*steps, {"episode": n, "score": score, "weights": weights} | more]
    text = json.dumps(lines, default=lambda array: array.tolist())
    return list(json.loads(text))


def spoiled(where: Any, name: str, value: Any, episode: int, t: int) -> Any:
    """Another value, if this is where one is wanted."""
    if (name, episode, t) != where:
        return value
    if name == "action":
        return (value + 1) % 4
    changed = np.array(value)
    changed.flat[-1] += 0.125
    return changed if changed.shape else changed[()]


def as_json(lines: Iterable[Line]) -> bytes:
    """JSON Lines."""
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


class TestCheck(unittest.TestCase):
    def check(self, lines: Any, tolerance: float | None = None) -> dict[str, str]:
        """The report's lines by quantity; its title; its variants and their words."""
        data = lines if isinstance(lines, bytes) else as_json(lines)
        report, right = check(io.BytesIO(data), "trace", tolerance)
        title, *rest = report.splitlines()
        found = {line.split()[0]: line for line in rest if line[0] != " "}
        words = [line.strip() for line in rest if line[0] == " "]
        self.assertEqual(right, "MISMATCH" not in report)
        return found | {"title": title, "words": " | ".join(words), "all": report}

    def variants(self, lines: Any) -> dict[str, str]:
        """Of each quantity that is no match, the variant, or ? for none."""
        found = self.check(lines)
        return {
            name: (line.split("variant: ")[1:] or ["?"])[0]
            for name, line in found.items()
            if name in QUANTITIES and "MISMATCH" in line
        }

    def test_a_right_trace_of_any_size_is_right_in_both_precisions(self) -> None:
        source = random.Random(0)
        for seed in range(700):
            lengths = [source.randint(1, 6) for _ in range(source.randint(1, 4))]
            lines = numpy_trace(
                seed=seed,
                sizes=(source.randint(1, 4), source.randint(1, 4)),
                lengths=lengths,
                lr=10 ** source.uniform(-5, 0),
                gamma=source.choice([0.0, 0.5, 0.99, 1.0]),
                dtype=source.choice([float, np.float32]),
            )
            self.assertEqual(self.variants(lines), {}, seed)

        found = self.check(numpy_trace())
        self.assertEqual(found["title"], "trace: 6 episodes, 24 steps")
        counts = [found[name].split()[1] for name in QUANTITIES]
        self.assertEqual(counts, ["24"] * 5 + ["6"] * 3)
        for name in QUANTITIES:
            self.assertRegex(found[name], r"worst difference (0.0e\+00|.*e-1[4-7])$")

    def test_every_return_is_named(self) -> None:
        scales = ("", "centred", "normalised", "batch-centred", "batch-normalised")
        for base, scale, ddof, dtype in itertools.product(
            NUMPY_BASES, scales, (0, 1), (float, np.float32)
        ):
            if base in ("reward", "no-sum") and scale:
                continue  # no sums
            if base.endswith("episode") and scale in scales[1:3]:
                continue  # the same at every step: its own mean
            with self.subTest(base=base, scale=scale, ddof=ddof, dtype=dtype):
                batch = 3 if "batch" in scale else 1
                trace = functools.partial(numpy_trace, base=base, scale=scale)
                lines = trace(ddof=ddof, batch=batch, dtype=dtype)
                expected = " + ".join(filter(None, (base, scale)))
                variants = self.variants(lines)
                self.assertEqual(variants.get("return", ""), expected)
                if "normalised" in scale:
                    words = self.check(lines)["words"]
                    self.assertIn("sample" if ddof else "population", words)

    def test_batches_are_found_where_nothing_tells_their_ends(self) -> None:
        for scale, ddof in ("batch-centred", 1), ("batch-normalised", 0):
            lines = numpy_trace(batch=3, scale=scale, ddof=ddof, lengths=[4, 1, 3] * 3)
            for line in lines:
                line.pop("weights", line.pop("loss", None))
            self.assertEqual(self.variants(lines), {"return": scale})

    def test_only_the_mean_and_the_std_are_named(self) -> None:
        x = NUMPY_BASES[""](np.ones(4), np.arange(4), 0.9)
        steps = [
            {"episode": n, "step": t, "reward": 1} for n in range(3) for t in range(4)
        ]
        for y, name in (
            ((x - x.mean()) / x.std(ddof=1), "normalised"),  # of three equal episodes
            ((x - x.mean()) / (x.std() + 0.009), "normalised"),
            ((x - x.mean()) / (x.std() + 0.1), "?"),
            ((x - x.mean()) / (x.std() - 0.01), "?"),
            (x / x.std(), "?"),
            (x - x.mean() - 0.1, "?"),
            (x - 2.0, "?"),
            (x / 2, "?"),
        ):
            lines = [step | {"return": y[step["step"]]} for step in steps]
            self.assertEqual(self.variants([{"gamma": 0.9}, *lines])["return"], name)

    def test_every_move_and_loss_is_named(self) -> None:
        kinds = ((), ("prefactor",), ("mean-log-prob",), ("accumulated",))
        shares = ((), ("mean",), ("episode-mean",))
        for kind, batch, down, share, dtype in itertools.product(
            kinds, (1, 3), ((), ("down",)), shares, (float, np.float32)
        ):
            if batch == 1 and share == ("episode-mean",):
                continue  # the mean of one episode
            with self.subTest(kind=kind, batch=batch, down=down, share=share):
                move = (*kind, *down, *share)
                lines = numpy_trace(move=move, batch=batch, dtype=dtype)
                several = ["batch"] * (batch > 1)
                sign = ["descent"] * len(down)
                expected = " + ".join([*kind, *several, *sign, *share])
                variants = self.variants(lines)
                self.assertEqual(variants.pop("weights", ""), expected)
                loss = [name for name in kind if name != "accumulated"]
                sign = ["negated"] * len(down)
                expected = " + ".join([*loss, *several, *sign, *share])
                self.assertEqual(variants.pop("loss", ""), expected)
                self.assertEqual(variants, {})

    def test_gradients_probs_and_other_optimisers_are_named(self) -> None:
        for name in filter(None, NUMPY_GRADS):
            expected = {"grad_log_policy": name}
            self.assertEqual(self.variants(numpy_trace(grad=name)), expected)
        for name in filter(None, NUMPY_PROBS):
            self.assertEqual(self.variants(numpy_trace(probs=name))["probs"], name)
        for name in ("adam", "unchanged"):
            for sizes in (3, 4), (1, 2):
                variants = self.variants(numpy_trace(move=(name,), sizes=sizes))
                self.assertEqual(variants, {"weights": name})

    def test_weights_that_move_within_the_episode_are_named(self) -> None:
        for grad in ("", "negated"):
            names = " + ".join(filter(None, ("stepwise", grad)))
            for stepwise in ("acting", "learning"):
                lines = numpy_trace(stepwise=stepwise, base="reward", grad=grad)
                variants = self.variants(lines)
                self.assertEqual(variants.pop("return"), "reward")
                expected = {"logits": "stepwise"} if stepwise == "acting" else {}
                if grad or stepwise == "learning":
                    known = grad if stepwise == "acting" else names
                    expected["grad_log_policy"] = known
                self.assertEqual(variants, expected)

    def test_a_gradient_of_the_loss_that_is_descended_is_right(self) -> None:
        lines = numpy_trace(grad="negated", move=("down",))
        found = self.check(lines)
        self.assertEqual(self.variants(lines), {"loss": "negated"})
        self.assertIn("negated: right together", found["grad_log_policy"])
        self.assertIn("descent: right together", found["weights"])
        lines = numpy_trace(grad="negated", move=("down", "mean"), batch=2)
        self.assertEqual(self.variants(lines)["weights"], "batch + mean")
        self.assertNotIn("grad_log_policy", self.variants(lines))

    def test_a_fault_in_one_place_is_found_there_and_nowhere_else(self) -> None:
        for quantity in QUANTITIES:
            of_episodes = quantity in ("weights", "loss", "score")
            places = [(1, 0), (4, 0)] if of_episodes else [(0, 3), (2, 5), (4, 0)]
            for (n, t), dtype in itertools.product(places, (float, np.float32)):
                with self.subTest(quantity=quantity, episode=n, t=t):
                    spoil = functools.partial(spoiled, (quantity, n, t))
                    lines = numpy_trace(spoil=spoil, dtype=dtype)
                    self.assertEqual(self.variants(lines), {quantity: "?"})
                    place = f"episode {n}" + f", step {t}" * (not of_episodes)
                    total = 6 if of_episodes else 24
                    expected = f"MISMATCH: 1 of {total} differ, first at {place}"
                    self.assertIn(expected, self.check(lines)[quantity])

    def test_the_report_shows_the_entry_that_is_furthest_off(self) -> None:
        lines = numpy_trace()
        lines[3]["grad_log_policy"][1][2] += 0.25
        lines[3]["grad_log_policy"][2][1] += 0.5
        entry = lines[3]["grad_log_policy"][2][1]
        line = self.check(lines)["grad_log_policy"]
        self.assertIn("first at episode 0, step 2, entry [2][1]: theirs ", line)
        theirs, ours = re.findall(r"(?:theirs|ours) (\S+?)(?:,|$)", line)
        self.assertEqual(float(theirs), entry)
        self.assertAlmostEqual(float(ours), entry - 0.5, places=12)

    def test_numbers_agree_up_to_the_tolerance_and_no_further(self) -> None:
        for theirs, reward, tolerance, right in (
            (64.0, 64.0, 0.0, True),
            (math.nextafter(64.0, 65.0), 64.0, 0.0, False),
            (96.0, 64.0, 0.5, True),  # 32 ≤ 0.5 · 96, but > 0.25 · 96
            (96.0, 64.0, 0.25, False),
            (-64.0, -96.0, 0.34, True),
            (64.0, 96.0, 0.33, False),
            (0.5, 0.25, 0.25, True),  # below 1 the difference counts
            (0.5, 0.25, 0.24, False),
            (1.0, 1.0 + 0.9e-9, None, True),
            (1.0, 1.0 + 1.1e-9, None, False),
        ):
            step = {"episode": 0, "step": 0, "return": theirs, "reward": reward}
            found = self.check([{"gamma": 0.5}, step], tolerance)
            self.assertEqual("MISMATCH" not in found["return"], right, theirs)

    def test_moves_are_compared_by_their_own_size(self) -> None:
        lines = numpy_trace(lr=2.5e-9, lengths=[4] * 5)
        self.assertEqual(self.variants(lines), {})
        lines[5]["weights"] = lines[0]["weights"]  # within 1e-8 of right
        self.assertIn("weights", self.variants(lines))
        lines = numpy_trace(lr=2.5e-9, lengths=[4] * 5, move=("down",))
        self.assertEqual(self.variants(lines)["weights"], "descent")
        lines = numpy_trace(lr=2.5e-9, dtype=np.float32, move=("down",))
        expected = "weights          not checked: moves of a few units"
        self.assertEqual(self.check(lines)["weights"][: len(expected)], expected)
        lines[-1]["weights"][0][0] += 0.125  # one that can be told
        self.assertIn("differ, first at episode 5", self.check(lines)["weights"])
        self.assertIn("; 5 not checked: moves", self.check(lines)["weights"])

    def test_single_precision_is_seen_and_has_its_own_tolerance(self) -> None:
        lines = numpy_trace(dtype=np.float32)
        self.assertIn(", single precision", self.check(lines)["title"])
        for name in ("MISMATCH", "weights          MISMATCH", "loss             MIS"):
            self.assertIn(name, self.check(lines, 1e-9)["all"])
        lines[1]["logits"][0] += 1e-9  # one number that is finer, of one quantity
        self.assertIn(", single precision", self.check(lines)["title"])
        for line in lines:
            line.pop("logits", line.pop("probs", line.pop("weights", None)))
            line.pop("grad_log_policy", None)
        step = {"episode": 0, "step": 0, "reward": 1.0, "return": 1.0}
        self.assertNotIn("single", self.check([{"gamma": 1.0}, step])["title"])
        step["return"] = float(np.float32(1 / 3))
        self.assertIn("single", self.check([{"gamma": 1.0}, step])["title"])

    def test_only_what_is_there_is_needed(self) -> None:
        whole = numpy_trace()
        for absent, unchecked in (
            (("weights",), {"logits": "no weights"}),
            (("lr",), {"weights": "no lr"}),
            (("gamma",), {"return": "no gamma"}),
            (("state",), {"logits": "no state", "grad_log_policy": "no state"}),
            (("uniform",), {"action": "no uniform"}),
            (("action",), {"loss": "no action", "grad_log_policy": "no action"}),
            (("return", "gamma"), {"loss": "no return", "weights": "no return"}),
            (("weights", "logits", "state"), {"probs": "no logits"}),
        ):
            for head_only in (False, True):
                lines = json.loads(json.dumps(whole))
                for line in lines[:1] if head_only else lines:
                    for name in absent:
                        line.pop(name, None)
                found = self.check(lines)
                if head_only and set(absent) - {"lr", "gamma"}:
                    continue
                for name, why in unchecked.items():
                    if name not in absent:
                        self.assertIn(f"not checked: {why}", found[name], absent)
                for name in absent:
                    if name in QUANTITIES:
                        self.assertIn("not in the trace", found[name])
        bare = [{"episode": 0, "step": 0, "reward": 1.0, "x": 2}]
        for lines in bare, [{}, *bare], [{"gamma": 1}, *bare]:
            with self.assertRaisesRegex(ValueError, "nothing to check; known: logits"):
                self.check(lines)

    def test_a_network_of_any_depth_is_checked_by_its_loss(self) -> None:
        lines = numpy_trace(batch=2, move=("mean",))
        keys = {"episode", "step", "probs", "action", "reward", "return", "loss"}
        keys.add("gamma")
        lines = [{k: v for k, v in line.items() if k in keys} for line in lines]
        self.assertEqual(self.variants(lines), {"loss": "batch + mean"})
        self.assertIn("4 of", "4 of" + self.check(lines)["return"])

    def test_keys_that_look_like_known_ones_are_told(self) -> None:
        lines = numpy_trace()
        for line in lines[1:]:
            line["returns"] = line.pop("return", 0.0)
            line["grad"] = line.pop("grad_log_policy", 0.0)
            line["total"] = line.pop("score", 0.0)
        found = self.check(lines)
        for name, known in ("grad", "grad_log_policy"), ("total", "score"):
            self.assertIn(f"{name} is not read; {known} would be", found["all"])
        self.assertIn("returns is not read; return would be", found["all"])

    def test_our_own_updates_stand_in_for_weights_that_are_not_told(self) -> None:
        lines = numpy_trace()
        for line in lines[1:]:
            line.pop("weights", None)
        found = self.check(lines)
        self.assertRegex(found["logits"], "24 checked.*; our updates, where an end")
        self.assertNotIn("MISMATCH", found["all"])

    def test_weights_told_at_a_batchs_end_alone_are_held_until_then(self) -> None:
        for absent in ("", "logits"):
            lines = numpy_trace(batch=3, move=("mean",))
            for line in lines[1:]:
                line.pop(absent, None)
                if "loss" not in line:
                    line.pop("weights", None)
            expected = dict.fromkeys(("weights", "loss"), "batch + mean")
            self.assertEqual(self.variants(lines), expected)

    def test_probs_without_logits_sum_to_1(self) -> None:
        step = {"episode": 0, "step": 0, "reward": 1.0, "return": 1.0, "action": 0}
        for probs, wrong in ([0.25, 0.75], 0), ([1.0, 1.0], 1), ([-0.5, 1.5], 1):
            found = self.check([{"gamma": 1.0}, step | {"probs": probs}])
            self.assertEqual("MISMATCH" in found["probs"], bool(wrong))

    def test_what_overflows_is_far_off_and_no_crash(self) -> None:
        steps: list[Line] = [{"episode": 0, "step": t, "reward": 1.0} for t in (0, 1)]
        for first, second in (1e-320, 2e-320), (1e200, 1.0), (1e308, 1e308):
            steps[0] |= {"reward": first, "return": first}
            steps[1] |= {"reward": second, "return": second / 4}
            variants = self.variants([{"gamma": 0.9}, *steps])
            self.assertEqual(variants.keys(), {"return"} if first > 1 else set())
        step = steps[0] | {
            "state": [1e9],
            "probs": [0.5, 0.5],
            "action": 0,
            "return": 1,
        }
        end = {"episode": 0, "weights": [[5.0, 5.0]]}
        head = {"gamma": 0.9, "lr": 1e300, "weights": [[1.0, 1.0]]}
        self.assertIn("weights", self.variants([head, step, end]))

    def test_the_trace_s_latest_weights_are_in_force(self) -> None:
        spoil = functools.partial(spoiled, ("weights", 0, 0))
        self.assertEqual(self.variants(numpy_trace(spoil=spoil)), {"weights": "?"})

    def test_an_unfinished_last_episode_is_left_out(self) -> None:
        lines = numpy_trace()
        text = as_json(lines)
        for data in (
            as_json(lines[:-1]),
            as_json(lines[:-2]),
            text[:-30],
            text[:-1000],
        ):
            found = self.check(data)
            title = "trace: 5 episodes, 20 steps; episode 5, not finished, is left out"
            self.assertEqual(found["title"], title)
            self.assertNotIn("MISMATCH", found["all"])
        self.assertIn("6 episodes", self.check(text[:-1])["title"])

    def test_other_forms_are_welcome(self) -> None:
        lines = numpy_trace(sizes=(3, 2))
        for line in lines:
            if line.get("action") == 1:
                line["action"] = True if line["step"] % 2 else 1.0
        text = as_json(lines)
        nested = [  # a batch of one
            line | {key: [line[key]] for key in ("state", "probs", "action", "return")}
            for line in lines
            if "step" in line
        ]
        for data in (
            as_json([lines[0], *nested]),
            b"\xef\xbb\xbf" + text,
            text.replace(b"\n", b"\r\n"),
            text + b"\n\r\n \n",
            as_json({"mine": None, **dict(reversed(line.items()))} for line in lines),
        ):
            self.assertNotIn("MISMATCH", self.check(data)["all"])
        convention = numpy_trace(base="notebook")
        convention[0]["returns"] = "notebook"
        self.assertNotIn("MISMATCH", self.check(convention)["all"])

    def test_what_can_not_be_computed_differs(self) -> None:
        head = {"lr": 1, "gamma": 0, "weights": [[1e308, 0]], "returns": "notebook"}
        step = {"episode": 0, "step": 0, "state": [10], "logits": [1e308, 0]}
        step |= {"action": 1, "probs": [1, 0], "uniform": 2, "reward": -1, "return": 1}
        expected = {"logits", "action", "return"}
        self.assertEqual(self.variants([head, step]).keys(), expected)

    def test_a_file_that_is_no_trace_is_told_with_its_line(self) -> None:
        good = numpy_trace()
        lines = as_json(good).splitlines(keepends=True)
        nan, infinite = {"return": math.nan}, {"reward": -math.inf}
        changes: list[tuple[int, str, Line]] = [  # in a line, None takes a key away
            (1, "0 entries; allowed: a list", {"weights": []}),
            (1, "0 entries; allowed: a list", {"weights": 5}),
            (1, "0 entries; allowed: a list", {"weights": [[]]}),
            (1, "3 entries; allowed: 4", {"weights": [[1, 2, 3, 4], [1, 2, 3]]}),
            (1, '"x"; allowed: finite numbers', {"lr": "x"}),
            (1, "allowed: discounted or notebook", {"returns": ["discounted"]}),
            (1, "gamma is -0.5; allowed: 0 to 1", {"gamma": -0.5}),
            (2, '"1"; allowed: finite numbers', {"reward": "1"}),
            (2, "true; allowed: finite numbers", {"reward": True}),
            (2, "[]; allowed: finite numbers", {"uniform": []}),
            (2, "return is NaN; allowed: finite numbers; a std of 0 makes", nan),
            (2, "reward is -Infinity; allowed: finite", infinite),
            (2, "allowed: finite", {"reward": 10**400}),
            (2, "state has 2 entries; allowed: 3", {"state": [1, 2]}),
            (2, "state has 0 entries", {"state": 3}),
            (2, "probs has 5 entries; allowed: 4", {"probs": [1, 2, 3, 4, 5]}),
            (2, "3 entries; allowed: 4", {"grad_log_policy": [[1] * 3] * 3}),
            (2, "action is 4; allowed: whole numbers from 0 to 3", {"action": 4}),
            (2, "action is -1; allowed", {"action": -1}),
            (2, "action is 0.5; allowed", {"action": 0.5}),
            (2, "action is NaN; allowed", {"action": math.nan}),
            (2, 'action is "1"; allowed', {"action": "1"}),
            (2, "episode is -1; allowed", {"episode": -1}),
            (5, "no episode", {"episode": None}),
            (5, "no step", {"step": None}),
            (5, "no reward", {"reward": None}),
            (6, "no episode", {"episode": None}),
            (2, "out of order; allowed: [(0, 0)]", {"episode": 1}),
            (2, "out of order", {"step": 1}),
            (3, "out of order; allowed: [(0, 1), (1, 0)]", {"step": 0}),
            (3, "out of order", {"step": 2}),
            (3, "out of order", {"episode": 1}),
            (6, "out of order; allowed: [(0, 3)]", {"episode": 1}),
            (7, "out of order", {"episode": 0, "step": 4}),
            (7, "out of order; allowed: [(1, 0)]", {"episode": 2}),
            (6, "0 entries; allowed: 3", {"weights": []}),
        ]
        cases = [(1, "empty", b""), (1, "not JSON", b"\xff"), (1, "not JSON", b"x")]
        cases += [(1, "not an object", b"[1]\n"), (1, "too deeply", b"[" * 100_000)]
        cases += [(3, "not an object", b"".join(lines[:2]) + b"17\n")]
        cases += [(3, "not JSON", b"".join(lines[:2]) + lines[2][:40] + b"\n")]
        cases += [(5, "blank lines", b"".join([*lines[:3], b"\n", *lines[3:]]))]
        huge = lines[0] + b'{"episode": 0, "step": 0, "reward": 1e999}'
        cases += [(2, "finite", huge)]
        cases += [(7, "out of order; allowed: []", b"".join([*lines[:6], *lines[5:]]))]
        cases += [(2, "out of order", b"".join([lines[0], *lines[5:]]))]
        one = {"state": [1.0], "logits": [1.0]}
        cases += [(2, "one sigmoid", as_json([{"weights": [[1.0]]}, good[1] | one]))]
        for number, reason, values in changes:
            line = good[number - 1] | values
            line = {key: value for key, value in line.items() if value is not None}
            data = as_json([*good[: number - 1], line, *good[number:]])
            cases.append((number, reason, data))
        for number, reason, data in cases:
            with self.subTest(reason=reason, number=number):
                with self.assertRaises(ValueError) as caught:
                    self.check(data)
                self.assertIn(f"line {number}: ", str(caught.exception))
                self.assertIn(reason, str(caught.exception))

    def test_as_a_program(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder, name)) for name in ("right", "wrong", "none")]
            right, wrong, none = paths
            Path(right).write_bytes(as_json(numpy_trace()))
            Path(wrong).write_bytes(as_json(numpy_trace(base="episode")))
            Path(none).write_bytes(b"")
            for args, status in (
                ([right, right], 0),
                ([wrong, right], 1),
                ([right, wrong], 1),
                ([wrong, "--tolerance", "9"], 0),
                ([none, right], 2),
                ([wrong, none], 2),
                ([none, wrong], 2),
                (["/no/such"], 2),
                ([folder], 2),
                ([right, "--bogus"], 2),
                ([right, "--tolerance", "-1"], 2),
                ([right, "--tolerance", "nan"], 2),
                (["-", "-"], 2),
            ):
                found = called(["--check", *args])
                self.assertEqual(found.returncode, status, found)
                told = status < 2 or folder in found.stderr or "allowed" in found.stderr
                self.assertTrue(told or args[-1] in found.stderr, found.stderr)
            data = Path(wrong).read_bytes()
            ascii = {"PYTHONIOENCODING": "ascii"}
            found = called(["--check", "-"], input=data.decode(), **ascii)
            self.assertIn("variant: episode\n    ?_k r_k", found.stdout)


# ------------------------------------------------- the program, in real processes


def called(
    args: list[str], input: str | None = None, shell: str = "", **variables: str
) -> Any:
    """python vpg.py args, or test_vpg.py --check; shell: a script that runs "$@"."""
    program = HERE / ("test_vpg.py" if "--check" in args else "vpg.py")
    command = [sys.executable, str(program), *args]
    if shell:
        command = ["sh", "-c", shell, "sh", *command]
    env = os.environ | {"PYTHONPATH": ".", "PYTHONIOENCODING": "utf-8"} | variables
    options: Any = {"capture_output": True, "encoding": "utf-8", "timeout": 60}
    return subprocess.run(command, check=False, input=input, env=env, **options)


OWN = """
import os
from gymnasium import register, spaces
from gymnasium.envs.classic_control import CartPoleEnv
from signal import *

os.environ |= {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}

class Own(CartPoleEnv):
    metadata = CartPoleEnv.metadata | {"render_fps": 1000}
    episodes, reward = 0, 0.5

    def __init__(self, render_mode=None, **own):
        super().__init__(render_mode=render_mode)
        vars(self).update(own)

    def reset(self, **kwargs):
        self.episodes += 1
        if self.episodes == 3:
            exec(os.environ.get("THIRD", ""))
        return super().reset(**kwargs)

    def step(self, action):
        state, _, *ended = super().step(action)
        return state, self.reward, *ended

register("Own", Own)
register("Huge", Own, max_episode_steps=9, kwargs={"reward": 1e300})
register("Grid", Own, kwargs={"observation_space": spaces.Box(0, 1, (2, 2))})
register("From1", Own, kwargs={"action_space": spaces.Discrete(2, start=1)})
"""


class Program(unittest.TestCase):
    """In a folder with own.py, whose environments execute THIRD before episode 3."""

    own = "--env own:Own --episodes 5"
    outputs = " --scores scores --trace trace --save saved"

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)
        Path("own.py").write_text(OWN)

    def ran(self, args: str, status: int = 0, **more: str) -> Any:
        """What ended with this status; with 1 or 2, and only then, it says why."""
        result = called(args.split(), **more)
        self.assertEqual(result.returncode, status, (args, result.stderr))
        self.assertEqual(bool(result.stderr), status in (1, 2), result.stderr)
        return result

    def assert_whole(self, out: str, episodes: int) -> None:
        """The report, the scores, the trace and the saved weights agree."""
        lines = [json.loads(line) for line in Path("trace").read_text().splitlines()]
        ends = [line for line in lines if "score" in line]
        self.assertEqual((len(ends), lines[-1]), (episodes, ends[-1]))
        scores = [float(score) for score in Path("scores").read_text().split()]
        self.assertEqual(scores, [end["score"] for end in ends])
        steps = len(lines) - 1 - len(ends)
        self.assertIn(f"\n{episodes} episodes, {steps} steps, ", out)
        saved, last = json.loads(Path("saved").read_text()), ends[-1]["weights"]
        self.assertEqual((saved["episodes"], saved["weights"]), (episodes, last))
        self.assertEqual(json.loads(out.splitlines()[-1]), last)


class TestRun(Program):
    def test_help_shows_the_defaults(self) -> None:
        text = self.ran("--help", COLUMNS="200").stdout
        shown = " ".join(re.findall(r"\(default: (.*)\)", text))
        self.assertEqual(shown, "CartPole-v0 20000 2.5e-05 0.99 1 discounted")

    def test_it_draws_the_learning_curve_and_reports(self) -> None:
        episodes = list(vpg.train(cartpole(), 40, seed=3))
        scores = [episode.score for episode in episodes]
        for encoding, block in ("utf-8", "█"), ("ascii", "?"):
            lines = ["episodes  mean score"]
            for n in range(2, 41, 2):
                mean = statistics.fmean(scores[n - 2 : n])
                bar = block * round(50 * mean / 200)  # 200 steps at most: a full bar
                lines.append(f"{n:8}  {mean:#10.5g}  {bar}")
            lines += ["", f"mean of the last 40: {statistics.fmean(scores):#.5g}"]
            lines.append(f"40 episodes, {sum(scores):.0f} steps, … per second")
            lines.append(json.dumps(episodes[-1].weights))
            out = self.ran("--episodes 40 --seed 3", PYTHONIOENCODING=encoding).stdout
            self.assertEqual(re.sub("[0-9]+ per", "… per", out).splitlines(), lines)

    def test_it_says_once_after_how_many_episodes_it_is_solved(self) -> None:
        out = self.ran("--lr 2e-3 --episodes 360").stdout
        self.assertEqual(re.findall("solved.*", out), ["solved after 339 episodes"])

    def test_any_environment_is_drawn_in_80_columns(self) -> None:
        # Own has no step limit, and the means of MountainCar are negative: no bar
        for env, bar in ("own:Huge", 50), ("own:Own", 0), ("MountainCar-v0", 0):
            lines = self.ran(f"--env {env} --episodes 3").stdout.splitlines()
            self.assertLessEqual(max(map(len, lines[:-1])), 80)  # without the weights
            self.assertEqual({line.count("█") for line in lines[1:4]}, {bar})

    def test_bad_input_is_refused_before_anything_is_emptied(self) -> None:
        Path("file").write_text("precious")
        os.symlink("file", "link")
        for args, told in (
            ("--episodes 0", "--episodes 0; allowed: 1 to 1000000000"),
            ("--lr=-1e-9", "--lr -1e-09; allowed: 0 to 1.79"),
            ("--lr nan", "--lr nan; allowed: 0 to 1.79"),
            ("--gamma 1.01", "--gamma 1.01; allowed: 0 to 1"),
            ("--seed 4294967296", "--seed 4294967296; allowed: 0 to 4294967295"),
            ("--env Nope-v0", "Nope"),
            ("--env FrozenLake-v1", "Discrete(16), Discrete(4); allowed: Box (n,), "),
            ("--env Pendulum-v1", "(1,), float32); allowed: Box (n,), Discrete from 0"),
            ("--env own:Grid", "(2, 2), float32), Discrete(2); allowed: Box (n,)"),
            ("--env own:From1", "start=1); allowed: Box (n,), Discrete from 0"),
            ("--env Acrobot-v1 --watch", "--watch : allowed: 6 × 3 weights"),
            ("--trace /no/such", "/no/such"),
            ("--save link", "two outputs to one file; allowed: a file for each"),
        ):
            result = self.ran(f"--scores file {args}", 2)
            self.assertRegex(result.stderr, "\nvpg.py: error: .*" + re.escape(told))
            self.assertEqual(result.stdout + Path("file").read_text(), "precious")

    def test_bounds_are_allowed(self) -> None:
        self.ran("--lr 0 --gamma 0 --seed 0 --episodes 1")
        largest = sys.float_info.max  # an lr with which the first update overflows
        result = self.ran(f"--lr {largest} --gamma 1 --seed 4294967295", 1)
        self.assertIn(f"not finite; allowed: an lr below {largest}\n", result.stderr)
        (episode,) = vpg.train(cartpole(), 1, seed=2**32 - 1)
        self.assertEqual(json.loads(result.stdout.splitlines()[-1]), episode.before)

    def test_a_missing_package_is_told_where_it_is_needed(self) -> None:
        Path("pygame.py").write_text("raise ModuleNotFoundError")
        self.assertIn("gymnasium[classic", self.ran("--watch", 2).stderr)
        for name in "gymnasium", "numpy":
            Path(f"{name}.py").write_text(f"raise ModuleNotFoundError('no {name}')")
        self.assertIn("vpg.py: error: no gymnasium\n", self.ran("", 2).stderr)
        Path("trace").write_text(as_json(numpy_trace()).decode())
        self.assertIn("6 episodes", self.ran("--check trace").stdout)

    def test_it_imports_the_standard_library_and_gymnasium_only(self) -> None:
        text = (HERE / "vpg.py").read_text(encoding="utf-8")
        imported = set(re.findall(r"(?m)^ *(?:import|from) (\w+)", text))
        self.assertEqual(imported - sys.stdlib_module_names, {"gymnasium"})

    def test_only_the_notice_on_cartpole_v0_is_silenced(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            cartpole()
            self.assertEqual(caught, [])
            warnings.warn("Other-v0 is out of date", DeprecationWarning, stacklevel=1)
            self.assertEqual(len(caught), 1)

    def test_scores_are_one_number_a_line(self) -> None:
        for env, scores in ("CartPole-v0", "91 17 26"), ("own:Own", "45.5 8.5 13"):
            self.ran(f"--env {env} --episodes 3 --scores=-")  # a file of this name
            self.assertEqual(Path("-").read_text(), scores.replace(" ", "\n") + "\n")

    def test_trace_and_save_hold_what_the_algorithm_computed(self) -> None:
        for name, compute_returns in vpg.RETURNS.items():
            settings = {"env": "CartPole-v0", "seed": 2, "lr": 0.1, "gamma": 0.5}
            settings |= {"returns": name}
            episodes = list(vpg.train(cartpole(), 3, 0.1, 0.5, 2, compute_returns))
            lines: list[Line] = [settings | {"weights": episodes[0].before}]
            for n, episode in enumerate(episodes):
                for t, step in enumerate(episode.steps):
                    line = {"episode": n, "step": t, **step._asdict()}
                    lines.append(line | {"return": episode.returns[t]})
                end = {"score": episode.score, "weights": episode.weights}
                lines.append({"episode": n} | end)
            args = f"--episodes 3 --seed 2 --lr 0.1 --gamma 0.5 --returns {name}"
            self.assert_whole(self.ran(args + self.outputs).stdout, 3)
            trace = as_json(lines)
            self.assertEqual(Path("trace").read_text(), trace.decode())
            report, right = check(io.BytesIO(trace), "trace", None)
            self.assertEqual((right, report.count("difference 0.0e+00")), (True, 7))
            saved = {"weights": episode.weights, "episodes": 3}
            self.assertEqual(json.loads(Path("saved").read_text()), saved | settings)


@unittest.skipUnless(os.name == "posix", "needs POSIX: signals, pipes, limits")
class TestEnds(Program):
    def test_whatever_ends_it_the_outputs_agree(self) -> None:
        for third, status, told, episodes in (
            ("raise OSError('stuck')", 1, "^(?s:Traceback.*)\nOSError: stuck\n$", 2),
            ("self.reward = float('nan')", 1, "^vpg.py: weights not finite.*\n$", 2),
            ("raise_signal(SIGINT)", 130, "^$", 3),  # the first lets the episode end
            ("raise_signal(SIGTERM)", 143, "^$", 3),
            ("raise_signal(SIGHUP)", 129, "^$", 3),
        ):
            result = self.ran(self.own + self.outputs, status, THIRD=third)
            self.assertRegex(result.stderr, told)
            self.assert_whole(result.stdout, episodes)

    def test_the_second_signal_ends_it_at_once(self) -> None:
        for second, status in ("SIGINT", 130), ("SIGTERM", 143):
            third = f"raise_signal(SIGINT); raise_signal({second})"
            self.assertNotIn("mean of", self.ran(self.own, status, THIRD=third).stdout)

    def test_what_was_ignored_stays_ignored(self) -> None:
        shell = "trap '' HUP; \"$@\""  # as nohup does
        out = self.ran(self.own, shell=shell, THIRD="raise_signal(SIGHUP)").stdout
        self.assertIn("\n5 episodes", out)

    def test_a_closed_pipe_ends_it_quietly(self) -> None:
        Path("file").write_text(as_json(numpy_trace(lengths=[2])).decode())
        shell = '{ "$@"; echo $? > status; } | (read line)'
        for args in "", "--trace /dev/stdout", "--check" + " file" * 150:
            self.ran(args, shell=shell)  # 150 reports are more than a pipe holds
            self.assertEqual(Path("status").read_text(), "141\n", args)

    @unittest.skipUnless(os.path.exists("/dev/full"), "needs /dev/full")
    def test_a_full_disk_is_told_and_the_rest_is_kept(self) -> None:
        told = "vpg.py: {}: No space left on device\n"
        for flag in "--scores", "--trace", "--save":
            result = self.ran(f"--episodes 2 {flag} /dev/full", 1)
            self.assertEqual(result.stderr, told.format("/dev/full"))
            self.assertIn(" per second\n[[", result.stdout)
        result = self.ran("--episodes 2 --save saved", 1, shell='"$@" > /dev/full')
        self.assertEqual(result.stderr, told.format("<stdout>"))
        self.assertIn("weights", Path("saved").read_text())

    def test_a_disk_that_fills_up_leaves_whole_episodes_and_a_beginning(self) -> None:
        result = self.ran(self.outputs, 1, shell='ulimit -f 200; "$@"')
        self.assertEqual(result.stderr, "vpg.py: trace: File too large\n")
        text = Path("trace").read_text()
        report, right = check(io.BytesIO(text.encode()), "trace", None)
        self.assertTrue(right and "not finished, is left out" in report, report)
        Path("trace").write_text(text[: text.index("\n", text.rindex('"score"')) + 1])
        self.assert_whole(result.stdout, int(report.split()[1]))


class TestWatch(Program):
    def test_weights_that_do_not_fit_are_refused(self) -> None:
        for weights in (
            "",
            "[[1, 2], [3, 4], [5, 6]]",
            "[[1], [2], [3], [4]]",
            "[[1, 2], [3, 4], [5, 6], [7, NaN]]",
        ):
            Path("file").write_text(f'{{"weights": {weights}}}')
            self.assertIn("\nvpg.py: error: ", self.ran("--watch file", 2).stderr)

    @unittest.skipUnless(importlib.util.find_spec("pygame"), "pygame is not installed")
    def test_it_plays_until_the_window_is_closed_or_ctrl_c_or_episodes(self) -> None:
        Path("file").write_text('{"weights": [[0, 0], [0, 0], [0, 0], [0, 0]]}')
        close = "import pygame; pygame.event.post(pygame.event.Event(pygame.QUIT))"
        ctrl_c = "raise_signal(SIGINT)"
        for third, episodes, status in ("", 3, 0), (close, 2, 0), (ctrl_c, 2, 130):
            args = "--watch file --env own:Own --episodes 3 --seed 4"
            result = self.ran(args, status, THIRD=third)
            played = result.stdout.split()[-episodes:]
            self.assertEqual(played, ["7.5", "28", "8.5"][:episodes])


def benchmark() -> int:
    """Microseconds a step, of the same episodes, in one process, and their ratios."""
    start, training = time.perf_counter(), vpg.train(cartpole(), 2_000)
    actions = [[step.action for step in episode.steps] for episode in training]
    ours = time.perf_counter() - start
    env, start = cartpole(), time.perf_counter()
    for number, taken in enumerate(actions):
        env.reset(seed=None if number else 1)
        for action in taken:
            env.step(action)
    alone = time.perf_counter() - start
    env, start = cartpole(), time.perf_counter()
    for _ in numpy_train(env, 2_000, 2.5e-5, 0.99, 1, False):
        pass
    theirs = time.perf_counter() - start
    steps = sum(map(len, actions))
    for name, seconds in ("environment", alone), ("vpg.py", ours), ("NumPy", theirs):
        ratio = f"{seconds / alone:5.2f} × the environment"
        print(f"{name:12} {seconds / steps * 1e6:6.2f} µs a step  {ratio}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The tests, the check, or the benchmark; exit status."""
    parser = argparse.ArgumentParser(
        "test_vpg.py",
        usage=argparse.SUPPRESS,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", metavar="FILE", nargs="+", help="traces; - is stdin")
    parser.add_argument("--tolerance", metavar="X", type=float)
    parser.add_argument("--benchmark", action="store_true")
    args, rest = parser.parse_known_args(argv)
    if args.tolerance is not None and not 0 <= args.tolerance < math.inf:
        parser.error(f"--tolerance {args.tolerance}; allowed: finite, 0 or more")
    if rest and (args.check or args.benchmark):
        parser.error(f"unknown: {' '.join(rest)}; allowed: --tolerance X")
    if args.benchmark:
        return benchmark()
    if not args.check:
        unittest.main(argv=[sys.argv[0], *rest])
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a closed pipe ends it quietly
    status = 0
    for path in args.check:
        try:
            with open(0 if path == "-" else path, "rb") as file:
                report, right = check(file, path, args.tolerance)
        except (ArithmeticError, OSError, ValueError) as error:
            print(f"test_vpg.py: {path}: {error}", file=sys.stderr)
            status = 2
        else:
            print(report, flush=True)
            status = max(status, int(not right))
    return status


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    sys.exit(main())
