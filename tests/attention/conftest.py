"""Random rows, drawn prompt by prompt in plain Python."""

import numpy as np
import pytest

from dti.prompts.row import Row


def _row(rng: np.random.Generator, prompts: int, n: int, targets: int, longest: int, profile: bool) -> Row:
    tokens, start, text, label, stop, prompt_of, first, prefix, target = [], [], [], [], [], [], [], [], []
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
            text.append(len(tokens) - start[-1])
            labelled = i + 1 < context + wanted
            label.append(len(tokens) if labelled else -1)
            if labelled:
                tokens.append(int(rng.integers(3, 5)))
            stop.append(len(tokens))
            prompt_of.append(prompt)
    pieces = sorted(
        [(b, b + t, e) for b, t, e in zip(start, text, stop, strict=True)] + [(b, e, e) for b, e in prefix if b < e]
    )
    begins, ends = zip(*prefix, strict=True)
    listed = (tokens, *zip(*pieces, strict=True), start, text, label, prompt_of, first, begins, ends, target)
    ints = [np.array(x, dtype=np.int64) for x in listed]
    return Row("stream", *ints, rng.integers(0, 2, len(target)))


@pytest.fixture
def random_row():
    """``random_row(seed, prompts=3, n=3, targets=4, longest=5, profile=False) -> Row``."""

    def make(seed, prompts=3, n=3, targets=4, longest=5, profile=False):
        return _row(np.random.default_rng(seed), prompts, n, targets, longest, profile)

    return make
