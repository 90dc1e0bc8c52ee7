"""What dpam's steps need beside the working folder: databases, and dpam itself."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dpam_hpc.pipeline.steps import AT_EACH_START, DALI, STEPS
from dpam_hpc.settings import SubmitSettings
from dpam_hpc.submit import links


def problems(settings: SubmitSettings, steps: Sequence[int]) -> list[str]:
    """Everything that is missing for ``steps`` but 7, a line each."""
    found = []
    if not settings.image and not shutil.which(command(settings)):
        found.append(
            f"there is no command {command(settings)}: --dpam PATH, or an --image with dpam in it"
        )
    if settings.data_dir is None:
        return [*found, "no data folder is named: --data-dir DIR, with dpam's databases"]
    found += [
        f"there is no {' or '.join(names)} in {settings.data_dir}, for {whom}"
        for names, whom in _needed(steps)
        if not any(_is_there(settings.data_dir, name) for name in names)
    ]
    return found


def command(settings: SubmitSettings) -> str:
    """How dpam is called on the nodes; without an image by its path, as this shell finds it."""
    if settings.image:
        return settings.dpam or "dpam"
    beside = Path(sys.executable).with_name("dpam")
    found = settings.dpam
    if not found:
        found = str(beside) if os.access(beside, os.X_OK) else shutil.which("dpam") or "dpam"
    return os.path.abspath(found) if "/" in found else found  # jobs start in another folder


def behind(data_dir: Path, steps: Sequence[int]) -> set[str]:
    """Folders that links in the data folder lead to."""
    found: set[str] = set()
    for names, _ in _needed(steps):
        for name in names:
            path = data_dir / name
            if name.endswith("/"):
                found.update(links.behind_folder(path))
                continue
            # The files of a database lie together, and may be links one by one.
            for each in path.parent.glob(f"{path.name.partition('_cs219')[0]}*"):
                found.update(links.behind_file(each))
            found.update(links.behind_folder(path.parent))
    return found


def _needed(steps: Sequence[int]) -> Iterator[tuple[list[str], str]]:
    """Files and folders, each with alternatives, and for which steps."""
    for name in AT_EACH_START:
        yield [name], "every step of dpam's"
    whom: dict[str, list[int]] = {}
    for number in steps:
        if number != DALI:
            for name in STEPS[number].data:
                whom.setdefault(name, []).append(number)
    for name, numbers in whom.items():
        kind = "step" if len(numbers) == 1 else "steps"
        yield name.split("|"), f"{kind} {', '.join(map(str, numbers))}"


def _is_there(data_dir: Path, name: str) -> bool:
    path = data_dir / name
    return path.is_dir() if name.endswith("/") else path.is_file()
