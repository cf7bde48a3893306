"""Published files: found or downloaded, and verified before anybody uses them."""

import gzip
import os
import shutil
import urllib.request
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

from dti.data.sources import Archive
from dti.errors import DtiError
from dti.files import sha256_of
from dti.progress import Progress

CHUNK = 1 << 20  # bytes
TIMEOUT = 60  # seconds without an answer
FOLDER = "DTI_ARCHIVES"  # the environment variable that names a folder of archives


@dataclass(frozen=True)
class Verdict:
    """The SHA-256 of a file, and what is to be said of it: nothing if it is the published one."""

    sha256: str
    remark: str = ""


def _download(archive: Archive, target: Path) -> None:
    hint = f"put {archive.file} into a folder and name that folder in the environment variable {FOLDER}"
    try:
        with urllib.request.urlopen(archive.url, timeout=TIMEOUT) as answer, target.open("wb") as handle:  # noqa: S310
            size = int(answer.headers.get("Content-Length") or 0)
            with Progress(f"download {archive.file}", size, "bytes") as progress:
                while chunk := answer.read(CHUNK):
                    handle.write(chunk)
                    progress.advance(len(chunk))
            if progress.done < size:
                raise ConnectionError(f"broken off after {progress.done} of {size} bytes")
    except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise DtiError(f"{archive.url}: cannot be downloaded ({error}); try again, or {hint}") from error


def _local(archive: Archive, name: str) -> Path | None:
    """The file in the folder that DTI_ARCHIVES names, or in its folder ``name``."""
    named = os.environ.get(FOLDER)
    if not named:
        return None
    if not Path(named).is_dir():
        raise DtiError(f"{FOLDER}={named}: no such folder; correct or unset the environment variable")
    places = (Path(named) / archive.file, Path(named) / name.removesuffix("-5core") / archive.file)
    return next((place for place in places if place.is_file()), None)


def obtain(archive: Archive, target: Path, name: str, accepted: Collection[str]) -> str:
    """Bring a file of the source ``name`` to ``target``: from the folder that DTI_ARCHIVES names, else from its URL.

    Returns:
        where it came from, for messages.

    Raises:
        DtiError: DTI_ARCHIVES names no folder, the download fails, or nothing could tell whether it is the right file.
    """
    if local := _local(archive, name):
        shutil.copyfile(local, target)
        return str(local)
    if not archive.pinned and not accepted:
        raise DtiError(
            f"{archive.url}: no checksum of it is published, so it is not downloaded unseen; put it into a folder, "
            f"name that folder in the environment variable {FOLDER}, and run again: you are told its SHA-256"
        )
    _download(archive, target)
    return archive.url


def _check_members(archive: Archive, target: Path, origin: str) -> None:
    try:
        with zipfile.ZipFile(target) as opened:
            missing = sorted(set(archive.members) - set(opened.namelist()))
            broken = opened.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DtiError(f"{origin}: a truncated or broken zip ({error}); get it anew") from error
    if missing:
        raise DtiError(f"{origin}: the archive lacks {', '.join(missing)}; get the archive of {archive.url}")
    if broken:
        raise DtiError(f"{origin}: the member {broken} is damaged; get the archive anew")


def _check_gzip(target: Path, origin: str) -> None:
    try:
        with gzip.open(target) as opened:
            while opened.read(CHUNK):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise DtiError(f"{origin}: a truncated or broken gzip file ({error}); get it anew") from error


def _is_published(archive: Archive, target: Path, sha256: str) -> bool:
    same_md5 = archive.md5 is None or sha256_of(target, "md5") == archive.md5
    return archive.pinned and archive.sha256 in (None, sha256) and same_md5


def _refusal(archive: Archive, target: Path, sha256: str) -> str:
    if not archive.pinned:
        return (
            f"no checksum of this file is published; its SHA-256 is {sha256}. Set data.sha256 in params.yaml to it, or "
            "to the list of those of all files of the source"
        )
    broken = archive.members and not zipfile.is_zipfile(target)
    state = "it is a truncated or broken zip: get it anew; " if broken else ""
    return (
        f"SHA-256 {sha256} is not that of the published archive ({archive.sha256 or f'MD5 {archive.md5}'}); {state}"
        "to use this one all the same, set data.sha256 in params.yaml to its SHA-256"
    )


def verify(archive: Archive, target: Path, accepted: Collection[str], origin: str) -> Verdict:
    """Accept the published file, or one whose SHA-256 is among ``accepted``, if it is whole.

    Raises:
        DtiError: another checksum, a broken zip or gzip file, a missing member.
    """
    sha256 = sha256_of(target)
    published = _is_published(archive, target, sha256)
    if not published and sha256 not in accepted:
        raise DtiError(f"{origin}: {_refusal(archive, target, sha256)}")
    if archive.members:
        _check_members(archive, target, origin)
    elif target.suffix == ".gz":
        _check_gzip(target, origin)
    if published:
        return Verdict(sha256)
    return Verdict(sha256, "unofficial archive" if archive.pinned else "no published checksum")
