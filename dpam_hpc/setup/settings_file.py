"""``dpam-hpc.toml`` as ``init`` writes it: for people to read, and the commands that follow."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from dpam_hpc.printable import printable
from dpam_hpc.setup.questions import MEANINGS
from dpam_hpc.setup.settling import Settled, listed

GROUPS = {
    "What is aligned": ("data_dir", "templates"),
    "By which DALI": ("dali_home", "image"),
    "Where it runs": ("platform", "account", "partition", "nodes", "scratch_dir"),
}
NUMBERS = ("nodes",)


def text(settled: Settled) -> str:
    """The file."""
    lines = [
        "# Settings of dpam-hpc for this folder, by dpam-hpc init on"
        f" {time.strftime('%Y-%m-%d')}. Flags and",
        "# DPAM_HPC_... variables win; 'dpam-hpc run --show-settings' tells what counts, and why.",
        "# Relative paths count from here. Further settings: docs/running.md, docs/cluster.md.",
    ]
    for title, names in GROUPS.items():
        lines += ["", f"# -- {title} --"]
        for name in names:
            lines += ["", *_setting(name, settled)]
    if settled.others:
        lines += ["", "# -- As before --", ""]
        lines += [f"{name} = {_toml(value)}" for name, value in settled.others.items()]
    return "\n".join(lines) + "\n"


def _setting(name: str, settled: Settled) -> list[str]:
    found = settled.values.get(name)
    lines = [f"# {MEANINGS[name]}"]
    if found is not None:
        value = found.value if name in NUMBERS else _toml(found.value)
        return [*lines, f"# ({_comment(found.where)})", f"{name} = {value}"]
    choices = settled.choices.get(name, [])
    if name in settled.open:
        reason = "not chosen" if choices else f"not found: {settled.open[name]}"
        lines.append(f"# (needed, and {_comment(reason)})")
    if choices:
        lines.append(f"# (found: {_comment(listed(choices))})")
    return [*lines, f"# {name} = " + ("1" if name in NUMBERS else '""')]


def _comment(words: str) -> str:
    """On one line, which no = makes look like a setting."""
    return printable(" ".join(words.split())).replace(" = ", " is ")


def _toml(value: Any) -> str:
    """A JSON string is a TOML string, but for pairs of surrogates and the delete character."""
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float):
        return repr(value)  # inf and nan, too
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def write(path: Path, content: str) -> Path | None:
    """Write it whole or not at all; a link is replaced, not followed.

    What was there goes by the returned name from then on.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(content)
            # Whatever the umask: one that a group may write would not be believed.
            os.fchmod(handle, 0o644)
            file.flush()
        before = _kept(path)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    return before


def _kept(path: Path) -> Path | None:
    """Another name of a settings file that is to be replaced; None if there is none."""
    before = path.with_name(f"{path.name}.old")
    with suppress(FileNotFoundError):
        os.unlink(before)
    try:
        os.link(path, before, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError:  # a file system without links
        with open(before, "xb") as copy:
            copy.write(path.read_bytes())
    return before


def next_commands(settled: Settled, on_cluster: bool) -> list[tuple[str, str]]:
    """(command, why) of what comes next, in that order."""
    work_dir, data_dir = settled.work_dir, settled.value("data_dir")
    here = [] if work_dir.absolute() == Path.cwd() else [str(work_dir)]
    steps = []
    if "dali_home" in settled.open:
        steps.append((["dpam-hpc", "dali", "install"], "there is no DALI yet"))
    if not settled.value("templates") and data_dir:
        folder = Path(data_dir) if os.access(data_dir, os.W_OK) else work_dir.absolute()
        build = ["dpam-hpc", "bundle", "build", f"{data_dir}/ECOD70"]
        steps.append(
            ([*build, "-o", f"{folder}/ecod70.bundle"], "once: all templates imported in one file")
        )
    missing = [name for name in settled.open if name != "dali_home"]
    if steps or missing:
        given = [w for n in missing for w in ("--" + n.replace("_", "-"), n.upper())]
        why = "with what is not known yet" if missing else "finds what has been made"
        steps.append((["dpam-hpc", "init", *here, "--force", *given], why))
    if on_cluster:
        steps.append(
            (
                ["dpam-hpc", "submit", *here, "--dry-run"],
                "the plan; without --dry-run it is submitted",
            )
        )
    else:
        steps.append((["dpam-hpc", "run", *here], "aligns all targets of the folder"))
    return [(shlex.join(command), why) for command, why in steps]
