"""What DVC would leave of a finished run: objects in its cache, and a dvc.lock that names them."""

import hashlib
import json
from pathlib import Path

import yaml


def cached(project: Path, content: bytes) -> str:
    """Put a file into the project's DVC cache; returns its hash."""
    md5 = hashlib.md5(content).hexdigest()
    target = project / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return md5


def lock(project: Path, interim: str = "1.dir") -> None:
    """Write the dvc.lock that a pipeline would leave, and keep data/scores in the cache."""
    file = cached(project, (project / "data/scores/test.parquet").read_bytes())
    listing = json.dumps([{"md5": file, "relpath": "test.parquet"}]).encode()
    md5 = cached(project, listing)
    folder = project / ".dvc/cache/files/md5" / md5[:2]
    (folder / md5[2:]).rename(folder / f"{md5[2:]}.dir")
    report = cached(project, b"a report that git keeps and the run cache restores")
    stages = {
        "prepare": [("data/interim", interim)],
        "train": [("reports/train.json", report)],
        "evaluate": [("data/scores", f"{md5}.dir")],
    }
    content = {
        "schema": "2.0",
        "stages": {
            name: {"cmd": "x", "outs": [{"path": path, "hash": "md5", "md5": md5} for path, md5 in outs]}
            for name, outs in stages.items()
        },
    }
    (project / "dvc.lock").write_text(yaml.safe_dump(content))
