"""What was measured, kept for submissions to come: ``NAME.probe.json`` in the user's state folder.

It is this user's alone (0600). One that is old, of another platform or another version's is not
heard: it says nothing of the nodes of today.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import platformdirs
from pydantic import Field, TypeAdapter

from dpam_hpc import __version__, trust
from dpam_hpc.errors import StorageError
from dpam_hpc.probe.measuring import Measured

SCHEMA = 1
SUFFIX = ".probe.json"
OLD_AFTER = 30
"""Days."""


@dataclass(frozen=True)
class Probe:
    """Places of a node, measured; ``at`` in seconds since the epoch.

    ``cpus`` and ``workers`` are those of a run on that node.
    """

    platform: str
    host: str
    at: Annotated[float, Field(ge=0, le=1e11)]
    cpus: Annotated[int, Field(ge=1, le=10**6)]
    workers: Annotated[int, Field(ge=1, le=10**6)]
    places: list[Measured]
    version: str = __version__
    schema: int = SCHEMA
    job: str = ""

    @property
    def date(self) -> str:
        """The day on which it was measured."""
        return time.strftime("%Y-%m-%d", time.localtime(self.at))

    def place(self, name: str) -> Measured | None:
        """What was measured of a scratch candidate, if anything was."""
        return next(
            (p for p in self.places if p.role == "scratch" and p.name == name and p.latency), None
        )

    @property
    def work(self) -> Measured | None:
        """The shared folder that a run works in where there is no scratch."""
        return next((p for p in self.places if p.role == "work" and p.latency), None)


def folder() -> Path:
    """Where probes lie."""
    return platformdirs.user_state_path("dpam-hpc") / "probes"


def path_of(platform: str) -> Path:
    """Where the probe of a platform lies."""
    return folder() / f"{platform}{SUFFIX}"


def any_kept() -> bool:
    """Whether there is any probe at all."""
    return any(folder().glob(f"*{SUFFIX}"))


def keep(probe: Probe) -> Path:
    """Write it, whole or not at all; StorageError."""
    path = path_of(probe.platform)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(3)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(as_json(probe) + "\n")
        temporary.rename(path)
    except OSError as error:
        raise StorageError(
            f"the probe cannot be kept in {path}: {error.strerror}",
            "set XDG_STATE_HOME to a folder of your own",
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink()
    return path


def heard(platform: str, host: str | None = None) -> tuple[Probe | None, str]:
    """The probe of a platform that is to be heard, or None and why not; empty: there is none.

    ``host``: the only one whose probe counts, where a platform is each machine for itself.
    """
    path = path_of(platform)
    try:
        probe = from_json(trust.read(path))
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError) as error:
        return None, f"{path} is not heard: {error}"
    age = (time.time() - probe.at) / 86400
    if probe.platform != platform:
        why = f"it is of platform {probe.platform}"
    elif host is not None and probe.host != host:
        why = f"it is of {probe.host}"
    elif age > OLD_AFTER:
        why = f"it is of {probe.date}, more than {OLD_AFTER} days ago"
    elif age < -1:
        why = f"it is of {probe.date}, a day to come"
    else:
        return probe, ""
    return None, f"the probe in {path} is not heard: {why} (dpam-hpc probe measures anew)"


def as_json(probe: Probe) -> str:
    """As it is kept and printed; docs/schemas/probe.schema.json."""
    return json.dumps(asdict(probe), indent=1)


def from_json(text: str | bytes) -> Probe:
    """Read one; ValueError if it is none, or another version's."""
    try:
        probe = _adapter().validate_json(text)
    except ValueError:
        raise ValueError("it cannot be read as a probe") from None
    if probe.schema != SCHEMA:
        raise ValueError(f"it has schema {probe.schema}, not {SCHEMA}")
    texts = [probe.platform, probe.host, probe.job]
    texts += [text for p in probe.places for text in (p.name, p.path, p.filesystem, p.problem)]
    if not all(text.isprintable() for text in texts):
        raise ValueError("it has characters that cannot be printed")
    return probe


@cache
def _adapter() -> TypeAdapter[Probe]:
    return TypeAdapter(Probe)
