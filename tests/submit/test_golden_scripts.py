"""The scripts of every platform, whole; what templates of the user's own can do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dpam_hpc.errors import ConfigError
from dpam_hpc.platforms import library
from tests.submit import golden
from tests.submit.golden import GOLDEN, Case

CASES = golden.cases()
ALLOWED = "SC2016"  # a work folder may hold a $, which then stays one


@pytest.mark.parametrize("name", CASES)
def test_scripts_are_those_that_were_read(name: str) -> None:
    written = {path.name: path.read_text() for path in (GOLDEN / name).iterdir()}
    told = "python -m tests.submit.golden writes them anew"
    assert golden.scripts(CASES[name]) == written, told


def test_every_platform_and_no_other_has_golden_scripts() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == set(CASES)
    for name in library.names(golden.SHIPPED):
        assert {f"{name}-{case}" for case in ("plain", "image", "odd-folder")} <= set(CASES)


def all_scripts() -> list[Path]:
    return sorted(GOLDEN.glob("*/*.sh"))


def test_bash_can_read_all() -> None:
    for path in all_scripts():
        done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, timeout=20)
        assert (done.returncode, done.stderr) == (0, ""), path


def test_shellcheck_has_nothing_to_say() -> None:
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shellcheck = shutil.which("shellcheck", path=places)
    if shellcheck is None:
        pytest.skip("no shellcheck here (it is in the group dev of pyproject.toml)")
    argv = [shellcheck, f"--exclude={ALLOWED}", *map(str, all_scripts())]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "")


def directives(name: str) -> list[str]:
    (script, *others) = sorted((GOLDEN / name).glob("job*.sh"))
    lines = [line for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    for other in others:
        own = [line for line in other.read_text().splitlines() if line.startswith("#SBATCH")]
        assert [x for x in own if "des=" not in x and "tasks=" not in x] == [
            x for x in lines if "des=" not in x and "tasks=" not in x
        ]
    return lines


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("tacc-")])
def test_no_tacc_system_is_asked_for_memory(name: str) -> None:
    assert not any("--mem" in line for line in directives(name))


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("tacc-frontera")])
def test_frontera_has_no_arrays(name: str) -> None:
    text = "".join(path.read_text() for path in (GOLDEN / name).iterdir())
    assert not any("--array" in line for line in directives(name))
    assert "SLURM_ARRAY" not in text


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("local")])
def test_directives_come_before_any_command(name: str) -> None:
    for script in (GOLDEN / name).glob("job*.sh"):
        lines = script.read_text().splitlines()
        assert lines[0] == "#!/bin/bash"
        last = max(n for n, line in enumerate(lines) if line.startswith("#SBATCH"))
        assert all(line.startswith("#") for line in lines[:last])


def test_without_a_scheduler_nothing_is_asked_of_one() -> None:
    for path in GOLDEN.glob("local*/*"):
        text = path.read_text()
        for word in ("#SBATCH", "scontrol", "squeue", "srun"):
            assert word not in text, path


def test_no_user_of_shell_words_is_left_unquoted() -> None:
    """The odd folder is in every script, and nowhere as the shell would take it apart."""
    for path in GOLDEN.glob("*odd-folder*/node.sh"):
        done = subprocess.run(
            ["bash", "-c", f"{line_of(path)}; printf %s \"${{words[0]}}\""],
            capture_output=True, text=True, timeout=20,
        )  # fmt: skip
        assert done.stdout == str(CASES[path.parent.name].run().path), path


def line_of(script: Path) -> str:
    """The launcher's run folder as the script has it, as an assignment."""
    (line,) = [x for x in script.read_text().splitlines() if " launch " in x]
    return "words=(" + line.rpartition(" launch ")[2].partition(" --task")[0] + ")"


# -- templates of the user's own -------------------------------------------------------------------


def test_an_undefined_variable_is_an_error_that_names_the_template(tmp_path: Path) -> None:
    (tmp_path / "generic.sh.j2").write_text(
        '{% extends "slurm-array.sh.j2" %}\n{% block prepare %}\n{{ no_such }}\n{% endblock %}\n'
    )
    case = CASES["generic-plain"]
    with pytest.raises(ConfigError) as caught:
        golden.scripts(case, tmp_path)
    assert f"{tmp_path / 'generic.sh.j2'}:3" in caught.value.what
    assert "no_such" in caught.value.what


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% block x %}", "generic.sh.j2"),
        ('{% extends "absent.j2" %}', "absent.j2"),
        ("{{ tasks|absent }}", "generic.sh.j2"),
    ],
)
def test_a_template_that_is_none_is_an_error_that_names_it(
    text: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "generic.sh.j2").write_text(text)
    case = CASES["generic-plain"]
    with pytest.raises(ConfigError, match=said):
        golden.scripts(case, tmp_path)


def test_a_template_of_the_platforms_name_fills_a_block(tmp_path: Path) -> None:
    (tmp_path / "generic.sh.j2").write_text(
        '{% extends "slurm-array.sh.j2" %}\n'
        "{% block prepare %}\nexport SITE={{ platform|q }}\n{% endblock %}\n"
    )
    case = CASES["generic-plain"]
    found = golden.scripts(case, tmp_path)
    shipped = golden.scripts(case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.executable", golden.PYTHON)
        assert golden.scripts(case, tmp_path)["node.sh"] == (shipped["node.sh"])
    assert found["job.sh"].splitlines() != shipped["job.sh"].splitlines()
    assert [x for x in found["job.sh"].splitlines() if x != "export SITE=generic"] == (
        shipped["job.sh"].splitlines()
    )
    others = CASES["tacc-ls6-plain"]
    assert golden.scripts(others, tmp_path) == golden.scripts(others)


def test_a_node_template_of_the_platforms_name_fills_a_block(tmp_path: Path) -> None:
    (tmp_path / "generic-node.sh.j2").write_text(
        '{% extends "node.sh.j2" %}\n{% block modules %}\nmodule load site\n{% endblock %}\n'
    )
    case = CASES["generic-plain"]
    found = golden.scripts(case, tmp_path)
    assert "\nmodule load site\n" in found["node.sh"]


def test_a_template_of_a_shipped_name_takes_its_place(tmp_path: Path) -> None:
    (tmp_path / "node.sh.j2").write_text("#!/bin/bash\n# {{ run_id }}\n")
    case = Case(golden.shipped("local"))
    found = golden.scripts(case, tmp_path)
    assert found["node.sh"] == f"#!/bin/bash\n# {golden.RUN}\n"


def test_every_job_of_several_has_its_own_tasks() -> None:
    case = CASES["tacc-frontera-several-jobs"]
    jobs = case.prepared().jobs()
    assert [(job.script, job.first, job.tasks) for job in jobs] == [
        ("job-0.sh", 0, 2),
        ("job-1.sh", 2, 2),
        ("job-2.sh", 4, 1),
    ]
    texts = golden.scripts(case)
    for job in jobs:
        assert f"#SBATCH --nodes={job.tasks}\n" in texts[job.script]
        assert f'"$run_dir/node.sh" {job.first}\n' in texts[job.script]


def test_memory_is_asked_for_by_the_workers_only_where_the_node_is_shared() -> None:
    shared = golden.made("srun", "array", exclusive=False)
    texts = golden.scripts(replace(CASES["test-srun-array"], platform=shared))
    assert "#SBATCH --mem=10600M\n" in texts["job.sh"]
    alone = golden.made("srun", "array", exclusive=True)
    texts = golden.scripts(replace(CASES["test-srun-array"], platform=alone))
    assert "#SBATCH --mem=0\n" in texts["job.sh"]
