"""What of a command can be said without running it: does it parse, is what it names there."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import typer

from dpam_hpc.cli import app
from dpam_hpc.cli.verbs import VERBS, load
from tests.docs.pages import ROOT

ENDS = frozenset(("&&", "||", ";", "|", "&", "(", ")"))
REDIRECTIONS = frozenset((">", ">>", "<", ">&", "&>"))
VARIABLE = re.compile(r"\w+=.*")
OF_THE_REPOSITORY = re.compile(r"(?:tests|benchmarks|sample|docs|\.ci)/[\w./-]+")


def problems(text: str) -> list[str]:
    """What is wrong with the commands of a block, which is not run."""
    checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, timeout=10)
    if checked.returncode:
        return [checked.stderr.strip()]
    found = []
    for words in commands(text):
        if words[0] == "dpam-hpc":
            found += usage_problem(words[1:])
        elif words[0] == "make" and len(words) > 1:
            found += make_problem(words[1:])
        for word in words:
            if OF_THE_REPOSITORY.fullmatch(word) and not (ROOT / word).exists():
                found.append(f"there is no {word}")
    return found


def commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a script, without variables set for them and redirections."""
    for line in text.replace("\\\n", " ").splitlines():
        words: list[str] = []
        into_a_file = False
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;()<>")
        lexer.whitespace_split = True
        for word in [*lexer, ";"]:
            if word in ENDS:
                while words and VARIABLE.fullmatch(words[0]):
                    words.pop(0)
                if words:
                    yield words
                words = []
            elif word in REDIRECTIONS:
                into_a_file = True
                if words and words[-1] in ("1", "2"):
                    words.pop()
            elif into_a_file:
                into_a_file = False
            else:
                words.append(word)


def usage_problem(words: list[str]) -> list[str]:
    """What the real command line says of these arguments; nothing is run."""
    try:
        command, rest = _command(words)
        command.main(args=rest, prog_name="dpam-hpc", standalone_mode=False)
    except Exception as error:  # of click, or of the click that typer brings
        if getattr(error, "exit_code", None) != 2 or not hasattr(error, "format_message"):
            raise
        return [f"dpam-hpc {shlex.join(words)}: {error.format_message()}"]
    return []


def make_problem(words: list[str]) -> list[str]:
    """Whether make knows the targets."""
    done = subprocess.run(
        ["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, timeout=20
    )
    return [done.stderr.strip()] if done.returncode else []


def _command(words: list[str]) -> tuple[Any, list[str]]:
    """The verb, which does nothing, and its arguments; all verbs where it is none of them."""
    if not words or words[0] not in VERBS:
        return typer.main.get_command(app), words
    command = load(words[0])
    _disarm(command)
    return command, words[1:]


def _disarm(command: Any) -> None:
    children = getattr(command, "commands", {})
    if not children:
        command.callback = lambda **_: None
    for child in children.values():
        _disarm(child)
