"""Folders that links lead to: what a container must be given beside the folders that are named.

Inside, a link is followed by its own text. So each folder on the way counts, as the links name it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from dpam_hpc.errors import ConfigError

LONGEST_WAY = 40
"""Links behind each other, as many as the kernel follows."""
MOST = 50
"""Folders that are bound one by one."""


def behind_file(path: str | Path) -> Iterator[str]:
    """The folders of the files that a link leads to, one after the other; none behind a file."""
    for _ in range(LONGEST_WAY):
        to = _target(path)
        if to is None:
            return
        yield os.path.dirname(to)
        path = to


def behind_folder(path: str | Path) -> Iterator[str]:
    """The folder that a link is to; what lies behind that one is bound with it."""
    if (to := _target(path)) is not None:
        yield to


def _target(path: str | Path) -> str | None:
    try:
        to = os.readlink(path)
    except OSError:  # no link, or not there
        return None
    return os.path.normpath(os.path.join(os.path.realpath(os.path.dirname(path)), to))


def outside(folders: Iterable[str], given: Iterable[Path]) -> list[Path]:
    """What of ``folders`` is there and is not in one of those that are ``given`` anyway.

    Of very many those above them; ConfigError if that is the whole machine.
    """
    inside = [place for path in given for place in (path.absolute(), path.resolve())]
    found = [
        path
        for path in map(Path, sorted(set(folders)))
        if path.is_dir() and not any(path.is_relative_to(place) for place in inside)
    ]
    left: list[Path] = []
    for path in found:  # sorted: a folder comes before what is in it
        if not any(path.is_relative_to(above) for above in left):
            left.append(path)
    if len(left) > MOST:
        left = [Path(os.path.commonpath(left))]
    if Path("/") in left:
        raise ConfigError(
            f"links of the inputs lead to too many places for a container, as {found[-1]}",
            "name a folder that has them all in bind_paths of the platform's [container], or put"
            " the files themselves there",
        )
    return left
