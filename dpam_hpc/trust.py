"""Whose files decide what this user runs: their own and root's, where nobody else may write them.

What a user names (data, DALI, an image, a platform's folder) is theirs to choose. What the program
finds by itself, in a working folder or in scratch, is looked at here first (docs/security.md).
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

from dpam_hpc.errors import ConfigError

FOLDER_MODE = 0o755


def others_can_write(status: os.stat_result) -> bool:
    """Whether anybody but the owner may write; a group of this user alone is nobody else."""
    if status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and not _is_private_group(status.st_gid)


def why_not(status: os.stat_result) -> str:
    """What keeps a file or folder from being believed; empty if nothing."""
    if status.st_uid not in (os.geteuid(), 0):
        return f"belongs to {_name(status.st_uid)}"
    return "can be written by others" if others_can_write(status) else ""


def read(path: Path) -> str:
    """A text file, if it is to be believed; ValueError if not, OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would be waited for
    with open(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is no file")
        if why := why_not(status):
            raise ValueError(
                f"{why}, and would decide what you run: make it your own (chown, chmod go-w),"
                " or remove it and give its settings as options"
            )
        return file.read().decode()


def own_folder(path: Path) -> None:
    """Make a folder that others cannot write, or see that it is one; ConfigError, OSError."""
    with suppress(FileExistsError):
        path.mkdir(mode=FOLDER_MODE)
    check(path)


def check(path: Path) -> None:
    """ConfigError if there is a folder, or something else, that is not to be believed."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    why = why_not(status) if stat.S_ISDIR(status.st_mode) else "is no folder"
    if why:
        raise ConfigError(
            f"{path} {why}, and would decide what you run",
            "chmod go-w, if it is yours; else use a working folder of your own",
        )


def _is_private_group(gid: int) -> bool:
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _name(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"
