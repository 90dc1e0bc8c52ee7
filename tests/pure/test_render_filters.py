"""What values become in scripts: a word for the shell, a word for sbatch, a pattern of a log."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpam_hpc.errors import ConfigError
from dpam_hpc.platforms.model import expanded
from dpam_hpc.submit.render import directive, pattern, quoted, shell_place

NASTY = [
    "plain",
    "two words",
    "it's",
    'say "x"',
    "$(touch pwned)",
    "`touch pwned`",
    "$HOME ${HOME}",
    "100%",
    "a\nb",
    "back\\slash\\",
    "*?[a]{b,c}~ !x #y;z|&<>",
    "ü€",
    "",
    "-n",
]


def words(text: str, folder: Path, **environment: str) -> list[str]:
    """What bash makes of a text as arguments."""
    done = subprocess.run(
        ["bash", "-uc", f"printf '%s\\0' {text}"],
        capture_output=True,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environment},
        timeout=20,
        check=True,
    )
    assert list(folder.iterdir()) == [], "the shell ran a part of it"
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]


@pytest.mark.parametrize("value", NASTY)
def test_a_quoted_value_is_one_word_as_it_is(value: str, tmp_path: Path) -> None:
    assert words(quoted(value), tmp_path) == [value]


def test_paths_and_numbers_are_quoted_too(tmp_path: Path) -> None:
    assert words(f"{quoted(Path('/a b'))} {quoted(7)}", tmp_path) == ["/a b", "7"]


@pytest.mark.parametrize("value", [v for v in NASTY if "$" not in v])
def test_a_scratch_place_without_variables_is_one_word_as_it_is(value: str, tmp_path: Path) -> None:
    assert words(shell_place(value), tmp_path) == [value]


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("$TMPDIR", "/t m*p"),
        ("${TMPDIR}/$USER", "/t m*p/me"),
        ("/x/${TMPDIR}y", "/x//t m*py"),
        ("$UNSET", ""),
        ("/x/$UNSET/y", "/x//y"),
        ("$(touch pwned)", "$(touch pwned)"),
        ("${TMPDIR:-$(touch pwned)}", "${TMPDIR:-$(touch pwned)}"),
    ],
)
def test_a_scratch_places_variables_are_filled_in_on_the_node(
    place: str, told: str, tmp_path: Path
) -> None:
    assert words(shell_place(place), tmp_path, TMPDIR="/t m*p", USER="me") == [told]


@given(st.text("ab /-_.$", max_size=12))
@settings(deadline=None)
def test_variables_are_the_same_to_the_plan_and_to_the_script(place: str) -> None:
    text = shell_place(place)
    names = re.findall(r"\$\{(\w+):-\}", text)
    filled = expanded(place, dict.fromkeys(names, "V"))
    if names:
        assert filled is not None and filled.count("V") >= len(names)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("--partition=skx-dev", "--partition=skx-dev"),
        ("--output=/a/%j.log", "--output=/a/%j.log"),
        ("--comment=two words", '"--comment=two words"'),
        ('--comment=say "x"', '"--comment=say \\"x\\""'),
        ("--comment=a\\b", '"--comment=a\\\\b"'),
        ("--comment=it's # $(x) `y`", '"--comment=it\'s # $(x) `y`"'),
        ("", '""'),
    ],
)
def test_one_word_of_a_directive(value: str, line: str) -> None:
    assert directive(value) == line


@pytest.mark.parametrize("value", ["--account=a\n#SBATCH --qos=x", "a\rb", "a\tb", "\x1b[0m"])
def test_no_directive_makes_a_line_of_its_own(value: str) -> None:
    with pytest.raises(ConfigError, match="no #SBATCH line can hold"):
        directive(value)


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("/w/logs/{job}.log", "/w/logs/%j.log"),
        ("/w/logs/{array}_{task}.log", "/w/logs/%A_%a.log"),
        ("/100%/a%j/{job}.log", "/100%%/a%%j/%j.log"),
        ("/my {job} {task}/logs/{job}.log", "/my {job} {task}/logs/%j.log"),
    ],
)
def test_a_pattern_names_the_job_and_nothing_else(log: str, told: str) -> None:
    assert pattern(log) == told
