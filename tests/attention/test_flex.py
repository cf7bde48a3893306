"""FlexAttention equals the reference: its plan and arithmetic on the CPU, its compiled kernels on a GPU."""

import numpy as np
import pytest
import torch
from torch.nn.attention import flex_attention as library

from dti.attention import flex
from dti.attention.flex import BLOCK, Flex, block_mask_of, unsupported
from dti.attention.forgetting import Forgetting
from dti.attention.plugin import backend_of
from dti.attention.reference import Reference
from dti.attention.visibility import Sight, view_of
from dti.errors import DtiError
from dti.prompts.build import build_row
from dti.prompts.packing import recut, stream_prompts
from dti.prompts.unique import build_unique

CPU = torch.device("cpu")
SHAPES = [
    {"prompts": 1, "n": 1, "targets": 1, "longest": 1},
    {"prompts": 3, "n": 4, "targets": 60, "longest": 5},
    {"prompts": 2, "n": 3, "targets": 6, "longest": 70},
]
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 5e-2}


pytestmark = pytest.mark.usefixtures("flex_on_cpu")


def check(attend, view, device="cpu", dtype=torch.float64, forgets=False):
    expected, expected_gradients = attend(Reference, view, forgets)
    found, gradients = attend(Flex, view, forgets, device, dtype)
    close = {"atol": TOLERANCE[dtype], "rtol": TOLERANCE[dtype]}
    torch.testing.assert_close(found, expected, **close)
    torch.testing.assert_close(gradients, expected_gradients, **close)


@pytest.mark.parametrize("context", ["all", "label"])
@pytest.mark.parametrize("position", ["rope", "alibi", "local"])
@pytest.mark.parametrize("policy", ["window", "isolated"])
@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_flex_equals_the_reference(random_row, attend, shape, policy, position, context):
    row = random_row(shape, **SHAPES[shape], profile=shape == 1)
    check(attend, view_of(row, Sight(policy, position, context, SHAPES[shape]["n"])))


@pytest.mark.parametrize("context", ["all", "label"])
@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_flex_equals_the_reference_with_several_probe_tokens(random_row, attend, shape, context):
    row = random_row(shape, **SHAPES[shape], profile=shape == 1)
    check(attend, view_of(row, Sight("isolated", "local", context, SHAPES[shape]["n"], probe_tokens=3)))


@pytest.mark.parametrize(("at", "position"), [("probes", "local"), ("content", "local"), ("both", "rope")])
@pytest.mark.parametrize(("family", "strength"), [("linear", 1.0), ("exponential", 0.4), ("step", 1.0)])
def test_forgetting_flex_equals_the_reference(random_row, attend, family, strength, at, position):
    row = random_row(1, **SHAPES[1], profile=True)
    forgetting = Forgetting(family, strength, at)
    check(attend, view_of(row, Sight("window", position, "all", 4, forgetting)), forgets=True)


@pytest.fixture(scope="module")
def store(make_store):
    rng = np.random.default_rng(4)
    texts = [" ".join(rng.choice(["red", "blue", "lamp"], rng.integers(1, 6))) for _ in range(12)]
    histories = [[(int(rng.integers(12)), int(rng.integers(2))) for _ in range(n)] for n in (3, 40, 25)]
    return make_store(histories, texts, n=3, k=5, profiles=["young", "old", "young"])


@pytest.mark.parametrize("context", ["all", "label"])
@pytest.mark.parametrize("position", ["alibi", "local"])
def test_flex_equals_the_reference_where_interactions_share_items(store, attend, position, context):
    row = build_unique(store, recut(store, stream_prompts(store, "train", "all"), 5))
    check(attend, view_of(row, Sight("isolated", position, context, 3)))


COMPILED = {
    "rope": Sight("window", "rope", "all", 4),
    "bias": Sight("isolated", "local", "label", 4),
    "several probe tokens": Sight("isolated", "local", "label", 4, probe_tokens=3),
    "forgetting": Sight("window", "rope", "all", 4, Forgetting("step", 1.0, "both")),
    "forgetting and bias": Sight("window", "alibi", "label", 4, Forgetting("linear", 1.0, "both")),
}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sight", COMPILED)
def test_compiled_flex_equals_the_reference(random_row, attend, sight, dtype):
    """Rows of several lengths: the first is compiled for its own, the others for any."""
    for seed, targets in enumerate((60, 90, 200, 150, 1)):
        row = random_row(seed, prompts=3, n=4, targets=targets, longest=5, profile=True)
        view = view_of(row, COMPILED[sight])
        check(attend, view, "cuda", dtype, forgets=view.content_alpha is not None)


def same_blocks(mask):
    """Whether a mask has the blocks, partial and full, that its own ``mask_mod`` has."""
    queries, keys = mask.seq_lengths
    expected = library.create_block_mask(mask.mask_mod, None, None, queries, keys, CPU, BLOCK)
    parts = zip(mask.as_tuple(), expected.as_tuple(), strict=True)
    return all(torch.equal(a, b) for a, b in parts if isinstance(a, torch.Tensor))


@pytest.mark.parametrize("seed", range(8))
def test_blocks_of_random_intervals(seed):
    """Up to three disjoint intervals a query, some of them empty, some of several blocks."""
    generator = torch.Generator().manual_seed(seed)
    longest = (40, 300, 640)[seed % 3]
    intervals = []
    for part in range(1 + seed % 3):
        low = torch.randint(0, 600, (512,), generator=generator).sort().values
        high = (low + torch.randint(-5, longest, (512,), generator=generator)).clamp(max=640)
        intervals.append((low + 640 * part, high + 640 * part))
    assert same_blocks(block_mask_of(intervals, 640 * len(intervals), CPU))


@pytest.mark.parametrize("forgetting", [None, Forgetting("linear", 1.0, "both")])
def test_blocks_of_rows(random_row, forgetting):
    """Windows long enough for full blocks, of content and of probes."""
    row = random_row(4, prompts=1, n=300, targets=300, longest=1, profile=True)
    plan = Flex(view_of(row, Sight("window", "local", "all", 300, forgetting)), 2, CPU)
    for mask in (plan._content.mask, plan._probes[0].mask):
        assert mask.kv_num_blocks.any()
        assert mask.full_kv_num_blocks.any()
        assert same_blocks(mask)


def test_probes_gather_each_listed_key_once(store):
    row = build_row(store, stream_prompts(store, "train", "all"))
    view = view_of(row, Sight("isolated", "local", "all", 3))
    _, keys_L = Flex(view, 2, CPU)._probes
    listed = sum(segment.keys_N.numel() for segment in view.segments)
    assert keys_L.numel() <= listed + view.probes + 2 * BLOCK


def test_auto_takes_what_runs(capsys, monkeypatch):
    assert backend_of("auto", CPU) == "blocks"
    assert backend_of("reference", CPU) == "reference"
    assert capsys.readouterr().out == "attention: blocks\nattention: reference\n"
    monkeypatch.setattr(flex, "find_spec", lambda name: object())
    assert backend_of("auto", torch.device("cuda")) == "flex"
    assert backend_of("auto", torch.device("cuda"), "learned") == "blocks"
    monkeypatch.setattr(flex, "find_spec", lambda name: None)
    assert backend_of("auto", torch.device("cuda")) == "blocks"
    assert "attention: blocks (FlexAttention needs the package triton" in capsys.readouterr().out


def test_flex_is_refused_where_it_cannot_train():
    with pytest.raises(
        DtiError, match=r"attention\.backend: flex does not run here: .* no backward pass on device cpu"
    ):
        backend_of("flex", CPU)
    assert unsupported(CPU) is not None


def test_on_a_gpu_the_kernel_that_a_backward_pass_computes_again_is_the_one_that_was_computed(monkeypatch):
    """Here the setting alone can be looked at."""
    newest_first = []
    monkeypatch.setattr(torch._C._dynamo.eval_frame, "_set_lru_cache", newest_first.append)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    with torch._dynamo.config.patch(recompile_limit=8):
        flex._kernel.__wrapped__("cpu")
        assert newest_first == []
        flex._kernel.__wrapped__("cuda")
        assert newest_first == [False]
        assert torch._dynamo.config.recompile_limit == 256
