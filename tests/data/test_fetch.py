import hashlib
import http.server
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dti.data.sources import load_source
from dti.errors import DtiError
from dti.stages import fetch as stage
from dti.stages.fetch import fetch


def digests(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    return {"md5": hashlib.md5(content).hexdigest(), "sha256": hashlib.sha256(content).hexdigest()}


class Project:
    """A project's folder with its own pinned archive, the URL of which leads nowhere."""

    def __init__(self, folder: Path, root: Path, shelf: Path) -> None:
        self.folder, self.shelf = folder, shelf
        self.params = yaml.safe_load((root / "params.yaml").read_text())
        self.entry = yaml.safe_load((root / "data/sources.yaml").read_text())["sources"]["ml-1m"]
        self.archive = self.entry["archives"][0]
        self.archive |= {"url": "http://127.0.0.1:9/ml-1m.zip"}

    def pin(self, path: Path) -> None:
        self.archive |= digests(path)

    def fetch(self, sha256: str | None = None) -> dict[str, object]:
        self.params["data"] |= {"name": "ml-1m", "sha256": sha256}
        (self.folder / "params.yaml").write_text(yaml.safe_dump(self.params))
        (self.folder / "data").mkdir(exist_ok=True)
        (self.folder / "data/sources.yaml").write_text(yaml.safe_dump({"sources": {"ml-1m": self.entry}}))
        fetch("ml-1m")
        return json.loads((self.folder / "data/raw/ml-1m/source.json").read_text())

    def refuses(self, *parts: str, sha256: str | None = None) -> None:
        with pytest.raises(DtiError) as error:
            self.fetch(sha256)
        for part in parts:
            assert part in str(error.value)
        raw = self.folder / "data/raw"
        assert not raw.exists() or not list(raw.iterdir())


@pytest.fixture
def project(tmp_path, monkeypatch, root, write_archive) -> Project:
    folder, shelf = tmp_path / "project", tmp_path / "shelf"
    folder.mkdir()
    shelf.mkdir()
    write_archive(shelf / "ml-1m.zip")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DTI_ARCHIVES", str(shelf))
    made = Project(folder, root, shelf)
    made.pin(shelf / "ml-1m.zip")
    return made


def test_the_pinned_archive_is_official(project):
    facts = project.fetch()
    assert facts == {
        "name": "ml-1m",
        "title": "MovieLens-1M",
        "sha256": digests(project.shelf / "ml-1m.zip")["sha256"],
        "official": True,
        "url": "http://127.0.0.1:9/ml-1m.zip",
        "files": ["ml-1m.zip"],
    }
    assert (project.folder / "data/raw/ml-1m/ml-1m.zip").read_bytes() == (project.shelf / "ml-1m.zip").read_bytes()


def test_another_archive_is_refused_with_its_checksum(project, write_archive):
    write_archive(project.shelf / "ml-1m.zip", ratings="1::1::5::1\n")
    other = digests(project.shelf / "ml-1m.zip")["sha256"]
    project.refuses(str(project.shelf / "ml-1m.zip"), other, "data.sha256", sha256=None)
    project.refuses(other, sha256="0" * 64)


def test_another_archive_is_taken_by_its_checksum_and_named_unofficial(project, write_archive):
    write_archive(project.shelf / "ml-1m.zip", ratings="1::1::5::1\n")
    facts = project.fetch(digests(project.shelf / "ml-1m.zip")["sha256"])
    assert (facts["official"], facts["title"]) == (False, "MovieLens-1M (unofficial archive)")


def test_both_checksums_make_an_archive_official(project):
    project.archive["md5"] = "0" * 32
    project.refuses("is not that of the published archive")


def test_truncated_archive(project):
    whole = (project.shelf / "ml-1m.zip").read_bytes()
    (project.shelf / "ml-1m.zip").write_bytes(whole[: len(whole) // 2])
    project.refuses("truncated or broken zip", "get it anew")
    project.refuses("truncated or broken zip", sha256=digests(project.shelf / "ml-1m.zip")["sha256"])


def test_damaged_member(project):
    path = project.shelf / "ml-1m.zip"
    path.write_bytes(path.read_bytes().replace(b"Alien", b"Aliem", 1))
    project.refuses("ml-1m/movies.dat is damaged", sha256=digests(path)["sha256"])


def test_missing_member(project):
    with zipfile.ZipFile(project.shelf / "ml-1m.zip", "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "1::1::5::1\n")
    project.refuses("lacks ml-1m/movies.dat, ml-1m/users.dat", sha256=digests(project.shelf / "ml-1m.zip")["sha256"])


def test_no_way_out(project):
    (project.shelf / "ml-1m.zip").unlink()
    project.refuses("http://127.0.0.1:9/ml-1m.zip: cannot be downloaded", "DTI_ARCHIVES")


def test_the_named_folder_is_missing(project, monkeypatch):
    monkeypatch.setenv("DTI_ARCHIVES", str(project.shelf / "nowhere"))
    project.refuses("DTI_ARCHIVES=", "no such folder")


def test_a_refused_archive_leaves_the_earlier_one(project):
    project.fetch()
    (project.shelf / "ml-1m.zip").write_bytes(b"nonsense")
    with pytest.raises(DtiError):
        project.fetch()
    assert sorted(path.name for path in (project.folder / "data/raw").iterdir()) == ["ml-1m"]
    assert digests(project.folder / "data/raw/ml-1m/ml-1m.zip")["md5"] == project.archive["md5"]


class _Breaking(http.server.SimpleHTTPRequestHandler):
    """Serves ``content``; promises ``missing`` more bytes than it sends."""

    content, missing = b"", 0

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content) + self.missing))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(project) -> Iterator[type[_Breaking]]:
    handler = type("Handler", (_Breaking,), {"content": (project.shelf / "ml-1m.zip").read_bytes()})
    (project.shelf / "ml-1m.zip").unlink()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        project.archive["url"] = f"http://127.0.0.1:{running.server_port}/ml-1m.zip"
        yield handler
        running.shutdown()


def test_download(project, server, capfd):
    assert project.fetch()["official"] is True
    assert "download ml-1m.zip" in capfd.readouterr().err


def test_download_that_breaks_off(project, server):
    server.missing = 1000
    project.refuses("cannot be downloaded", f"{len(server.content)} of {len(server.content) + 1000} bytes")


def test_pinned_sources_are_well_formed(root):
    archive = load_source("ml-1m", root / "data/sources.yaml").archives[0]
    assert archive.md5 == "c4d9eecfca2ab87c1945afe126590906"
    assert load_source("demo", root / "data/sources.yaml").archives == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sources: {a: {title: A, param: a}}", "no source 'ml-1m'; there are a"),
        ("sources: {ml-1m: {title: A}}", "sources.ml-1m.param: Field required"),
        ("sources: {ml-1m: {title: A, param: a, colour: red}}", "sources.ml-1m.colour: Extra inputs"),
        ("sources: [", "no valid YAML"),
    ],
)
def test_wrong_sources_file(tmp_path, text, message):
    path = tmp_path / "sources.yaml"
    path.write_text(text)
    with pytest.raises(DtiError, match=message.replace(".", r"\.")):
        load_source("ml-1m", path)


def test_missing_sources_file(tmp_path):
    with pytest.raises(DtiError, match="not found; run from the project's folder"):
        load_source("demo", tmp_path / "sources.yaml")


def test_usage(monkeypatch):
    monkeypatch.setattr("sys.argv", ["fetch"])
    with pytest.raises(DtiError, match="usage"):
        stage.main()
