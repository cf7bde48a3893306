"""Random rows, drawn prompt by prompt in plain Python."""

import numpy as np
import pytest

from dti.prompts.row import Row


def _row(rng: np.random.Generator, prompts: int, n: int, targets: int, longest: int, profile: bool) -> Row:
    tokens, start, label, stop, prompt_of, first, prefix, target = [], [], [], [], [], [], [], []
    for prompt in range(prompts):
        begin = len(tokens)
        tokens += rng.integers(8, 40, rng.integers(1, 4) if profile else 0).tolist()
        prefix.append((begin, len(tokens)))
        first.append(len(start))
        context, wanted = int(rng.integers(0, n + 1)), int(rng.integers(1, targets + 1))
        for i in range(context + wanted):
            if i >= context:
                target.append(len(start))
            start.append(len(tokens))
            tokens += rng.integers(8, 40, rng.integers(1, longest + 1)).tolist()
            label.append(len(tokens))
            if i + 1 < context + wanted:
                tokens.append(int(rng.integers(3, 5)))
            stop.append(len(tokens))
            prompt_of.append(prompt)
    ints = [np.array(x, dtype=np.int64) for x in (tokens, start, label, stop, prompt_of, first)]
    bounds = np.array(prefix, dtype=np.int64)
    target_K = np.array(target, dtype=np.int64)
    zeros = np.zeros_like(target_K)
    return Row(*ints, bounds[:, 0], bounds[:, 1], target_K, rng.integers(0, 2, target_K.size), zeros, zeros)


@pytest.fixture
def random_row():
    """``random_row(seed, prompts=3, n=3, targets=4, longest=5, profile=False) -> Row``."""

    def make(seed, prompts=3, n=3, targets=4, longest=5, profile=False):
        return _row(np.random.default_rng(seed), prompts, n, targets, longest, profile)

    return make
