"""The pinned sources of data/sources.yaml, typed."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dti.errors import DtiError


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Archive(_Entry):
    """A published file; its checksums pin it. ``{category}`` in ``file`` and ``url`` stands for a part of it."""

    file: str = Field(pattern=r"^[\w{][\w.{}-]*$", description="its file name")
    url: str = Field(pattern="^https?://", description="where it is published")
    md5: str | None = Field(None, pattern="^[0-9a-f]{32}$", description="the published checksum")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="the SHA-256 of the same file")
    members: list[str] = Field([], description="the files that must be in a zip archive")

    @property
    def pinned(self) -> bool:
        """Whether a checksum says what the published file is."""
        return self.md5 is not None or self.sha256 is not None


class Source(_Entry):
    """One source; without archives it is generated."""

    title: str = Field(description="what reports call the data set")
    param: str = Field(description="the parameter or section of params.yaml that its fetch stage depends on")
    archives: list[Archive] = []

    def of(self, category: str) -> "Source":
        """The source with the category's name in its title, files and URLs, where they leave room for one."""

        def filled(text: str) -> str:
            return text.replace("{category}", category)

        changes = [{"file": filled(archive.file), "url": filled(archive.url)} for archive in self.archives]
        archives = [a.model_copy(update=change) for a, change in zip(self.archives, changes, strict=True)]
        return self.model_copy(update={"title": filled(self.title), "archives": archives})


class _Sources(_Entry):
    sources: dict[str, Source]


def load_source(name: str, path: Path = Path("data/sources.yaml")) -> Source:
    """The entry ``name`` of the sources file.

    Raises:
        DtiError: the file or the entry is missing or wrong.
    """
    try:
        sources = _Sources.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).sources
    except FileNotFoundError:
        raise DtiError(f"{path}: not found; run from the project's folder") from None
    except yaml.YAMLError as error:
        raise DtiError(f"{path}: no valid YAML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise DtiError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if name not in sources:
        raise DtiError(f"{path}: no source {name!r}; there are {', '.join(sources)}")
    return sources[name]
