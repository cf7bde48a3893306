"""prepare and pack over several processes, and over a running Dask cluster: the same bytes as in one process."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from dti.data import histories
from dti.errors import DtiError
from dti.files import digest_of, read_json, write_json
from dti.params import Workers, parse_params
from dti.prompts.pack import pack
from dti.stages.prepare import prepare
from dti.workers import mapper_of

ROOT = Path(__file__).parents[1]
USERS, LENGTH, ITEMS = 23, 9, 7
SHARDS = 5


def workers(kind="single", processes=2, address=None):
    return Workers(kind=kind, processes=processes, address=address)


def params(**pack_params):
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["pack"] |= {"shard_interactions": USERS * LENGTH // SHARDS, "profile": True, **pack_params}
    content["model"]["tiny"]["vocabulary"] = 300
    return parse_params(content)


@pytest.fixture
def raw(tmp_path):
    """A click log in no order, with ties and duplicates."""
    folder = tmp_path / "raw"
    folder.mkdir()
    events = itertools.product(range(LENGTH), range(USERS))
    rows = [f"u{user:02d},i{(user * at) % ITEMS},{(user + at) % 2},{1000 - at // 2 * 7}" for at, user in events]
    (folder / "clicks.csv").write_text("\n".join(["user_id,item_id,label,timestamp", *rows, *rows[:40]]) + "\n")
    items = [f"i{item},thing {item},acme,tools" for item in range(ITEMS)]
    (folder / "items.csv").write_text("\n".join(["item_id,title,brand,genres", *items]) + "\n")
    users = [f"u{user:02d},30,north" for user in range(USERS)]
    (folder / "users.csv").write_text("\n".join(["user_id,age,region", *users]) + "\n")
    write_json(folder / "source.json", {"name": "demo", "title": "T", "sha256": "0", "official": True, "url": ""})
    return folder


@pytest.fixture
def made(raw, tmp_path, monkeypatch):
    """``made(workers)``: a digest of everything that both stages leave; the histories come in several parts."""
    monkeypatch.setattr(histories, "AT_ONCE", 50)
    numbers = itertools.count()

    def make(chosen):
        folder = tmp_path / str(next(numbers))
        with mapper_of(chosen) as mapper:
            report = prepare(raw, folder / "interim", params().data, mapper)
            write_json(folder / "data.json", report)
            write_json(folder / "pack.json", pack(params(), folder / "interim", folder / "packed", mapper))
        assert len(list((folder / "packed/shards").iterdir())) == SHARDS
        return digest_of([folder])

    return make


@pytest.fixture
def cluster(tmp_path):
    """The address of a scheduler with two workers, which know nothing of this project."""
    file, started = tmp_path / "scheduler.json", []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] = "0"

    def start(*words):
        command = [sys.executable, "-P", "-m", "dask", *words, "--no-dashboard", "--host", "127.0.0.1"]
        with (tmp_path / "dask.log").open("a") as log:
            started.append(subprocess.Popen(command, cwd="/", env=environment, stdout=log, stderr=log))

    start("scheduler", "--port", "0", "--scheduler-file", str(file))
    for _ in range(2):
        start("worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--local-directory", tmp_path)
    until = time.monotonic() + 120
    while not file.exists() or (tmp_path / "dask.log").read_text().count("Registered to:") < 2:
        assert time.monotonic() < until, (tmp_path / "dask.log").read_text()
        time.sleep(0.2)
    yield read_json(file)["address"], started
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.wait()


def test_several_parts_give_what_one_part_gives(raw, tmp_path, monkeypatch):
    reports = []
    for number, at_once in enumerate((10**6, 50, 1)):
        monkeypatch.setattr(histories, "AT_ONCE", at_once)
        reports.append(prepare(raw, tmp_path / f"interim-{number}", params().data))
    assert reports[0] == reports[1] == reports[2]
    assert len({digest_of([tmp_path / f"interim-{number}"]) for number in range(3)}) == 1


def test_processes_leave_the_bytes_of_one(made):
    assert made(workers()) == made(workers("processes"))


@pytest.mark.slow
def test_a_dask_cluster_of_two_workers_leaves_the_bytes_of_one_process(made, cluster):
    address, _ = cluster
    assert made(workers()) == made(workers("dask", address=address))


@pytest.mark.slow
def test_a_wrong_row_is_named_by_a_dask_worker_as_in_one_process(raw, tmp_path, cluster):
    """The error comes back as what it is, although the workers do not know the project."""
    prepare(raw, tmp_path / "interim", params().data)
    path = tmp_path / "interim/interactions.parquet"
    import polars as pl

    frame = pl.read_parquet(path)
    frame.with_columns(
        order=pl.when(pl.int_range(pl.len()) == 100).then(7).otherwise("order").cast(pl.Int32)
    ).write_parquet(path)
    words = []
    for chosen in (workers(), workers("processes"), workers("dask", address=cluster[0])):
        with pytest.raises(DtiError) as caught, mapper_of(chosen) as mapper:
            pack(params(), tmp_path / "interim", tmp_path / "packed", mapper)
        words.append(str(caught.value))
    assert words[0] == words[1] == words[2]
    assert "interactions.parquet: row 100 (counted from 0): order is 7, expected" in words[0]
    assert not (tmp_path / "packed").exists()


@pytest.mark.slow
def test_a_cluster_that_cannot_serve_is_refused(cluster, tmp_path, monkeypatch):
    address, started = cluster
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    monkeypatch.chdir(hidden)
    hidden.rmdir()
    monkeypatch.setattr("dti.workers.Path.cwd", lambda: hidden)
    with (
        pytest.raises(DtiError, match=r"does not see the folder .*hidden"),
        mapper_of(workers("dask", address=address)),
    ):
        pass
    for worker in started[1:]:
        worker.terminate()
        worker.wait()
    with pytest.raises(DtiError, match="has no worker; start some"), mapper_of(workers("dask", address=address)):
        pass


def _die(part):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_named():
    with pytest.raises(DtiError, match="a process was killed, probably for want of memory"):  # noqa: SIM117
        with mapper_of(workers("processes")) as mapper:
            list(mapper(_die, range(3)))


def test_no_scheduler_is_named(monkeypatch):
    monkeypatch.setattr("dti.workers.PATIENCE", 0.5)
    address = "tcp://127.0.0.1:9"
    with pytest.raises(DtiError, match=f"no Dask scheduler answers at {address}"):  # noqa: SIM117
        with mapper_of(workers("dask", address=address)):
            pass


def test_without_the_package_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DtiError, match="pip install distributed"), mapper_of(workers("dask", address="tcp://x:1")):
        pass


@pytest.mark.parametrize(("kind", "address"), [("dask", None), ("single", "tcp://127.0.0.1:1")])
def test_an_address_belongs_to_a_cluster(kind, address):
    with pytest.raises(ValueError, match="give both or neither"):
        workers(kind, address=address)
