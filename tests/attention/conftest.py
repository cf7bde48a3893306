"""Random rows, drawn prompt by prompt in plain Python, and what a backend makes of them."""

import numpy as np
import pytest
import torch

from dti.attention.visibility import Bank
from dti.prompts.row import Row

HEADS, GROUPS, WIDTH = 4, 2, 8


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


def _attend(backend, view, forgets=False, device="cpu", dtype=torch.float64):
    generator = torch.Generator().manual_seed(5)
    S, K = view.content, view.probes
    shapes = [(HEADS, S + K), (GROUPS, S), (GROUPS, S), (GROUPS, S), (GROUPS, K), (GROUPS, K), (GROUPS, S)]
    drawn = [torch.randn(*shape, WIDTH, generator=generator, dtype=torch.float64) for shape in shapes]
    inputs = [x.to(device, dtype).requires_grad_() for x in (drawn if forgets else drawn[:-1])]
    q, k_content, k, v, k_own, v_own = inputs[:6]
    v0 = inputs[6] if forgets else None
    plan = backend(view, HEADS, torch.device(device))
    content = plan.content(q[:, :S], Bank(k_content, v, v0), 0.3)
    out = torch.cat([content, plan.probes(q[:, S:], Bank(k, v, v0), Bank(k_own, v_own), 0.3)], dim=1)
    weight = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(device, dtype)
    gradients = torch.autograd.grad((out * weight).sum(), inputs)
    return out.detach().cpu().double(), [x.cpu().double() for x in gradients]


@pytest.fixture
def attend():
    """``attend(backend, view, forgets=False, device="cpu", dtype=torch.float64) -> (output, gradients)``.

    The gradients are those of queries, of content's keys as content and as probes read them, of its values, of the
    probes' keys and values, and (where it forgets) of initial values.
    """
    return _attend
