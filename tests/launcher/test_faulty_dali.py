"""DALI's programs that crash, hang, say nothing or are built wrong: nothing is lost silently."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import replay
from tests.conftest import COMMAND, environment, lay_out
from tests.launcher.test_bad_input import failures

Launch = Callable[..., subprocess.CompletedProcess[str]]

CULPRIT = "e6zu5SEE1"


def home_with(tmp_path: Path, program: str, body: str) -> Path:
    """The stand-in, one program of which runs ``body`` first.

    ``culprit()`` and ``aligns_culprit()`` tell it whether the template CULPRIT is in its input, as
    a PDB file or by its sequence in a .dat file.
    """
    home = replay.make_home(tmp_path / "faulty")
    path = home / "bin" / program
    real = home / "real" / program
    real.parent.mkdir()
    path.rename(real)
    mark = (replay.DATA / "ECOD70" / f"{CULPRIT}.pdb").read_text().splitlines()[40][30:54]
    path.write_text(
        f"#!{sys.executable} -IS\n"
        "import glob, os, signal, sys, time\n"
        "def culprit():\n"
        f"    return any({mark!r} in open(f).read() for f in glob.glob('*.pdb'))\n"
        "def aligns_culprit():\n"
        "    lists = [n for f in ('list1', 'list2') for n in open(f).read().split()]\n"
        f"    return any({_sequence()!r} in open(f'D/{{n}}.dat').read() for n in lists)\n"
        f"{body}\n"
        f"os.execv({str(real)!r}, [{program!r}, *sys.argv[1:]])\n"
    )
    path.chmod(0o755)
    return home


def _sequence() -> str:
    """The culprit's sequence as its .dat has it."""
    three = "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL"
    one = dict(zip(three.split(), "ARNDCQEGHILKMFPSTWYV", strict=True))
    lines = (replay.DATA / "ECOD70" / f"{CULPRIT}.pdb").read_text().splitlines()
    return "".join(one[x[17:20]] for x in lines if x.startswith("ATOM") and x[13:16] == "CA ")[:40]


ABORT = "os.kill(os.getpid(), signal.SIGSEGV)"


@pytest.mark.parametrize(
    ("program", "body", "reason"),
    [
        ("puu", f"if culprit(): {ABORT}", "killed by signal 11"),
        ("puutos", "if culprit(): sys.exit(0)", "puutos wrote no .dat"),
        ("dsspcmbi", "if culprit(): open('o.dssp', 'w').write('===='); sys.exit(0)", "0 residues"),
        ("serialcompare", f"if aligns_culprit(): {ABORT}", "killed by signal 11"),
        ("serialcompare", "if aligns_culprit(): time.sleep(99)", "over its time limit"),
        (
            "serialcompare",
            "if aligns_culprit(): open('fort.101', 'w').write(' WOLFITZ garb'); sys.exit(0)",
            "",
        ),
    ],
)
def test_one_template_that_breaks_a_program_is_the_only_failure(
    launch: Launch, tmp_path: Path, program: str, body: str, reason: str
) -> None:
    home = home_with(tmp_path, program, body)
    work = lay_out(tmp_path / "w", ("A0A0K2WPR7",))
    done = launch(work, "--time-limit-factor", "0.03", home=home)
    assert done.returncode == 3, done.stderr
    named = failures(work.output, "A0A0K2WPR7")
    assert list(named) == [CULPRIT]
    assert named[CULPRIT][0] == "failed"
    assert reason in named[CULPRIT][1]
    hits = (replay.DATA / "A0A0K2WPR7_iterativdDali_hits").read_text()
    expected = "".join(f">{r}" for r in hits.split(">")[1:] if not r.startswith(CULPRIT))
    assert work.hits("A0A0K2WPR7").decode() == expected


def test_a_crash_that_happens_once_costs_nothing(launch: Launch, tmp_path: Path) -> None:
    flag = tmp_path / "crashed"
    body = f"if aligns_culprit() and not os.path.exists({str(flag)!r}):\n"
    body += f"    open({str(flag)!r}, 'w'); {ABORT}"
    work = lay_out(tmp_path / "w", ("A0A0K2WPR7",))
    done = launch(work, home=home_with(tmp_path, "serialcompare", body))
    assert flag.exists()
    assert done.returncode == 0, done.stderr
    work.expect_whole()


@pytest.mark.parametrize(
    ("program", "body", "said"),
    [
        ("dsspcmbi", "open('o.dssp', 'w').write('===='); sys.exit(0)", "0 residues"),
        ("serialcompare", "sys.exit(0)", "another answer"),
        ("fssp", "sys.exit(0)", "reports nothing"),
        ("puu", "sys.exit(1)", "exit status 1"),
    ],
)
def test_a_dali_that_is_built_wrong_stops_before_the_first_protein(
    launch: Launch, tmp_path: Path, scratch: Path, program: str, body: str, said: str
) -> None:
    work = lay_out(tmp_path / "w", ("O05011",))
    home = home_with(tmp_path, program, body)
    done = launch(work, home=home)
    assert done.returncode == 4
    assert said in done.stderr
    assert not (work.output / "O05011_iterativdDali_hits").exists()
    assert list(scratch.iterdir()) == []
    checked = subprocess.run(
        [*COMMAND, "dali", "check", "--dali-home", str(home)],
        capture_output=True, text=True, timeout=60, env=environment(),
    )  # fmt: skip
    assert checked.returncode == 4
    assert said in checked.stderr


def test_a_missing_program_is_named(launch: Launch, tmp_path: Path) -> None:
    home = replay.make_home(tmp_path / "home")
    (home / "bin" / "puutos").unlink()
    done = launch(lay_out(tmp_path / "w", ("O05011",)), home=home)
    assert done.returncode == 4
    assert "lacks puutos" in done.stderr


def test_dali_check_proves_a_good_build(stand_in: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "dali", "check"],
        capture_output=True, text=True, timeout=60, env=environment(DALI_HOME=str(stand_in)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "known answer to the byte" in done.stdout


def test_too_little_virtual_memory_is_found_before_the_first_protein(stand_in: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2_000_000_000, 2_000_000_000))

    done = subprocess.run(
        [*COMMAND, "dali", "check", "--dali-home", str(stand_in)],
        capture_output=True, text=True, timeout=60, env=environment(), preexec_fn=limit,
    )  # fmt: skip
    assert done.returncode == 4
    assert "ulimit -v" in done.stderr
