"""Small packed stores for every room's tests, and copies of the whole project."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from dti.files import read_json, write_json
from dti.params import Params, parse_params
from dti.prompts.pack import pack
from dti.prompts.store import Store
from dti.workspace import SOURCES

Histories = Sequence[Sequence[tuple[int, int]]]
ROOT = Path(__file__).parents[1]
PARAMS = ROOT / "params.yaml"
TEMPLATE = {"item": "{title}", "profile": "{profile}"}


def make_params(*, vocabulary: int = 300, template: dict[str, str | None] = TEMPLATE, **pack_params: Any) -> Params:
    """The project's params.yaml with another template, a small vocabulary and the given ``pack`` values."""
    content = yaml.safe_load(PARAMS.read_text())
    content["pack"] |= {"templates": {"demo": template}, **pack_params}
    content["model"]["tiny"]["vocabulary"] = vocabulary
    return parse_params(content)


def write_interim(
    folder: Path,
    histories: Histories,
    items: Sequence[dict[str, str | None]],
    splits: Sequence[Sequence[str]] | None = None,
    ratings: Sequence[Sequence[float]] | None = None,
    users: Sequence[dict[str, str | None]] | None = None,
) -> Path:
    """Write an interim folder; user u's history holds (item index, label) pairs, all of split train by default."""
    rows = [(u, order, *pair) for u, history in enumerate(histories) for order, pair in enumerate(history)]
    columns: dict[str, Any] = {
        "user_id": [f"u{u:04d}" for u, *_ in rows],
        "item_id": [f"i{item}" for *_, item, _ in rows],
        "label": pa.array([label for *_, label in rows], pa.int8()),
        "timestamp": pa.array([1_000_000_000 + 60 * order for _, order, *_ in rows], pa.int64()),
        "order": pa.array([order for _, order, *_ in rows], pa.int32()),
        "split": [splits[u][order] if splits else "train" for u, order, *_ in rows],
    }
    if ratings:
        columns["rating"] = pa.array([ratings[u][order] for u, order, *_ in rows], pa.float32())
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "interactions.parquet")
    _write_fields(folder / "items.parquet", "item_id", [f"i{i}" for i in range(len(items))], items)
    if users:
        _write_fields(folder / "users.parquet", "user_id", [f"u{u:04d}" for u in range(len(users))], users)
    write_json(
        folder / "source.json", {"name": "demo", "title": "test", "sha256": "0" * 64, "official": True, "url": ""}
    )
    return folder


def _write_fields(path: Path, key: str, ids: list[str], fields: Sequence[dict[str, str | None]]) -> None:
    columns = {name: pa.array([row[name] for row in fields], pa.string()) for name in fields[0]}
    pq.write_table(pa.table({key: ids, **columns}), path)


@pytest.fixture(scope="session")
def interim() -> Callable[..., Path]:
    """``interim(folder, histories, items, splits=..., ratings=..., users=...)`` writes an interim folder."""
    return write_interim


@pytest.fixture(scope="session")
def params_for() -> Callable[..., Params]:
    """``params_for(vocabulary=..., template=..., **pack_params)``: parameters with those ``pack`` values."""
    return make_params


@pytest.fixture(scope="session")
def make_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Store]:
    """``make_store(histories, texts, n=..., k=..., splits=..., ratings=..., profiles=..., vocabulary=..., **pack)``.

    Packs histories of (item index, label) pairs with a tiny tokenizer and opens the store. ``splits`` and ``ratings``
    are shaped like ``histories`` (by default every interaction is a training target); ``profiles`` has one text per
    user and switches profiles on.
    """

    def make(
        histories: Histories,
        texts: Sequence[str | None],
        *,
        splits: Sequence[Sequence[str]] | None = None,
        ratings: Sequence[Sequence[float]] | None = None,
        profiles: Sequence[str | None] | None = None,
        vocabulary: int = 300,
        **pack_params: Any,
    ) -> Store:
        folder = tmp_path_factory.mktemp("store")
        users = [{"profile": text} for text in profiles] if profiles else None
        source = write_interim(folder / "interim", histories, [{"title": t} for t in texts], splits, ratings, users)
        pack_params = {"profile": profiles is not None, "n": 20, "k": 50, **pack_params}
        pack(make_params(vocabulary=vocabulary, **pack_params), source, folder / "packed")
        return Store.open(folder / "packed")

    return make


@pytest.fixture
def flex_on_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's dense form of FlexAttention on the CPU: it has a backward pass, which the public function refuses.

    It knows masks and scores, not blocks; those are compared with ``create_block_mask``.
    """
    if "gpu" not in request.keywords:
        monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None)
        monkeypatch.setattr("torch.nn.attention.flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)


def merge(target, changes):
    for key, value in changes.items():
        if isinstance(value, dict):
            merge(target[key], value)
        else:
            target[key] = value


class Copy:
    """A copy of the project; ``repro`` returns the stages that ran."""

    def __init__(self, folder):
        self.folder = folder
        for name in (*SOURCES, "params.yaml"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, folder / name)
        self.environment = {k: v for k, v in os.environ.items() if k not in ("DTI_HOME", "MLFLOW_TRACKING_URI")}
        binaries = Path(sys.executable).parent
        self.environment |= {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
        self.output = ""

    def git(self, *arguments):
        who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        subprocess.run(["git", *who, *arguments], cwd=self.folder, check=True, capture_output=True)

    def run(self, *command):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        self.output = done.stdout + done.stderr
        return done.returncode

    def set(self, **changes):
        path = self.folder / "params.yaml"
        content = yaml.safe_load(path.read_text())
        merge(content, changes)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def repro(self, **changes):
        self.set(**changes)
        assert self.run("dvc", "repro") == 0, self.output
        return re.findall(r"Running stage '(?:data/dvc.yaml:)?(\S+)'", self.output)

    def report(self, name):
        return read_json(self.folder / "reports" / f"{name}.json")


@pytest.fixture(scope="session")
def make_copy(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Copy]:
    """``make_copy(git)``: a healthy copy of the project in a folder of its own, a git repository or none."""

    def make(git: bool) -> Copy:
        copy = Copy(tmp_path_factory.mktemp("project"))
        if git:
            shutil.copy2(ROOT / ".gitignore", copy.folder)
            copy.git("init", "-q")
            copy.git("add", "-A")
            copy.git("commit", "-qm", "code")
        assert copy.run("dti", "doctor", "--fix") == 0, copy.output
        return copy

    return make
