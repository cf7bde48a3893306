"""A disk that is full: a tmpfs of one mebibyte."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dti.data.demo import generate
from dti.errors import DtiError
from dti.files import atomic_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a size-limited tmpfs needs root"),
]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_prepare_on_a_full_disk(shop, small_disk):
    generate(shop.raw, users=2000, interactions=200_000, items=400, seed=1)
    shop.interim = small_disk / "interim"
    with pytest.raises(DtiError, match=r"interim: the disk is full; .* Free space and run again"):
        shop.prepare()
    assert list(small_disk.iterdir()) == []


def test_fetch_on_a_full_disk(small_disk):
    with pytest.raises(DtiError, match="the disk is full"), atomic_folder(small_disk / "demo") as folder:
        generate(folder, users=2000, interactions=100_000, items=400, seed=1)
    assert list(small_disk.iterdir()) == []
