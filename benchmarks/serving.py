"""Serving speed: candidates of one request beside one another, against a sliding-window prompt for each.

    python benchmarks/serving.py --packed data/packed                    # a minute, and two for the HTTP part
    python benchmarks/serving.py --packed data/packed --seconds 0        # without HTTP
    python benchmarks/serving.py --packed data/packed --size 135m --candidates 200 --json result.json

A bundle with random weights is made of the packed data's item texts. One user's last n interactions and --candidates
other items are scored in turns, round by round: by the scorer, and as sliding-window prompts (k = 1), batched, with the
logits of probes alone, by the same weights. Rows: `window` (RoPE, all tokens of the context: the paper's way), whose
context is shared; `isolated` (local positions, label context), whose catalogue's states are kept. `gap` is the largest
difference of two probabilities of the same candidate.

The HTTP part serves the isolated model with `mlflow models serve`, asks it from --clients threads for --seconds, and
prints requests/s, latencies and the server's memory after a tenth of the time and at the end.
"""

import argparse
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, from any folder

from benchmarks.server import Server  # noqa: E402
from benchmarks.workloads import SIZES, model_of, shard_of  # noqa: E402
from dti.attention.visibility import Sight  # noqa: E402
from dti.files import write_json  # noqa: E402
from dti.model.adapter import FORMAT, Record, load, save  # noqa: E402
from dti.model.ctr import CtrModel  # noqa: E402
from dti.model.device import device_of  # noqa: E402
from dti.model.scoring import logits_of, probability  # noqa: E402
from dti.params import Params, load_params  # noqa: E402
from dti.prompts.packing import Prompts  # noqa: E402
from dti.prompts.store import Store  # noqa: E402
from dti.serving.bundle import write_bundle  # noqa: E402
from dti.serving.scorer import Scorer  # noqa: E402

SIGHTS = {
    "window": Sight("window", "rope", "all", 20),
    "isolated": Sight("isolated", "local", "label", 20),
}
PASS = 32_768
"""Content tokens of a pass of sliding-window prompts."""


@dataclass(frozen=True)
class Task:
    """One user's history and the candidates, as indices of items."""

    history: np.ndarray
    labels: np.ndarray
    candidates: np.ndarray

    @classmethod
    def draw(cls, store: Store, n: int, candidates: int, seed: int = 1) -> "Task":
        """The first user with n interactions, and random other items."""
        shard = next(s for s in store.shards if len(s) >= n)
        first = int(np.flatnonzero(shard.order == n - 1)[0]) - n + 1
        rows = slice(first, first + n)
        others = np.setdiff1d(np.arange(len(store.item_ids)), shard.item[rows])
        drawn = np.random.default_rng(seed).choice(others, candidates, replace=candidates > others.size)
        return cls(shard.item[rows], shard.label[rows], drawn)

    def request(self, store: Store) -> dict[str, Any]:
        """The task as a request."""
        ids = store.item_ids
        pairs = zip(self.history, self.labels, strict=True)
        history = [{"item_id": ids[int(item)].as_py(), "label": int(label)} for item, label in pairs]
        return {"history": history, "candidates": [ids[int(item)].as_py() for item in self.candidates]}

    def prompts(self, store: Store) -> tuple[Store, Prompts]:
        """The task as a user per candidate, whose last interaction is the target of a sliding-window prompt."""
        n, count = self.history.size, self.candidates.size
        item = np.concatenate([np.tile(self.history, (count, 1)), self.candidates[:, None]], axis=1).ravel()
        label = np.tile(np.append(self.labels, 0), count)
        shard = shard_of(item, label, [n + 1] * count, store.meta.tokens)
        start = np.arange(count) * (n + 1)
        prompts = Prompts(np.zeros(count, np.int64), start, start + n, start + n + 1)
        return replace(store, shards=[shard]), prompts


def bundle_of(root: Path, packed: Path, params: Params, size: str, sight: Sight) -> Path:
    """A bundle with random weights."""
    store = Store.open(packed)
    (root / "data").mkdir(parents=True)
    (root / "data" / "packed").symlink_to(packed.resolve())
    model = CtrModel(model_of(SIZES[size], store, torch.device("cpu")), store.meta.tokens, sight, "blocks")
    meta = store.meta
    record = Record(
        format=FORMAT,
        backbone="tiny",
        revision=None,
        tuning="full",
        shape={},
        sight=sight,
        tokens=meta.tokens,
        context_labels=meta.context_labels,
        profile=False,
        k=1,
        seed=1,
        dataset=meta.dataset,
        packed_digest=meta.digest,
    )
    save(root / "models" / "adapter", model, record, packed / "tokenizer")
    data, pack = (
        params.data.model_copy(update={"name": meta.dataset}),
        params.pack.model_copy(update={"profile": False}),
    )
    write_bundle(root, params.model_copy(update={"data": data, "pack": pack}), root / "bundle")
    return root / "bundle"


def measure(bundle: Path, store: Store, task: Task, rounds: int, device: str) -> dict[str, Any]:
    """Score the task in turns by the scorer and by sliding-window prompts; medians of seconds, and their ratio."""
    scorer = Scorer.open(bundle, device)
    model, _ = load(bundle / "adapter", "blocks", device_of(device))
    users, prompts = task.prompts(store)
    request = task.request(store)
    taken: dict[str, list[float]] = {"scorer": [], "sliding": []}
    for turn in range(rounds + 1):
        began = time.perf_counter()
        served = scorer.score([request])[0]
        between = time.perf_counter()
        slid = probability(logits_of(model, users, prompts, PASS, "sliding-window prompts"))
        if turn:  # the first one warms up
            taken["scorer"].append(between - began)
            taken["sliding"].append(time.perf_counter() - between)
    seconds = {name: median(times) for name, times in taken.items()}
    ratios = [slow / fast for slow, fast in zip(taken["sliding"], taken["scorer"], strict=True)]
    return {
        "seconds": seconds,
        "ratio": median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "gap": float(np.abs(served - slid).max()),
    }


def serve(bundle: Path, folder: Path, store: Store, arguments: argparse.Namespace) -> dict[str, Any]:
    """Ask a server from several threads at once."""
    import mlflow

    mlflow.pyfunc.save_model(
        folder / "model",
        python_model=str(ROOT / "dti/serving/model.py"),
        artifacts={"bundle": str(bundle)},
        code_paths=[str(ROOT / "dti")],
        pip_requirements=["mlflow"],
    )
    requests = [Task.draw(store, 20, arguments.http_candidates, seed).request(store) for seed in range(20)]
    expected = Scorer.open(bundle, arguments.device).score(requests)
    latencies: list[float] = []
    failed: list[str] = []
    with Server(folder / "model", folder / "server.log") as server:
        server.ask(requests)
        began = time.monotonic()
        end = began + arguments.seconds

        def client(number: int) -> None:
            rng = np.random.default_rng(number)
            while (now := time.monotonic()) < end:
                pick = int(rng.integers(len(requests)))
                try:
                    (answer,) = server.ask([requests[pick]])
                except OSError as error:
                    failed.append(str(error))
                    continue
                if np.abs(np.array(answer["scores"]) - expected[pick]).max() > 1e-5:
                    failed.append("other scores")
                latencies.append(time.monotonic() - now)

        threads = [threading.Thread(target=client, args=(number,)) for number in range(arguments.clients)]
        for thread in threads:
            thread.start()
        memory = []
        while any(thread.is_alive() for thread in threads):
            memory.append(server.resident())
            time.sleep(min(1.0, arguments.seconds / 20))
        took = time.monotonic() - began
    return {
        "clients": arguments.clients,
        "candidates": arguments.http_candidates,
        "seconds": took,
        "requests": len(latencies),
        "requests_per_second": len(latencies) / took,
        "p50": float(np.quantile(latencies, 0.5)),
        "p99": float(np.quantile(latencies, 0.99)),
        "failed": len(failed),
        "failures": failed[:3],
        "memory_early": memory[len(memory) // 10],
        "memory_late": max(memory[-3:]),
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packed", type=Path, required=True, help="packed data, whose item texts are scored")
    parser.add_argument("--size", choices=SIZES, default="tiny", help="the model's size")
    parser.add_argument("--candidates", type=int, default=1000, help="candidates of the measured request")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of which the median counts")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    parser.add_argument("--seconds", type=float, default=120, help="length of the HTTP part; 0 leaves it out")
    parser.add_argument("--clients", type=int, default=8, help="concurrent clients of the HTTP part")
    parser.add_argument("--http-candidates", type=int, default=100, help="candidates of each request over HTTP")
    parser.add_argument("--json", type=Path, help="keep the results there")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    arguments = parse()
    store, params = Store.open(arguments.packed), load_params(ROOT / "params.yaml")
    task = Task.draw(store, 20, arguments.candidates)
    results: dict[str, Any] = {"threads": torch.get_num_threads(), "size": arguments.size, "rows": {}}
    with tempfile.TemporaryDirectory() as temporary:
        for name, sight in SIGHTS.items():
            folder = Path(temporary) / name
            bundle = bundle_of(folder, arguments.packed, params, arguments.size, sight)
            found = measure(bundle, store, task, arguments.rounds, arguments.device)
            results["rows"][name] = found
            fast, slow = (1000 * found["seconds"][key] for key in ("scorer", "sliding"))
            print(
                f"{name:9} {arguments.candidates:,} candidates in {fast:8.1f} ms; as sliding-window prompts {slow:9.1f}"
                f" ms; ratio {found['ratio']:.1f} [{found['low']:.1f}, {found['high']:.1f}]; gap {found['gap']:.1e}"
            )
        if arguments.seconds > 0:
            results["http"] = http = serve(bundle, folder, store, arguments)
            print(
                f"HTTP      {http['clients']} clients, {http['candidates']} candidates each, {http['seconds']:.0f} s: "
                f"{http['requests_per_second']:.1f} requests/s, p50 {1000 * http['p50']:.0f} ms, "
                f"p99 {1000 * http['p99']:.0f} ms, {http['failed']} failed; memory "
                f"{http['memory_early'] / 2**20:,.0f} MiB early, {http['memory_late'] / 2**20:,.0f} MiB at the end"
            )
    if arguments.json:
        write_json(arguments.json, results)


if __name__ == "__main__":
    main()
