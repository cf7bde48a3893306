"""Published archives: found or downloaded, and verified before anybody uses them."""

import os
import shutil
import urllib.request
import zipfile
import zlib
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
    """The SHA-256 of an archive, and whether it is the published one."""

    sha256: str
    official: bool


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


def obtain(archive: Archive, target: Path) -> str:
    """Bring the archive to ``target``: from the folder that DTI_ARCHIVES names, else from its URL.

    Returns:
        where it came from, for messages.

    Raises:
        DtiError: DTI_ARCHIVES names no folder, or the download fails.
    """
    named = os.environ.get(FOLDER)
    if named and not Path(named).is_dir():
        raise DtiError(f"{FOLDER}={named}: no such folder; correct or unset the environment variable")
    local = Path(named) / archive.file if named else None
    if local and local.is_file():
        shutil.copyfile(local, target)
        return str(local)
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


def verify(archive: Archive, target: Path, accepted: str | None, origin: str) -> Verdict:
    """Accept the published archive, or the one whose SHA-256 is ``accepted``, if it is whole.

    Raises:
        DtiError: another checksum, a broken zip, a missing member.
    """
    sha256 = sha256_of(target)
    official = sha256 == archive.sha256 and sha256_of(target, "md5") == archive.md5
    if not official and sha256 != accepted:
        state = "" if zipfile.is_zipfile(target) else "it is a truncated or broken zip: get it anew; "
        raise DtiError(
            f"{origin}: SHA-256 {sha256} is not that of the published archive ({archive.sha256}); {state}"
            "to use this one all the same, set data.sha256 in params.yaml to its SHA-256"
        )
    _check_members(archive, target, origin)
    return Verdict(sha256, official)
