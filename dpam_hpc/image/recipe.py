"""What an image is made from: ``Apptainer.def`` and what ``containers/sources.toml`` lists."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dpam_hpc.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEBIAN_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
NOT_TO_GIVE = frozenset({"dali", "dpam"})
"""Parts whose licences forbid to pass them on; an image may be built without them."""
DALI_SCRIPT = Path("containers") / "build-dali.sh"
"""Of a recipe: how DALI is built, in an image and elsewhere."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Table):
    """A part of the image with a home of its own; without ``homes`` it is the user's to supply.

    ``sha256`` is a file's; of a ``git`` source it is that of the contents (``tree.sha256``).
    """

    title: str
    kind: Literal["file", "git"]
    name: str
    homes: tuple[str, ...]
    sha256: str
    version: str
    licence: str
    redistribution: str
    commit: str = ""


class Debian(_Table):
    """The release, and the packages asked for by what they are for."""

    suite: str
    version: str
    build: tuple[str, ...]
    base: tuple[str, ...]
    dpam: tuple[str, ...]


class Python(_Table):
    """The interpreter's version, and the files of locked packages by what they are for."""

    version: str
    base: str
    dpam: str
    leave_out: dict[str, tuple[str, ...]]


class Sources(_Table):
    """The whole of sources.toml."""

    schema_: Literal[1] = Field(alias="schema")
    epoch: int
    dali: Source
    dpam: Source
    foldseek: Source
    debian: Debian
    python: Python

    def parts(self) -> dict[str, Source]:
        """Parts with a home of their own, by name."""
        return {"dali": self.dali, "dpam": self.dpam, "foldseek": self.foldseek}


def folder() -> Path:
    """Where the recipe lies: in the package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "recipe"
    return inside if inside.is_dir() else package.parent


def read_sources(recipe: Path | None = None) -> Sources:
    """sources.toml of a recipe; ConfigError tells all that is wrong with it."""
    path = (recipe or folder()) / "containers" / "sources.toml"
    try:
        return Sources(**tomllib.loads(path.read_text()))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    except ValidationError as error:
        told = "\n  ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"{path} cannot be used:\n  {told}", "docs/image.md") from None


def this_architecture() -> str:
    """What this machine is, as images are named for it."""
    return platform.machine()
