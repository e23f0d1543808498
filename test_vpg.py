# /// script
# requires-python = ">=3.10"
# dependencies = ["gymnasium>=0.29"]
# ///
"""What is true of the policy gradient, and a check of other implementations of it.

python test_vpg.py                                    the tests
python test_vpg.py --check FILE... [--tolerance X]    are these traces right? (-: stdin)

Three rooms, each to be read alone: the truths of the method; the check; the program.
"""

import argparse
import ast
import contextlib
import doctest
import functools
import importlib
import importlib.util
import io
import itertools
import json
import math
import operator
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import tracemalloc
import unittest
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import vpg
from vpg import Matrix, Vector

with contextlib.suppress(ModuleNotFoundError):  # --check does without it
    import numpy as np

# --------------------------------------------------------- the truths of the method
#
# Each test is one truth about the method. Three things can check it: all the
# episodes of a tiny world, difference quotients, and a second program, in NumPy.
# Where exp is used, the last digit depends on the machine: there is a tolerance.

STATE = [0.7, -1.1]
WEIGHTS = [[0.2, -0.4, 0.1], [1.0, 0.5, -0.3]]  # two numbers seen, three actions
LOGITS = [0.3, -1.2, 2.0, 0.0]


def cartpole() -> vpg.Env:
    """The notebook's environment."""
    return vpg.make_env("CartPole-v0")


def central_difference(f: Callable[..., Any], x: Any) -> Any:
    """∂f/∂x_i ≈ (f(x + h e_i) − f(x − h e_i)) / 2h, right to about 1e-10."""
    h = 1e-5
    shape = np.shape(x)
    slopes = []
    for unit in np.eye(np.size(x)):
        step = h * unit.reshape(shape)
        above = f((x + step).tolist())
        below = f((x - step).tolist())
        slopes.append(np.subtract(above, below) / (2 * h))
    return np.stack(slopes, axis=-1).reshape(np.shape(above) + shape)


def assert_close(ours: Any, theirs: Any, tolerance: float = 1e-8) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=tolerance)


class TestPolicy(unittest.TestCase):
    @unittest.skipUnless(vpg.dot.__doc__, "python -OO strips the docstrings")
    def test_every_formula_has_an_example_and_every_example_is_true(self) -> None:
        names = "dot softmax softmax_jacobian policy grad_log_policy sample_action "
        names += "discounted_returns update random_stream notebook_returns"
        for name in names.split():
            self.assertIn(f">>> {name}(", getattr(vpg, name).__doc__)
        self.assertEqual(doctest.testmod(vpg, verbose=False).failed, 0)

    def test_softmax_is_proportional_to_exp_wherever_the_logits_are(self) -> None:
        exps = np.exp(LOGITS)
        for shift in (0.0, 3.0, 1000.0, -1000.0):
            probs = vpg.softmax([z + shift for z in LOGITS])
            assert_close(probs, exps / exps.sum(), 1e-12)

    def test_the_jacobian_is_the_derivative_of_softmax(self) -> None:
        jacobian = vpg.softmax_jacobian(vpg.softmax(LOGITS))
        assert_close(jacobian, central_difference(vpg.softmax, LOGITS))

    def test_grad_log_policy_is_the_derivative_and_its_expectation_is_0(self) -> None:
        def log_policy(weights: Matrix) -> Any:
            return np.log(vpg.policy(weights, STATE)[1])

        derivatives = central_difference(log_policy, WEIGHTS)
        _, probs = vpg.policy(WEIGHTS, STATE)
        expectation = np.zeros((2, 3))
        for action, p in enumerate(probs):
            grad = vpg.grad_log_policy(probs, action, STATE)
            assert_close(grad, derivatives[action])
            expectation += np.multiply(p, grad)
        assert_close(expectation, 0.0, 1e-14)

    def test_an_action_is_drawn_as_often_as_its_share_of_the_total_says(self) -> None:
        counts = [0, 0, 0, 0]
        for k in range(1024):
            action = vpg.sample_action([0.25, 0.75, 0.0, 1.0], k / 1024)
            counts[action] += 1
        self.assertEqual(counts, [128, 384, 0, 512])
        tenths = [0.1] * 10 + [0.0]  # their sum rounds to the number below 1
        below_one = math.nextafter(1.0, 0.0)
        self.assertEqual(vpg.sample_action(tenths, below_one), 9)

    def test_sums_are_rounded_in_the_same_way_by_every_python(self) -> None:
        terms = [1e16, 1.0, -1e16]
        likely, *_ = vpg.softmax([0.0] + [-37.0] * 10_000)
        [[product]] = vpg.update([[0.0]], [[[3.0]]], [7.0], lr=0.3)
        for ours, expected in (
            (vpg.dot(terms, [1.0, 1.0, 1.0]), 0.0),  # sum() gives 1.0 from 3.12 on
            (likely < 1.0, True),  # sum() gives False before 3.12
            (product, 0.3 * 3.0 * 7.0),  # from left to right
        ):
            self.assertEqual(ours, expected)

    def test_what_makes_no_sense_is_an_error(self) -> None:
        self.assertRaises(ValueError, vpg.dot, [1.0], [1.0, 2.0])
        self.assertRaises(ValueError, vpg.update, WEIGHTS, [WEIGHTS], [], 1.0)
        self.assertRaises(ArithmeticError, vpg.sample_action, [0.0, math.nan], 0.5)


class World:
    """An environment as a table; the end is a place where no action has an outcome."""

    def __init__(self, seen: Matrix, outcomes: Any, most_steps: float):
        self.seen = seen
        self.outcomes = outcomes  # by place and action: the next place, the reward
        self.most_steps = most_steps
        self.observation_space = SimpleNamespace(shape=np.shape(seen[0]))
        self.action_space = SimpleNamespace(n=len(outcomes[0]))
        self.seeds: list[int | None] = []

    def reset(self, seed: int | None = None) -> Any:
        self.seeds.append(seed)
        self.place = 0
        self.time = 0
        return np.array(self.seen[0]), {}

    def step(self, action: int) -> Any:
        self.place, reward = self.outcomes[self.place][action]
        self.time += 1
        seen = np.array(self.seen[self.place])
        terminated = not self.outcomes[self.place]
        truncated = self.time == self.most_steps
        return seen, reward, terminated, truncated, {}


def tiny_world() -> World:
    """So small that every episode of it can be played."""
    seen = [[1.0, -0.5], [0.25, 2.0], [0.0, 0.0]]
    outcomes = [
        [(2, 0.5), (1, 1.5), (0, 0.5)],
        [(1, 3.0), (0, -0.3), (2, 0.1)],
        [],
    ]
    return World(seen, outcomes, most_steps=4)


def learn(
    weights: Matrix, world: World, rng: Any, lr: float, gamma: float, returns: Any
) -> Iterator[tuple[list[vpg.Step], Matrix]]:
    """train's loop, from given weights on: each episode, and the weights after it."""
    while True:
        steps = list(vpg.rollout(world, weights, rng, None))
        rewards = [step.reward for step in steps]
        grads = [step.grad_log_policy for step in steps]
        multipliers = returns(rewards, gamma)
        weights = vpg.update(weights, grads, multipliers, lr)
        yield steps, weights


def draws_of(actions: Any, world: World, weights: Matrix) -> Iterator[float]:
    """Draws that make the policy take these actions."""
    for action in actions:
        _, probs = vpg.policy(weights, world.seen[world.place])
        yield sum(probs[:action]) + 1e-9


def expected_update(returns: Any, gamma: float, weights: Matrix) -> Any:
    """E[update − θ] / lr: every episode of the tiny world, by its probability."""
    lr = 0.5
    expectation = np.zeros((2, 3))
    for actions in itertools.product(range(3), repeat=4):
        world = tiny_world()
        draws = draws_of(actions, world, weights)
        rng = SimpleNamespace(random=draws.__next__)
        steps, updated = next(learn(weights, world, rng, lr, gamma, returns))
        probability = math.prod(step.probs[step.action] for step in steps)
        # An episode that ends early comes up once for each way to go on.
        times = 3 ** (4 - len(steps))
        move = np.subtract(updated, weights) / lr
        expectation += probability / times * move
    return expectation


def faded(numbers: Vector, gamma: float) -> Vector:
    """γ^t x_t for every t."""
    return [gamma**t * x for t, x in enumerate(numbers)]


sums = vpg.discounted_returns  # Σ_{k≥t} γ^{k−t} r_k for every t
BASES: dict[str, Callable[..., Vector]] = {  # what is used as returns; of rewards and γ
    "": sums,
    "undiscounted": lambda r, gamma: sums(r, 1.0),
    "notebook": vpg.notebook_returns,
    "prefactor": lambda r, gamma: faded(sums(r, gamma), gamma),
    "episode": lambda r, gamma: sums(r, 1.0)[:1] * len(r),
    "discounted-episode": lambda r, gamma: sums(r, gamma)[:1] * len(r),
    "backward": lambda r, gamma: sums(r[::-1], gamma)[::-1],
    "reward": lambda r, gamma: r,
    "no-sum": faded,
}
GAMMA = 0.6
SUMS = {  # a and b of Σ_t a^t r_t b^{r_t}
    "Σ_t r_t": (1.0, 1.0),
    "G_0": (GAMMA, 1.0),
    "Σ_t r_t γ^{r_t}": (1.0, GAMMA),
}
ESTIMATES = {  # by row of the README's table of returns: the sum whose ∇E it estimates
    "": None,
    "undiscounted": "Σ_t r_t",
    "notebook": "Σ_t r_t γ^{r_t}",
    "prefactor": "G_0",
    "episode": "Σ_t r_t",
    "discounted-episode": "G_0",
    "backward": None,
    "reward": None,
    "no-sum": None,
}


def expected_sum(name: str, weights: Matrix, place: int = 0, time: int = 0) -> Any:
    """E of one of the sums, by Bellman's equation and without vpg.py."""
    world = tiny_world()
    if time == world.most_steps:
        return 0.0
    a, b = SUMS[name]
    exps = np.exp(np.dot(world.seen[place], weights))
    probs = exps / exps.sum()
    total = 0.0
    for p, (following, reward) in zip(probs, world.outcomes[place]):
        later = expected_sum(name, weights, following, time + 1)
        total += p * (reward * b**reward + a * later)
    return total


class TestPolicyGradientTheorem(unittest.TestCase):
    def gradient(self, name: str) -> Any:
        """∇E of one of the sums."""
        return central_difference(functools.partial(expected_sum, name), WEIGHTS)

    def test_undiscounted_the_expected_update_is_the_gradient_of_the_score(
        self,
    ) -> None:
        update = expected_update(vpg.discounted_returns, 1.0, WEIGHTS)
        assert_close(update, self.gradient("Σ_t r_t"))

    def test_with_a_discount_the_returns_decide_whose_gradient_it_is(self) -> None:
        self.assertEqual(list(ESTIMATES), list(BASES))
        for returns, estimate in ESTIMATES.items():
            update = expected_update(BASES[returns], GAMMA, WEIGHTS)
            for name in SUMS:
                error = np.abs(update - self.gradient(name)).max()
                self.assertEqual(error < 1e-8, name == estimate, returns)

    def test_with_the_other_returns_it_is_the_gradient_of_no_function(self) -> None:
        # The Jacobian of a gradient is symmetric: ∂²f/∂x∂y is ∂²f/∂y∂x.
        for returns, estimate in ESTIMATES.items():
            update = functools.partial(expected_update, BASES[returns], GAMMA)
            jacobian = central_difference(update, WEIGHTS).reshape(6, 6)
            asymmetry = np.abs(jacobian - jacobian.T).max()
            is_gradient = estimate is not None
            self.assertEqual(asymmetry < 1e-8, is_gradient, returns)

    def test_three_of_the_returns_learn_nothing_where_all_rewards_are_1(self) -> None:
        def of_ones(returns: Any, rewards: Vector, gamma: float) -> Any:
            return returns([1.0] * len(rewards), gamma)

        for name, returns in BASES.items():
            same_for_ones = functools.partial(of_ones, returns)
            size = np.abs(expected_update(same_for_ones, GAMMA, WEIGHTS)).max()
            learns_nothing = name in ("backward", "reward", "no-sum")
            self.assertEqual(size < 1e-12, learns_nothing, name)


class TestTraining(unittest.TestCase):
    def setUp(self) -> None:
        self.world = tiny_world()
        settings = 10, 0.125, GAMMA, 17, vpg.notebook_returns
        self.episodes = list(vpg.train(self.world, *settings))

    def test_the_stream_is_numpys(self) -> None:
        for seed in (0, 1, 2**32 - 1):
            ours = vpg.random_stream(seed)
            theirs = np.random.RandomState(seed)
            for _ in range(2000):
                self.assertEqual(ours.random(), theirs.random_sample())

    def test_one_stream_draws_the_first_weights_and_then_every_action(self) -> None:
        drawn = []
        for row in self.episodes[0].weights_before:
            drawn += row
        for episode in self.episodes:
            drawn += [step.uniform for step in episode.steps]
        stream = vpg.random_stream(17)
        self.assertEqual(drawn, [stream.random() for _ in drawn])

    def test_only_the_first_reset_is_seeded(self) -> None:
        self.assertEqual(self.world.seeds, [17] + [None] * 9)

    def test_each_episode_follows_from_the_weights_of_the_last_one(self) -> None:
        weights = self.episodes[0].weights_before
        for episode in self.episodes:
            self.assertEqual(episode.weights_before, weights)
            for step in episode.steps:
                self.assertEqual(step.probs, vpg.policy(weights, step.state)[1])
            rewards = [step.reward for step in episode.steps]
            self.assertEqual(episode.score, math.fsum(rewards))
            self.assertEqual(episode.returns, vpg.notebook_returns(rewards, GAMMA))
            grads = [step.grad_log_policy for step in episode.steps]
            weights = vpg.update(weights, grads, episode.returns, lr=0.125)
            self.assertEqual(episode.weights_after, weights)


class TestShortCorridor(unittest.TestCase):  # Sutton & Barto's example 13.1
    def value(self, right: float) -> Any:
        """E[Σ_t r_t] of the policy that goes right with this probability."""
        left = 1 - right
        bellman = [
            [1 - left, -right, 0.0],  # v_0 = −1 + left v_0 + right v_1
            [-right, 1.0, -left],  # v_1 = −1 + right v_0 + left v_2
            [0.0, -left, 1.0],  # v_2 = −1 + left v_1
        ]
        return np.linalg.solve(bellman, [-1.0, -1.0, -1.0])[0]

    def test_the_best_policy_goes_right_with_probability_2_minus_root_2(self) -> None:
        best = 2 - math.sqrt(2)  # the book: about 0.59
        best_value = -(6 + 4 * math.sqrt(2))  # the book: about −11.6
        assert_close(self.value(best), best_value)
        for percent in range(1, 100):
            self.assertLess(self.value(percent / 100), best_value)

    def test_training_from_a_bad_policy_comes_near_the_best(self) -> None:
        outcomes = [
            [(0, -1.0), (1, -1.0)],  # every step costs 1
            [(2, -1.0), (0, -1.0)],  # left and right are switched
            [(1, -1.0), (3, -1.0)],
            [],
        ]
        world = World([[1.0]] * 4, outcomes, most_steps=1000)  # all places look alike
        weights = [[0.0, math.log(0.05 / 0.95)]]  # right with probability 0.05
        first = []
        last = []
        for seed in range(1, 11):
            rng = vpg.random_stream(seed)
            returns = vpg.discounted_returns
            training = learn(weights, world, rng, 2**-12, 1.0, returns)
            episodes = itertools.islice(training, 1000)
            scores = [-len(steps) for steps, _ in episodes]
            first += scores[:20]
            last += scores[-200:]
        assert_close(statistics.fmean(first), -55.9, 0.05)
        assert_close(statistics.fmean(last), -12.0, 0.05)


def numpy_train(episodes: int, notebook: bool) -> Iterator[Any]:
    """REINFORCE on arrays, the notebook's way: each episode's score and weights."""
    env = cartpole()
    rng = np.random.RandomState(1)
    weights = rng.rand(4, 2)
    for episode in range(episodes):
        state, _ = env.reset(seed=1 if episode == 0 else None)
        grads = []
        rewards = []
        done = False
        while not done:
            exps = np.exp(state @ weights)
            probs = exps / exps.sum()
            action = int(rng.choice(2, p=probs))
            jacobian = np.diagflat(probs) - np.outer(probs, probs)
            grad = np.outer(state, jacobian[action] / probs[action])
            state, reward, terminated, truncated, _ = env.step(action)
            grads.append(grad)
            rewards.append(reward)
            done = terminated or truncated
        for t, grad in enumerate(grads):
            later = np.array(rewards[t:])
            powers = later if notebook else np.arange(len(later))
            return_t = later @ 0.99**powers
            weights = weights + 2.5e-5 * return_t * grad
        yield sum(rewards), weights


class TestPublishedFigures(unittest.TestCase):
    def test_it_retraces_the_notebook_in_numpy_for_300_episodes(self) -> None:
        first_ten = [91, 17, 26, 13, 18, 35, 36, 16, 15, 19]
        for name, total in ("discounted", 7120), ("notebook", 7428):
            theirs = numpy_train(300, notebook=name == "notebook")
            training = vpg.train(cartpole(), 300, compute_returns=vpg.RETURNS[name])
            scores = []
            for ours, (score, weights) in zip(training, theirs):
                self.assertEqual(ours.score, score)
                assert_close(ours.weights_after, weights, 1e-9)
                scores.append(score)
            self.assertEqual(scores[:10], first_ten)
            self.assertEqual(sum(scores), total)

    @unittest.skipUnless(os.environ.get("VPG_FULL"), "two minutes; VPG_FULL=1 runs it")
    def test_the_figures_of_20_000_episodes(self) -> None:
        for name, total, last_100, solved, last_row in (
            ("discounted", 3403301, 19774, 7649, [-2.7100106276245, 3.2418315660454]),
            ("notebook", 3563911, 19996, 4509, [-3.4213649592472, 3.9531858976678]),
        ):
            scores = []
            for episode in vpg.train(cartpole(), compute_returns=vpg.RETURNS[name]):
                scores.append(episode.score)
            self.assertEqual(sum(scores), total)
            self.assertEqual(sum(scores[-100:]), last_100)
            done = 100
            while sum(scores[done - 100 : done]) < 195 * 100:
                done += 1
            self.assertEqual(done, solved)
            assert_close(episode.weights_after[-1], last_row, 1e-9)

    def test_the_notebooks_weights_are_seed_1s_and_score_197(self) -> None:
        published = vpg.NOTEBOOK_WEIGHTS
        # Training keeps the sum of each row; the notebook prints eight decimals.
        (episode,) = vpg.train(cartpole(), 1)
        sums = np.sum(episode.weights_before, axis=1)
        assert_close(np.sum(published, axis=1), sums, 1.5e-8)
        env = cartpole()
        rng = vpg.random_stream(1)
        steps = 0
        for seed in [1] + [None] * 99:
            steps += len(list(vpg.rollout(env, published, rng, seed)))
        assert_close(steps / 100, 197, 1)


PEERS = """What the tests of other projects expect.
scipy/scipy: scipy/special/tests/test_logsumexp.py
softmax | [[1, 325, 749, 750]] | [0, 1.94445264e-185, 0.26894142, 0.73105858]
google-deepmind/rlax: rlax/_src/distributions_test.py
softmax | [[1, 2, 0]] | [0.24472848, 0.66524094, 0.09003057]
softmax | [[0.1, 0.2, 0]] | [0.332225, 0.3671654, 0.3006096]
google-deepmind/rlax: rlax/_src/policy_gradients_test.py
loss | [[[1, 1, 1], 0, -0.6], [[2, 0, 0], 1, 0.4], [[-1, -2, -3], 2, 0]] | 0.07888351
google-deepmind/trfl: trfl/discrete_policy_gradient_ops_test.py
loss | [[[0, 1], 0, 1]] | 1.313262
thu-ml/tianshou: test/base/test_returns.py
returns | [[1, 2, 3], 0.1] | [1.23, 2.3, 3]
ReinforcementLearning.jl: src/ReinforcementLearningCore/test/utils/base.jl
returns | [[1, 2, 3], 0.5] | [2.75, 3.5, 3]
yandexdataschool/Practical_RL: week06_policy_based/reinforce_pytorch.ipynb
returns | [[0, 0, 1, 0, 0, 1, 0], 0.9] | [1.40049, 1.5561, 1.729, 0.81, 0.9, 1, 0]
returns | [[0, 0, 1, -2, 3, -4, 0], 0.5] | [0.0625, 0.125, 0.25, -1.5, 1, -4, 0]
"""


class TestPeers(unittest.TestCase):
    def loss(self, *steps: Any) -> float:
        """The mean of −value · log π(action)."""
        losses = []
        for logits, action, value in steps:
            log_prob = math.log(vpg.softmax(logits)[action])
            losses.append(-value * log_prob)
        return statistics.fmean(losses)

    def test_the_numbers_in_other_projects_tests_come_out(self) -> None:
        formulas: dict[str, Any] = {
            "softmax": vpg.softmax,
            "loss": self.loss,
            "returns": vpg.discounted_returns,
        }
        for row in PEERS.splitlines():
            if "|" in row:
                formula, given, expected = row.split(" | ")
                ours = formulas[formula](*json.loads(given))
                np.testing.assert_allclose(ours, json.loads(expected), rtol=1e-4)


# ---------------------------------------------- the check of other implementations
#
# A trace is what a program computed, written down: a line for each step, and one for the
# end of each episode. vpg.trace_lines shows one. The check has two passes.
#
# The first pass compares. It computes each number of the trace again, by vpg.py's formula,
# from the trace's own inputs: the logits from the weights, the probs from the logits of the
# trace, and so on. So a fault is found where it is, and only there, if all is written down.
#
# The second pass names what differs in the opening of the trace, its first few megabytes.
# A variant is what another program may compute: words for it, and pairs of numbers, theirs
# and what they would be. If all pairs agree, it is named. WAYS has the order in which they
# are tried; of the first way that has any, those of fewest words are told.
# To add one, put its word into CHOICES or MISTAKES; a row into a table of its kind: PROBS,
# GRADIENTS, ACTIONS, RULES, LOGS, FACTORS, SHARES, or BASES and ESTIMATES among the truths;
# and, in the tests, a row into the trainer's table of that kind, and the word into NAMED.

CHOICES = {  # what good programs do, though vpg.py does not
    "undiscounted": "Σ_{k≥t} r_k, without γ: an unbiased gradient of E[Σ_k r_k]",
    "prefactor": "times γ^t: an unbiased gradient of E[G_0]",
    "episode": "Σ_k r_k at every step: an unbiased gradient of E[Σ_k r_k], but noisier",
    "discounted-episode": "G_0 at every step: an unbiased gradient of E[G_0], but noisier",
    "gamma": "with another γ than the head's",
    "centred": "minus the episode's mean, which is no baseline: it depends on the actions",
    "batch-centred": "minus the batch's mean, which depends on the actions",
    "normalised": "(G_t − mean) / std of the episode: to compare, use G_t",
    "batch-normalised": "(G_t − mean) / std of the batch: to compare, use G_t",
    "scaled": "times a number",
    "baseline": "plus or minus a number",
    "batch": "of several episodes together: to compare, update after each",
    "mean": "divided by the number of steps, a smaller lr: to compare, take the sum",
    "episode-mean": "divided by the number of episodes: to compare, take the sum",
    "bias": "off by one vector through each episode: a bias that was not written?",
    "adam": "the first move is of one size: is it Adam's? Check with plain SGD",
}
MISTAKES = {
    "notebook": "Σ_{k≥t} r_k γ^{r_k}, γ raised to the reward: raise it to k − t",
    "backward": "r_t + γ G_{t−1}, the past: run the recursion from the last step",
    "reward": "r_t, one reward alone: sum γ^{k−t} r_k over all k ≥ t",
    "no-sum": "γ^t r_t, one reward alone: sum γ^{k−t} r_k over all k ≥ t",
    "carried": "the sum runs on into another episode: set it to 0 at each end",
    "late-reward": "of the rewards one step late: r_t is what action a_t was given",
    "early-reward": "of the rewards one step early: r_t is what action a_t was given",
    "last-reward": "the last reward of an episode is another one than in the trace",
    "whole-numbers": "the whole part only: is the array one of integers?",
    "shuffled": "the right numbers at the wrong steps: are they reversed, or sorted?",
    "sigmoid": "1/(1+e^{−z}) of each logit: take the softmax of them all",
    "unnormalised": "e^z: divide by the sum over the actions",
    "one-action": "a policy of one action has nothing to learn: a softmax of one output?",
    "greedy": "always the likeliest action: draw it from the probs",
    "double-softmax": "the softmax of the probs, which are one already: give logits",
    "not-divided": "∇π, the gradient of the probability: divide it by π(a|s)",
    "not-log": "π(a|s) in the place of its logarithm: take the log",
    "one-hot": "state × one-hot(a), without the policy's part: subtract state × π(·|s)",
    "all-actions": "Σ_b log π(b|s) over all actions: take that of the one taken",
    "other-action": "log π of an action that was not taken",
    "stepwise": "at weights that move within the episode: update at its end",
    "mean-log-prob": "mean_t(log π) · Σ_t G_t: multiply step by step, then sum",
    "product-of-sums": "Σ_t log π · Σ_t G_t: (N, 1) × (N) is N × N; use equal shapes",
    "accumulated": "all earlier gradients (or losses) are still in it: set them to zero",
    "descent": "the sum is subtracted: add it",
    "negated": "the sign is turned: ∇log π is ascended, −Σ_t G_t log π descended",
    "unchanged": "never moved (or one array was written again and again)",
}

# The lines of a file. "" is a number, "n" or "m" a vector, "nm" a matrix: n is the size of
# a state, m the number of actions.

Line = dict[str, Any]  # what is known of a line
Formula = Callable[..., Any]
HEAD = {"lr": "", "gamma": "", "weights": "nm"}
END = {"episode": "", "score": "", "loss": "", "weights": "nm"}
STEP = {"episode": "", "step": "", "state": "n", "logits": "m", "probs": "m"}
STEP |= {"uniform": "", "action": "", "reward": "", "return": ""}
STEP |= {"grad_log_policy": "nm"}
SIGMOID = "; one sigmoid output? see README.md"
HINTS = {"logits": SIGMOID, "probs": SIGMOID, "weights": SIGMOID}
HINTS["action"] = "; continuous actions? leave action out, the rest is checked"
HINTS["return"] = "; a std of 0 makes a NaN: add 1e-8 to it"


def attempt(formula: Formula, *inputs: Any) -> Any:
    """Its value; None if it can't be computed."""
    try:
        return formula(*inputs)
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
        return None


def shape(value: Any) -> Any:
    """() of a number, (n,) of a vector, (n, m) of a matrix; else None, or an error."""
    if not isinstance(value, list):
        return () if math.isfinite(value) else None
    if isinstance(value[0], list):
        [rows] = {*map(shape, value)}  # all rows have one shape
        return len(value), *rows
    return (len(value),) if all(map(math.isfinite, value)) else None


class Trace:
    """The lines of a trace. A ValueError tells which line is none."""

    def __init__(self, file: Iterable[bytes]):
        self.lines = filter(None, map(self.known, file))
        self.number = 0  # of the line that was read last
        self.read = 0  # bytes
        self.cut = ""  # what is left out, as its end is not there
        self.head: Line = {}
        self.unread: dict[str, int] = {}  # keys that are not known, and a line of each
        self.sizes: dict[str, int] = {}  # n and m, once they are known
        self.shapes: dict[str, Any] = {}  # of each quantity, once it is known

    def error(self, given: str, allowed: Any) -> ValueError:
        """What is wrong with the line that was read last."""
        return ValueError(f"line {self.number}: {given[:80]}; allowed: {allowed}")

    def episodes(self) -> Iterator[tuple[list[Line], Line]]:
        """The steps and the end of each; the end is {}, or says why, if none is told."""
        steps: list[Line] = []
        places: list[Any] = [(0, 0)]  # that may come next
        for line in self.lines:
            number, t = place = line["episode"], line.get("step", "end")
            if place not in places:
                raise self.error(f"episode, step {place} out of order", places)
            if steps and t in (0, "end"):
                yield steps, {} if t == 0 else line
                steps = []
            places = [(number + 1, 0)]
            if t != "end":
                steps.append(line)
                places = [(number, t + 1), (number, "end"), *places]
        if steps and number == 0:
            yield steps, {"unfinished": "no end of the episode"}
        elif steps:
            self.cut = f"episode {number}"

    def known(self, text: bytes) -> Line:
        """What is known of a step or an end; {} of another line."""
        self.number += 1
        self.read += len(text)
        record = attempt(json.loads, text.strip() or b"{}")
        if not isinstance(record, dict):
            if text.endswith(b"\n") or self.number == 1:
                raise self.error("not a JSON object", "one on each line")
            self.cut = "the last line"
            return {}
        axes = STEP if "step" in record else END
        if not self.shapes and "episode" not in record:
            axes = HEAD
        line = {k: self.numbers(k, v, axes[k]) for k, v in record.items() if k in axes}
        if axes is HEAD:
            self.head = line
            line["returns"] = record.pop("returns", "discounted")
            if line["returns"] not in [*vpg.RETURNS]:
                raise self.error("no such returns", " or ".join(vpg.RETURNS))
        elif record and "episode" not in line:
            raise self.error("no episode", "one in each step and end")
        if "step" in line and "reward" not in line:
            raise self.error("no reward", "one in each step")
        if not 0 <= line.get("gamma", 0) <= 1:
            raise self.error(f"gamma is {line['gamma']}", "0 to 1")
        if "action" in line:
            action = line["action"]
            m = self.sizes.get("m", math.inf)
            if action % 1 or not 0 <= action < m:
                hint = HINTS["action"] if action % 1 else SIGMOID if m == 1 else ""
                allowed = f"whole numbers from 0 to {m - 1}{hint}"
                raise self.error(f"action is {action}", allowed)
            line["action"] = int(action)
        for key in record:
            if key not in axes and key not in ("env", "seed"):
                self.unread.setdefault(json.dumps(key[:60]).strip('"'), self.number)
        return line if "episode" in line else {}

    def numbers(self, name: str, value: Any, axes: str) -> Any:
        """A quantity, if its numbers are finite, and as many as before."""
        found = attempt(shape, value)
        if found == self.shapes.get(name, "not known"):
            return value
        if found and found[0] == 1 and len(found) == len(axes) + 1:  # a batch of one
            [value] = value
            found = found[1:]
        for axis, size in zip(axes, found or ()):
            self.sizes.setdefault(axis, size)
        wanted = tuple(self.sizes.get(axis, axis) for axis in axes)
        if found == wanted:
            self.shapes[name] = found
            return value
        given = f"{name} is {attempt(json.dumps, value)}"
        if name == "state" and "weights" in self.head and found == (self.sizes["m"],):
            self.number = 1
            raise self.error("weights does not fit the state", "its transpose")
        allowed = f"finite numbers{HINTS.get(name, '')}"
        if axes:
            allowed = f"a list of {' × '.join(map(str, wanted))} {allowed}"
        raise self.error(given, allowed)


# The verdict on a quantity.

Variants = dict[tuple[str, ...], str]  # words, and a note
QUANTITIES = {  # and what each is computed of
    "logits": ("weights before", "state"),
    "probs": ("logits",),
    "action": ("probs", "uniform"),
    "grad_log_policy": ("probs", "state", "action"),
    "return": ("reward", "gamma"),
    "loss": ("probs", "action", "return"),
    "weights": ("weights before", "lr", "return", "grad_log_policy"),
    "score": ("reward",),
}


class Pair(NamedTuple):
    """Theirs and ours: a number, a vector or a matrix. Ours may be None."""

    theirs: Any
    ours: Any
    size: float = 1.0  # a difference is relative to this
    note: str = ""  # what else there is to say, if ours is a variant


def flat(value: Any) -> Vector:
    """The numbers of a number, a vector or a matrix."""
    rows = value if isinstance(value, list) else [value]
    return [*itertools.chain(*rows)] if isinstance(rows[0], list) else rows


def largest(value: Any) -> float:
    """The largest size of its numbers."""
    return max(map(abs, flat(value)))


def differences(pair: Pair) -> Vector:
    """How far they are apart in each entry, or as a whole, relative to the size."""
    if pair.theirs == pair.ours:
        return [0.0]
    if pair.ours is None or pair.size == math.inf:
        return [math.inf]
    entries = zip(flat(pair.theirs), flat(pair.ours))
    return [min(math.inf, abs(a - b) / pair.size) for a, b in entries]  # no NaN


def first_at(name: str, line: Line, pair: Pair) -> str:
    """The place, and the numbers that are farthest apart."""
    far = differences(pair)
    k = far.index(max(far))
    place = f"episode {line['episode']}"
    if "step" in line:
        place += f", step {line['step']}"
    value = line[name]
    if isinstance(value, list):
        indices = divmod(k, len(value[0])) if isinstance(value[0], list) else [k]
        place += ", entry " + "".join(f"[{i}]" for i in indices)
    verb = " moved" if name == "weights" else ""
    digits = 6 if far[k] > 1e-5 else 10
    theirs = f"{flat(pair.theirs)[k]:.{digits}g}"
    ours = "none" if pair.ours is None else f"{flat(pair.ours)[k]:.{digits}g}"
    return f"{place}: theirs{verb} {theirs}, ours {ours}"


class Record:
    """What is known of a quantity."""

    def __init__(self) -> None:
        self.checked = self.differing = 0
        self.worst = 0.0
        self.first = ""  # where they differ at first
        self.missing: Counter[str] = Counter()  # why not checked, and how often
        self.variants: Variants = {}  # what theirs may be
        self.words: set[str] = set()  # of all of these
        self.remark = ""


# What vpg.py computes. A row of a table is a word, and what it means; "" is vpg.py's way.

Table = list[tuple[str, Any]]
Group = list[Line]  # episodes: each an end, and its steps


def dlog_dz(probs: Vector, action: int) -> Vector:
    """∂log π(a)/∂z_j = δ_aj − p_j of each logit z_j."""
    by_logits = [-p for p in probs]
    by_logits[action] += 1.0
    return by_logits


def gradient(vector: Formula, choose: Formula, sign: float, *inputs: Any) -> Matrix:
    """sign · state × vector(probs, choose(action)); inputs are probs, state and action."""
    probs, state, action = inputs
    by_logits = vector(probs, choose(action))
    return [[sign * s_i * d_j for d_j in by_logits] for s_i in state]


FORMULAS: dict[str, Formula] = {  # of the inputs that QUANTITIES lists
    "logits": lambda weights, state: vpg.policy(weights, state)[0],
    "probs": vpg.softmax,
    "action": vpg.sample_action,
}
SIZES: dict[str, Formula] = {  # of terms that may cancel
    "logits": lambda weights, state: largest(weights) * largest(state) * len(state),
    "grad_log_policy": lambda probs, state, action: largest(state),
}
LOGS: Table = [  # in a loss, of probs and action
    ("", lambda p, a: math.log(p[a])),
    ("all-actions", lambda p, a: math.fsum(map(math.log, p))),
    ("double-softmax", lambda p, a: math.log(vpg.softmax(p)[a])),
    ("not-log", lambda p, a: p[a]),
]
FACTORS: Table = [  # what multiplies the vectors in a sum; of the returns and the γ^t
    ("", lambda returns, powers: returns),
    ("prefactor", lambda returns, powers: [*map(operator.mul, returns, powers)]),
    ("mean-log-prob", lambda returns, _: [statistics.fmean(returns)] * len(returns)),
    ("product-of-sums", lambda returns, _: [math.fsum(returns)] * len(returns)),
]


def column(name: str, *group: Line) -> list[Any]:
    """A quantity in each step of the episodes."""
    return [step[name] for episode in group for step in episode["steps"]]


def missing(name: str, steps: list[Line]) -> str:
    """The input that is not there, if one is."""
    for need in QUANTITIES[name]:
        if any(step.get(need) is None for step in steps):
            return f"no {need}"
    return ""


class Comparison:
    """The first pass: an episode at a time, by the formulas of vpg.py."""

    def __init__(self, head: Line, tolerance: float, epsilon: float, sign: float):
        self.tolerance = tolerance
        self.epsilon = epsilon  # what a number is rounded by
        self.gamma: Any = head.get("gamma")
        self.lr: Any = sign * head["lr"] if "lr" in head else None
        self.base = vpg.RETURNS[head.get("returns", "discounted")]
        self.sign = sign  # −1: gradients are negated, and descended
        by_weights = functools.partial(gradient, dlog_dz, int, sign)
        self.formulas = FORMULAS | {"grad_log_policy": by_weights}
        self.records = {name: Record() for name in QUANTITIES}
        self.episodes = self.steps = 0  # that are compared
        self.last = head  # the episode before, or the head
        self.opening: Group = []

    def episode(self, steps: list[Line], end: Line) -> Line:
        """Compare one more. Of its steps, what is not given is what we compute."""
        weights = attempt(self.weights_before, steps[0])
        known = {"weights before": weights, "gamma": self.gamma, "lr": self.lr}
        episode: Line = end | known | {"wrong": [], "steps": []}
        for step in steps:
            line = step | known | {"wrong": []}
            episode["steps"].append(line)
            for name, formula in self.formulas.items():
                self.compare(name, line, self.step_pair(name, line, formula))
        why = end.get("unfinished") or missing("return", episode["steps"])
        for step, pair in zip(episode["steps"], self.return_pairs(episode, self.base)):
            self.compare("return", step, why or pair)
        for step in episode["steps"]:
            episode["wrong"] += step["wrong"]
        for name in {"loss", "weights", "score"} & end.keys():
            self.compare(name, episode, self.end_pair(name, episode))
        self.episodes += 1
        self.steps += len(steps)
        self.last = episode
        return episode

    def compare(self, name: str, line: Line, found: Pair | str) -> None:
        """One more pair, or why there is none. What is not given is what we compute."""
        record = self.records[name]
        if name not in line:
            line[name] = found.ours if isinstance(found, Pair) else None
        elif isinstance(found, str):
            record.missing[found] += 1
        else:
            record.checked += 1
            is_equal = found.theirs == found.ours  # as most are
            far = 0.0 if is_equal else max(differences(found))
            record.worst = max(record.worst, far)
            if far > self.tolerance:
                record.differing += 1
                record.first = record.first or first_at(name, line, found)
                line["wrong"].append(name)

    def weights_before(self, step: Line) -> Any:
        """Those that were told last; None if they may have moved since, untold.

        They did not if the first step fits them, and would not fit updated ones.
        """
        if "weights" in self.last:
            return self.last["weights"]
        weights = self.last["weights before"]
        grads = column("grad_log_policy", self.last)
        returns = column("return", self.last)
        moved = vpg.update(weights, grads, returns, self.lr)
        if weights == moved:
            return weights
        given = "logits" if "logits" in step else "probs"
        near = []
        for each in weights, moved:
            logits, probs = vpg.policy(each, step["state"])
            ours = logits if given == "logits" else probs
            rounding = 8 * self.epsilon * SIZES["logits"](each, step["state"])
            pair = Pair(step[given], ours, max(1.0, rounding / self.tolerance))
            near.append(max(differences(pair)) <= self.tolerance)
        return weights if near == [True, False] else None

    def step_pair(self, name: str, step: Line, formula: Formula) -> Any:
        """Theirs and what a formula gives, or which input is missing."""
        theirs = step.get(name)
        inputs: list[Any] = [step.get(need) for need in QUANTITIES[name]]
        if name == "probs" and theirs:  # can they be probs at all?
            off = abs(sum(theirs) - 1) > max(1e-4, self.tolerance)
            unlike = None in inputs and (off or min(theirs) < 0)
            if unlike or len(theirs) == 1:  # a policy of one action is none
                return Pair(theirs, None)
        if None in inputs:
            return missing(name, [step])
        ours = attempt(formula, *inputs)
        if name == "action" and theirs not in (None, ours):
            probs, uniform = inputs
            for slack in self.tolerance, -self.tolerance:  # at the edge of a piece
                if attempt(formula, probs, uniform + slack) == theirs:
                    ours = theirs
        size = 1.0
        if theirs not in (None, ours):
            size = max(size, largest(theirs))
            if name in SIZES:
                size = max(size, SIZES[name](*inputs))
        return Pair(theirs, ours, size)

    def return_pairs(self, episode: Line, base: Formula) -> Iterator[Pair]:
        """Of each step. The size is that of the same sum of |r|; each addition rounds."""
        rewards = column("reward", episode)
        gamma = self.gamma or 0.0  # the score needs none
        rounding = self.epsilon / self.tolerance * len(rewards)
        least = 2.0**-126 / self.tolerance  # below, single precision lacks digits
        ours = attempt(base, rewards, gamma)
        sizes = attempt(base, [*map(abs, rewards)], gamma)
        for t, step in enumerate(episode["steps"]):
            pair = Pair(step.get("return"), None)
            if ours and sizes:
                size = max(sizes[t], abs(ours[t])) * max(1.0, rounding)
                pair = pair._replace(ours=ours[t], size=max(size, least))
            yield pair

    def end_pair(self, name: str, episode: Line) -> Any:
        """The loss, the weights or the score, or why it can't be compared."""
        why = missing(name, episode["steps"])
        if why:
            return why
        if name == "score":
            pair = next(self.return_pairs(episode, BASES["undiscounted"]))
            return pair._replace(theirs=episode[name])
        pair = attempt(self.sum_pair, name, [episode])
        if pair is None:
            return "no probs above 0 of an action that was taken"
        if name == "weights" and pair.theirs != pair.ours:
            size = max(largest(pair.theirs), largest(pair.ours))
            if size <= 4 * self.epsilon * largest(episode[name]):
                return "moves of a few units in the last place; use a larger lr"
        return pair

    def sum_pair(self, name: str, group: Group, *way: Formula) -> Pair:
        """A loss, or how far the weights moved: Σ_t G_t v_t, times a unit."""
        log, choose, factor = way or (LOGS[0][1], int, FACTORS[0][1])
        end = group[-1]
        if name == "loss":
            start: Any = 0.0
            unit = -1.0
            pairs = zip(column("probs", *group), column("action", *group))
            vectors = [[log(probs, choose(action))] for probs, action in pairs]
            source = "logits"
        else:
            start = end["weights before"]
            unit = self.lr
            vectors = [*map(flat, column("grad_log_policy", *group))]
            source = "state"
        theirs = [float(a) - b for a, b in zip(flat(end[name]), flat(start))]
        gamma = 1.0 if self.gamma is None else self.gamma
        powers = [gamma**t for t in column("step", *group)]
        returns = column("return", *group)
        zeros = [[0.0] * len(theirs)]  # an update of them is the sum
        grads = [[vector] for vector in vectors]
        [ours] = vpg.update(zeros, grads, factor(returns, powers), unit)
        # log p is rounded as 1, log p and its logits are; s (δ − p) as 1, itself and s.
        noise = largest(end[name])
        steps = itertools.chain(*(episode["steps"] for episode in group))
        for step, return_t, vector in zip(steps, returns, vectors):
            size = 1 + largest(vector) + largest(step.get(source) or 0.0)
            noise += abs(unit * return_t) * size
        rounding = self.epsilon * noise * (1 + math.sqrt(len(vectors)))
        size = max(largest(theirs), rounding / self.tolerance)
        return Pair(theirs, ours, size or 1.0)


# The variants of a step's numbers.


def double_softmax(probs: Vector, action: int) -> Vector:
    """∂log softmax(p)_a/∂z_j, by the chain rule through the probs p."""
    by_probs = dlog_dz(vpg.softmax(probs), action)
    mean = vpg.dot(probs, by_probs)
    return [p * (d - mean) for p, d in zip(probs, by_probs)]


PROBS: Table = [  # of logits
    ("sigmoid", lambda logits: [1 / (1 + math.exp(-z)) for z in logits]),
    ("unnormalised", lambda logits: [math.exp(z) for z in logits]),
    ("double-softmax", lambda logits: vpg.softmax(vpg.softmax(logits))),
]
GRADIENTS: Table = [  # of probs and action, by the logits
    ("", dlog_dz),
    ("all-actions", lambda p, a: [1 - len(p) * p_j for p_j in p]),
    ("double-softmax", double_softmax),
    ("not-divided", lambda p, a: [p[a] * x for x in dlog_dz(p, a)]),
    ("one-hot", lambda p, a: dlog_dz([0.0] * len(p), a)),
]
ACTIONS: Table = [  # of which action; −1 is the last
    ("", int),
    ("other-action", lambda a: a - 1),
    ("other-action", lambda a: 0),
    ("other-action", lambda a: -1),
]
SIGNS: Table = [("", 1.0), ("negated", -1.0)]
MOMENTS: Table = [("", None), ("stepwise", 0), ("stepwise", 1)]  # a power of γ^t


def stepwise(compared: Comparison, steps: list[Line], power: int) -> Iterator[Line]:
    """The steps as they would be if each step moved the weights."""
    gamma = 1.0 if compared.gamma is None else compared.gamma
    weights = steps[0]["weights before"]
    for step in steps:
        probs = vpg.policy(weights, step["state"])[1]
        yield step | {"weights before": weights, "probs": probs}
        factor = gamma ** (power * step["step"])
        grads = [step["grad_log_policy"]]
        returns = [factor * step["return"]]
        weights = vpg.update(weights, grads, returns, compared.lr)


def step_pairs(
    compared: Comparison, name: str, power: Any, formula: Formula, *way: Any
) -> Iterator[Pair]:
    """Of the steps that differ; at the others a program may be right."""
    if way:
        choose, sign = way
        formula = functools.partial(gradient, formula, choose, sign * compared.sign)
    for episode in compared.opening:
        steps = episode["steps"]
        if power is not None and name in episode["wrong"]:
            steps = stepwise(compared, steps, power)
        for step in steps:
            if name in step["wrong"]:
                yield compared.step_pair(name, step, formula)


def bias_pairs(compared: Comparison, name: str, size: float) -> Iterator[Pair]:
    """Are theirs off by one vector through each episode that starts with a wrong one?"""
    for episode in compared.opening:
        off = []
        for step in episode["steps"]:
            ours = vpg.policy(step["weights before"], step["state"])[0]
            off.append([a - b for a, b in zip(step[name], ours)])
        if name in episode["steps"][0]["wrong"]:
            for vector in off[1:]:
                yield Pair(vector, off[0], size / compared.tolerance)


def one_action(compared: Comparison, name: str, number: int) -> Iterator[Pair]:
    """Is there one prob?"""
    for probs in filter(None, column(name, *compared.opening)):
        yield Pair(len(probs), number)


def greedy(compared: Comparison, name: str, limit: float) -> Iterator[Pair]:
    """Are all actions the likeliest, though the chance of that is small?"""
    chance = 0.0  # its logarithm
    actions = column(name, *compared.opening)
    for action, probs in zip(actions, column("probs", *compared.opening)):
        if not 0 < probs[action] == max(probs):
            return
        likeliest = probs.count(probs[action]) * probs[action]  # of all that tie
        chance += math.log10(likeliest / math.fsum(map(abs, probs)))
    if chance < limit:
        yield Pair(True, True, note=f"the chance of that is 1e{chance:.0f}")


# The variants of returns. A group is an episode, or a batch.


def batches(compared: Comparison, name: str) -> list[Group]:
    """Each ends where a loss is told or weights moved; or else, where G adds up to 0."""
    names = {"loss", "weights"} if name == "return" else {name}
    is_told = any(names & episode.keys() for episode in compared.opening)
    always = names.intersection(*compared.opening)  # of weights, only moves tell then
    groups: list[Group] = [[]]
    for episode in compared.opening:
        groups[-1].append(episode)
        told = {each: episode[each] for each in names & episode.keys()}
        before = episode["weights before"]
        is_end = any(told[each] != before or each not in always for each in told)
        if not is_told:
            returns = column("return", *groups[-1])
            size = math.fsum(map(abs, returns))
            is_end = abs(math.fsum(returns)) <= 1e-5 * size
        if is_end:
            groups.append([])
    del groups[-1]  # is empty, or has no end
    return groups if any(len(group) > 1 for group in groups) else []


GROUPS: Table = [
    ("", lambda compared, name: [[episode] for episode in compared.opening]),
    ("batch", batches),
]
STDS = "the std is the population's, with n", "the std is the sample's, with n − 1"
KNOWN: Table = []  # groups, a word, 1 if by n − 1, how many groups must tell
FITTED: Table = []
for _prefix, (_, _groups) in zip(("", "batch-"), GROUPS):
    for _word, _less in ("centred", 0), ("normalised", 1), ("normalised", 0):
        KNOWN.append((_prefix + _word, (_groups, _word, _less, 1)))
    for _word in "scaled", "baseline", "scaled baseline":
        FITTED.append((_word, (_groups, _word, 0, 2)))


def affine(word: str, less: int, xs: Vector, ys: Vector) -> tuple[float, float]:
    """a and b of a x + b; a std is one of n − less, or up to 0.001 larger."""
    mean = statistics.fmean(xs)
    x0, y0 = min(zip(xs, ys))
    x1, y1 = max(zip(xs, ys))
    slope = (y1 - y0) / (x1 - x0)
    if word == "normalised":
        std = math.dist(xs, [mean] * len(xs)) / math.sqrt(len(xs) - less)
        std += min(max(1 / slope - std, 0.0), 0.001)
        return 1 / std, -mean / std
    if word == "scaled":
        ratio = y0 / x0 if abs(x0) > abs(x1) else y1 / x1
        return ratio, 0.0
    if word == "scaled baseline":
        return slope, y1 - slope * x1
    b = y1 - x1 if word == "baseline" else -mean
    return 1.0, b


def base_pairs(compared: Comparison, name: str, base: Formula) -> Iterator[Pair]:
    """Are theirs what a base computes?"""
    for episode in compared.opening:
        yield from compared.return_pairs(episode, base)


def affine_pairs(compared: Comparison, name: str, base: Formula, way: Any) -> Any:
    """a·base + b, with an a and a b for each group; enough groups must tell them.

    One that is wrong and has three values tells; one that has only one is left out.
    """
    groups, word, less, enough = way
    found = []
    told = 0
    for group in groups(compared, name):
        pairs = [
            pair for episode in group for pair in compared.return_pairs(episode, base)
        ]
        xs = [pair.ours for pair in pairs]
        ys = [pair.theirs for pair in pairs]
        if len({f"{x:.4g}" for x in xs}) > 1:
            a, b = affine(word, less, xs, ys)
            note = STDS[less] if word == "normalised" else f"a = {a:.4g}, b = {b:.4g}"
            size = abs(a) * max(pair.size for pair in pairs) + abs(b)
            for x, y in zip(xs, ys):
                found.append(Pair(y, a * x + b, size, note=note))
            is_other = a > 0 and abs(a - 1) + abs(b) > 1e-4
            is_wrong = any(name in episode["wrong"] for episode in group)
            told += is_other and is_wrong and len({f"{y:.4g}" for y in ys}) > 2
    yield from found if told >= enough else []


def recursion(y: Vector, r: Vector, gamma: float, end: float = 0.0) -> Vector:
    """r_t + γ y_{t+1}"""
    return [a + gamma * b for a, b in zip(r, [*y[1:], end])]


RULES: Table = [  # pairs of y_t and what it would be
    ("carried", lambda y, r, g, end: zip(y, recursion(y, r, g, end))),
    ("late-reward", lambda y, r, g, _: zip(y[1:], recursion(y[1:], r[:-1], g))),
    ("last-reward", lambda y, r, g, _: zip(y, recursion(y, r[:-1], g))),
    ("early-reward", lambda y, r, g, _: zip(y, recursion(y, r[1:], g))),
    ("whole-numbers", lambda y, r, g, _: zip(y, map(math.trunc, sums(r, g)))),
    ("whole-numbers", lambda y, r, g, _: zip(y, map(math.trunc, recursion(y, r, g)))),
    ("shuffled", lambda y, r, g, _: zip(sorted(y), sorted(sums(r, g)))),
]
GAMMAS: Table = [("", None), ("undiscounted", 1.0)]  # None: the head's


def rule_pairs(compared: Comparison, name: str, gamma: Any, rule: Formula) -> Any:
    """A rule's pairs, equal but for rounding; at least 3, of 2 wrong episodes."""
    gamma = gamma or compared.gamma
    found = []
    wrong = 0
    starts = [episode["steps"][0][name] for episode in compared.opening]
    around = [0.0, *starts, 0.0]  # of an episode: those before and after it
    for number, episode in enumerate(compared.opening):
        y = column(name, episode)
        r = column("reward", episode)
        ends = 0.0, around[number], around[number + 2]  # is one of them carried?
        end = min(ends, key=lambda x: abs(y[-1] - r[-1] - gamma * x))
        sizes = sums([*map(abs, r)], gamma)
        rounding = len(r) * compared.epsilon / compared.tolerance
        size = max(sizes) * min(1.0, rounding) or 1.0
        for theirs, ours in rule(y, r, gamma, end):
            found.append(Pair(theirs, ours, size))
        wrong += name in episode["wrong"]
    yield from found if len(found) >= 3 and wrong >= 2 else []


def in_proportion(compared: Comparison, name: str, ratio: Any, *way: Any) -> Any:
    """Pairs that agree if theirs / ours is one number throughout, which is told."""
    make, label, most = ratio
    pairs = [*make(compared, name, *way)]
    rows: list[tuple[float, float]] = []
    for pair in pairs:
        rows += zip(pair.theirs, pair.ours)
    y, x = max(rows, key=lambda row: abs(row[1]))
    number = y / x
    usual = 1.0 if make is move_pairs else compared.gamma
    is_other = 1e-5 < number < most and abs(number - usual) > 1e-4
    wrong = [pair for pair in pairs if max(differences(pair)) > compared.tolerance]
    if is_other and len(wrong) > 1 and len({*rows}) > 2:
        for pair in pairs:
            ours = [number * x for x in pair.ours]
            yield pair._replace(ours=ours, note=f"{label} = {number:.5g}")


def later_rewards(compared: Comparison, name: str) -> Iterator[Pair]:
    """y_t − r_t, and y_{t+1}"""
    for episode in compared.opening:
        y = column(name, episode)
        r = column("reward", episode)
        off = [a - b for a, b in zip(y, r)]
        yield Pair(off, [*y[1:], 0.0], largest(y) or 1.0)


# The variants of losses, and of the weights' moves.

EARLIER: Table = [("", False), ("accumulated", True)]
SHARES: Table = [  # of a group
    ("", lambda group: 1),
    ("mean", lambda group: len(column("step", *group))),
    ("episode-mean", len),
]
DESCENT: Table = [("", 1.0), ("descent", -1.0)]
STILL: Table = [("unchanged", lambda returns, _: [0.0] * len(returns))]
OF_LOSS = LOGS, ACTIONS, FACTORS, EARLIER, GROUPS
OF_MOVE = LOGS[:1], ACTIONS[:1], FACTORS + STILL, EARLIER, GROUPS


def move_pairs(compared: Comparison, name: str, *way: Any) -> Iterator[Pair]:
    """Sums, times a sign, divided by a share; accumulated: with all earlier ones."""
    log, choose, factor, is_accumulated, groups, share, sign = way
    earlier: Vector = []
    for group in groups(compared, name):
        pair = attempt(compared.sum_pair, name, group, log, choose, factor)
        if pair:
            scale = sign / share(group)
            ours = [scale * x for x in pair.ours]
            if is_accumulated and earlier:
                ours = [*map(operator.add, ours, earlier)]
            earlier = ours
            yield pair._replace(ours=ours)
        elif name in group[-1]["wrong"]:
            yield Pair(0.0, None)


def adam(compared: Comparison, name: str, share: float) -> Iterator[Pair]:
    """Is the first move wrong, and of lr, up to a share, wherever ours is not 0?"""
    for episode in compared.opening:
        pair = attempt(compared.sum_pair, name, [episode])
        if pair and any(pair.theirs):
            if name in episode["wrong"]:
                for theirs, ours in zip(pair.theirs, pair.ours):
                    if ours:
                        size = abs(theirs / compared.lr)
                        yield Pair(size, 1.0, share / compared.tolerance)
            return


# The ways of each quantity, in the order in which they are tried. A way is a function that
# makes pairs, and tables; what a row of each table stands for are its last arguments.

PROPORTION: Table = [("scaled", (move_pairs, "theirs / ours", 1e5))]
WAYS: dict[str, list[Any]] = {
    "logits": [
        (step_pairs, MOMENTS, [("", FORMULAS["logits"])]),
        (bias_pairs, [("bias", 1e-5)]),
    ],
    "probs": [(one_action, [("one-action", 1)]), (step_pairs, MOMENTS[:1], PROBS)],
    "action": [(greedy, [("greedy", -9.0)])],
    "grad_log_policy": [(step_pairs, MOMENTS, GRADIENTS, ACTIONS, SIGNS)],
    "return": [
        (base_pairs, BASES.items()),
        (affine_pairs, BASES.items(), KNOWN),
        *[(rule_pairs, GAMMAS, [rule]) for rule in RULES],
        (in_proportion, [("gamma", (later_rewards, "γ", 1.0))]),
        (affine_pairs, BASES.items(), FITTED),
    ],
    "loss": [
        (move_pairs, *OF_LOSS, SHARES, SIGNS),
        (in_proportion, PROPORTION, *OF_LOSS, SHARES[:1], SIGNS),
    ],
    "weights": [
        (move_pairs, *OF_MOVE, SHARES, DESCENT),
        (in_proportion, PROPORTION, *OF_MOVE, SHARES[:1], DESCENT),
        (adam, [("adam", 0.02)]),
    ],
    "score": [],
}

# The report.

OPENING = 4_000_000  # bytes
DOUBLE = 1e-9, 2.0**-52  # the tolerance, and what a number is rounded by
SINGLE = 1e-5, 2.0**-23


def is_long(x: float) -> bool:
    """Has it more than 5 digits, and more than 16 bits?"""
    return float(f"{x:.5g}") != x and math.frexp(x)[0] * 2**16 % 1 != 0


def is_single(opening: Any) -> bool:
    """Is any quantity of single precision, exact or of up to 9 digits, and mostly long?"""
    numbers: dict[str, set[float]] = {name: set() for name in QUANTITIES}
    for steps, end in opening:
        for line in [*steps, end]:
            for name in numbers.keys() & line.keys() - {"action", "score"}:
                numbers[name].update(flat(line[name]))
    for found in numbers.values():
        exact = (x in (array("f", [x])[0], float(f"{x:.9g}")) for x in found)
        if all(exact) and 2 * sum(map(is_long, found)) > len(found):
            return True
    return False


def note_on(compared: Comparison, name: str, make: Formula, way: Any) -> str | None:
    """What else there is to say of a variant, if it agrees; or else None."""
    notes: dict[str, None] = {}
    for pair in make(compared, name, *way):
        if max(differences(pair)) > compared.tolerance:
            return None
        notes[pair.note] = None
    note = next(iter(notes), None)
    return f"{note}, and others" if len(notes) > 1 else note


def variants(compared: Comparison, name: str) -> Variants:
    """What theirs may be: of the first way that has any, those of fewest words."""
    found: Variants = {}
    for make, *tables in WAYS[name]:
        options = []
        for rows in itertools.product(*tables):
            words = " ".join(word for word, _ in rows).split()
            options.append((words, [what for _, what in rows]))
        for words, way in sorted(options, key=lambda option: len(option[0])):
            if found and len(words) > min(map(len, found)):
                break
            note = attempt(note_on, compared, name, make, way)
            if words and note is not None:
                found.setdefault((*words,), note)
        if found:
            break
    return found


def name_all(compared: Comparison, opening: Any) -> None:
    """Compare the opening, and name what differs."""
    compared.opening = [compared.episode(*episode) for episode in opening]
    for name, record in compared.records.items():
        if record.differing or (name == "action" and record.missing):
            record.variants = variants(compared, name)
            record.words = {*itertools.chain(*record.variants)}
        if name == "loss" and record.differing and not record.variants:
            losses = [
                episode[name] for episode in compared.opening if episode.get(name)
            ]
            if len({*losses}) < len(losses):
                record.remark = "some are equal: only one loss per batch, at its end?"
        if "batch" in record.words:
            first = batches(compared, name)[0]
            pair = attempt(compared.sum_pair, name, first)
            if pair and max(differences(pair)) > compared.tolerance:  # still wrong
                record.first = first_at(name, first[-1], pair)
        if record.variants and not record.differing:  # greedy, without uniform
            record.missing.clear()
            for episode in compared.opening:
                for step in episode["steps"]:
                    compared.compare(name, step, Pair(step[name], None))


def report_line(name: str, record: Record) -> str:
    """What is known of a quantity; a line on each of its names; a hint."""
    told = []
    if record.differing:
        names = ", or ".join(" + ".join(words) for words in record.variants)
        told.append(f"MISMATCH, variant: {names}" if names else "MISMATCH")
        differ = f"{record.differing} of {record.checked} differ"
        told.append(f"{differ}, first at {record.first}")
    elif record.checked:
        told.append(f"{record.checked} checked, worst difference {record.worst:.1e}")
    for why, count in record.missing.items():
        told.append(f"{count} not checked: {why}")
    lines = [f"{name:16} {'; '.join(told) or 'not in the trace'}"]
    for words, note in record.variants.items():
        kind = "a choice" if {*words} <= CHOICES.keys() else "a mistake"
        meanings = [(CHOICES | MISTAKES)[word] for word in words]
        lines.append(f"    {kind}: {'; '.join(filter(None, [*meanings, note]))}")
    if record.remark:
        lines.append(f"    {record.remark}")
    return "\n".join(lines)


def verdict(records: dict[str, Record]) -> str:
    """What is right, what is not, and what was not compared."""
    told: dict[str, list[str]] = {"right": [], "different": [], "not checked": []}
    for name, record in records.items():
        why = next(iter(record.missing), "not in the trace")
        if record.checked:
            told["different" if record.differing else "right"].append(name)
        elif record.missing or name == "return":
            told["not checked"].append(f"{name} ({why.split(';')[0]})")
    return "; ".join(f"{k}: {', '.join(names)}" for k, names in told.items() if names)


def check(
    file: Iterable[bytes], path: str, tolerance: float | None = None
) -> tuple[str, int]:
    """The report on a trace; and 0 if all that is checked agrees, or 1."""
    trace = Trace(file)
    episodes = trace.episodes()
    opening = []
    for episode in episodes:
        opening.append(episode)
        if trace.read > OPENING:
            break
    title = ""
    usual, epsilon = DOUBLE
    if is_single(opening):
        usual, epsilon = SINGLE
        title = ", single precision"
    if tolerance is not None:
        usual = max(tolerance, 1e-30)  # as it divides
    comparison = Comparison(trace.head, usual, epsilon, 1.0)
    name_all(comparison, opening)
    records = comparison.records
    is_negated = "negated" in records["grad_log_policy"].words
    if is_negated and "descent" in records["weights"].words:
        comparison = Comparison(trace.head, usual, epsilon, -1.0)
        name_all(comparison, opening)
        records = comparison.records
        records["weights"].remark = "negated gradients, descent: right together"
    for episode in episodes:
        comparison.episode(*episode)
    if trace.cut:
        title += f"; {trace.cut}, not finished, is left out"
    played = f"{comparison.episodes} episodes, {comparison.steps} steps"
    report = [f"{path}: {played}{title}"]
    if trace.unread:
        unread = [f"{key} (line {n})" for key, n in trace.unread.items()][:20]
        known = ", ".join(HEAD | STEP | END)
        report.append(f"not read: {', '.join(unread)}; known: {known}")
    report += [report_line(*item) for item in records.items()]
    report.append(verdict(records))
    if not any(x.checked for x in records.values()):
        raise ValueError("\n".join(["nothing to check", *report[1:]]))
    return "\n".join(report), int(any(x.differing for x in records.values()))


# ------------------------------------------------------------ the check's own tests
#
# A trainer in NumPy writes traces; nothing of it comes from vpg.py or from the check. The
# words of a quantity say what it does in another way, and so what the check should say.

Lines = list[Line]
Formulas = dict[str, Callable[..., Any]]  # by word; "" is right
OF_STEPS = "logits", "probs", "action", "grad_log_policy", "return"
COMPARED = *OF_STEPS, "loss", "weights", "score"


def to_go(rewards: Any, gamma: float) -> Any:
    """Σ_{k≥t} γ^{k−t} r_k for every t, each rounded as the rewards are."""
    returns = np.zeros(len(rewards) + 1, rewards.dtype)
    for t in reversed(range(len(rewards))):
        returns[t] = rewards[t] + gamma * returns[t + 1]
    return returns[:-1]


def numpy_softmax(logits: Any) -> Any:
    """e^z / Σ e^z"""
    numerators = np.exp(logits - logits.max())
    return numerators / numerators.sum()


RETURNS_OF: Formulas = {  # of rewards and γ
    "": to_go,
    "notebook": lambda r, gamma: to_go(r * gamma**r, 1.0),
    "prefactor": lambda r, gamma: to_go(r, gamma) * gamma ** np.arange(len(r)),
    "episode": lambda r, gamma: np.full(len(r), r.sum()),
    "discounted-episode": lambda r, gamma: np.full(len(r), to_go(r, gamma)[0]),
    "backward": lambda r, gamma: to_go(r[::-1], gamma)[::-1],
    "reward": lambda r, gamma: r,
    "no-sum": lambda r, gamma: r * gamma ** np.arange(len(r)),
    "late-reward": lambda r, gamma: to_go(np.append(1.25, r[:-1]), gamma),
    "early-reward": lambda r, gamma: to_go(np.append(r[1:], 1.25), gamma),
    "last-reward": lambda r, gamma: to_go(np.append(r[:-1], 1.25), gamma),
    "gamma": lambda r, gamma: to_go(r, gamma / 2),
    "steep": lambda r, gamma: to_go(r, gamma * 2),
    "whole-numbers": lambda r, gamma: np.trunc(to_go(r, gamma)),
    "shuffled": lambda r, gamma: np.roll(to_go(r, gamma), 1),
}
SCALES_OF: Formulas = {  # of an episode's returns, and of the batch's
    "scaled": lambda ys, batch: 0.3 * ys,
    "minus": lambda ys, batch: -ys,
    "baseline": lambda ys, batch: ys - 0.7,
    "centred": lambda ys, batch: ys - ys.mean(),
    "normalised": lambda ys, batch: (ys - ys.mean()) / (ys.std(ddof=1) + 1e-4),
    "batch-centred": lambda ys, batch: ys - batch.mean(),
    "batch-normalised": lambda ys, batch: (ys - batch.mean()) / batch.std(),
}
PROBS_OF: Formulas = {  # of logits
    "": numpy_softmax,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "unnormalised": lambda z: np.exp(z),
    "double-softmax": lambda z: numpy_softmax(numpy_softmax(z)),
}
GRADIENTS_OF: Formulas = {  # by the logits; of probs, and 1 for the action taken
    "": lambda p, taken: taken - p,
    "one-hot": lambda p, taken: taken,
    "all-actions": lambda p, taken: 1 - len(p) * p,
    "other-action": lambda p, taken: np.roll(taken, -1) - p,
    "double-softmax": lambda p, taken: (
        (np.diag(p) - np.outer(p, p)) @ (taken - numpy_softmax(p))
    ),
    "not-divided": lambda p, taken: p @ taken * (taken - p),
}
LOSSES_OF: Formulas = {  # of probs and an action, where G_t = 1
    "": lambda p, a: -np.log(p[a]),
    "all-actions": lambda p, a: -np.log(p).sum(),
    "other-action": lambda p, a: -np.log(p[a - 1]),
    "double-softmax": lambda p, a: -np.log(numpy_softmax(p)[a]),
    "not-log": lambda p, a: -p[a],
}
FACTORS_OF: Formulas = {  # of the returns, and of γ^t
    "": lambda returns, fading: returns,
    "prefactor": lambda returns, fading: returns * fading,
    "mean-log-prob": lambda returns, _: np.full(len(returns), returns.mean()),
    "product-of-sums": lambda returns, _: np.full(len(returns), returns.sum()),
    "scaled": lambda returns, _: returns / 32,
    "unchanged": lambda returns, _: returns * 0,
}


class Trainer:
    """REINFORCE on arrays: in which way, the words of a quantity and these settings say."""

    seed = 0
    sizes = 3, 4  # the numbers of a state, the actions
    lengths: Any = (4, 3, 6, 2, 5, 4)
    lr, gamma, dtype = 0.05, 0.8, "float64"
    rewards: Any = (-1.7, -0.6, 0.3, 0.9, 2.2)  # of which each is one
    bias = 0.0  # of the logits
    start = reach = 1.0  # times the random weights of the start, and the states
    fault: Any = ("", 0, 0)  # a wrong number: its quantity, episode and step
    no = ""  # keys that are left out

    def __init__(self, way: dict[str, Any]):
        vars(self).update(way)
        self.words: Any = {}
        for name in COMPARED:
            self.words[name] = way.get(name, "").split(" + ")
        self.batch = 3 if "batch" in self.words["loss"] else 1
        self.rng = np.random.RandomState(self.seed)
        drawn = self.rng.randn(*self.sizes)
        self.weights = (self.start * drawn).astype(self.dtype)
        self.earlier: Any = dict.fromkeys(COMPARED, 0.0)  # the sum of earlier ones

    def formula(self, name: str, table: Formulas) -> Callable[..., Any]:
        """That of the quantity's word in the table, or the right one."""
        found = table[""]
        for word in self.words[name]:
            found = table.get(word, found)
        return found

    def put(self, line: Line, name: str, value: Any) -> Any:
        """Write numbers into a line, in the trace's precision; one may be wrong."""
        value = np.array(value, self.dtype)
        t = line.get("step", self.fault[2])
        if self.fault == (name, line["episode"], t):
            value.flat[-1] += 0.125
        line[name] = value
        return value

    def trace(self) -> Iterator[Line]:
        """The head, and the lines of each batch."""
        yield {"lr": self.lr, "gamma": self.gamma, "weights": self.weights}
        for first in range(0, len(self.lengths), self.batch):
            rewards = []
            for length in self.lengths[first : first + self.batch]:
                drawn = self.rng.choice(self.rewards, length)
                rewards.append(drawn.astype(self.dtype))
            returns = self.returns(rewards)
            batch = []
            for k in range(len(rewards)):
                batch.append(self.play(first + k, rewards[k], returns[k]))
            yield from self.learn(batch)

    def returns(self, rewards: list[Any]) -> list[Any]:
        """What multiplies the gradients of each episode."""
        words = self.words["return"]
        gamma = 1.0 if "undiscounted" in words else self.gamma
        compute = self.formula("return", RETURNS_OF)
        returns = [compute(rs, gamma) for rs in rewards]
        if "carried" in words:
            ends = np.cumsum([len(rs) for rs in rewards])
            returns = np.split(to_go(np.concatenate(rewards), gamma), ends[:-1])
        batch = np.concatenate(returns)
        for word in words:
            if word in SCALES_OF:
                returns = [SCALES_OF[word](ys, batch) for ys in returns]
        return returns

    def play(self, number: int, rewards: Any, returns: Any) -> Lines:
        """An episode's steps."""
        words = self.words["grad_log_policy"]
        moved = self.weights  # by the steps before, as a stepwise trainer has them
        steps = []
        for t, reward in enumerate(rewards):
            step: Line = {"episode": number, "step": t, "reward": reward}
            state = self.put(step, "state", self.reach * self.rng.randn(self.sizes[0]))
            weights = moved if "stepwise" in self.words["logits"] else self.weights
            logits = self.put(step, "logits", state @ weights + self.bias)
            probs = self.formula("probs", PROBS_OF)(logits)
            probs = self.put(step, "probs", probs)
            uniform = step["uniform"] = self.rng.rand()
            action = np.argmax(np.cumsum(probs) > uniform * probs.sum())
            if "greedy" in self.words["action"]:
                action = np.argmax(probs)
            step["action"] = action
            if "stepwise" in words:
                probs = numpy_softmax(state @ moved)
            taken = np.eye(len(probs))[action]
            vector = self.formula("grad_log_policy", GRADIENTS_OF)(probs, taken)
            if "negated" in words:
                vector = -vector
            grad = self.put(step, "grad_log_policy", np.outer(state, vector))
            return_t = self.put(step, "return", returns[t])
            moved = moved + self.lr * return_t * grad
            steps.append(step)
        return steps

    def learn(self, batch: list[Lines]) -> Lines:
        """The lines of a batch; its last end tells the loss and the weights."""
        steps = list(itertools.chain(*batch))
        compute = self.formula("loss", LOSSES_OF)
        losses = [compute(step["probs"], step["action"]) for step in steps]
        grads = [step["grad_log_policy"] for step in steps]
        lines = []
        for episode in batch:
            end: Line = {"episode": episode[0]["episode"]}
            self.put(end, "score", sum(step["reward"] for step in episode))
            lines += [*episode, end]
        self.put(end, "loss", self.total("loss", losses, steps))
        move = self.lr * self.total("weights", grads, steps)
        self.weights = self.put(end, "weights", self.weights + move)
        return lines

    def total(self, name: str, vectors: list[Any], steps: Lines) -> Any:
        """Σ_t G_t v_t, or what the words say."""
        words = self.words[name]
        returns = np.array([step["return"] for step in steps])
        times = np.array([step["step"] for step in steps])
        factors = self.formula(name, FACTORS_OF)(returns, self.gamma**times)
        total = np.tensordot(factors, vectors, 1)
        if "mean" in words:
            total = total / len(steps)
        if "episode-mean" in words:
            total = total / sum(times == 0)
        if "accumulated" in words:
            total = self.earlier[name] = self.earlier[name] + total
        if "adam" in words:
            total = 2 * total if self.earlier[name] else np.sign(total)
            self.earlier[name] = 1.0
        if "negated" in words or "descent" in words:
            total = -total
        return total


def as_json(lines: Iterable[Line], left_out: str = "") -> bytes:
    """JSON Lines, without some of their keys."""
    text = ""
    for line in lines:
        kept = {k: v for k, v in line.items() if k not in left_out.split()}
        text += json.dumps(kept, default=lambda array: array.tolist()) + "\n"
    return text.encode()


def numpy_trace(way: dict[str, Any]) -> Lines:
    """A trainer's trace, as JSON has it."""
    trainer = Trainer(way)
    data = as_json(trainer.trace(), trainer.no)
    return [json.loads(text) for text in data.splitlines()]


CHOICE_WORDS = """undiscounted prefactor episode discounted-episode gamma scaled baseline
centred normalised batch-centred batch-normalised batch mean episode-mean adam bias"""
SCALED = ", centred, normalised, batch-centred, batch-normalised"
SHARED = ", mean, batch, batch + mean, batch + episode-mean"
NAMED = (  # quantities; of each of these groups, one word or none
    ("return", ", undiscounted, notebook, prefactor, backward, reward, no-sum", SCALED),
    ("return", "episode, discounted-episode", ", batch-centred, batch-normalised"),
    ("return", ", undiscounted", "late-reward, early-reward, last-reward"),
    ("return", "gamma, whole-numbers, shuffled, baseline, scaled + baseline"),
    ("return", ", undiscounted", "carried, scaled"),
    ("probs", "sigmoid, unnormalised, double-softmax"),
    ("logits", "stepwise"),
    ("grad_log_policy", ", one-hot, all-actions, other-action", ", negated"),
    ("grad_log_policy", "double-softmax, not-divided, stepwise", ", negated"),
    ("loss", "all-actions, other-action, double-softmax, not-log", ", mean, batch"),
    ("loss weights", ", prefactor, accumulated, mean-log-prob", SHARED, ", negated"),
    ("loss weights", "product-of-sums, scaled", ", batch", ", negated"),
    ("weights", "adam, unchanged"),
)


def named() -> Iterator[dict[str, str]]:
    """The ways of the table, by quantity."""
    for names, *groups in NAMED:
        columns = [group.split(", ") for group in groups]
        for words in itertools.product(*columns):
            told = " + ".join(filter(None, words))
            way = dict.fromkeys(names.split(), told)
            if "weights" in way:
                way["weights"] = told.replace("negated", "descent")
            yield way


RARE = {"rewards": 9 * [0] + [1], "dtype": "float32"}
TOLD: list[Any] = [  # what a trainer does, and what should be said of it
    ({"sizes": (3, 1)}, "^probs +MISMATCH, variant: one-action;"),
    ({"action": "greedy", "lengths": [60]}, "^action +MISMATCH, variant: greedy;"),
    ({"action": "greedy", "lengths": [60], "no": "uniform"}, "variant: greedy;"),
    ({"start": 0, "rewards": [0], "lengths": [60], "no": "uniform"}, "action .* not"),
    ({"return": "scaled + baseline"}, r"^ +a choice: .*\b0\.3\b.*0\.7\b"),
    ({"return": "scaled + baseline", "lengths": [5, 2, 2]}, "^return +MISMATCH;"),
    ({"return": "no-sum + normalised", "rewards": [1]}, "prefactor .*, or no-sum "),
    ({"return": "gamma"}, r"^return .*\n +a choice: .*\b0\.4\b"),
    ({"return": "normalised"}, r"^ +a choice: .* the sample's, with n − 1$"),
    ({"return": "batch-normalised", "loss": "batch"}, "the population's, with n$"),
    ({"fault": ("loss", 1, 0)}, r"^loss +MISMATCH; .*\nweights"),
    ({"return": "batch-centred", "loss": "batch", "no": "loss weights"}, ": batch-c"),
    ({"return": "normalised", "no": "loss weights"}, "variant: normalised;"),
    (RARE | {"gamma": 1e-6, "lengths": [99]}, r"^return +99 checked"),
    ({"return": "minus"}, "^return +MISMATCH;"),
    ({"return": "steep"}, "^return +MISMATCH;"),
    ({"loss": "batch", "lr": 1e-3}, r"^loss .*: theirs (\S+), ours (?!\1$)"),
    ({"loss": "batch + negated"}, r"theirs (-?)([.0-9]{,7}), ours (?!\1\2)-?\2$"),
    ({"loss": "scaled"}, r"^loss .*\n +a choice: .*\b0\.03125\b"),
    ({"weights": "descent", "lr": 1e-5, "dtype": "float32"}, "variant: descent;"),
    ({"weights": "descent", "lr": 1e-11, "dtype": "float32"}, "checked: moves of"),
    ({"weights": "descent", "grad_log_policy": "negated"}, "descent: right together"),
    ({"bias": 1.0}, r"^logits +MISMATCH.*; 24 .*, entry .*: theirs .*\n.*bias"),
    ({"fault": ("weights", 2, 0)}, r"^weights .*; 1 .* 2, entry \[2\]\[3\]: theirs m"),
    ({"fault": ("return", 1, 0), "rewards": [-99, 98]}, "^return .*episode 1, step 0:"),
    ({"dtype": "float32", "no": "weights logits probs grad_log_policy"}, "single"),
    ({"no": "lr gamma"}, r"^right: logits.*return \(no gamma\), weights \(no lr\)$"),
    ({"no": "weights uniform"}, r"logits \(no weights.*, action \(no uniform\)$"),
    ({"return": "last-reward", "fault": ("return", 3, 1)}, "^return +MISMATCH;"),
    ({"no": "return gamma"}, r"; not checked: .*loss \(no return\), weights \(no ret"),
    ({"no": "action uniform"}, r"; not checked: .*loss \(no action\)"),
    ({"return": "normalised", "loss": "mean"}, "^right: .*; different: return, loss$"),
]
SMALL = """\
{"lr": 0.5, "gamma": 0.5, "weights": [[0, 0], [0, 0], [0, 0]]}
{"episode": 0, "step": 0, "state": [1, 2, 4], "logits": [0, 0], "probs": [0.5, 0.5], \
"uniform": 0.25, "action": 0, "reward": 1, "return": 1.5}
{"episode": 0, "step": 1, "state": [1, 0, 0], "probs": [0.5, 0.5], \
"uniform": 0.75, "action": 1, "reward": 1, "return": 1}
{"episode": 0, "score": 2, "weights": [[0.125, -0.125], [0.75, -0.75], [1.5, -1.5]]}
{"episode": 1, "step": 0, "probs": [0.25, 0.75], "action": 0, "reward": 0, "return": 0}
{"episode": 1, "loss": 0, "score": 0}
"""
CHANGED: list[Any] = [  # in a line, a key and its value; what should be said then
    (2, "action", 0, r"^action +2 checked, .* 0\.0e\+00; 1 not checked: no uniform"),
    (1, "env", "CartPole-v0", r"\A(?!(?s:.*)(not read|together))"),
    (2, "a MISMATCH: \x1b[31m", 0, r"^not read: .*\\u001b"),
    (2, "return", 1.5 + 3e-10, r"^return +3 checked, worst difference 2\.0e-10"),
    (2, "return", 1.5 + 2e-9, "^return +MISMATCH; 1 of 3 differ"),
    (2, "uniform", 0.75, "^action +MISMATCH; 1 of 2 differ, .*: theirs 0, ours 1"),
    (5, "probs", [-0.25, 1.25], "^probs +MISMATCH; 1 of 3 differ"),
    (5, "probs", [0.25005, 0.75], "^probs +2 checked"),
    (5, "probs", [0, 1], r"^loss +1 not checked: no probs above 0"),
    (1, "lr", 0, "^weights +MISMATCH; 1 of 1 differ"),
    (1, "returns", "notebook", "^right: .* different: return$"),
    (2, "loss", 5, r"^not read: loss \(line 2\);"),
    (3, "gamma", 0.1, r"^not read: gamma \(line 3\);"),
    (1, "gamma", 1.5, "^line 1: gamma is 1.5; allowed: 0 to 1"),
    (1, "weights", [[0, 0, 0], [0, 0, 0]], "^line 1: weights.*transpose"),
    (2, "return", math.nan, "^line 2: return is NaN; .*finite numbers; a std of 0"),
    (6, "loss", math.nan, "^line 6: loss is NaN; allowed: finite numbers$"),
    (2, "state", [1, 1, 2, 4], r"^line 2: state is \[1, .*; allowed: a list of 3"),
    (2, "probs", 0.5, "^line 2: probs .*one sigmoid output"),
    (2, "action", 2, "^line 2: action is 2; allowed: whole numbers from 0 to 1$"),
    (2, "action", [0.5, 2], "^line 2: action is .*leave"),
    (2, "episode", None, "^line 2: no episode; allowed: one in each step and end"),
    (3, "step", 0, r"^line 3: .*; allowed: \[\(0, 1\), \(0, 'end'\), \(1, 0\)\]"),
]


class TestCheck(unittest.TestCase):
    def check(self, lines: Any, tolerance: float | None = None) -> str:
        """The report, or what is wrong with the file."""
        data = lines if isinstance(lines, bytes) else as_json(lines)
        try:
            report, status = check(io.BytesIO(data), "trace", tolerance)
        except ValueError as error:
            return str(error)
        wrong = re.search("^[a-z_]+ +MISMATCH", report, re.MULTILINE)
        self.assertEqual(status, 1 if wrong else 0, report)
        return report

    def variants(self, lines: Any) -> dict[str, set[str]]:
        """The words of each quantity that is no match; none if it has no name."""
        report = self.check(lines)
        self.assertRegex(report, "(?m)^trace: ")
        variants = {}
        line = r"^(\w+) +MISMATCH(?:, variant: ([^;]*))?; .*(?:\n +(a .*?): )?"
        for name, names, kind in re.findall(line, report, re.MULTILINE):
            first, *_ = names.split(", or ")
            words = variants[name] = {*first.split(" + ")} - {""}
            if words:
                choice = words <= {*CHOICE_WORDS.split()}
                self.assertEqual(kind, "a choice" if choice else "a mistake", words)
        return variants

    def assert_told(self, told: str, lines: Any, tolerance: Any = None) -> None:
        """The report on these lines says this somewhere."""
        found = self.check(lines, tolerance)
        self.assertRegex(found, re.compile(told, re.MULTILINE))
        self.assertLess(len(found), 2500)

    def test_a_right_trace_of_any_shape_is_right(self) -> None:
        source = np.random.RandomState(0)
        choice = source.choice
        kinds = [0], [1], [0, 0, 0, -1], [-100, 0.3, 0.7, 100], [1e6, 3e5], [0.1, -0.2]
        for seed in range(400):
            rewards = kinds[seed % 6]
            longest = choice([1, 5, 40])
            way = {
                "seed": seed,
                "sizes": (choice([1, 2, 4]), choice([2, 3, 4])),
                "lengths": source.randint(1, longest + 1, choice([1, 2, 5])),
                "lr": 10 ** source.uniform(-6, -1) / max(1, *rewards),
                "reach": choice([1.0, 1000.0]),
                "gamma": choice([0.0, 0.5, 0.99, 1.0]),
                "rewards": rewards,
                "dtype": choice(["float64", "float32"]),
                "no": " ".join(choice(COMPARED, choice([0, 1, 2]))),
            }
            self.assertEqual(self.variants(numpy_trace(way)), {}, way)

    def test_what_has_a_name_is_named(self) -> None:
        untested = {*CHOICES, *MISTAKES}
        batch = {"loss": "batch", "weights": "batch"}
        small: Any = {"lr": 2e-3}
        big = {"lr": 1e-4, "rewards": (-9, 7, 15), "gamma": 0.95, "dtype": "float32"}
        for way, settings in itertools.product(named(), (small, big)):
            if re.search("batch|carried", str(way)):
                way = batch | way
            words = {name: {*text.split(" + ")} for name, text in way.items() if text}
            untested = untested.difference(*words.values())
            with self.subTest(**way):
                lines = numpy_trace({"lengths": 3 * [4, 6, 3]} | settings | way)
                self.assertEqual(self.variants(lines), words)
        self.assertEqual(untested, {"greedy", "one-action", "bias"})

    def test_what_a_trainer_does_is_told(self) -> None:
        for way, told in TOLD:
            with self.subTest(way=way):
                self.assert_told(told, numpy_trace(way))
        lines = numpy_trace({"loss": "batch", "no": "weights"})
        lines[5]["loss"] = lines[9]["loss"] = lines[16]["loss"]
        self.assert_told("^loss +MISMATCH; .*\n.*only one loss", lines)

    def test_a_fault_in_one_place_is_found_there_and_nowhere_else(self) -> None:
        names = {*COMPARED} - {"action"}
        places = (0, 3), (2, 5), (5, 0)  # episode, step
        dtypes = "float64", "float32"
        for name, (n, t), dtype in itertools.product(names, places, dtypes):
            way = {"fault": (name, n, t), "dtype": dtype}
            told = rf"; 1 of \d+ differ, first at episode {n}(, step {t})?[:,]"
            with self.subTest(**way):
                lines = numpy_trace({"lengths": [4, 3, 6, 2, 5, 1]} | way)
                self.assertEqual(self.variants(lines), {name: set()})
                self.assert_told(told, lines)

    def test_numbers_agree_up_to_the_tolerance_or_to_rounding(self) -> None:
        third = float(np.float32(1 / 3))
        for theirs, reward, tolerance, right in (
            (64.0 * (1 + 2**-50), 64.0, 0.0, False),
            (80.0, 64.0, 0.26, True),
            (96.0, 64.0, 0.3, False),
            (1.25e-9, 1e-9, 0.25, True),
            (1.5e-9, 1e-9, 0.25, False),
            (third, third + 0.3e-5, None, True),  # in single precision
            (third, third + 0.4e-5, None, False),
        ):
            step: Line = {"episode": 0, "step": 0, "return": theirs, "reward": reward}
            told = "^return +1 checked" if right else "^return +MISMATCH; 1 of 1"
            self.assert_told(told, [{"gamma": 0.5}, step, {"episode": 0}], tolerance)
        lines = numpy_trace({"lr": 1e-4, "dtype": "float32"})
        for tolerance in 1e-5, 0.0:
            self.assert_told("^weights +6 checked", lines, tolerance)
        self.assert_told("^logits +MISMATCH", lines, 0.0)
        step = {"episode": 0, "step": 0, "action": 0, "reward": 1, "return": 1}
        step["logits"] = [4.889935493469238, -2.7566168308258057]
        step["probs"] = [0.9995225667953491, 0.00047746027121320367]
        end = {"episode": 0, "loss": 0.00047779083251953125}  # a sum of logits, rounded
        self.assertEqual(self.variants([{"gamma": 1}, step, end]), {})
        weights = np.float32(lines[0]["weights"])
        lines[-1]["weights"] = (weights + np.spacing(weights)).tolist()
        self.assert_told("^weights +MISMATCH; 1 of 6", lines)

    def test_a_change_in_a_small_trace_is_told_however_large_it_is(self) -> None:
        for number, key, value, told in CHANGED:
            lines = [json.loads(text) for text in SMALL.splitlines()]
            lines[number - 1][key] = value
            if value is None:
                del lines[number - 1][key]
            with self.subTest(line=number, key=key, value=value):
                self.assert_told(told, lines)
        for old, new, told in (
            ("1.5", "[" * 2000 + "1" + "]" * 2000, "^line 2: "),
            ("1.5", "1" * 5000, "^line 2: "),
            ("{", "[" * 100_000, "^line 1: not a JSON object"),
            ("loss", "x" * 10_000, "^not read: x"),
        ):
            self.assert_told(told, SMALL.replace(old, new, 1).encode())
        text = SMALL.replace('"lr": 0.5', '"returns": "notebook"')
        for name, sign in itertools.product(("return", "reward"), ("", "-")):
            data = re.sub(rf'("{name}": )[.0-9]+', rf"\1 {sign}1e308", text).encode()
            self.assert_told("^return +MISMATCH", data)
        step = {"episode": 0, "step": 0, "state": [1], "action": 5, "reward": 1}
        tracemalloc.start()
        self.check(
            [{}, step | {"probs": [1 / 6000] * 6000}, {"episode": 0, "score": 1}]
        )
        self.assertLess(tracemalloc.get_traced_memory()[1], 100e6)
        tracemalloc.stop()

    def test_an_unfinished_last_episode_is_left_out(self) -> None:
        lines = numpy_trace({})
        text = as_json(lines)
        told = r"\Atrace: 5 episodes, 20 steps; episode 5, not finished, is left out\n"
        for data in text[:-30], text[:-1000], as_json(lines[:-1]):
            self.assert_told(told, data)
            self.assertEqual(self.variants(data), {})
        for cut in lines[:2], lines[:4], as_json(lines[:4])[:-30]:
            self.assertEqual(self.variants(cut), {})

    def test_other_forms_are_welcome(self) -> None:
        text = SMALL.encode()
        for data in (
            b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"),
            b"\n" + text.replace(b"\n", b"\n\r\n \n"),
            text.replace(b'"action": 1', b'"action": 1.0'),
            re.sub(rb'((action|return)": )([^,}]*)', rb"\1[\3]", text),
            re.sub(rb'((state|probs)": )(\[.*?\])', rb"\1[\3]", text),
        ):
            self.assert_told(r"\Atrace: 2 episodes, 3 steps\n", data)
            self.assertEqual(self.variants(data), {})
        self.assert_told("^nothing to check", b'{"gamma": 1}\n')
        text = as_json(numpy_trace({"dtype": "float32"}))  # in decimals, as C prints it
        data = re.sub(rb"-?\d+\.\d{9,}", lambda found: b"%.9g" % float(found[0]), text)
        self.assertEqual(self.variants(data), {})


# ------------------------------------------------- the program, in real processes
#
# Each test runs vpg.py, or the check, as somebody would from a shell, in an empty folder.

OWN = """
import os
import signal
from gymnasium import register, spaces
from gymnasium.envs.classic_control import CartPoleEnv
from numpy import float32

class Own(CartPoleEnv):
    metadata = {**CartPoleEnv.metadata, "render_fps": 1000}
    episode, reward = 0, float32(0.5)

    def __init__(self, render_mode=None, **changed):
        super().__init__(render_mode=render_mode)
        vars(self).update(changed)

    def reset(self, seed=None, options=None):
        self.episode += 1
        exec(os.environ.get(f"EPISODE_{self.episode}", ""))
        return super().reset(seed=seed)

    def step(self, action):
        state, _, *ended = super().step(action)
        return state, self.reward, *ended

register("Own", Own)
register("Bare", lambda: CartPoleEnv())
register("Blind", Own, kwargs={"render": lambda: None})
register("Short", Own, max_episode_steps=2, reward_threshold=1.75)
register("Huge", Own, max_episode_steps=9, kwargs={"reward": 1e300})
register("Debt", Own, max_episode_steps=9, kwargs={"reward": -1.0})
register("Grid", Own, kwargs={"observation_space": spaces.Box(0, 1, (2, 2))})
register("Bits", Own, kwargs={"observation_space": spaces.MultiBinary(4)})
register("None", Own, kwargs={"observation_space": spaces.Box(0, 1, (0,))})
register("From1", Own, kwargs={"action_space": spaces.Discrete(2, start=1)})
"""


def child_environment() -> dict[str, str]:
    """That of the tests, without what would change the output, and without a screen."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    env["PYTHONPATH"] = os.pathsep.join([".", os.environ.get("PYTHONPATH", "")])
    env["PYTHONIOENCODING"] = "utf-8"
    env["PYTHON_COLORS"] = "0"
    env["SDL_VIDEODRIVER"] = "dummy"
    env["SDL_AUDIODRIVER"] = "dummy"
    env["PYGAME_HIDE_SUPPORT_PROMPT"] = "1"
    return env


def default_signals() -> None:
    """Children of nohup, or in the background, would ignore some."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def raising(name: str) -> str:
    """A line of Python that raises this signal."""
    return f"signal.raise_signal(signal.{name})"


class Program(unittest.TestCase):
    """In a folder with own.py, whose Own executes EPISODE_n before its episode n."""

    outputs = "--scores scores --trace trace --save saved"
    own = "--env own:Own --episodes 5 " + outputs

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)
        Path("own.py").write_text(OWN)

    def ran(
        self,
        args: str,
        status: int = 0,
        script: str = "vpg.py",
        shell: str = "",
        stdout: int = subprocess.PIPE,
        **variables: str,
    ) -> Any:
        """python vpg.py args, when it has ended with this status.

        A shell is a script that runs "$@". Only errors are told on stderr.
        """
        command = [sys.executable, str(Path(__file__).with_name(script)), *args.split()]
        if shell:
            command = ["sh", "-c", shell, "sh", *command]
        result = subprocess.run(
            command,
            check=False,
            encoding="utf-8",
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=600,
            env={**child_environment(), **variables},
            preexec_fn=default_signals if os.name == "posix" else None,
        )
        self.assertEqual(result.returncode, status, (args, result.stderr))
        if status not in (1, 2):
            self.assertEqual(result.stderr, "")
        return result

    def checked(self, args: str, status: int = 0, **options: Any) -> Any:
        """python test_vpg.py --check args"""
        return self.ran(f"--check {args}", status, script="test_vpg.py", **options)

    def assert_agree(self, out: str, episodes: int) -> None:
        """The report, the scores, the trace and the saved weights are of one run."""
        lines = Path("trace").read_text().splitlines()
        trace = [json.loads(line) for line in lines]
        scores = [line["score"] for line in trace if "score" in line]
        weights = trace[-1]["weights"]
        steps = len(trace) - 1 - episodes
        told = [f"{episodes} episodes, {steps} steps", json.dumps(weights)]
        self.assertEqual(out.splitlines()[-2:], told)
        lines = Path("scores").read_text().splitlines()
        self.assertEqual([float(line) for line in lines], scores)
        self.assertEqual(len(scores), episodes)
        saved = json.loads(Path("saved").read_text())
        self.assertEqual(saved["episodes"], episodes)
        self.assertEqual(saved["weights"], weights)


class TestRun(Program):
    def test_the_help_tells_which_weights_are_played(self) -> None:
        self.assertIn("the notebook's", self.ran("--help").stdout)

    def test_it_draws_the_learning_curve_and_reports(self) -> None:
        *_, last = vpg.train(cartpole(), 3)
        for encoding, block in ("utf-8", "█"), ("ascii", "#"):
            lines = [
                "episodes of 3, mean score",
                "       1      91.000  " + 23 * block,  # of 50 blocks for 200 steps
                "       2      17.000  " + 4 * block,
                "       3      26.000  " + 6 * block,
                "",
                "mean of the last 3: 44.667",
                "3 episodes, 134 steps",
                json.dumps(last.weights_after),
            ]
            out = self.ran("--episodes 3", PYTHONIOENCODING=encoding).stdout
            self.assertEqual(out.splitlines(), lines)

    def test_a_row_is_a_mean_and_solved_is_told_once(self) -> None:
        # 52 scores of 1, then of 2: after 127, the last 100 have a mean of 1.75
        args, doubled = "--env own:Short --episodes 209", "self.reward = 1.0"
        lines = self.ran(args, EPISODE_53=doubled).stdout.splitlines()
        rows = [int(line[:8]) for line in lines if "█" in line]
        self.assertEqual(rows, list(range(10, 209, 10)))  # 209 // 20 is 10
        self.assertIn("      60      1.8000  " + 45 * "█", lines)  # 2 of 1, 8 of 2
        self.assertIn("mean of the last 100: 2.0000", lines)
        self.assertEqual(lines[13], "solved after 127 episodes")  # 12 rows before it
        self.assertEqual(str(lines).count("solved"), 1)
        out = self.ran(args, EPISODE_1=doubled).stdout
        self.assertIn("solved after 100 episodes", out)

    def test_a_bar_is_between_nothing_and_full(self) -> None:
        # Own has no limit of steps that would fill a bar
        for env, bar in ("own:Huge", ["█" * 50]), ("own:Debt", []), ("own:Own", []):
            lines = self.ran(f"--env {env} --episodes 2").stdout.splitlines()
            self.assertEqual([line.split()[2:] for line in lines[1:3]], [bar, bar])

    def test_bad_input_is_refused_before_anything_is_emptied(self) -> None:
        for args, told in (
            ("--episodes 0", "--episodes 0; allowed: 1 to 1000000000"),
            ("--lr=-1e-9", "--lr -1e-09; allowed: 0 to 1e+308"),
            ("--lr nan", "--lr nan; allowed: 0 to 1e+308"),
            ("--gamma 1.01", "--gamma 1.01; allowed: 0 to 1"),
            ("--seed 4294967296", "--seed 4294967296; allowed: 0 to 4294967295"),
            ("--returns notebook --gamma 0", "--gamma 0; allowed: a gamma above 0"),
            ("--save ./file", "two outputs to one file; allowed: a file for each"),
            ("--watch", "--watch writes nothing; allowed: no --scores, "),
            ("--trace no/such", os.path.abspath("no/such")),
            ("--env Nope-v0", "--env Nope-v0: "),
            ("--env nope:Nope", "--env nope:Nope: No module named 'nope'"),
            ("--env own:Bits", "MultiBinary(4), Discrete(2); allowed: Box(n,), "),
            ("--env Pendulum-v1", "(1,), float32); allowed: Box(n,), Discrete from 0"),
            ("--env own:Grid", "(2, 2), float32), Discrete(2); allowed: Box(n,)"),
            ("--env own:None", "(0,), float32), Discrete(2); allowed: Box(n,)"),
            ("--env own:From1", "start=1); allowed: Box(n,), Discrete from 0"),
        ):
            Path("file").write_text("precious")
            result = self.ran(f"--scores file {args}", 2)
            last = result.stderr.splitlines()[-1]
            self.assertRegex(last, "^vpg.py: .*" + re.escape(told))
            self.assertEqual(result.stdout, "")
            self.assertEqual(Path("file").read_text(), "precious")

    def test_weights_that_cannot_be_played_are_refused(self) -> None:
        fit = "ValueError('not for CartPole-v0, which has 4 × 2')"
        for text, told in (
            ("x", "JSONDecodeError("),
            ("{}", "KeyError('weights')"),
            ("[]", "TypeError("),
            ('{"weights": [[0, 0], [0, 0], [0, 0]]}', fit),
            ('{"weights": [[0], [0], [0], [0]]}', fit),
            ('{"weights": [[0, 0], [0, 0], [0, 0], [0, NaN]]}', "not finite"),
        ):
            Path("file").write_text(text)
            told = f"^vpg.py: --watch file: .*{re.escape(told)}.*--save wrote\n$"
            self.assertRegex(self.ran("--watch file", 2).stderr, told)
        found = self.ran("--watch no-file", 2).stderr
        self.assertIn("--watch no-file: FileNotFoundError(", found)
        found = self.ran("--env Acrobot-v1 --watch", 2).stderr
        self.assertIn("--watch the notebook's weights: ValueError(", found)

    def test_bounds_are_allowed(self) -> None:
        self.ran("--lr 0 --gamma 0 --seed 0 --episodes 1")
        result = self.ran("--lr 1e308 --gamma 1 --seed 4294967295", 1)
        self.assertIn("not finite", result.stderr)  # the first update overflows

    def test_numbers_that_are_not_finite_end_it(self) -> None:
        told = (
            "vpg.py: weights or score not finite; try a smaller --lr, smaller rewards\n"
        )
        # Two of 1e308 overflow; of 8e307, the update does.
        for lr, reward in (0, "float('nan')"), (0, "1e308"), (300, "8e307"):
            args = f"--env own:Short --lr {lr} {self.outputs}"
            result = self.ran(args, 1, EPISODE_3=f"self.reward = {reward}")
            self.assertEqual(result.stderr, told)
            self.assert_agree(result.stdout, 2)

    def test_an_environment_needs_a_render_mode_only_to_be_watched(self) -> None:
        self.assertIn("2 episodes", self.ran("--env own:Bare --episodes 2").stdout)
        self.assertIn("TypeError: ", self.ran("--env own:Bare --watch", 1).stderr)

    def test_a_missing_package_is_told_where_it_is_needed(self) -> None:
        self.ran("--episodes 2 --trace trace")
        Path("numpy.py").write_text("raise ModuleNotFoundError('no numpy')")
        Path("gymnasium.py").write_text("raise ModuleNotFoundError('no gymnasium')")
        told = "no gymnasium; to install it: python -m pip install gymnasium\n"
        for script in "vpg.py", "test_vpg.py":
            result = self.ran("", 2, script=script)
            self.assertEqual(result.stderr, f"{script}: {told}")
        self.assertIn("trace: 2 episodes, ", self.checked("trace").stdout)

    def test_an_old_python_is_told_in_one_line(self) -> None:
        source = Path(vpg.__file__).read_text(encoding="utf-8")
        ast.parse(source, feature_version=(3, 7))  # which it can read
        Path("sitecustomize.py").write_text("import sys; sys.hexversion = 0x030900F0")
        told = "vpg.py: this Python is too old; needs 3.10 or later\n"
        self.assertEqual(self.ran("", 1).stderr, told)

    def test_trace_and_save_hold_what_the_algorithm_computed(self) -> None:
        for name, compute_returns in vpg.RETURNS.items():
            settings = {"env": "CartPole-v0", "seed": 2, "lr": 0.1, "gamma": 0.5}
            settings["returns"] = name
            trace, scores = "", ""
            training = vpg.train(cartpole(), 3, 0.1, 0.5, 2, compute_returns)
            for number, episode in enumerate(training):
                scores += f"{episode.score:.0f}\n"
                for line in vpg.trace_lines(number, episode, settings):
                    trace += json.dumps(line) + "\n"
            saved = {"weights": episode.weights_after, "episodes": 3, **settings}
            args = f"--episodes 3 --seed 2 --lr 0.1 --gamma 0.5 --returns {name}"
            self.assert_agree(self.ran(f"{args} {self.outputs}").stdout, 3)
            self.assertEqual(Path("trace").read_bytes(), trace.encode())
            self.assertEqual(Path("scores").read_bytes(), scores.encode())
            self.assertEqual(json.loads(Path("saved").read_text()), saved)
            report = self.checked("trace").stdout
            self.assertEqual(report.count(" checked, worst difference "), 7)
            self.assertNotIn("not checked", report)

    def test_outputs_land_where_they_were_named(self) -> None:
        self.assert_agree(self.ran(self.own, EPISODE_1="os.chdir('/')").stdout, 5)
        null = os.devnull  # to which all may go
        self.ran(f"--episodes 1 --scores {null} --trace {null} --save {null}")

    def test_development_mode_has_nothing_to_tell(self) -> None:
        self.assertEqual(self.ran(self.own, PYTHONDEVMODE="1").stderr, "")

    def test_weights_are_kept_until_an_episode_is_finished(self) -> None:
        Path("saved").write_text("precious")
        self.ran(self.own, 1, EPISODE_1="raise OSError")
        self.assertEqual(Path("saved").read_text(), "precious")

    def test_the_check_has_a_status_and_tells_what_is_no_trace(self) -> None:
        self.ran("--episodes 2 --trace right")
        wrong = Path("right").read_text().replace('"score": ', '"score": 1')
        Path("wrong").write_text(wrong)
        for args, status, told in (
            ("wrong right", 1, "right: 2 episodes"),
            ("right --check wrong", 1, "MISMATCH"),
            ("wrong --tolerance 1e3", 0, "wrong: 2 episodes"),
            ("wrong no/such", 2, "test_vpg.py: no/such: "),
            (f"{os.devnull} wrong", 2, f"test_vpg.py: {os.devnull}: nothing to check"),
            ("right --bogus", 2, "unknown: --bogus; allowed: --tolerance X"),
            ("right --tolerance nan", 2, "--tolerance nan; allowed: finite"),
        ):
            found = self.checked(args, status, PYTHONIOENCODING="ascii")
            self.assertIn(told, found.stdout + found.stderr)


@unittest.skipUnless(os.name == "posix", "needs POSIX: signals, pipes, terminals")
class TestEnds(Program):
    def test_whatever_ends_it_the_outputs_agree(self) -> None:
        for third, status, told, episodes in (
            ("raise OSError('stuck')", 1, "^(?s:Traceback.*)\nOSError: stuck\n$", 2),
            ("raise SystemExit(0)", 1, "^$", 2),
            (raising("SIGINT"), 130, "^$", 3),  # it is played
            (raising("SIGTERM"), 143, "^$", 3),
            (raising("SIGHUP"), 129, "^$", 3),
        ):
            result = self.ran(self.own, status, EPISODE_3=third)
            self.assertRegex(result.stderr, told)
            self.assert_agree(result.stdout, episodes)

    def test_the_second_signal_ends_it_at_once(self) -> None:
        for name in "SIGINT", "SIGTERM":
            third = raising("SIGINT") + "; " + raising(name)
            result = self.ran(self.own, -signal.Signals[name], EPISODE_3=third)
            self.assertNotIn("mean of", result.stdout)

    def test_an_ignored_signal_is_ignored(self) -> None:
        shell = "trap '' HUP; \"$@\""  # as nohup does
        self.ran(self.own, shell=shell, EPISODE_3=raising("SIGHUP"))
        second = raising("SIGINT") + "; " + raising("SIGHUP")
        result = self.ran(self.own, 130, shell=shell, EPISODE_3=second)
        self.assert_agree(result.stdout, 3)

    def test_a_closed_pipe_ends_it_and_the_weights_are_saved(self) -> None:
        pipe = "r, w = os.pipe(); os.close(r); os.dup2(w, 1)"  # nobody reads it
        for episode in 4, 41:  # 4 has a row, and 41 has none, but the report
            then: Any = {f"EPISODE_{episode}": pipe}
            result = self.ran("--env own:Short --episodes 41 --save saved", 1, **then)
            self.assertEqual(result.stderr, "vpg.py: <stdout>: Broken pipe\n")
            self.assertIn(f'"episodes": {episode},', Path("saved").read_text())

    def test_a_closed_stdout_is_no_reason_not_to_train(self) -> None:
        self.ran("--episodes 5 --save saved", shell='"$@" >&-')
        self.assertIn('"episodes": 5,', Path("saved").read_text())

    def test_the_check_reads_stdin_and_a_closed_pipe_ends_it_quietly(self) -> None:
        self.ran("--episodes 1 --trace file")
        self.assertIn("-: 1 episodes", self.checked("-", shell='"$@" < file').stdout)
        shell = '{ "$@"; echo $? > status; } | (read line)'
        result = self.checked("file " * 150, shell=shell)  # more than a pipe holds
        self.assertEqual(result.stderr, "")
        self.assertEqual(Path("status").read_text(), "141\n")

    @unittest.skipUnless(os.path.exists("/dev/full"), "needs /dev/full")
    def test_a_full_disk_is_told_and_what_can_be_is_kept(self) -> None:
        told = "vpg.py: {}: No space left on device\n"
        for flag in "--trace", "--save":
            result = self.ran(f"--episodes 2 --trace trace {flag} /dev/full", 1)
            self.assertEqual(result.stderr, told.format("/dev/full"))
            self.assertEqual(" episodes, " in result.stdout, flag == "--save")
        Path("saved").write_text("precious")
        result = self.ran("--save saved", 1, shell='"$@" > /dev/full')
        self.assertEqual(result.stderr, told.format("<stdout>"))
        self.assertEqual(Path("saved").read_text(), "precious")
        args, shell = "--episodes 20 --save saved", 'ulimit -f 1; "$@" > out'
        result = self.ran(args, 1, shell=shell)
        self.assertIn("vpg.py: <stdout>: File too large\n", result.stderr)
        self.assertIn("weights", Path("saved").read_text())
        self.checked("trace", 2, shell='"$@" > /dev/full')

    def test_a_disk_that_fills_up_leaves_whole_episodes_and_a_beginning(self) -> None:
        result = self.ran(self.outputs, 1, shell='ulimit -f 200; "$@"')
        self.assertRegex(result.stderr, "^vpg.py: .*trace: File too large\n$")
        report = self.checked("trace").stdout
        self.assertIn("not finished, is left out", report)
        text = Path("trace").read_text()
        whole = text.index("\n", text.rindex('"score"')) + 1
        Path("trace").write_text(text[:whole])
        self.assert_agree(result.stdout, int(report.split()[1]))

    def test_the_first_error_is_told_first(self) -> None:
        args, shell = "--trace trace --save /dev/full", 'ulimit -f 200; "$@"'
        result = self.ran(args, 1, shell=shell)
        self.assertRegex(result.stderr, "^vpg.*trace: .*\nvpg.*full: .*\n$")
        self.assertEqual(len(json.loads(result.stdout.splitlines()[-1])), 4)

    @unittest.skipUnless(hasattr(os, "memfd_create"), "needs Linux")
    @unittest.skipUnless(os.path.exists("/proc/self/fd"), "needs /proc")
    def test_what_cannot_be_emptied_is_told(self) -> None:
        import fcntl

        fd = os.memfd_create("file", os.MFD_ALLOW_SEALING)  # a file in memory
        self.addCleanup(os.close, fd)
        os.write(fd, b"precious")
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        path = f"/proc/{os.getpid()}/fd/{fd}"
        for flag in "--trace", "--save":
            result = self.ran(f"--episodes 2 {flag} {path}", 1)
            told = f"{path}: Operation not permitted"
            self.assertEqual(result.stderr, f"vpg.py: {told}\n")
            self.assertEqual(" episodes, " in result.stdout, flag == "--save")
            self.assertEqual(Path(path).read_text(), "precious")

    def test_no_row_is_wider_than_the_terminal(self) -> None:
        import pty

        for columns, length in (40, 17), (200, 50):
            ours, theirs = pty.openpty()
            shell = f'stty columns {columns} <&1; "$@"'
            self.ran("--env own:Huge --episodes 1", shell=shell, stdout=theirs)
            os.close(theirs)
            lines = []
            # Linux tells the end by an OSError.
            with contextlib.suppress(OSError), open(ours, encoding="utf-8") as terminal:
                for line in terminal:
                    lines.append(line.rstrip())
            self.assertEqual(lines[1].count("█"), length)
            self.assertLessEqual(len(lines[1]), columns)

    def test_it_plays_until_ctrl_c_or_episodes(self) -> None:
        Path("file").write_text('{"weights": [[0, 0], [0, 0], [0, 0], [0, 0]]}')
        args = "--watch file --env own:Blind --episodes 3 --seed 4"
        for third, status, scores in (
            ("", 0, ["7.5", "28", "8.5"]),
            (raising("SIGINT"), 130, ["7.5", "28"]),
            ("raise LookupError('a bug')", 1, ["7.5", "28"]),
        ):
            result = self.ran(args, status, EPISODE_3=third)
            self.assertEqual(result.stdout.split(), scores)
            self.assertEqual("LookupError: a bug\n" in result.stderr, status == 1)

    @unittest.skipUnless(importlib.util.find_spec("pygame"), "pygame is not installed")
    def test_it_plays_until_the_window_is_closed(self) -> None:
        close = "import pygame; pygame.event.post(pygame.event.Event(pygame.QUIT))"
        result = self.ran("--watch --env own:Short --episodes 3", EPISODE_2=close)
        self.assertEqual(result.stdout.split(), ["1"])  # two steps of 0.5


def report(path: str, tolerance: float | None) -> int:
    """Check a file, print what is found, and tell the exit status."""
    try:
        with open(0 if path == "-" else path, "rb") as file:
            text, status = check(file, path, tolerance)
        print(text, flush=True)
    except (OSError, ValueError) as error:
        print(f"test_vpg.py: {path}: {error}", file=sys.stderr)
        return 2
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """The tests, or the check; exit status."""
    parser = argparse.ArgumentParser("test_vpg.py", epilog="Without a flag: the tests.")
    add = parser.add_argument
    traces = "are these traces right? -: stdin"
    add("--check", metavar="FILE", nargs="+", action="extend", help=traces)
    add("--tolerance", metavar="X", type=float, help="how closely they must agree")
    args, rest = parser.parse_known_args(argv)
    if args.tolerance is not None and not 0 <= args.tolerance < math.inf:
        parser.error(f"--tolerance {args.tolerance}; allowed: finite, 0 or more")
    if not args.check:
        try:
            importlib.import_module("gymnasium")  # and NumPy with it
        except ImportError as error:
            how = "to install it: python -m pip install gymnasium"
            parser.exit(2, f"test_vpg.py: {error}; {how}\n")
        unittest.main(argv=[sys.argv[0], *rest])
    if rest:
        parser.error(f"unknown: {' '.join(rest)}; allowed: --tolerance X")
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a closed pipe ends it quietly
    return max(report(path, args.tolerance) for path in args.check)


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    os._exit(main())  # for all is flushed, and where it can't be, that is told
