"""Help: every verb has examples that the real parser takes; little is loaded for it. Completion."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from dpam_hpc.cli import PROGRAM, app
from dpam_hpc.cli.examples import EXAMPLES
from dpam_hpc.cli.verbs import VERBS, load
from tests.conftest import COMMAND, environment, lay_out, run

FEW = (2, 4)
HEAVY = {"rich", "pydantic", "jinja2", "platformdirs", "psutil", "sqlite3", "numpy", "spython"}
MORE_MODULES = 25
"""Modules that a help may load beyond typer's own."""
WIDEST = 100


def commands() -> Iterator[tuple[str, Any]]:
    """Every verb that can be called, by its whole name."""
    for name in VERBS:
        command = load(name)
        below = getattr(command, "commands", None)
        if below is None:
            yield name, command
        else:
            yield from ((f"{name} {each}", below[each]) for each in below)


ALL = dict(commands())


def test_the_examples_are_of_verbs_that_exist() -> None:
    assert set(EXAMPLES) == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_every_verb_has_examples_that_the_parser_takes(name: str) -> None:
    lines = EXAMPLES[name]
    assert FEW[0] <= len(lines) <= FEW[1]
    for line in lines:
        words = shlex.split(line, comments=True)
        words = words[words.index(PROGRAM) + 1 :]
        assert words[: len(name.split())] == name.split(), line
        parse(words)


def parse(words: list[str]) -> None:
    """Parse a line by the real parser; nothing is called."""
    command: Any = typer.main.get_command(app)
    context = command.make_context(PROGRAM, list(words))
    while hasattr(command, "commands"):
        words = [*context._protected_args, *context.args]
        name, command, words = command.resolve_command(context, words)
        context = command.make_context(name, words, parent=context)


def test_a_line_that_the_parser_does_not_take_would_be_found() -> None:
    for line in ("run --dta-dir X", "rnu", "bundle build", "logs --lines x"):
        with pytest.raises(Exception, match=r"No such|Missing|valid integer"):
            parse(line.split())


@pytest.mark.parametrize("name", ["run", "bundle build", "image self-test"])
def test_the_help_ends_with_the_examples(name: str) -> None:
    said = run(*name.split(), "--help").stdout
    end = said[said.index("Examples:\n") :].splitlines()[1:]
    assert [line.strip() for line in end] == list(EXAMPLES[name])
    assert max(map(len, said.splitlines())) <= WIDEST


def test_the_list_of_verbs_has_all_but_those_of_job_scripts() -> None:
    said = run("--help").stdout
    listed = said[said.index("Commands:\n") :]
    assert [line.split()[0] for line in listed.splitlines()[1:]] == [
        name for name, verb in VERBS.items() if not verb.hidden
    ]
    assert "launch" in run("--help-all").stdout
    assert run("statu").stderr.endswith("No such command 'statu'. Did you mean 'status'?\n")


@pytest.mark.parametrize(
    "words", ["--help", "run --help", "bundle build --help", "platforms --help"]
)
def test_a_help_loads_little_beyond_typer(words: str) -> None:
    typers = loaded("import typer")
    ours = loaded(
        f"import sys; sys.argv = ['dpam-hpc', *{words.split()!r}]\n"
        "from dpam_hpc.cli import main\n"
        "try: main()\nexcept SystemExit: pass"
    )
    more = ours - typers
    assert not {name.partition(".")[0] for name in more} & HEAVY
    assert len(more) <= MORE_MODULES, sorted(more)


def loaded(program: str) -> set[str]:
    """The modules of a Python that ran this."""
    program += "\nimport sys; print('\\n', *sys.modules, sep='\\n', file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stderr.split("\n\n\n")[-1].split())


# -- completion -----------------------------------------------------------------------------------


def complete(line: str, cwd: Path) -> list[str]:
    """What bash is answered when Tab is pressed at the end of the line."""
    words = line.split(" ")
    (cwd / "bin").mkdir(exist_ok=True)
    command = cwd / "bin" / PROGRAM
    command.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    command.chmod(0o755)
    asked = (
        f'eval "$({PROGRAM} --show-completion)"\n'
        f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}\n"
        f'_dpam_hpc_completion {PROGRAM}\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", asked], capture_output=True, text=True, timeout=60, cwd=cwd,
        env=environment(PATH=f"{cwd / 'bin'}:/usr/bin:/bin", PYTHONPATH=str(Path.cwd())),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="apt install bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dpam-hpc res", ["resume"]),
        ("dpam-hpc bundle ", ["build", "info", "verify"]),
        ("dpam-hpc run --retry", ["--retry-failed"]),
        ("dpam-hpc platforms show tacc-s", ["tacc-stampede3"]),
        ("dpam-hpc submit w --platform a", ["auto"]),
        ("dpam-hpc run w --target ", ["A0A0K2WPR7", "O05011"]),
        ("dpam-hpc run w --target O", ["O05011"]),
        ("dpam-hpc logs -C w O", ["O05011"]),
        ("dpam-hpc run nowhere --target O", []),
    ],
)
def test_tab_completes(line: str, expected: list[str], tmp_path: Path) -> None:
    lay_out(tmp_path / "w", ("A0A0K2WPR7", "O05011"))
    assert complete(line, tmp_path) == expected
