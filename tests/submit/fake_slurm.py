"""Programs with the names of SLURM's commands that do as a test tells them."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "scancel")

PROGRAM = """#!{python} -ISE
import json, os, sys, time
here = {folder!r}
name = os.path.basename(sys.argv[0])
with open(os.path.join(here, "calls"), "a") as calls:
    calls.write(json.dumps([[name, *sys.argv[1:]], dict(os.environ)]) + "\\n")
with open(os.path.join(here, name + ".json")) as file:
    behaviours = json.load(file)
with open(os.path.join(here, "calls")) as calls:
    before = sum(json.loads(line)[0][0] == name for line in calls) - 1
does = behaviours[min(before, len(behaviours) - 1)]
time.sleep(does["seconds"])
sys.stdout.write(does["stdout"])
sys.stdout.flush()
sys.stderr.write(does["stderr"])
sys.exit(does["exit"])
"""


@dataclass(frozen=True)
class FakeSlurm:
    """The folder of the programs; they are all that PATH has."""

    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": str(self.folder / "bin"), "HOME": str(self.folder)}

    def does(
        self, name: str, stdout: str = "", stderr: str = "", exit: int = 0, seconds: float = 0
    ) -> FakeSlurm:
        """What a command does from now on; called again for one name: what it does the next time.

        The last behaviour is repeated.
        """
        file = self.folder / f"{name}.json"
        behaviours: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
        behaviours.append({"stdout": stdout, "stderr": stderr, "exit": exit, "seconds": seconds})
        file.write_text(json.dumps(behaviours))
        program = self.folder / "bin" / name
        program.write_text(PROGRAM.format(python=sys.executable, folder=str(self.folder)))
        program.chmod(0o755)
        return self

    def calls(self) -> list[list[str]]:
        """All calls so far, with their arguments."""
        return [call for call, _ in self._log()]

    def environments(self) -> list[dict[str, str]]:
        """The environment of each call."""
        return [environment for _, environment in self._log()]

    def _log(self) -> list[tuple[list[str], dict[str, str]]]:
        log = self.folder / "calls"
        return (
            [tuple(json.loads(line)) for line in log.read_text().splitlines()]
            if log.exists()
            else []
        )


def make(folder: Path) -> FakeSlurm:
    """A SLURM of which every command is missing until it is told what it does."""
    (folder / "bin").mkdir(parents=True)
    return FakeSlurm(folder)
