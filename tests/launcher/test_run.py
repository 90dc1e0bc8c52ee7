"""The whole exact path, from a working folder to the bytes of the hits."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import replay
from tests.conftest import COMMAND, HITS, Work, environment, lay_out, run

Launch = Callable[..., subprocess.CompletedProcess[str]]
ALL = replay.PROTEINS


@pytest.fixture(scope="module")
def bundle(stand_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "ecod.bundle"
    done = run(
        "bundle", "build", replay.DATA / "ECOD70", "-o", path, "--dali-home", stand_in,
        "--workers", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize(
    ("workers", "sharded", "bundled"),
    [("1", False, False), ("2", True, True), ("7", True, False), ("64", False, True)],
)
def test_the_hits_are_upstreams_to_the_byte(
    launch: Launch,
    tmp_path: Path,
    scratch: Path,
    bundle: Path,
    workers: str,
    sharded: bool,
    bundled: bool,
) -> None:
    work = lay_out(tmp_path / "w", ALL, sharded)
    more = ["--templates", str(bundle)] if bundled else []
    done = launch(work, "--dali-workers", workers, *more)
    assert done.returncode == 0, done.stderr
    work.expect_whole()
    assert list(scratch.iterdir()) == []
    assert (work.root / "step01_prepare").exists() == sharded


def test_a_second_run_verifies_and_skips(launch: Launch, tmp_path: Path) -> None:
    work = lay_out(tmp_path / "w", ("O05011",))
    assert launch(work).returncode == 0
    before = (work.output / f"O05011{HITS}").stat().st_mtime_ns
    again = launch(work, "--json")
    assert json.loads(again.stdout)["skipped"] == 1
    assert (work.output / f"O05011{HITS}").stat().st_mtime_ns == before


def test_a_hits_file_that_was_changed_is_made_anew(launch: Launch, tmp_path: Path) -> None:
    work = lay_out(tmp_path / "w", ("O05011",))
    assert launch(work).returncode == 0
    hits = work.output / f"O05011{HITS}"
    hits.write_bytes(hits.read_bytes()[:-9])
    assert json.loads(launch(work, "--json").stdout)["done"] == 1
    work.expect_whole()


def test_json_tells_what_the_table_tells(launch: Launch, tmp_path: Path) -> None:
    work = lay_out(tmp_path / "w", ("O05011",))
    told = json.loads(launch(work, "--json").stdout)
    (row,) = told["rows"]
    expected = (replay.DATA / f"O05011{HITS}").read_text().count(">")
    assert (row["target"], row["hits"], row["failures"]) == ("O05011", expected, 0)
    assert told["hits"] == expected
    assert told["cpu_seconds"]["PARSI"] > 0


def test_the_table_names_each_target(launch: Launch, tmp_path: Path) -> None:
    work = lay_out(tmp_path / "w", ("O05011",))
    assert "O05011       411" in launch(work).stdout


def test_dpam_goes_on_from_its_state_files(launch: Launch, tmp_path: Path) -> None:
    work = lay_out(tmp_path / "w", ("O05011",))
    state = work.root / ".O05011.dpam_state.json"
    state.write_text(
        json.dumps(
            {
                "prefix": "O05011",
                "working_dir": str(work.root),
                "completed_steps": ["PREPARE", "DALI_CANDIDATES"],
                "failed_steps": {"ITERATIVE_DALI": "no DALI"},
                "metadata": {},
            }
        )
    )
    batch = work.root / "_batch_state.json"
    batch.write_text(json.dumps({"PREPARE": {"O05011": "complete", "other": "complete"}}))
    assert launch(work, "--dpam-state").returncode == 0
    told = json.loads(state.read_text())
    assert "ITERATIVE_DALI" in told["completed_steps"]
    assert told["failed_steps"] == {}
    assert json.loads(batch.read_text())["ITERATIVE_DALI"] == {"O05011": "complete"}


def test_it_does_not_matter_where_it_is_started(
    tmp_path: Path, stand_in: Path, scratch: Path
) -> None:
    work = lay_out(tmp_path / ("long" * 40) / "a folder; with $(odd) name", ("O05011",))
    done = subprocess.run(
        [*COMMAND, "run", "--data-dir", os.path.relpath(replay.DATA, work.root)],
        cwd=work.root,
        env=environment(
            DALI_HOME=str(stand_in), DPAM_HPC_SCRATCH_DIR=str(scratch), DPAM_HPC_CPUS="1"
        ),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    work.expect_whole()


def test_a_bundle_of_another_build_is_refused(
    launch: Launch, tmp_path: Path, bundle: Path, stand_in: Path
) -> None:
    other = replay.make_home(tmp_path / "other")
    (other / "bin" / "puu").write_text((other / "bin" / "puu").read_text() + "\n# another\n")
    work = lay_out(tmp_path / "w", ("O05011",))
    done = launch(work, "--templates", bundle, home=other)
    assert done.returncode == 7
    assert "made by another build" in done.stderr
    assert not (work.output / f"O05011{HITS}").exists()


def test_a_bundle_of_other_pdb_files_is_refused(
    tmp_path: Path, bundle: Path, stand_in: Path, scratch: Path
) -> None:
    data = tmp_path / "data" / "ECOD70"
    data.mkdir(parents=True)
    for template in (replay.DATA / "ECOD70").glob("*.pdb"):
        (data / template.name).write_bytes(template.read_bytes() + b"REMARK changed\n")
    work = lay_out(tmp_path / "w", ("O05011",))
    done = run(
        "run", work.root, "--data-dir", data.parent, "--templates", bundle,
        "--dali-home", stand_in, "--scratch-dir", scratch,
    )  # fmt: skip
    assert done.returncode == 7
    assert "other PDB files" in done.stderr
    checked = run("bundle", "verify", bundle, "--data-dir", data.parent)
    assert checked.returncode == 7
    assert run("bundle", "verify", bundle, "--data-dir", replay.DATA).returncode == 0


def test_a_bundle_cut_short_is_refused(launch: Launch, tmp_path: Path, bundle: Path) -> None:
    cut = tmp_path / "cut.bundle"
    cut.write_bytes(bundle.read_bytes()[:-20000])
    done = launch(lay_out(tmp_path / "w", ("O05011",)), "--templates", cut)
    assert done.returncode == 7
    assert "cut short" in done.stderr


def test_building_a_bundle_twice_gives_the_same_bytes(
    tmp_path: Path, bundle: Path, stand_in: Path
) -> None:
    again = tmp_path / "again.bundle"
    run("bundle", "build", replay.DATA / "ECOD70", "-o", again, "--dali-home", stand_in)
    assert again.read_bytes() == bundle.read_bytes()


def test_without_dali_it_says_how_to_get_it(tmp_path: Path) -> None:
    work = lay_out(tmp_path / "w", ("O05011",))
    done = run(
        "run", work.root, "--data-dir", replay.DATA,
        env=environment(PATH="/nonexistent", HOME=str(tmp_path)),
    )  # fmt: skip
    assert done.returncode == 4
    assert "--aligner tmalign" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (work.root / ".dpam-hpc").exists()


def test_tm_align_writes_under_its_own_name(launch: Launch, tmp_path: Path) -> None:
    pytest.importorskip("tmtools", reason="pip install tmtools")
    work = lay_out(tmp_path / "w", ("r1bd2X",))
    done = launch(work, "--aligner", "tmalign")
    assert done.returncode == 0, done.stderr
    text = (work.output / "r1bd2X_iterativeTMalign_hits").read_text()
    assert text.count(">e1bd2E1") + text.count(">e1bd2A2") > 1
    assert (work.output / "r1bd2X.iterativeTMalign.done").exists()
    assert not (work.output / f"r1bd2X{HITS}").exists()


def test_a_plug_in_aligner_is_found_by_its_entry_point(tmp_path: Path, scratch: Path) -> None:
    site = tmp_path / "site"
    info = site / "mirror-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mirror\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dpam_hpc.aligners]\nmirror = mirror:Mirror\n")
    (site / "mirror.py").write_text(
        "from dpam_hpc.align.aligner import Alignment\n"
        "class Mirror:\n"
        "    name, hits_suffix, step = 'mirror', '_mirror_hits', 'mirror'\n"
        "    fingerprint = classmethod(lambda cls, options: 'mirror 1')\n"
        "    stage_in = classmethod(lambda cls, options, folder: options)\n"
        "    prove = classmethod(lambda cls, options, folder: None)\n"
        "    def __init__(self, options, folder): pass\n"
        "    def prepare(self, pdb): return b'%d' % pdb.count(b' CA ')\n"
        "    def align(self, pairs):\n"
        "        found = Alignment('9.9', ('1\\t0\\t0', '0\\t1\\t0', '0\\t0\\t1'), '0\\t0\\t0',\n"
        "                          tuple((i, i) for i in range(1, 31)), 30)\n"
        "        return [found if int(pair.query) > 60 else None for pair in pairs]\n"
        "    def cpu_seconds(self): return {}\n"
        "    def close(self): pass\n"
    )
    work = lay_out(tmp_path / "w", ("O05011",))
    done = run(
        "run", work.root, "--data-dir", replay.DATA, "--aligner", "mirror",
        "--scratch-dir", scratch, env=environment(PYTHONPATH=str(site)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rounds = (work.output / "O05011_mirror_hits").read_text().count(">e1ejgA1_")
    assert rounds == 12  # 411 residues, 30 cut each time, until 60 are left


def test_the_library_is_opened_once_for_many_targets(
    tmp_path: Path, stand_in: Path, scratch: Path
) -> None:
    from dpam_hpc import IterativeDali, RunSettings

    work = lay_out(tmp_path / "w", ("O05011", "A0A0K2WPR7"))
    settings = RunSettings(
        work_dir=work.root, data_dir=replay.DATA, dali_home=stand_in, scratch_dir=scratch,
        dali_workers=2, min_free_gb=0.01,
    )  # fmt: skip
    with IterativeDali(settings) as dali:
        assert dali.run(["O05011"]).done == 1
        assert dali.run(["A0A0K2WPR7"]).done == 1
        assert len(list(scratch.iterdir())) == 1
    work.expect_whole()
    assert list(scratch.iterdir()) == []


def test_the_library_cleans_up_when_its_user_fails(
    tmp_path: Path, stand_in: Path, scratch: Path
) -> None:
    from dpam_hpc import IterativeDali, RunSettings

    work = lay_out(tmp_path / "w", ("O05011",))
    settings = RunSettings(
        work_dir=work.root, data_dir=replay.DATA, dali_home=stand_in, scratch_dir=scratch
    )
    with pytest.raises(ZeroDivisionError), IterativeDali(settings):
        _ = 1 / 0
    assert list(scratch.iterdir()) == []
    assert not (work.root / ".dpam-hpc" / "run.lock").exists()


def test_settings_are_shown_with_their_sources(tmp_path: Path) -> None:
    (tmp_path / "dpam-hpc.toml").write_text("cpus = 3\n")
    done = run("run", tmp_path, "--show-settings", "--json", "--grace", "4")
    told = {
        row["name"]: (row["value"], row["source"]) for row in json.loads(done.stdout)["settings"]
    }
    assert told["cpus"] == ("3", str(tmp_path / "dpam-hpc.toml"))
    assert told["dali_workers"] == ("12", "default")
    assert told["grace"] == ("4.0", "flag --grace")


def test_errors_are_told_without_a_traceback(tmp_path: Path) -> None:
    done = run("run", tmp_path / "nowhere", "--data-dir", tmp_path)
    assert done.returncode == 2
    assert "there is no folder" in done.stderr
    assert "Traceback" not in done.stderr


def _work(path: Path) -> Work:
    return lay_out(path, ("O05011",))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere: run as an ordinary user")
def test_a_read_only_working_folder_is_said_at_once(launch: Launch, tmp_path: Path) -> None:
    work = _work(tmp_path / "w")
    work.root.chmod(0o555)
    done = launch(work)
    work.root.chmod(0o755)
    assert done.returncode == 6
    assert "cannot be written" in done.stderr
