"""Where platform files are, and the platform of a name.

The strongest first: folders in ``DPAM_HPC_PLATFORM_PATH``, ``platforms/`` in the user's
configuration folder, the files that are shipped. Of two with one name the first is taken.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.resources import files as package_files
from pathlib import Path

import platformdirs

from dpam_hpc.errors import ConfigError
from dpam_hpc.platforms.model import Platform
from dpam_hpc.platforms.reading import PlatformError, Problem, nearest, read

VARIABLE = "DPAM_HPC_PLATFORM_PATH"
SUFFIX = ".toml"


def search_folders(
    environment: Mapping[str, str] = os.environ, user_folder: Path | None = None
) -> list[Path]:
    """The folders, the strongest first; ConfigError for one that is named and is not there."""
    parts = environment.get(VARIABLE, "").split(os.pathsep)
    given = [Path(part).expanduser() for part in parts if part]
    if lost := [str(folder) for folder in given if not folder.is_dir()]:
        raise ConfigError(
            f"{VARIABLE} names what is no folder: {', '.join(lost)}",
            "make it, or take it out of the variable",
        )
    user_folder = user_folder or platformdirs.user_config_path("dpam-hpc")
    return [*given, user_folder / "platforms", shipped_folder()]


def shipped_folder() -> Path:
    """The folder of the files that come with dpam-hpc."""
    return Path(str(package_files("dpam_hpc.platforms")))


def found(folders: Sequence[Path] | None = None) -> dict[str, list[Path]]:
    """For each name its files, the strongest first; nothing is read."""
    names: dict[str, list[Path]] = {}
    for folder in search_folders() if folders is None else folders:
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            names.setdefault(path.stem, []).append(path)
    return dict(sorted(names.items()))


def names(folders: Sequence[Path] | None = None) -> list[str]:
    """The names of all platforms, sorted."""
    return list(found(folders))


def where(name: str, folders: Sequence[Path] | None = None) -> Path:
    """The file of a platform; ConfigError, with the nearest name, if there is none."""
    known = found(folders)
    if name not in known:
        raise ConfigError(
            f"there is no platform {name!r}{nearest(name, known)}",
            "dpam-hpc platforms list has all; docs/platforms.md says how to add one",
        )
    return known[name][0]


def named(name: str, folders: Sequence[Path] | None = None) -> Platform:
    """The platform of a name; ConfigError if there is none, or with all that is wrong with it."""
    return read(where(name, folders), found(folders))


def checked(path: Path, folders: Sequence[Path] | None = None) -> Platform:
    """The platform of any file; ConfigError with all that is wrong with it."""
    return read(path, found(folders))


def every(folders: Sequence[Path] | None = None) -> dict[str, Platform]:
    """All platforms by name; ConfigError with all that is wrong with any of their files."""
    platforms, broken = sound(folders)
    if broken:
        raise PlatformError(list(dict.fromkeys(p for each in broken.values() for p in each)))
    return platforms


def sound(
    folders: Sequence[Path] | None = None,
) -> tuple[dict[str, Platform], dict[str, tuple[Problem, ...]]]:
    """All platforms that can be used, and what is wrong with the others; both by name."""
    known = found(folders)
    platforms: dict[str, Platform] = {}
    broken: dict[str, tuple[Problem, ...]] = {}
    for name, paths in known.items():
        try:
            platforms[name] = read(paths[0], known)
        except PlatformError as error:
            broken[name] = error.problems
    return platforms, broken
