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
import contextlib
import doctest
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
import unittest
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import vpg
from vpg import Vector

with contextlib.suppress(ModuleNotFoundError):  # --check does without it
    import numpy as np

# --------------------------------------------------------- the truths of the method

cartpole: Callable[[], vpg.Env] = lambda: vpg.make_env("CartPole-v0")  # the notebook's


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
            steps.append(vpg.Step(state, logits, probs, math.nan, a, reward, grad))
            state, done = following, terminated or truncated
        rewards = np.array([step.reward for step in steps])
        later = [rewards[t:] for t in range(len(steps))]
        returns = [r @ gamma ** (r if notebook else np.arange(len(r))) for r in later]
        for step, return_t in zip(steps, returns):
            weights = weights + lr * np.array(step.grad_log_policy) * return_t
        yield steps, returns, weights


class Corridor:
    """Sutton & Barto's example 13.1: three states that look alike, the goal right of the
    last; in the second one, left and right are switched. Every step costs 1.
    """

    observation_space = SimpleNamespace(shape=(1,))
    action_space = SimpleNamespace(n=2)
    after = ((0, 1), (2, 0), (1, 3))  # by state and action, left or right

    def reset(self, seed: int | None = None) -> Any:
        self.state = 0
        return np.ones(1), {}

    def step(self, action: int) -> Any:
        self.state = self.after[self.state][action]
        return np.ones(1), -1.0, self.state == 3, False, {}


# What is known of an environment: each state as the policy sees it; by state and action,
# the expected reward, and the probability of each next state (the rest: it ends).
TINY: Any = (
    [[1.0, -0.5], [0.25, 2.0]],
    [[-0.5, 1.25], [3.0, 0.875]],
    [[[0.5, 0.5], [0.0, 0.75]], [[1.0, 0.0], [0.25, 0.5]]],
)
CORRIDOR: Any = (
    [[1.0]] * 3,
    [[-1.0, -1.0]] * 3,
    [[[float(s == n) for n in range(3)] for s in pair] for pair in Corridor.after],
)


def value_and_update(known: Any, weights: Any, gamma: float, power: float = 1.0) -> Any:
    """E[G_0], and E[Σ_t power^t G_t ∇log π], by linear algebra."""
    states, rewards, moves = known
    probs = [vpg.policy(weights, s)[1] for s in states]
    following, start = np.einsum("sa,san->sn", probs, moves), np.eye(len(states))
    mean_rewards = np.einsum("sa,sa->s", probs, rewards)
    values = np.linalg.solve(start - gamma * following, mean_rewards)
    visits = np.linalg.solve(start - power * following.T, start[0])
    action_values = rewards + gamma * np.array(moves) @ values
    pairs = list(zip(probs, states))
    grads = [[vpg.grad_log_policy(p, a, s) for a in (0, 1)] for p, s in pairs]
    update = np.einsum("s,sa,sa,saij->ij", visits, probs, action_values, grads)
    return values[0], update


def central_difference(f: Callable[[Any], Any], x: Any, h: float = 1e-5) -> Any:
    """∂f/∂x_i = (f(x + h e_i) − f(x − h e_i)) / 2h, shaped like f, then like x."""
    steps = np.reshape(np.eye(np.size(x)) * h, (-1, *np.shape(x)))
    slopes = np.array([np.subtract(f(x + e), f(x - e)) / (2 * h) for e in steps])
    return np.moveaxis(slopes, 0, -1).reshape(*slopes.shape[1:], *np.shape(x))


LOGITS = [0.3, -1.2, 2.0, 0.0]
WEIGHTS = [[0.2, -0.4, 0.1], [1.0, 0.5, -0.3]]
STATE = [0.7, -1.1]
SQUARE = [[0.5, -0.5], [0.25, 1.0]]  # weights for two numbers, two actions


class TestPolicy(unittest.TestCase):
    def test_the_docstrings_examples_are_true(self) -> None:
        result = doctest.testmod(vpg)
        self.assertEqual((result.failed, result.attempted), (0, 10))

    def test_sums_are_the_same_on_every_python(self) -> None:
        # sum() compensates from Python 3.12 on, and would give 1.0 and other probs.
        self.assertEqual(vpg.dot([1e16, 1.0, -1e16], [1.0, 1.0, 1.0]), 0.0)
        logits = [math.log(x) for x in (0.1, 0.2, 0.3, 0.7, 0.9)]
        exps = [math.exp(z - logits[-1]) for z in logits]
        self.assertEqual(vpg.softmax(logits), [e / math.fsum(exps) for e in exps])
        env: Any = Corridor()
        rest = [-1e9, 1e-8, 1e9]
        env.step = lambda _: (np.ones(1), rest.pop(), not rest, False, {})
        (episode,) = vpg.train(env, 1, 0.0, 1.0, 1)
        rewards = [step.reward for step in episode.steps]
        self.assertEqual(episode.score, math.fsum(rewards))
        self.assertNotEqual(episode.score, (rewards[0] + rewards[1]) + rewards[2])

    def test_what_is_not_equally_long_is_an_error(self) -> None:
        for u, v in ([1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0]):
            self.assertRaises(ValueError, vpg.dot, u, v)
        self.assertRaises(ValueError, vpg.policy, [[1.0, 2.0]], [1.0, 2.0])
        self.assertRaises(ValueError, vpg.update, SQUARE, [SQUARE], [1.0, 2.0], 1.0)

    def test_softmax_is_numpys_shifted_or_not_and_never_overflows(self) -> None:
        exps = np.exp(LOGITS)
        for shift in (0.0, -1000.0, 3.0, 1000.0):
            shifted = vpg.softmax([z + shift for z in LOGITS])
            np.testing.assert_allclose(shifted, exps / exps.sum(), rtol=1e-12)
        for z in (1000.0, -1000.0, 1e308, -1e308):
            self.assertEqual(vpg.softmax([z, z]), [0.5, 0.5])
            self.assertEqual(vpg.softmax([z, -z]), [float(z > 0), float(z < 0)])

    def test_the_jacobian_and_grad_log_policy_are_derivatives(self) -> None:
        expected = central_difference(lambda z: vpg.softmax(list(z)), LOGITS)
        jacobian = vpg.softmax_jacobian(vpg.softmax(LOGITS))
        np.testing.assert_allclose(jacobian, expected, atol=1e-9)
        log_probs = lambda w: np.log(vpg.policy(w, STATE)[1])
        expected = central_difference(log_probs, WEIGHTS)
        probs = vpg.policy(WEIGHTS, STATE)[1]
        grads = [vpg.grad_log_policy(probs, a, STATE) for a in range(3)]
        np.testing.assert_allclose(grads, expected, atol=1e-9)
        np.testing.assert_allclose(np.tensordot(probs, grads, 1), 0, atol=1e-15)  # E


class TestEpisode(unittest.TestCase):
    def test_the_stream_is_numpys(self) -> None:
        for seed in (0, 1, 2**32 - 1):
            stream, rng = vpg.random_stream(seed), np.random.RandomState(seed)
            ours = [stream.random() for _ in range(2000)]
            self.assertEqual(ours, rng.random_sample(2000).tolist())

    def test_the_draw_is_compared_with_the_share_of_the_total(self) -> None:
        below_one = math.nextafter(1.0, 0.0)
        for probs, uniform, action in (
            ([1.0, 3.0], 0.24, 0),
            ([1.0, 3.0], 0.25, 1),
            ([0.0, 1.0, 0.0], 0.0, 1),  # never one of probability 0
            ([0.0, 1.0, 0.0], below_one, 1),
            ([0.1] * 10 + [0.0], below_one, 9),
        ):
            self.assertEqual(vpg.sample_action(probs, uniform), action)
        for wrong in ([math.nan] * 2, 0.5), ([0.0] * 2, 0.5), ([0.5] * 2, 1.0):
            self.assertRaises(ArithmeticError, vpg.sample_action, *wrong)

    def test_a_step_holds_what_was_seen_done_and_computed(self) -> None:
        still = [[0.0, 0.0]] * 4, (True, False)
        for weights, ended in still, (vpg.NOTEBOOK_WEIGHTS, (False, True)):
            env, rng = cartpole(), np.random.RandomState(3)
            state, _ = env.reset(seed=4)
            for step in vpg.rollout(cartpole(), weights, vpg.random_stream(3), 4):
                seen, uniform = state.tolist(), rng.random_sample()
                logits, probs = vpg.policy(weights, seen)
                action = vpg.sample_action(probs, uniform)
                grad = vpg.grad_log_policy(probs, action, seen)
                state, reward, *ends, _ = env.step(action)
                expected = seen, logits, probs, uniform, action, reward, grad
                self.assertEqual(step, expected)
            self.assertEqual(tuple(ends), ended)  # terminated, truncated

    def test_only_the_first_reset_is_seeded(self) -> None:
        env = cartpole()
        states = [env.reset(seed=seed)[0].tolist() for seed in (5, None, None)]
        episodes = vpg.train(cartpole(), 3, 0.0, 1.0, seed=5)
        self.assertEqual([episode.steps[0].state for episode in episodes], states)

    def test_the_returns_are_their_definitions(self) -> None:
        rewards = np.array([1.0, -2.0, 0.5, 3.0, 1.0])
        for gamma in (0.3, 0.99, 1.0, 0.0):
            for t in range(5):
                rest, powers = rewards[t:], np.arange(5 - t)
                ours = vpg.discounted_returns(rewards.tolist(), gamma)[t]
                self.assertAlmostEqual(ours, gamma**powers @ rest, places=13)
                if gamma:  # 0 to the power of −2
                    ours = vpg.notebook_returns(rewards.tolist(), gamma)[t]
                    self.assertAlmostEqual(ours, gamma**rest @ rest, places=13)


class TestPolicyGradientTheorem(unittest.TestCase):
    def test_the_expected_update_is_the_gradient_if_gamma_to_the_t_is_in(self) -> None:
        for gamma, power in (1.0, 1.0), (0.8, 0.8), (0.8, 1.0):
            value: Any = lambda w, gamma=gamma: value_and_update(TINY, w, gamma)[0]
            gradient = central_difference(value, SQUARE)
            _, update = value_and_update(TINY, SQUARE, gamma, power)
            error = np.abs(update - gradient)
            if power == gamma:
                self.assertLess(error.max(), 1e-8)
            else:  # as most code has it
                self.assertGreater(error.min(), 0.01)


class TestShortCorridor(unittest.TestCase):
    def test_the_best_policy_goes_right_with_probability_2_minus_root_2(self) -> None:
        best = 2 - math.sqrt(2)
        for right in (0.05, 0.3, 0.55, best, 0.62, 0.8, 0.95):
            weights = [[0.0, math.log(right / (1 - right))]]
            value, [[to_left, to_right]] = value_and_update(CORRIDOR, weights, 1.0)
            self.assertAlmostEqual(to_left + to_right, 0)
            if right == best:
                self.assertAlmostEqual(value, -11.66, places=2)
                self.assertAlmostEqual(to_right, 0, places=11)
            else:
                self.assertLess(value, -11.66)
                self.assertEqual(to_right > 0, right < best)

    def test_training_comes_near_it(self) -> None:
        for first, mean in (1, -11.8), (11, -12.3):
            scores = []
            for seed in range(first, first + 10):
                training = vpg.train(Corridor(), 1000, 2**-12, 1.0, seed)
                scores += [episode.score for episode in training][-200:]
            self.assertAlmostEqual(statistics.fmean(scores), mean, delta=0.05)


class TestTraining(unittest.TestCase):
    def test_update_multiplies_from_left_to_right_and_makes_new_weights(self) -> None:
        weights = [[0.0]]
        updated = vpg.update(weights, [[[1e200]]], [1e-200], 1e-200)
        self.assertEqual((updated, weights), ([[1e-200 * 1e200 * 1e-200]], [[0.0]]))

    def test_it_retraces_numpy_and_the_published_figures_300_episodes(self) -> None:
        for name, total, last_row in (
            ("discounted", 7120, [0.09402103058103414, 0.4377999078396827]),
            ("notebook", 7428, [0.06721735962100751, 0.4646035787997089]),
        ):
            settings = 300, 2.5e-5, 0.99, 1, name == "notebook"
            theirs, scores, before = numpy_train(cartpole(), *settings), [], None
            training = vpg.train(cartpole(), 300, compute_returns=vpg.RETURNS[name])
            for ours, (steps, returns, weights) in zip(training, theirs):
                self.assertEqual(ours.before, before or ours.before)
                before = ours.weights
                scores.append(ours.score)
                self.assertEqual(ours.score, sum(step.reward for step in steps))
                np.testing.assert_allclose(ours.returns, returns, rtol=1e-12)
                np.testing.assert_allclose(ours.weights, weights, atol=1e-9, rtol=0)
                sums = np.sum(ours.before, 1), np.sum(ours.weights, 1)  # are kept
                np.testing.assert_allclose(*sums, rtol=1e-12)
            self.assertEqual(scores[:10], [91, 17, 26, 13, 18, 35, 36, 16, 15, 19])
            self.assertEqual(sum(scores), total)
            np.testing.assert_allclose(ours.weights[-1], last_row, atol=1e-9, rtol=0)

    @unittest.skipUnless(os.environ.get("VPG_FULL"), "two minutes; VPG_FULL=1 runs it")
    def test_the_published_figures_20_000_episodes(self) -> None:
        discounted = 3_403_301, 197.74, 7649, -2.7100106276245, 3.2418315660454
        notebook = 3_563_911, 199.96, 4509, -3.4213649592472, 3.9531858976678
        for name, (*figures, left, right) in zip(vpg.RETURNS, (discounted, notebook)):
            scores = []
            for episode in vpg.train(cartpole(), compute_returns=vpg.RETURNS[name]):
                scores.append(int(episode.score))
            means = (sum(scores[n - 100 : n]) / 100 for n in range(100, 20_001))
            solved = next(n for n, mean in enumerate(means, 100) if mean >= 195)
            self.assertEqual([sum(scores), sum(scores[-100:]) / 100, solved], figures)
            last_row = episode.weights[-1]
            np.testing.assert_allclose(last_row, [left, right], atol=1e-9, rtol=0)

    def test_the_notebooks_weights_are_seed_1s_and_score_197(self) -> None:
        (episode,), published = vpg.train(cartpole(), 1), vpg.NOTEBOOK_WEIGHTS
        sums = np.sum(episode.before, 1)
        np.testing.assert_allclose(np.sum(published, 1), sums, atol=1.5e-8, rtol=0)
        env, rng = cartpole(), vpg.random_stream(1)
        seeds = [1] + [None] * 99
        played = [list(vpg.rollout(env, published, rng, seed)) for seed in seeds]
        self.assertAlmostEqual(statistics.fmean(map(len, played)), 197, delta=1)


# ---------------------------------------------- the check of other implementations
#
# A trace is what a program computed; vpg.trace_lines shows one. The check computes each of
# its numbers again, by vpg.py's formula, from the trace's own inputs. Where they differ, by
# mistake (backward, accumulated, …) or by choice (prefactor, normalised, mean, …), it tries
# what other programs do, here readings, and names the one of fewest names that agrees with
# all that is there. Returns: a base, or a base minus its mean, and divided by its standard
# deviation, of an episode or a batch. Weights move by lr · c · S, losses are c · S with −log π
# for ∇log π: S is Σ_t G_t ∇log π or a variation, c 1, 1/steps or 1/episodes, or negative.

Line = dict[str, Any]
Names = tuple[str, ...]  # a reading: keys of WORDS, and marks to tell two apart
NETWORK = ("weights", "logits", "probs", "grad_log_policy")
PRECISIONS = ((1e-9, 2.0**-52), (1e-5, 2.0**-23))  # tolerance, epsilon: double, single
discounted = vpg.discounted_returns
BASES: dict[str, Callable[[Vector, float], Vector]] = {  # the last two are no sums
    "": discounted,
    "undiscounted": lambda r, gamma: discounted(r, 1.0),
    "notebook": vpg.notebook_returns,
    "prefactor": lambda r, g: [g**t * x for t, x in enumerate(discounted(r, g))],
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
    "accumulated": "all earlier gradients (or losses) are still in it: set them to zero",
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
INPUTS = {  # what is computed of what
    "logits": ("weights before", "state"),
    "probs": ("logits",),
    "action": ("uniform", "probs"),
    "grad_log_policy": ("probs", "action", "state"),
    "return": ("gamma", "bases", "step"),
    "loss": ("action", "probs above 0", "return"),
    "weights": ("weights before", "lr", "return", "grad_log_policy"),
    "score": ("reward",),
}
GRADIENTS: dict[Names, Callable[..., Any]] = {  # of probs, action and state
    (): vpg.grad_log_policy,
    ("not-divided",): lambda p, a, s: vpg.grad_log_policy(p, a, [p[a] * x for x in s]),
    ("one-hot",): lambda p, a, s: [[x * (j == a) for j in range(len(p))] for x in s],
}
for gradient, formula in list(GRADIENTS.items()):
    negated = lambda p, a, s, f=formula: f(p, a, [-x for x in s])
    GRADIENTS[(*gradient, "negated")] = negated
READINGS: dict[str, dict[Names, Callable[..., Any]]] = {  # of a step; () is right
    "logits": {(): lambda weights, s: vpg.policy(weights, s)[0]},
    "probs": {
        (): vpg.softmax,
        ("sigmoid",): lambda logits: [1 / (1 + math.exp(-z)) for z in logits],
        ("unnormalised",): lambda logits: [math.exp(z) for z in logits],
    },
    "action": {(): lambda uniform, p: vpg.sample_action(p, uniform)},
    "grad_log_policy": GRADIENTS,
    "return": {(b,) * bool(b): lambda _, bases, t, b=b: bases[b][t] for b in BASES},
}


def attempt(formula: Callable[..., Any], *inputs: Any) -> Any:
    """Its value; None if an input is missing, or it can't be computed."""
    try:
        return formula(*inputs)
    except (ArithmeticError, RecursionError, TypeError, ValueError):
        return None


def flat(value: Any) -> Vector:
    """The numbers of a number, a vector or a matrix."""
    rows = value if isinstance(value, list) else [value]
    return list(itertools.chain(*rows)) if isinstance(rows[0], list) else rows


def distances(theirs: Any, ours: Any, least: float = 1.0) -> Vector:
    """|a − b| / max(least, |a|, |b|) of each pair of numbers; inf for a NaN or None."""
    if ours is None or theirs == ours:
        return [math.inf if ours is None else 0.0]
    pairs = list(zip(flat(theirs), flat(ours)))
    far = [abs(a - b) / max(least, abs(a), abs(b)) for a, b in pairs]
    return [math.inf if math.isnan(x) else x for x in far]


def entry(k: int, place: str, theirs: Any, ours: Any) -> str:
    """Their k-th number and ours."""
    if isinstance(theirs, list):
        indices = divmod(k, len(theirs[0])) if isinstance(theirs[0], list) else [k]
        place += ", entry " + "".join(f"[{i}]" for i in indices)
        theirs, ours = flat(theirs)[k], flat(ours)[k]
    return f"{place}: theirs {theirs}, ours {ours}"


def label(names: Names | None) -> list[str]:
    """Without what only tells two of a name apart."""
    return [name for name in names or () if name in WORDS and name not in SPREADS]


class Tally:
    """What is known of a quantity; () is the reading that is right."""

    def __init__(self, name: str, tolerance: float, epsilon: float):
        self.name, self.tolerance, self.epsilon = name, tolerance, epsilon
        self.checked = self.differing = self.untold = 0
        self.lacks = self.first = self.note = ""
        self.worst: dict[Names, float] = {}
        self.dead: set[Names] = set()  # readings that differed

    def add(self, names: Names, worst: float, differs: bool) -> bool:
        """How far a reading is off in one more place; is it the first for ()?"""
        if worst >= self.worst.get(names, 0.0):
            self.worst[names] = worst
        if not names:
            self.checked += 1
        if differs:
            self.dead.add(names)
            self.differing += not names
        return differs and not names and self.differing == 1

    def reading(self) -> Names | None:
        """() if it is right, else the reading of fewest names that agrees, or None."""
        alive = [names for names in self.worst if names not in self.dead]
        return min(alive, key=lambda names: len(label(names)), default=None)

    def report(self, names: Names | None, excused: str) -> str:
        """A line, and a second one for the names of a reading, but for an excused one."""
        wrong = [name for name in label(names) if name != excused]
        if not self.checked:
            lacks = f"no {self.lacks}" if self.lacks else self.untold and TOO_SMALL
            line = f"not checked: {lacks}" if lacks else "not in the trace"
        elif names is None or wrong:
            line = f"MISMATCH: {self.differing} of {self.checked} differ"
            line += f", first at {self.first}"
        else:
            line = f"{self.checked} checked, worst difference {self.worst[names]:.1e}"
        if excused:
            line += f", {excused}: right together, as descent on a loss"
        if self.checked and self.untold:
            line += f"; {self.untold} not checked: {TOO_SMALL}"
        line += self.note
        if wrong:
            words = [WORDS[n] for n in names or () if n in wrong or n in SPREADS]
            line += f"  variant: {' + '.join(wrong)}\n    {'; '.join(words)}"
        return f"{self.name:16} {line}"


Tallies = list[Tally]  # of a quantity, the stricter first


def compare(
    tallies: Tallies, place: str, theirs: Any, ours: Any, names: Names = ()
) -> None:
    """A reading with what is there."""
    far = distances(theirs, ours)
    worst = max(far)
    for tally in tallies:
        if tally.add(names, worst, worst > tally.tolerance):
            tally.first = entry(far.index(worst), place, theirs, ours)


class Scaled:
    """Readings of the returns: a base less its mean, also divided by its std + ε."""

    def __init__(self, tallies: Tallies, base: str, batch: str):
        self.tallies, self.base, self.batch = tallies, base, batch
        kinds = [("centred", ""), *(("normalised", spread) for spread in SPREADS)]
        names = [(base, batch + kind, spread) for kind, spread in kinds]
        self.names: list[Names] = [tuple(filter(None, words)) for words in names]
        self.xs, self.ys = Vector(), Vector()

    def add(self, xs: Vector, ys: Vector, ends: bool) -> None:
        """One more episode, of the base and of their returns."""
        if not self.tallies[-1].dead.issuperset(self.names):
            self.xs += xs
            self.ys += ys
            if ends or not self.tallies[-1].differing:
                self.close()

    def close(self) -> None:
        """The group is whole: is it what its mean and std say?"""
        xs, ys, n = self.xs, self.ys, len(self.xs)
        mean, run, rise = statistics.fmean(xs), max(xs) - min(xs), max(ys) - min(ys)
        for names in self.names if run else ():
            std = math.dist(xs, [mean] * n) / math.sqrt(n - ("sample" in names))
            epsilon = min(max(run / rise - std, 0.0), 0.001) if rise else 0.0
            scale = 1.0 if names is self.names[0] else std + epsilon or math.inf
            compare(self.tallies, "", ys, [(x - mean) / scale for x in xs], names)
        self.xs, self.ys = Vector(), Vector()


def sums(returns: Vector, vectors: Any, gamma: float) -> list[Vector]:
    """Of an episode: Σ G_t v_t, Σ γ^t G_t v_t, Σ v_t, Σ |G_t v_t|; Σ G_t, steps, 1."""
    powers = [gamma**t * return_t for t, return_t in enumerate(returns)]
    ones, columns = [1.0] * len(returns), list(zip(*vectors))

    def total(factors: Vector) -> Vector:
        return [math.fsum(map(operator.mul, factors, column)) for column in columns]

    sizes = [math.fsum(map(abs, map(operator.mul, returns, c))) for c in columns]
    counts = [math.fsum(returns), math.fsum(ones), 1.0]
    return [total(returns), total(powers), total(ones), sizes, counts]


class Moves:
    """Readings of the weights' moves, or of losses: unit · c · S."""

    def __init__(self, tallies: Tallies, down: str, unit: Any):
        self.tallies, self.down, self.unit = tallies, down, unit
        bases, shares = ("", "prefactor", "mean-log-prob"), ("", "mean", "episode-mean")
        more = ("", "accumulated"), ("", "batch"), ("", down), shares
        options = itertools.product(bases, *more)
        self.readings: list[Names] = [tuple(filter(None, names)) for names in options]
        self.kept: dict[Names, Vector] = {}  # what has accumulated
        self.many: list[Vector] = []  # the sums since the last move
        self.moved = self.even = False

    def expected(self, names: Names, totals: list[Vector]) -> Vector:
        """unit · c · S"""
        plain, prefactor, vectors, _, (returns, steps, episodes) = totals
        c = -self.unit if self.down in names else self.unit
        c /= steps if "mean" in names else episodes if "episode-mean" in names else 1
        move = [c * x for x in (prefactor if "prefactor" in names else plain)]
        if "mean-log-prob" in names:
            move = [c * v * returns / steps for v in vectors]
        if "accumulated" in names:
            before = self.kept.get(names, [0.0] * len(move))
            move = self.kept[names] = list(map(operator.add, before, move))
        return move

    def add(self, totals: Any, sizes: Vector, theirs: Any, ours: Any, at: Any) -> None:
        """An episode's sums; of what is moved the sizes, their move or None, and ours."""
        many = zip(self.many, totals)
        self.many = [list(map(operator.add, *both)) for both in many] or totals
        if theirs is None:
            return
        still = self.down == "descent" and not any(theirs)
        moves: dict[Names, Vector] = {(): ours}
        for names in self.readings[1:]:
            if names not in self.tallies[-1].dead and not (still and "batch" in names):
                pool = self.many if "batch" in names else totals
                moves[names] = self.expected(names, pool)
        largest, expected = max(map(abs, theirs)), max(map(abs, ours))
        for tally in self.tallies:
            rounding = tally.epsilon * (1 + math.sqrt(self.many[4][1]))
            pairs = zip(sizes, self.many[3])
            noise = [min(rounding * (w + self.unit * s), 1e308) for w, s in pairs]
            small = (largest or expected) <= 4 * max(noise) < math.inf
            told = largest == expected or not small or self.down != "descent"
            tally.untold += not told
            for names, move in moves.items() if told else ():
                scale = max(largest, *map(abs, move)) or 1.0
                far = distances(theirs, move, scale)
                pairs = zip(far, noise)
                differs = any(x > tally.tolerance and x * scale > n for x, n in pairs)
                if tally.add(names, max(far), differs):
                    tally.first = entry(far.index(max(far)), *at)
        if not still:
            if told and expected and not self.moved and self.tallies[-1].differing:
                sizes = [abs(a) / self.unit for a, b in zip(theirs, ours) if b]
                ratios = [[x / size for x in sizes] for size in (1, 10**0.5, 10)]
                self.even = any(0.98 < min(x) <= max(x) < 1.02 for x in ratios)
            self.moved, self.many = True, []


AXES = {"state": "n", "logits": "m", "probs": "m"}  # n numbers of a state, m actions
AXES |= {"grad_log_policy": "nm", "weights": "nm", "uniform": "", "action": ""}
AXES |= dict.fromkeys(("reward", "return", "step", "episode", "loss", "score"), "")
AXES |= {"lr": "", "gamma": ""}


class Trace:
    """The lines of a trace; a ValueError tells which one is none."""

    def __init__(self, file: Iterable[bytes]):
        self.file, self.number = file, 0
        self.sizes: dict[str, int] = {}  # n and m
        # 0: of 16 bits at most, as 0, 1, 0.25; 1: of single precision; 2: finer
        self.finest = dict.fromkeys((*NETWORK, "return", "loss"), 0)
        self.unread: dict[str, None] = {}  # keys that are not known
        self.cut = ""  # what is left out, as its end is not there

    def error(self, given: str, allowed: Any) -> ValueError:
        hint = " (one sigmoid output: see README.md)" * (self.sizes.get("m") == 1)
        return ValueError(f"line {self.number}: {given}; allowed: {allowed}{hint}")

    def episodes(self) -> Iterator[tuple[list[Line], Line]]:
        """No steps and the head; then the steps and the end of each ({}: it has none)."""
        lines = self.lines()
        first = next(lines, {})
        steps: list[Line] = []
        yield steps, {} if "episode" in first else first
        episode, ends = -1, False
        for line in itertools.chain([first] * ("episode" in first), lines):
            is_step = "step" in line
            for name in ("episode", "reward")[: 1 + is_step]:
                if name not in line:
                    raise self.error(f"no {name}", "one in each step and end")
            place = line.get("episode"), line.get("step", "end")
            places: Any = [(episode, len(steps)), (episode, "end")] * bool(steps)
            places.append((episode + 1, 0))
            if place not in places:
                raise self.error(f"episode, step {place} out of order", places)
            if place != places[0]:
                yield steps, {} if is_step else line
                steps, ends = [], ends or not is_step
            if is_step:
                steps.append(line)
            episode = line["episode"]
        if steps and (ends or self.cut):
            self.cut = f"episode {episode}"
        elif steps:
            yield steps, {}

    def lines(self) -> Iterator[Line]:
        """What is known of each, as numbers."""
        for text in self.file:
            self.number += 1
            record = attempt(json.loads, text)
            if isinstance(record, dict):
                yield self.fields(record)
            elif text.strip() and (text.endswith(b"\n") or self.number == 1):
                raise self.error("not a JSON object", "one on each line")
            elif text.strip():
                self.cut = "the last line"

    def fields(self, record: Line) -> Line:
        """What is known of a line."""
        line = {k: self.numbers(k, v, AXES[k]) for k, v in record.items() if k in AXES}
        action, m = line.get("action", 0), self.sizes.get("m", sys.maxsize)
        if not 0 <= action < m or action % 1:
            raise self.error(f"action is {action}", f"whole numbers from 0 to {m - 1}")
        line |= {"action": int(action)} if "action" in line else {}
        if not 0 <= line.get("gamma", 0) <= 1:
            raise self.error(f"gamma is {line['gamma']}", "0 to 1")
        known = (*AXES, *("env", "seed", "returns") * ("episode" not in line))
        self.unread |= dict.fromkeys(key for key in record if key not in known)
        line["returns"] = str(record.get("returns", "discounted"))
        if "returns" in known and line["returns"] not in vpg.RETURNS:
            raise self.error(f"returns is {line['returns']}", " or ".join(vpg.RETURNS))
        return line

    def numbers(self, name: str, value: Any, axes: str) -> Any:
        """Numbers of a shape; a size that is not known yet is that of the first."""
        size = len(value) if isinstance(value, list) else 0
        if size == 1 and len(axes) < 2 and (not axes or isinstance(value[0], list)):
            return self.numbers(name, value[0], axes)  # a batch of one
        if axes:
            allowed = self.sizes.setdefault(axes[0], size)
            if not size or size != allowed:
                given = f"{name} has {size} entries" if size else f"{name} is {value}"
                raise self.error(given, f"a list of {allowed or 'numbers'}")
        if len(axes) > 1:
            return [self.numbers(name, part, axes[1:]) for part in value]
        row = value if axes else [value]
        if attempt(math.dist, row, row) != 0.0:  # inf − inf and NaN − NaN are NaN
            hint = "; a std of 0 makes a NaN: add 1e-8 to it" * isinstance(value, float)
            raise self.error(f"{name} is {json.dumps(value)}", f"finite numbers{hint}")
        if self.finest.get(name, 2) < 2:
            finer = array("f", row).tolist() != row
            told = 2 if finer else int(any(math.frexp(x)[0] * 2**16 % 1 for x in row))
            self.finest[name] = max(self.finest[name], told)
        return value


class Check:
    """A trace against the formulas of vpg.py, an episode at a time."""

    def __init__(self, head: Any, precisions: Any):
        self.weights, self.lr, self.gamma = map(head.get, ("weights", "lr", "gamma"))
        self.tallies = {k: [Tally(k, *pair) for pair in precisions] for k in INPUTS}
        self.bases = BASES | {"": vpg.RETURNS[head.get("returns", "discounted")]}
        options = itertools.product(list(BASES)[:-2], ("", "batch-"))
        self.scaled = [Scaled(self.tallies["return"], *option) for option in options]
        self.total = self.size = 0.0  # of the returns since they added up to 0
        self.moves = Moves(self.tallies["weights"], "descent", self.lr)
        self.losses = Moves(self.tallies["loss"], "negated", 1.0)
        self.held: Any = None  # the weights before an end that told none
        self.assumed = ""  # what tells that they moved by our update
        self.lacking: dict[str, str] = {}  # what a quantity can't be checked without

    def episode(self, steps: list[Line], end: Line) -> None:
        """Check one more."""
        self.place, gamma = f"episode {steps[0]['episode']}", self.gamma
        self.given: Line = {k: [s.get(k) for s in steps] for k in AXES}
        if self.held:
            self.settle()
        self.known = known = self.given.copy()  # or else computed
        old, rewards = self.weights, known["reward"]
        bases = {name: attempt(f, rewards, gamma) for name, f in self.bases.items()}
        whole = {"weights before": old, "lr": self.lr, "gamma": gamma, "bases": bases}
        known |= {name: [value] * len(steps) for name, value in whole.items()}
        for name in (*NETWORK[1:], "return"):
            rows = zip(known[name], *(known[need] for need in INPUTS[name]))
            right = READINGS[name][()]
            known[name] = [attempt(right, *x) if y is None else y for y, *x in rows]
        for name, readings in READINGS.items():
            for names, formula in readings.items():
                self.compare(name, names, formula, known)
        for t, p in enumerate(self.given["probs"]):
            size = math.fsum(map(abs, p or ()))
            if p and not known["logits"][t] and abs(size - 1) > 1e-4:
                place = f"{self.place}, step {t}, Σ|p|"
                compare(self.tallies["probs"], place, size, 1.0)
        for signs in itertools.product((1.0, -1.0), (1.0, gamma or 1.0)):
            self.stepwise(*signs)
        ys = self.given["return"]
        if None not in (gamma, *ys):
            self.total += sum(ys)
            self.size += sum(map(abs, ys))
            ends = abs(self.total) <= 1e-5 * self.size  # a batch: its mean is 0
            if ends:
                self.total = self.size = 0.0
            for scaled in self.scaled:
                if bases[scaled.base]:
                    scaled.add(bases[scaled.base], ys, ends or not scaled.batch)
        if "score" in end:
            score = math.fsum(rewards)
            compare(self.tallies["score"], self.place, end["score"], score)
        pairs = zip(known["probs"], known["action"])
        logs = [attempt(lambda p, a: math.log(p[a]), *pair) for pair in pairs]
        known["probs above 0"] = logs
        self.loss(end.get("loss"))
        self.alone = "loss" in end  # is it a batch of its own?
        self.update(end.get("weights"))

    def compare(self, name: str, names: Names, formula: Any, known: Line) -> None:
        """A reading with what is given, where all that it needs is there."""
        tallies = self.tallies[name]
        columns = [known[need] for need in INPUTS[name]]
        for t, (theirs, *inputs) in enumerate(zip(self.given[name], *columns)):
            if names and names in tallies[-1].dead:
                return
            if theirs is not None and None not in inputs:
                ours = attempt(formula, *inputs)
                compare(tallies, f"{self.place}, step {t}", theirs, ours, names)
            elif theirs is not None and not names:
                self.lacking[name] = INPUTS[name][inputs.index(None)]

    def stepwise(self, sign: float, gamma: float) -> None:
        """The readings that every step moves the weights."""
        mark, gradient = ("stepwise", f"{sign} {gamma}"), "grad_log_policy"
        negated = (*mark, "negated")
        for name, names in ("logits", mark), (gradient, mark), (gradient, negated):
            if any(self.given[name]) and names not in self.tallies[name][-1].dead:
                known = self.known | (attempt(self.moving, sign, gamma) or {})
                self.compare(name, names, READINGS[name][names[2:]], known)

    def moving(self, sign: float, gamma: float) -> Line:
        """The weights before each step, if each moves them, and the probs then."""
        known, weights = self.known, [self.weights]
        for t, grad in enumerate(known["grad_log_policy"]):
            return_t = sign * gamma**t * known["return"][t]
            weights.append(vpg.update(weights[t], [grad], [return_t], self.lr))
        rows = zip(weights, known["state"])
        probs = [attempt(lambda w, s: vpg.policy(w, s)[1], *row) for row in rows]
        return {"weights before": weights, "probs": probs}

    def settle(self) -> None:
        """An end told no weights: did they stand still, or move by our update?"""
        name = "probs" if None in self.given["logits"] else "logits"

        def far(weights: Any) -> float:
            ours = (
                vpg.policy(weights, s)[name == "probs"] for s in self.given["state"]
            )
            pairs = zip(self.given[name], ours)
            return math.fsum(max(distances(*pair)) for pair in pairs)

        stand = attempt(lambda: far(self.held) <= far(self.weights))
        if stand or (stand is None and not self.alone):
            self.weights = self.held
        else:
            self.assumed = name
        self.held = None

    def lacks(self, name: str, told: Any) -> bool:
        """Is an input not there? If one is needed for what is told, note it."""
        missing = [need for need in INPUTS[name] if None in self.known[need]]
        if missing and told is not None:
            self.lacking[name] = missing[0]
        return bool(missing)

    def loss(self, told: Any) -> None:
        """−Σ_t G_t log π(a_t|s_t)"""
        if not self.lacks("loss", told):
            logs, returns = self.known["probs above 0"], self.known["return"]
            totals = sums(returns, [[-log] for log in logs], self.gamma or 1.0)
            theirs, ours = None if told is None else [told], totals[0]
            sizes, at = [math.fsum(map(abs, returns))], (self.place, told, ours[0])
            self.losses.add(totals, sizes, theirs, ours, at)

    def update(self, told: Any) -> None:
        """θ + lr Σ_t G_t ∇log π(a_t|s_t)"""
        old, self.weights = self.weights, told
        if not self.lacks("weights", told):
            grads, returns = self.known["grad_log_policy"], self.known["return"]
            new = vpg.update(old, grads, returns, self.lr)
            if told is None:
                self.weights, self.held = new, old
            before, after, ours = flat(old), flat(told or new), flat(new)
            theirs, move = (list(map(operator.sub, x, before)) for x in (after, ours))
            sizes = [max(abs(a), abs(b)) for a, b in zip(before, after)]
            totals = sums(returns, map(flat, grads), self.gamma or 1.0)
            at = self.place, told, new
            self.moves.add(totals, sizes, told and theirs, move, at)

    def report(self, level: int, cut: bool) -> list[str]:
        """A line or two on each quantity, by one of the precisions."""
        for scaled in self.scaled:
            if scaled.xs and not cut:
                scaled.close()
        tallies = {name: pair[level] for name, pair in self.tallies.items()}
        readings = {name: tally.reading() for name, tally in tallies.items()}
        if tallies["weights"].differing and not self.moves.moved:
            readings["weights"] = ("unchanged",)
        elif readings["weights"] is None and self.moves.even:
            readings["weights"] = ("adam",)
        excused = {"grad_log_policy": "negated", "weights": "descent"}
        if any(word not in (readings[name] or ()) for name, word in excused.items()):
            excused = {}
        if self.assumed:
            tallies[self.assumed].note = "; our updates, where an end has no weights"
        for name, lacks in self.lacking.items():
            tallies[name].lacks = lacks
        return [tallies[k].report(readings[k], excused.get(k, "")) for k in INPUTS]


def check(file: Iterable[bytes], path: str, tolerance: float | None = None) -> str:
    """The report on a trace; it says MISMATCH where something is not right."""
    trace, episodes, count = Trace(file), 0, 0
    groups = trace.episodes()
    _, head = next(groups)
    judge = Check(head, PRECISIONS if tolerance is None else [(tolerance, 0.0)])
    for steps, end in groups:
        episodes, count = episodes + 1, count + len(steps)
        judge.episode(steps, end)
    single, cut = 1 in trace.finest.values(), trace.cut
    title = f"{path}: {episodes} episodes, {count} steps"
    title += ", single precision" * single
    title += f"; {cut}, not finished, is left out" * bool(cut)
    unread = f"not read: {', '.join(trace.unread)}; known: {', '.join(AXES)}"
    lines = [unread] * bool(trace.unread) + judge.report(-single, bool(cut))
    tallies = [pair[-single] for pair in judge.tallies.values()]
    if not any(tally.worst or tally.untold for tally in tallies):
        raise ValueError("\n".join(["nothing to check", *lines]))
    return "\n".join([title, *lines])


# An independent trainer, in NumPy: none of it comes from vpg.py or from the check.
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

OPTIONS: Line = {"seed": 0, "sizes": (3, 4), "lengths": (4, 3, 6, 2, 5, 4), "lr": 0.05}
OPTIONS |= {"gamma": 0.8, "base": "", "scale": "", "ddof": 1, "batch": 1, "fault": None}
OPTIONS |= {"move": [""] * 3, "grad": "", "probs": "", "stepwise": "", "dtype": float}


def numpy_trace(**options: Any) -> list[Line]:
    """The trace of a trainer with these options; move: a kind of sum, down, a share;
    stepwise: acting or learning; fault: name, episode and step of a wrong value.
    """
    o = SimpleNamespace(**OPTIONS | options)
    kind, down, share = o.move

    def spoil(name: str, value: Any, episode: int, t: int = 0) -> Any:
        changed = np.array(value)
        changed.flat[-1] += 0.125
        return changed[()] if o.fault == (name, episode, t) else value

    rng = np.random.RandomState(o.seed)
    weights = rng.randn(*o.sizes).astype(o.dtype)
    lines: list[Line] = [{"lr": o.lr, "gamma": o.gamma, "weights": weights}]
    lr, gamma = o.dtype(o.lr), o.dtype(o.gamma)
    kept: Any = 0
    for first in range(0, len(o.lengths), o.batch):
        steps: list[Line] = []
        returns: list[Any] = []
        for n, length in enumerate(o.lengths[first : first + o.batch], first):
            moving = weights
            for t in range(length):
                *state, reward = rng.randn(o.sizes[0] + 1).astype(o.dtype)
                acting = moving if o.stepwise == "acting" else weights
                logits = spoil("logits", state @ acting, n, t)
                exps, later = np.exp(logits), np.exp(state @ moving)
                sums = {"": exps.sum(), "sigmoid": 1 + exps, "unnormalised": 1}
                p = spoil("probs", exps / sums[o.probs], n, t)
                uniform = rng.rand()
                action = int(np.argmax(np.cumsum(p) / np.sum(p) > uniform))
                action = (action + (o.fault == ("action", n, t))) % o.sizes[1]
                one = np.eye(o.sizes[1], dtype=o.dtype)[action]
                policy = later / later.sum() if o.stepwise == "learning" else p
                g = np.outer(state, one if "one-hot" in o.grad else one - policy)
                g = g * (p @ one if "not-divided" in o.grad else 1)
                g = spoil("grad_log_policy", -g if "negated" in o.grad else g, n, t)
                factor = gamma ** (t * (kind == "prefactor")) * (-1 if down else 1)
                moving = (moving + lr * g * reward * factor).astype(o.dtype)
                step = {"episode": n, "step": t, "state": state, "logits": logits}
                step |= {"probs": p, "uniform": uniform, "action": action}
                steps.append(step | {"reward": reward, "grad_log_policy": g})
            rewards = np.array([step["reward"] for step in steps[-length:]])
            base = NUMPY_BASES[o.base](rewards, np.arange(length), gamma)
            returns.append(base.astype(o.dtype))
        several = "batch" in o.scale
        pools = [np.concatenate(returns)] * len(returns) if several else returns
        for k, pool in enumerate(pools if o.scale else ()):
            std = pool.std(ddof=o.ddof) + 1e-8 if "normalised" in o.scale else 1
            returns[k] = (returns[k] - pool.mean()) / std
        for step, return_t in zip(steps, np.concatenate(returns)):
            step["return"] = spoil("return", return_t, step["episode"], step["step"])
        logs = [-np.log(step["probs"][step["action"]]) for step in steps]
        vectors = [np.append(s["grad_log_policy"], x) for s, x in zip(steps, logs)]
        factors = np.array([step["return"] for step in steps])
        if kind == "mean-log-prob":
            factors = np.full(len(steps), factors.mean())
        if kind == "prefactor":
            factors = factors * [gamma ** step["step"] for step in steps]
        shares = {"": 1, "mean": len(steps), "episode-mean": len(returns)}
        total = factors @ np.array(vectors) * (-1 if down else 1) / shares[share]
        kept = total[:-1].reshape(o.sizes) + kept * (kind == "accumulated")
        for n in range(first, first + len(returns)):
            mine = [step for step in steps if step["episode"] == n]
            score = spoil("score", np.sum([step["reward"] for step in mine]), n)
            end = {"episode": n, "score": score, "weights": weights}
            if n == steps[-1]["episode"]:
                even = kept if first else np.sign(kept)  # Adam's first move
                move = {"adam": even, "unchanged": 0}.get(kind, kept)
                moved = (weights + lr * move).astype(o.dtype)
                weights = spoil("weights", moved, n)
                end |= {"loss": spoil("loss", total[-1], n), "weights": weights}
            lines += [*mine, end]
    return list(json.loads(json.dumps(lines, default=lambda value: value.tolist())))


def numpy_names(**options: Any) -> dict[str, str]:
    """What the check calls these options, by quantity."""
    o = SimpleNamespace(**OPTIONS | options)
    kind, down, share = o.move
    of_sums, batch = kind in ("prefactor", "mean-log-prob"), "batch" * (o.batch > 1)
    names = {
        "return": [o.base, o.scale],
        "logits": ["stepwise" * (o.stepwise == "acting")],
        "probs": [o.probs],
        "grad_log_policy": ["stepwise" * (o.stepwise == "learning"), o.grad],
        "weights": [kind, batch, "descent" * bool(down), share],
        "loss": [kind * of_sums, batch, "negated" * bool(down), share],
    }
    if down and o.grad == "negated":  # the gradient of a loss, and descent: right
        names["grad_log_policy"][1] = names["weights"][2] = ""
    found = {name: " + ".join(filter(None, parts)) for name, parts in names.items()}
    return dict(filter(operator.itemgetter(1), found.items()))


def as_json(lines: Iterable[Line]) -> bytes:
    """JSON Lines."""
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def without(lines: list[Line], *names: str) -> list[Line]:
    """The lines without some of their keys."""
    return [{k: v for k, v in line.items() if k not in names} for line in lines]


class TestCheck(unittest.TestCase):
    def check(self, lines: Any, tolerance: float | None = None) -> dict[str, str]:
        """The report's lines by quantity, its title, and all of it."""
        data = lines if isinstance(lines, bytes) else as_json(lines)
        report = check(io.BytesIO(data), "trace", tolerance)
        found = {line.split()[0]: line for line in report.splitlines()[1:]}
        return found | {"title": report.split("\n")[0], "all": report}

    def variants(self, lines: Any) -> dict[str, str]:
        """Of each quantity that is no match, the variant, or ? for none."""
        return {
            name: (line.split("variant: ")[1:] or ["?"])[0]
            for name, line in self.check(lines).items()
            if name in INPUTS and "MISMATCH" in line
        }

    def test_a_right_trace_of_any_size_is_right_in_both_precisions(self) -> None:
        source = np.random.RandomState(0)
        for seed in range(700):
            lines = numpy_trace(
                seed=seed,
                sizes=source.randint(1, 5, 2),
                lengths=source.randint(1, 7, source.randint(1, 5)),
                lr=10 ** source.uniform(-5, 0),
                gamma=source.choice([0.0, 0.5, 0.99, 1.0]),
                dtype=(float, np.float32)[source.randint(2)],
            )
            self.assertEqual(self.variants(lines), {}, seed)

    def test_what_has_a_name_is_named(self) -> None:
        down = "", "down", "mean"
        cases: list[Line] = [{"grad": "negated", "move": down, "batch": 2}]
        scales = ("", "centred", "normalised", "batch-centred", "batch-normalised")
        for base, scale, ddof in itertools.product(NUMPY_BASES, scales, (0, 1)):
            mean = base.endswith("episode") and scale in scales[1:3]  # is the base
            if not scale or not (mean or base in ("reward", "no-sum")):
                returns = {"base": base, "scale": scale, "ddof": ddof}
                cases.append(returns | {"batch": 3 if "batch" in scale else 1})
        kinds = "", "prefactor", "mean-log-prob", "accumulated"
        downs, shares = ("", "down"), ("", "mean", "episode-mean")
        for *move, batch in itertools.product(kinds, downs, shares, (1, 3)):
            if batch > 1 or move[2] != "episode-mean":
                cases.append({"move": move, "batch": batch})
        cases += [{"move": ("adam", "", "")}, {"move": ("unchanged", "", "")}]
        for grad in "negated", "not-divided", "not-divided + negated", "one-hot":
            cases.append({"grad": grad})
        cases += [{"probs": "sigmoid"}, {"probs": "unnormalised"}]
        signs, times = ("", "negated"), ("acting", "learning")
        for grad, when, *move in itertools.product(signs, times, kinds[:2], downs):
            stepwise = {"base": "reward", "grad": grad, "stepwise": when}
            cases.append(stepwise | {"move": (*move, "")})
        for options, dtype in itertools.product(cases, (float, np.float32)):
            with self.subTest(**options, dtype=dtype):
                lines = numpy_trace(dtype=dtype, **options)
                self.assertEqual(self.variants(lines), numpy_names(**options))
                if "normalised" in options.get("scale", ""):
                    std = ("the population's", "the sample's")[options["ddof"]]
                    self.assertIn(f"the std is {std}", self.check(lines)["all"])
        lines = numpy_trace(sizes=(1, 2))
        lines[0]["lr"] *= 2  # another lr has no name
        self.assertRegex(self.check(lines)["weights"], "6 of 6 .*at episode 0[^v]*$")
        found = self.check(numpy_trace(**cases[0]))
        self.assertIn("negated: right together", found["grad_log_policy"])
        self.assertIn("descent: right together", found["weights"])
        for scale, fault in itertools.product(scales[3:], (None, ("return", 4, 2))):
            lines = numpy_trace(batch=3, scale=scale, fault=fault)
            lines = without(lines, "weights", "loss")
            self.assertEqual(self.variants(lines), {"return": "?" if fault else scale})
            self.assertEqual(self.variants(as_json(lines)[:-30]), {"return": scale})

    def test_only_the_mean_and_the_std_are_named(self) -> None:
        x = NUMPY_BASES[""](np.ones(4), np.arange(4), 0.9)
        for mean, std, name in (
            (x.mean(), x.std(ddof=1), "normalised"),  # of three equal episodes
            (x.mean(), x.std() + 0.0009, "normalised"),
            (x.mean(), x.std() + 0.002, "?"),
            (x.mean(), x.std() - 0.01, "?"),
            (0, x.std(), "?"),
            (x.mean() + 0.1, 1, "?"),
            (0, 2, "?"),
        ):
            lines: list[Line] = [{"gamma": 0.9}]
            for n, t in np.ndindex(3, 4):
                step = {"episode": n, "step": t, "reward": 1}
                lines.append(step | {"return": (x[t] - mean) / std})
            self.assertEqual(self.variants(lines), {"return": name}, (mean, std))

    def test_a_fault_in_one_place_is_found_there_and_nowhere_else(self) -> None:
        entries = {"logits": "[3]", "probs": "[3]", "grad_log_policy": "[2][3]"}
        entries["weights"] = "[2][3]"
        for name, dtype in itertools.product(INPUTS, (float, np.float32)):
            of_episodes = name in ("weights", "loss", "score")
            places = [(1, 0), (4, 0)] if of_episodes else [(0, 3), (2, 5), (4, 0)]
            for n, t in places:
                with self.subTest(name=name, episode=n, t=t):
                    lines = numpy_trace(fault=(name, n, t), dtype=dtype)
                    self.assertEqual(self.variants(lines), {name: "?"})
                    count = "1 of 6" if of_episodes else "1 of 24"
                    place = f"episode {n}" + f", step {t}" * (not of_episodes)
                    place += f", entry {entries.get(name)}" * (name in entries)
                    told = re.escape(f"MISMATCH: {count} differ, first at {place}: ")
                    told += r"theirs [-\d.e]+, ours [-\d.e]+$"
                    self.assertRegex(self.check(lines)[name], told)

    def test_numbers_agree_up_to_the_tolerance_and_no_further(self) -> None:
        third = float(np.float32(1 / 3))
        for theirs, reward, tolerance, right in (
            (math.nextafter(64.0, 65.0), 64.0, 0.0, False),
            (96.0, 64.0, 0.5, True),  # 32 ≤ 0.5 · 96, but > 0.25 · 96
            (96.0, 64.0, 0.25, False),
            (-64.0, -96.0, 0.34, True),
            (64.0, 96.0, 0.33, False),
            (0.5, 0.25, 0.25, True),  # below 1 the difference counts
            (0.5, 0.25, 0.24, False),
            (1.0, 1.0 + 0.9e-9, None, True),
            (1.0, 1.0 + 1.1e-9, None, False),
            (third, third + 0.9e-5, None, True),  # in single precision
            (third, third + 1.1e-5, None, False),
        ):
            step = {"episode": 0, "step": 0, "return": theirs, "reward": reward}
            equal = {"episode": 1, "step": 0, "return": 0.5, "reward": 0.5}
            found = self.check([{"gamma": 0.5}, step, equal], tolerance)["return"]
            self.assertIn("2 checked, worst" if right else "MISMATCH: 1 of 2", found)
            self.assertNotIn("worst difference 0.0", found)

    def test_moves_are_compared_by_their_own_size(self) -> None:
        self.assertIn("6 checked", self.check(numpy_trace(lr=0.0))["weights"])
        lines = numpy_trace()
        lines[-1]["weights"][0][0] += 1e-12  # of a move of 0.01 or more
        self.assertRegex(self.check(lines)["weights"], "6 checked, worst.*e-1[0-2]$")
        lines = numpy_trace(lr=2.5e-11)
        lines[5]["weights"] = lines[0]["weights"]  # within 1e-10 of right
        self.assertIn("weights", self.variants(lines))
        options = {"lr": 2.5e-11, "move": ("", "down", "")}
        self.assertEqual(self.variants(numpy_trace(**options)), numpy_names(**options))
        lines = numpy_trace(dtype=np.float32, **options)
        found = self.check(lines)["weights"]
        self.assertEqual(found, f"weights          not checked: {TOO_SMALL}")
        lines[-1]["weights"][0][0] += 0.125  # one that can be told
        found = self.check(lines)["weights"]
        self.assertRegex(found, "differ, first at episode 5.*; 5 not checked: moves")

        step = {"episode": 0, "reward": 0, "probs": [0.5, 0.5], "action": 0}
        lines = [step | {"step": t, "return": 1 - 2 * t} for t in (0, 1)]
        lines.append({"episode": 0, "loss": 1e-17})  # it cancels, but for rounding
        self.assertIn("1 checked", self.check(lines)["loss"])

    def test_single_precision_is_seen_and_has_its_own_tolerance(self) -> None:
        lines = numpy_trace(dtype=np.float32)
        self.assertIn(", single precision", self.check(lines)["title"])
        for name in "return", "weights", "loss":
            self.assertIn("MISMATCH", self.check(lines, 1e-9)[name])
        lines[1]["logits"][0] += 1e-9  # one number that is finer, of one quantity
        self.assertIn(", single precision", self.check(lines)["title"])
        only_loss = without(numpy_trace(dtype=np.float32), *NETWORK, "return")
        self.assertIn("single", self.check(only_loss)["title"])
        third = float(np.float32(1 / 3))
        for pair in (0.5, third), (third, third), (third, 1 / 3), (0.5, 0.5):
            steps: list[Line] = [{"episode": n, "step": 0} for n in (0, 1)]
            lines = [step | {"reward": x, "return": x} for step, x in zip(steps, pair)]
            title = self.check([{"gamma": 1}, *lines])["title"]
            self.assertEqual("single" in title, pair[1] == third)

    def test_only_what_is_there_is_needed_and_read(self) -> None:
        for absent, unchecked in (
            ("weights", {"logits": "no weights"}),
            ("lr", {"weights": "no lr"}),
            ("gamma", {"return": "no gamma"}),
            ("state", {"logits": "no state", "grad_log_policy": "no state"}),
            ("uniform", {"action": "no uniform"}),
            ("action", {"loss": "no action", "grad_log_policy": "no action"}),
            ("return gamma", {"loss": "no return", "weights": "no return"}),
            ("weights logits state", {"probs": "no logits"}),
            ("logits probs", {"grad_log_policy": "24 checked", "loss": "6 checked"}),
        ):
            found = self.check(without(numpy_trace(), *absent.split()))
            for name, why in unchecked.items():
                self.assertIn(why, found[name], absent)
            for name in {*absent.split()} & {*INPUTS}:
                self.assertIn("not in the trace", found[name])
        lines = without(numpy_trace(), "state", "logits")
        for told in "not checked: no logits", "Σ|p|: theirs 1.00014, ours 1.0":
            lines[1]["probs"][0] += 7e-5  # more than 1e-4 is too much
            self.assertIn(told, self.check(lines)["probs"])
        more = [line | {"returns": 1, "total": 1} for line in lines[1:]]
        told = self.check(more)["all"].splitlines()[1]
        self.assertRegex(told, "^not read: returns, total; known: .*return.*score")
        self.assertNotIn("not read", self.check(numpy_trace())["all"])
        with self.assertRaisesRegex(ValueError, "^nothing to check\nnot read: x"):
            self.check([{"gamma": 1}, {"episode": 0, "step": 0, "reward": 1, "x": 2}])

    def test_where_an_end_has_no_weights_they_stand_or_move_as_ours(self) -> None:
        batch: Line = {"batch": 3, "move": ("", "down", "mean")}
        for options, ends in ({}, 2), ({}, 3), (batch, 2):
            for name, absent in (
                ("logits", ""),
                ("probs", "logits"),
                ("probs", "logits probs"),
            ):
                lines = without(numpy_trace(**options), *absent.split())
                for line in lines[1:]:
                    if line["episode"] % 3 < ends:
                        line.pop("weights", None)
                self.assertEqual(self.variants(lines), numpy_names(**options))
                told = "our updates, where an end" in self.check(lines)[name]
                self.assertEqual(told, options is not batch)

    def test_what_overflows_or_can_not_be_computed_is_far_off(self) -> None:
        steps: list[Line] = [{"episode": 0, "step": t} for t in (0, 1)]
        for first, second in (1e-320, 2e-320), (1e200, 1.0), (1e308, 1e308):
            steps[0] |= {"reward": first, "return": first}
            share = 1 if first > 1e300 else 0.25
            steps[1] |= {"reward": second, "return": second * share}
            variants = self.variants([{"gamma": 0.9}, *steps])
            self.assertEqual(variants.keys(), {"return"} if first > 1 else set())
        head = {"lr": 1e300, "gamma": 0, "weights": [[1e308, 0]], "returns": "notebook"}
        step = {"episode": 0, "step": 0, "state": [10], "logits": [1e308, 0]}
        step |= {"action": 1, "probs": [1, 0], "uniform": 2, "reward": -1, "return": 1}
        found = self.variants([head, step])
        self.assertEqual(found.keys(), {"logits", "action", "return"})
        step |= {"probs": [0.5, 0.5], "state": [1e9]}
        end = {"episode": 0, "weights": [[5, 5]]}
        self.assertIn("weights", self.variants([head, step, end]))

    def test_an_unfinished_last_episode_is_left_out(self) -> None:
        lines = numpy_trace()
        text = as_json(lines)
        no_ends = [line for line in lines if "score" not in line]
        one_end = [line for line in lines if line in no_ends or line["episode"] == 0]
        cut = text[:-30], text[:-1000], as_json(no_ends)[:-30], as_json(one_end[:-1])
        for data in (*cut, as_json(lines[:-1]), as_json(lines[:-2])):
            found = self.check(data)
            title = "trace: 5 episodes, 20 steps; episode 5, not finished, is left out"
            self.assertEqual(found["title"], title)
            self.assertNotIn("MISMATCH", found["all"])

    def test_other_forms_are_welcome(self) -> None:
        lines = numpy_trace(sizes=(3, 2), base="notebook")
        lines[0]["returns"] = "notebook"
        text = as_json(lines)
        for data in (
            text[:-1],
            b"\xef\xbb\xbf" + text,
            text.replace(b"\n", b"\r\n"),
            text.replace(b"\n", b"\n\r\n \n"),
            text.replace(b'"action": 1', b'"action": true'),
            text.replace(b'"action": 1', b'"action": 1.0'),
            re.sub(
                rb'((action|return)": )([^,}]*)', rb"\1[\3]", text
            ),  # a batch of one
            re.sub(rb'((state|probs)": )(\[.*?\])', rb"\1[\3]", text),
            as_json({"mine": None, **dict(reversed(line.items()))} for line in lines),
        ):
            found = self.check(data)
            self.assertEqual(found["title"], "trace: 6 episodes, 24 steps")
            self.assertNotIn("MISMATCH", found["all"])

    def test_a_file_that_is_no_trace_is_told_with_its_line(self) -> None:
        text = as_json(numpy_trace()).decode()
        for line, pattern, change, told in (  # the first match of the pattern changes
            (1, r"\[\[.*\]\]", "[]", "weights is []; allowed: a list"),
            (1, r"\[\[.*\]\]", "[[1, 2], [1]]", "1 entries; allowed: a list of 2"),
            (1, r"\[\[.*\]\]", "[[1], [1, 2]]", "allowed: a list of 1 (one sigmoid"),
            (1, "0.05", '"x"', 'lr is "x"; allowed: finite numbers'),
            (1, "0.8", "-0.5", "gamma is -0.5; allowed: 0 to 1"),
            (1, "0.8", "1.5", "gamma is 1.5; allowed: 0 to 1"),
            (1, "^{", '{"returns": ["notebook"], ', "allowed: discounted or notebook"),
            (2, '"uniform": [^,]*', '"uniform": []', "uniform is []; allowed: finite"),
            (2, '"return": [^}]*', '"return": NaN', "allowed: finite numbers; a std"),
            (2, r'"state": \[', '"state": [[2], ', "4 entries; allowed: a list of 3"),
            (2, r'"state": \[[^,]*', '"state": [[2]', "allowed: finite numbers"),
            (2, r'"probs": \[[^,]*', '"probs": [-Infinity', "allowed: finite numbers"),
            (2, '"reward": ', '"reward": 1' + "0" * 400, "allowed: finite numbers"),
            (2, 'policy": .', 'policy": [[1], ', "4 entries; allowed: a list of 3"),
            (2, '"action": .', '"action": 4', "action is 4; allowed: whole numbers fr"),
            (2, '"action": .', '"action": -1', "action is -1; allowed"),
            (2, '"action": .', '"action": 0.5', "action is 0.5; allowed"),
            (2, 'episode": 0', 'episode": 1', "(1, 0) out of order; allowed: [(0, 0)]"),
            (2, '"episode": 0, ', "", "no episode; allowed: one in each step and end"),
            (2, '"step": 0, ', "", "(0, 'end') out of order"),
            (3, '"step": 1', '"step": 0', "allowed: [(0, 1), (0, 'end'), (1, 0)]"),
            (2, '"reward": [^,]*, ', "", "no reward"),
            (6, '"episode": 0, "score"', '"episode": 1, "score"', "(1, 'end') out of"),
            (7, '"episode": 1', '"episode": 2', "out of order; allowed: [(1, 0)]"),
            (1, "(?s).*", "x", "not a JSON object"),
            (1, "^{", "\udcff{", "not a JSON object"),
            (1, "^{", "[" * 100_000, "not a JSON object"),
            (3, '(?s)"step": 1.*', "\n", "not a JSON object"),
            (3, '{"episode": 0, "step": 1.*', "17", "not a JSON object"),
        ):
            data = re.sub(pattern, change, text, count=1)
            expected = f"^line {line}: .*{re.escape(told)}"
            with self.assertRaisesRegex(ValueError, expected):
                self.check(data.encode(errors="surrogateescape"))


# ------------------------------------------------- the program, in real processes


OWN = """
import os
from gymnasium import register, spaces
from gymnasium.envs.classic_control import CartPoleEnv
from numpy import float32
from signal import *

os.environ |= {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}

class Own(CartPoleEnv):
    metadata = CartPoleEnv.metadata | {"render_fps": 1000}
    episodes, reward = 0, float32(0.5)

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

    def ran(self, args: str, status: int = 0, shell: str = "", **more: str) -> Any:
        """python vpg.py args, or test_vpg.py --check; shell: a script that runs "$@".
        It ends with this status, and says why where an error ends it, and only there.
        """
        name = "test_vpg.py" if "--check" in args else "vpg.py"
        command = [sys.executable, str(Path(__file__).with_name(name)), *args.split()]
        if shell:
            command = ["sh", "-c", shell, "sh", *command]
        env = os.environ | {"PYTHONPATH": ".", "PYTHONIOENCODING": "utf-8"} | more
        options: Any = {"capture_output": True, "encoding": "utf-8", "timeout": 60}
        result = subprocess.run(command, check=False, env=env, **options)
        self.assertEqual(result.returncode, status, (args, result.stderr))
        said = status == 2 or (status == 1 and name == "vpg.py")
        self.assertEqual(bool(result.stderr), said, result.stderr)
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
        out = self.ran("--lr 2e-3 --episodes 360").stdout  # told once
        self.assertEqual(re.findall("solved.*", out), ["solved after 339 episodes"])

    def test_any_environment_is_drawn_in_80_columns(self) -> None:
        # Own has no step limit, and the means of MountainCar are negative: no bar
        for env, bar in ("own:Huge", 50), ("own:Own", 0), ("MountainCar-v0", 0):
            lines = self.ran(f"--env {env} --episodes 3").stdout.splitlines()
            self.assertLessEqual(max(map(len, lines[:-1])), 80)  # without the weights
            self.assertEqual({line.count("█") for line in lines[1:4]}, {bar})

    def test_bad_input_is_refused_before_anything_is_emptied(self) -> None:
        Path("file").write_text("precious")
        for name, rows in ("x", "x"), ("3x2", 3 * [[0, 0]]), ("4x1", 4 * [[0]]):
            Path(name).write_text(f'{{"weights": {rows}}}')
        Path("NaN").write_text('{"weights": [[0, 0], [0, 0], [0, 0], [0, NaN]]}')
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
            ("--env Acrobot-v1 --watch", "weights for Acrobot-v1; allowed: 6 × 3"),
            ("--trace /no/such", "/no/such"),
            ("--save ./file", "two outputs to one file; allowed: a file for each"),
            ("--watch x", "--watch x: Expecting value"),
            ("--watch 3x2", "--watch 3x2: weights for CartPole-v0; allowed: 4 × 2"),
            ("--watch 4x1", "--watch 4x1: weights for CartPole-v0; allowed: 4 × 2"),
            ("--watch NaN", "--watch NaN: weights for CartPole-v0; allowed: 4 × 2"),
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

    def test_the_check_has_a_status_and_tells_what_is_no_trace(self) -> None:
        for name, base in ("right", ""), ("wrong", "episode"):
            Path(name).write_text(as_json(numpy_trace(base=base)).decode())
        for args, status, told in (
            ("right right", 0, ""),
            ("wrong right", 1, "variant: episode\n    ?_k r_k"),
            ("right wrong", 1, ""),
            ("wrong --tolerance 9", 0, ""),
            (f"{os.devnull} wrong", 2, f"test_vpg.py: {os.devnull}: nothing to check"),
            ("wrong /no/such", 2, "/no/such"),
            (".", 2, "test_vpg.py: .: "),
            ("right --bogus", 2, "unknown: --bogus; allowed: --tolerance X"),
            ("right --tolerance -1", 2, "--tolerance -1.0; allowed: finite"),
            ("right --tolerance nan", 2, "--tolerance nan; allowed: finite"),
        ):
            found = self.ran(f"--check {args}", status, PYTHONIOENCODING="ascii")
            self.assertIn(told, found.stdout + found.stderr)

    def test_trace_and_save_hold_what_the_algorithm_computed(self) -> None:
        for name, compute_returns in vpg.RETURNS.items():
            settings = {"env": "CartPole-v0", "seed": 2, "lr": 0.1, "gamma": 0.5}
            settings["returns"] = name
            training = vpg.train(cartpole(), 3, 0.1, 0.5, 2, compute_returns)
            lines: list[Line] = []
            for n, episode in enumerate(training):
                lines += vpg.trace_lines(n, episode, settings)
            args = f"--episodes 3 --seed 2 --lr 0.1 --gamma 0.5 --returns {name}"
            self.assert_whole(self.ran(args + self.outputs).stdout, 3)
            scores = [f"{line['score']:.0f}\n" for line in lines if "score" in line]
            self.assertEqual(Path("scores").read_text(), "".join(scores))
            self.assertEqual(Path("trace").read_text(), as_json(lines).decode())
            report = check(io.BytesIO(as_json(lines)), "trace")
            self.assertEqual(report.count("checked, worst difference 0.0e+00"), 7)
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

    def test_the_second_signal_ends_it_at_once_but_not_an_ignored_one(self) -> None:
        for second, status in ("SIGINT", 130), ("SIGTERM", 143):
            third = f"raise_signal(SIGINT); raise_signal({second})"
            self.assertNotIn("mean of", self.ran(self.own, status, THIRD=third).stdout)
        shell = "trap '' HUP; \"$@\""  # as nohup does
        out = self.ran(self.own, shell=shell, THIRD="raise_signal(SIGHUP)").stdout
        self.assertIn("\n5 episodes", out)

    def test_a_closed_pipe_ends_it_quietly(self) -> None:
        Path("file").write_text(as_json(numpy_trace(lengths=[2])).decode())
        shell = '{ "$@"; echo $? > status; } | (read line)'
        for args in "", "--trace /dev/stdout", "--check" + " file" * 150:
            self.ran(args, shell=shell)  # 150 reports are more than a pipe holds
            self.assertEqual(Path("status").read_text(), "141\n", args)
        self.ran("--check -", shell='"$@" < file')  # and an open one is read

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
        args, shell = "--episodes 10 --save saved", 'ulimit -f 1; "$@" > out'
        self.assertIn("<stdout>: File too large", self.ran(args, 1, shell).stderr)
        self.assertEqual(json.loads(Path("saved").read_text())["episodes"], 10)
        Path("trace").write_bytes(as_json(numpy_trace()))
        self.ran("--check trace", 2, '"$@" > /dev/full')

    def test_a_disk_that_fills_up_leaves_whole_episodes_and_a_beginning(self) -> None:
        result = self.ran(self.outputs, 1, shell='ulimit -f 200; "$@"')
        self.assertEqual(result.stderr, "vpg.py: trace: File too large\n")
        text = Path("trace").read_text()
        report = check(io.BytesIO(text.encode()), "trace")
        self.assertIn("not finished, is left out", report)
        self.assertNotIn("MISMATCH", report)
        Path("trace").write_text(text[: text.index("\n", text.rindex('"score"')) + 1])
        self.assert_whole(result.stdout, int(report.split()[1]))

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


def main(argv: Sequence[str] | None = None) -> int:
    """The tests, or the check; exit status."""
    parser = argparse.ArgumentParser("test_vpg.py", epilog="Without a flag: the tests.")
    add = parser.add_argument
    add("--check", metavar="FILE", nargs="+", help="are these traces right? -: stdin")
    add("--tolerance", metavar="X", type=float, help="how closely they must agree")
    args, rest = parser.parse_known_args(argv)
    if args.tolerance is not None and not 0 <= args.tolerance < math.inf:
        parser.error(f"--tolerance {args.tolerance}; allowed: finite, 0 or more")
    if rest and args.check:
        parser.error(f"unknown: {' '.join(rest)}; allowed: --tolerance X")
    if not args.check:
        unittest.main(argv=[sys.argv[0], *rest])
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a closed pipe ends it quietly
    status = 0
    for path in args.check:
        try:
            with open(0 if path == "-" else path, "rb") as file:
                report = check(file, path, args.tolerance)
            print(report, flush=True)
            status = max(status, int(" MISMATCH: " in report))
        except (ArithmeticError, OSError, ValueError) as error:
            print(f"test_vpg.py: {path}: {error}", file=sys.stderr)
            status = 2
    return status


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    os._exit(main())  # for all is flushed, and where it can't be, that is told
