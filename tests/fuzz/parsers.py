"""What each parser must hold, whatever it is given: one function a parser, for bytes.

A function ends in peace where the parser gives a value that holds its promises, or raises the
error that it documents. Anything else that is raised is a finding. Hypothesis and atheris both use
``PARSERS``; the files in ``corpus/NAME`` are genuine texts, and findings of earlier days.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from io import StringIO
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from dpam_hpc import clock, dpam_state, journal, toml_file
from dpam_hpc.align import hits, structure
from dpam_hpc.align.aligner import ProgramFailed, Unusable
from dpam_hpc.align.dali import texts
from dpam_hpc.doctor import findings as doctor_findings
from dpam_hpc.errors import ConfigError, SchedulerError, StorageError
from dpam_hpc.node import run_lock, staging
from dpam_hpc.pipeline import program, steps
from dpam_hpc.pipeline.outputs import Files
from dpam_hpc.platforms import library, reading
from dpam_hpc.platforms.toml_lines import key_lines
from dpam_hpc.probe import keeping, meaning
from dpam_hpc.report import gather, tables
from dpam_hpc.report import texts as texts_of_report
from dpam_hpc.run_dir import RunDir, Task
from dpam_hpc.settings import SubmitSettings, resolve_for
from dpam_hpc.show import doctor as doctor_show
from dpam_hpc.show import probe as probe_show
from dpam_hpc.show import status
from dpam_hpc.submit import slurm_site, slurm_texts
from dpam_hpc.target import TARGET_ID, TEMPLATE_ID, WorkFolder, chosen_targets, read_targets_file

T = TypeVar("T")
CORPUS = Path(__file__).parent / "corpus"
_held = tempfile.TemporaryDirectory(
    prefix="dpam-hpc-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None
)
FOLDER = Path(_held.name)
"""Where a text lies whose parser takes a path; each process has its own."""
SHIPPED = library.found([library.shipped_folder()])


def _file(name: str, content: bytes) -> Path:
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def pdb(content: bytes) -> None:
    """A query that is taken has one model, and coordinates in every line that goes to DALI."""
    with suppress(Unusable):
        structure.check(content)
    try:
        taken = structure.check_query(content)
    except Unusable:
        return
    structure.check(taken.pdb())
    assert taken.lines and structure.read(taken.pdb()) == taken
    lines = content.splitlines()
    model = list(takewhile(lambda line: not line.startswith(b"ENDMDL"), lines))
    assert len(taken.lines) == sum(line.startswith(b"ATOM") for line in model)
    assert list(taken.residues) == sorted(set(taken.residues))
    half = taken.keep(taken.residues[::2])
    assert structure.read(half.pdb()) == half


def _dccp(text: str) -> None:
    blocks = texts.dccp_blocks(text)
    assert "".join(block.text for block in blocks) == text
    for block in blocks:
        texts.dalicon_input([block.prealignment()])


def _wolfitz(text: str) -> None:
    found = list(texts.wolfitz_lines(text))
    written = "".join(texts.wolfitz_line(*line) for line in found)
    assert _unfailing(lambda: list(texts.wolfitz_lines(written))) == found


def _parsi(text: str) -> None:
    domains = {"P000A": 5, "P001A": 3}
    kept = texts.on_own_domains(text, domains)
    assert _unfailing(lambda: texts.on_own_domains(kept, domains)) == kept


def _filter95(text: str) -> None:
    pairs = [(each.cd1, each.cd2) for each in texts.best_filtered(text.splitlines())]
    assert max(map(pairs.count, pairs), default=0) <= texts.BEST_OF_PAIR


def _report(text: str, keep_long: bool) -> None:
    for lines in texts.report_entries(text).values():
        found = texts.report_alignment(lines, 100, keep_long)
        assert all(q > 0 and t > 0 for q, t in found.equivalences)
        longest = max((q for q, _ in found.equivalences), default=0)
        assert hits.count(hits.record("e1", 1, range(1, longest + 1), found).encode()) == 1


def _unfailing(read: Callable[[], T]) -> T:
    try:
        return read()
    except ProgramFailed as error:
        raise AssertionError("what was read cannot be read again") from error


DALI: dict[bytes, Callable[[str], None]] = {
    b"D": _dccp, b"W": _wolfitz, b"P": _parsi, b"F": _filter95,
    b"R": lambda text: _report(text, False), b"L": lambda text: _report(text, True),
}  # fmt: skip


def dali(content: bytes) -> None:
    """The first byte says which of the programs' texts the rest is."""
    with suppress(ProgramFailed):
        DALI.get(content[:1], _wolfitz)(content[1:].decode("ascii", "replace"))


def hits_file(content: bytes) -> None:
    """What is taken for whole has as many hits as headers, twice it twice as many."""
    try:
        found = hits.count(content)
    except ValueError as error:
        assert any(word in str(error) for word in ("line", "record")), error
        return
    assert found == sum(line.startswith(b">") for line in content.splitlines())
    assert hits.count(content + content) == 2 * found


def journal_file(content: bytes) -> None:
    """What is read before is read after it was opened, with what is then appended."""
    path = _file("journal.jsonl", content)
    try:
        before = journal.read(path)
        opened = journal.Journal(path)
    except ConfigError:
        assert path.read_bytes() == content
        return
    assert opened.records == before
    more = {"target": "P", "state": journal.DONE, "step": "iterativeDali"}
    opened.append(more)
    opened.close()
    assert json.dumps(journal.read(path)) == json.dumps([*before, more])
    if b"\n" in content and not path.read_bytes().startswith(content[: content.find(b"\n") + 1]):
        assert path.with_name(f"{path.name}{journal.DAMAGED}").read_bytes() == content


def platform(content: bytes) -> None:
    """A platform that is taken is read from what is written of it as well; all keys have lines."""
    with suppress(ValueError):
        text = content.decode()
        lines = key_lines(text) if toml_file.loads(text) else {}
        assert all(0 < line <= text.count("\n") + 1 for line in lines.values())
    path = _file("site.toml", content)
    with suppress(reading.PlatformError):
        read = reading.read(path, SHIPPED)
        assert read.name == "site"
        options = read.scheduler.access_arguments({"partition": "p", "account": "a", "time": "1"})
        assert all(option.startswith("-") and "\n" not in option for option in options)


def settings(content: bytes) -> None:
    """The text is the settings file; behind a null character it is the environment."""
    text, _, rest = content.partition(b"\0")
    folder = _file("work/dpam-hpc.toml", text).parent
    values = rest.decode("utf-8", "surrogateescape").replace("\0", "").split("\n")
    names = [f"DPAM_HPC_{name.upper()}" for name in SubmitSettings.model_fields]
    environment = dict(zip(names, values, strict=False))
    environment |= {"DPAM_HPC_WORK_DIR": str(folder), "DPAM_HPC_CPUS": "2"}
    with suppress(ConfigError):
        resolved = resolve_for(SubmitSettings, {}, environment, FOLDER / "nobody")
        assert SubmitSettings.model_fields.keys() == resolved.sources.keys()
        found = resolved.settings
        assert found.workers > 0 and int(found.min_free_gb * 1e9) >= 0
        json.dumps(found.for_launchers())
        resolved.rows()


def slurm(content: bytes) -> None:
    """The first byte says which of SLURM's answers the rest is; lengths of time among them."""
    kind, text = content[:1], content[1:].decode("utf-8", "replace")
    with suppress(SchedulerError):
        if kind == b"q":
            for job in slurm_texts.queued(0, text, ""):
                slurm_texts.checked_ids([job.job])
        elif kind == b"a":
            for job in slurm_texts.accounted(0, text, "") or []:
                slurm_texts.checked_ids([job.job])
        elif kind == b"s":
            slurm_texts.checked_ids([slurm_texts.submitted_id(0, text, "", "name")])
        elif kind == b"m":
            most = slurm_texts.max_array_size(0, text, "")
            assert most is None or most >= 0
        elif kind == b"e":
            for answer in (slurm_texts.queued, slurm_texts.accounted, slurm_texts.max_array_size):
                with suppress(SchedulerError):
                    answer(1, "", text)
            slurm_texts.cancelled(1, text, text)
        elif kind == b"p":
            for each in slurm_site.parse_partitions(text):
                assert each.name and each.told.isprintable()
        elif kind == b"t":
            length = clock.seconds(text)
            assert length >= 0 and clock.seconds(clock.clock(length)) == length
        else:
            slurm_texts.job_name(text, Path("job.sh"), text.split())
            assert slurm_texts.tested(0, text, "").isprintable()


def lists(content: bytes) -> None:
    """Candidates, and ids of targets: names that are no path, each once, or named as refused."""
    with suppress(UnicodeDecodeError):
        good, refused = staging._candidates(content.decode())
        assert len(set(good)) == len(good) and all(TEMPLATE_ID.fullmatch(name) for name in good)
        assert all(result.failure and result.template.isprintable() for result in refused)
    with suppress(ConfigError):
        named = read_targets_file(_file("targets", content))
        folder = WorkFolder(FOLDER, sharded=False)
        for target in chosen_targets(folder, named):
            assert TARGET_ID.fullmatch(target) and "/" not in target


def run_folder(content: bytes) -> None:
    """The text is a plan, a list of targets, the jobs and the progress of a submitted run."""
    run = RunDir(FOLDER / "run")
    plan = _file("run/plan.json", content)
    for name in ("targets.tsv", "jobs.jsonl", "tasks/0/progress.json", "tasks/0/journal-0.jsonl"):
        _file(f"run/{name}", content)
    task = Task(1, 1.0, 0, len(content))
    with suppress(ConfigError):
        assert all(TARGET_ID.fullmatch(target) for target, _ in run.targets(task))
    for job in run.jobs():
        assert isinstance(job["job"], str) and job["first"] + job["tasks"] is not None
    said = run.progress(0)
    with suppress(ConfigError):
        list(run.records(0))
    try:
        read = run.plan()
    except ConfigError:
        read = None
    if read is not None:
        run.write_plan(read)
        assert json.dumps(asdict(run.plan()), default=str) == json.dumps(asdict(read), default=str)
    written = {"platform": "p", "scheduler": "local", "mode": "array", "nodes": 1, "cpus": 1,
               "time_limit": 1, "tasks": [{"targets": 1, "seconds": 1.0}], "jobs": [],
               "settings": {}, "submit": {}, "schema": 1}  # fmt: skip
    plan.write_text(json.dumps(written))
    with suppress(ConfigError):
        facts = gather.gather(FOLDER, run)
        json.loads(texts_of_report.as_json(facts))
        tables.starts(facts), tables.made_with(facts), tables.all_targets(facts, 1000)
        assert all(line.count("\n") == 1 for line in texts_of_report.tsv(facts))
    (run.path / "tasks/0/journal-0.jsonl").unlink()
    found = status.look(run, None)
    status.table(found)
    assert (
        said == found.tasks[0].said and json.dumps(status.content(found)) and status.one_line(found)
    )


def lock(content: bytes) -> None:
    """A lock file names a holder whose token can be part of a file's name, or none."""
    with suppress(ValueError, TypeError):
        holder = run_lock.holder_in(content)
        assert run_lock.holder_in(json.dumps(asdict(holder)).encode()) == holder
        assert (FOLDER / f".run.lock.{holder.token}.dead").parent == FOLDER
        run_lock.started_at(holder.pid)


def state_files(content: bytes) -> None:
    """dpam's state files, of a target and of a folder."""
    for name in (".P.dpam_state.json", "_batch_state.json"):
        _file(name, content)
    files = dpam_state.StateFiles(FOLDER, FOLDER)
    with suppress(StorageError):
        files.mark_target("P", True)
        assert dpam_state.STEP in json.loads((FOLDER / ".P.dpam_state.json").read_text())[
            "completed_steps"
        ]  # fmt: skip
    with suppress(StorageError):
        files.mark_batch(["P"], True)
    with suppress(StorageError):
        files.begin_batch_again(["P"])
    _file(".P.dpam_state.json", content)
    with suppress(StorageError):
        files.of_target("P")
        files.begin_steps("P", ["PREPARE"], "run.s1", 2)
        assert files.of_target("P") == dpam_state.TargetState(frozenset({"PREPARE"}), "run.s1", 2)


def pipeline(content: bytes) -> None:
    """A choice of steps, a log of dpam's, and a target's files."""
    text = content.decode(errors="replace")
    with suppress(ConfigError):
        numbers = steps.parse(text)
        assert steps.parse(steps.spelled(numbers)) == numbers
        assert [n for stage in steps.stages(numbers) for n in stage.numbers] == list(numbers)
    assert program.said_of_step(_file("log", content), "HHSEARCH").isprintable()
    for number, step in steps.STEPS.items():
        _file(f"Q{step.always[0] if step.always else '.x'}", content)
        files = Files(WorkFolder(FOLDER, False), "Q")
        if number == 4:
            assert bool(files.missing(number)) == (not content.endswith(b"\n"))
        files.remaining((number,))


def probe(content: bytes) -> None:
    """A kept probe, and a node's answer, that are taken can be used and shown, and read again."""
    console = Console(file=StringIO(), width=80)
    with suppress(ValueError):
        kept = keeping.from_json(content)
        assert keeping.from_json(keeping.as_json(kept)) == kept and kept.date
        names = [place.name for place in kept.places]
        order = meaning.order(names, kept)
        assert sorted(order.candidates) == sorted(names)
        probe_show.show(kept, meaning.TYPICAL, "told", names, console)
    with suppress(ValueError):
        answer = doctor_findings.from_json(content)
        written = json.loads(answer.as_json())
        assert written["worst"] in ("ok", "warning", "problem")
        doctor_show.show(answer, console)


PARSERS: dict[str, Callable[[bytes], None]] = {
    "pdb": pdb,
    "dali": dali,
    "hits": hits_file,
    "journal": journal_file,
    "platform": platform,
    "settings": settings,
    "slurm": slurm,
    "lists": lists,
    "run_folder": run_folder,
    "lock": lock,
    "state_files": state_files,
    "probe": probe,
    "pipeline": pipeline,
}


def corpus(name: str) -> list[Path]:
    """The files of a parser's corpus."""
    return sorted((CORPUS / name).iterdir())
