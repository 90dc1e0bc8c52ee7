"""A user's own options for ``sbatch``, checked against those that dpam-hpc sets itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

OWNED = frozenset(
    {
        "--array",
        "--nodes",
        "--ntasks",
        "--ntasks-per-node",
        "--output",
        "--error",
        "--job-name",
        "--requeue",
        "--no-requeue",
        "--signal",
        "--open-mode",
        "--parsable",
        "--wrap",
        "--export",
        "--export-file",
        "--chdir",
        "--test-only",
        "--wait",
        "--input",
        "--help",
        "--usage",
        "--version",
    }
)
"""Long options that the batch script or the submission sets."""

SHORT = {
    "a": "--array",
    "A": "--account",
    "p": "--partition",
    "t": "--time",
    "N": "--nodes",
    "n": "--ntasks",
    "o": "--output",
    "e": "--error",
    "J": "--job-name",
    "D": "--chdir",
    "W": "--wait",
    "i": "--input",
    "h": "--help",
    "V": "--version",
}
SHORT_WITHOUT_VALUE = "HkOQsvWhV"
WHOLE_NAMES = frozenset({"--mem", "--gpus", "--time", "--cpus-per-gpu", "--hold", "--gres"})
"""Options that are also beginnings of others: ``--mem`` is not short for ``--mem-per-cpu``."""


def user_flags_problem(arguments: Sequence[str], owned: Iterable[str] = OWNED) -> list[str]:
    """All that is wrong with a user's options, one line each; nothing if they can be used.

    ``owned`` are long names. Short forms, and the beginnings of names that ``sbatch`` takes for
    the whole, are found as well.
    """
    names = frozenset(owned)
    return [problem for argument in arguments if (problem := _problem(argument, names))]


def _problem(argument: str, owned: frozenset[str]) -> str:
    if not argument.startswith("-") or argument in ("-", "--"):
        return f"{argument!r} is no option: give name and value as one, --name=value"
    name = argument.partition("=")[0]
    if any(c.isspace() for c in name):
        return f"{argument!r}: give name and value as one, --name=value"
    if any(not c.isprintable() for c in argument):
        return f"{argument!r} has characters that no option has"
    for used in _long_names(name, argument, owned):
        if used in owned:
            return f"{argument}: {used} is set by dpam-hpc"
    return ""


def _long_names(name: str, argument: str, owned: frozenset[str]) -> list[str]:
    """The options that an argument may stand for."""
    if name.startswith("--"):
        if name in owned or name in WHOLE_NAMES:
            return [name]
        return sorted(long for long in owned if long.startswith(name))
    found = []
    for letter in argument[1:]:
        found.append(SHORT.get(letter, ""))
        if letter not in SHORT_WITHOUT_VALUE:
            break  # the rest is its value
    return found
