"""Record the answers of the real DALI: ``python tests/replay/record.py --dali-home DIR``.

The project's own loop runs over the sample, one template at a time, with programs that put each
question of ``standin`` to the real program on its own. Then the loop runs with all templates at
once and the real programs, and each of their outputs must be what the stand-in makes of the
recordings, and the hits what upstream wrote.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

if not __package__:  # run as a file
    sys.path[:1] = [str(Path(__file__).resolve().parents[2])]
    __package__ = "tests.replay"
    __import__(__package__)

from dpam_hpc.align.dali.aligner import DaliAligner
from dpam_hpc.align.dali.importing import unpack
from dpam_hpc.align.dali.install import find

from . import DATA, PROTEINS, RECORDINGS, align, prepare_templates, standin, write_programs

DIFFERENT = 98
ALL = 1_000_000
SHORT = ["e1lcdA1", "e6zu5SEE1", "e6zu5SK01", "e1ejgA1"]
SAMPLE = {
    "A0A0K2WPR7": [
        "e6zu5LII1", "e6zu5SR01", "e6zu5SU01", "e6zu5SY01", "e7cthM1", "e6zu5LHH1", "e7pblG1",
        *SHORT,
    ],
    "O05011": [
        "e6zu5LHH1", "e6zu5LR01", "e6zu5SR01", "e7pblA2", "e7pblG1", "e6zu5SU01", "e6zu5SY01",
        "e1bd2B1", *SHORT,
    ],
    "r1bd2X": ["e1bd2A2", "e1bd2B1", "e6zu5SY01", "e7cthM1", "e1lcdA1", "e6zu5SK01"],
}  # fmt: skip


class Recordings(standin.Answers):
    """The recordings, to compare with outputs less FILTER95's stale lines."""

    def stale(self, line: bytes) -> bytes:
        """Nothing."""
        return b""


class Recorder(standin.Answers):
    """Puts questions to the real programs; keeps each answer as a file of ``store``."""

    def __init__(self, programs: Path, store: Path) -> None:
        self._programs = programs
        self._store = store

    def get(self, question: standin.Question) -> bytes:
        """The answer, asked for once."""
        kept = self._store / question.key().hex()
        if not kept.exists():
            with tempfile.TemporaryDirectory() as folder:
                answer = self._ask(question, Path(folder))
            if re.search(rb"(Q[1-9])\1", answer):
                raise ValueError(f"{question.kind}: an id is left in the answer")
            kept.write_bytes(standin.pack([question.kind.encode(), answer]))
        return standin.unpack(kept.read_bytes())[1]

    def stale(self, line: bytes) -> bytes:
        """Nothing: what FILTER95 says of a pair alone."""
        return b""

    def _ask(self, question: standin.Question, folder: Path) -> bytes:
        kind, parts = question.kind, question.parts
        if kind == "dsspcmbi":
            self._run(folder, kind, "in.pdb", "o.dssp", files={"in.pdb": parts[0]})
            return standin.undated((folder / "o.dssp").read_bytes())
        if kind == "puu":
            name = _id(0, parts[0])
            files = dict(zip(("puu.default", "in.pdb", "o.dssp"), parts[1:], strict=True))
            self._run(folder, kind, name.decode(), "in.pdb", "o.dssp", files=files)
            outputs = [(folder / file).read_bytes() for file in standin.PUU_FILES]
            texts = [standin.without_preamble(output) for output in outputs]
            return standin.pack([standin.blank(text, [name]) for text in texts])
        if kind == "puutos":
            name = _id(0, parts[0].split(b"\nCHAIN", 1)[1].split()[0])
            files = {"units.puu": standin.fill(parts[0], [name]), "o.dssp": parts[1]}
            self._run(folder, kind, "units.puu", "o.dssp", "./", files=files)
            return standin.blank((folder / f"{name.decode()}.dat").read_bytes(), [name])
        if kind == "fssp":
            number, dat1, dat2, block = parts
            ids = self._lay_out(folder, [dat1, dat2])
            arguments = (ids[0].decode(), number.decode(), "D/", "D/")
            stdin = standin.fill(block, ids)
            report = standin.blank(self._run(folder, kind, *arguments, stdin=stdin), ids)
            head, body, foot = report.split(standin.FSSP_PART)
            return standin.pack([head, standin.FSSP_PART + body, standin.FSSP_PART + foot])
        return self._compare(kind, parts, folder)

    def _compare(self, mode: str, parts: tuple[bytes, ...], folder: Path) -> bytes:
        files, stdin, options = {}, b"", []
        if mode in ("WOLF", "PARSI"):
            ids = self._lay_out(folder, parts)
            files = {"list1": ids[0] + b"\n", "list2": ids[1] + b"\n"}
        elif mode == "SOAP":
            ids = self._lay_out(folder, parts[1:])
            count = int(parts[0])
            files = {
                "list1": b"".join(name + b"\n" for name in ids[:count]),
                "list2": b"".join(name + b"\n" for name in ids[count:]),
            }
        elif mode in standin.LINE_STARTS:
            ids = self._lay_out(folder, parts[:2])
            stdin = b"".join(
                standin.LINE_STARTS[mode] + ids[0] + ids[1] + line
                for line in parts[2].splitlines(keepends=True)
            )
        else:
            ids = self._lay_out(folder, parts[1:])
            stdin = standin.fill(parts[0], ids) + b"END\n"
            options = ["T"]
        self._run(folder, "serialcompare", "D/", "D/", mode, *options, files=files, stdin=stdin)
        output = folder / standin.OUTPUT
        return standin.blank(output.read_bytes(), ids) if output.exists() else b""

    def _lay_out(self, folder: Path, dats: tuple[bytes, ...] | list[bytes]) -> list[bytes]:
        """Write ``.dat`` files; their ids."""
        (folder / "D").mkdir()
        ids = [_id(number, b"Q") for number in range(len(dats))]
        for name, dat in zip(ids, dats, strict=True):
            (folder / "D" / f"{name.decode()}.dat").write_bytes(standin.with_id(dat, name))
        return ids

    def _run(
        self,
        folder: Path,
        program: str,
        *arguments: str,
        files: dict[str, bytes] | None = None,
        stdin: bytes = b"",
    ) -> bytes:
        for name, content in (files or {}).items():
            (folder / name).write_bytes(content)
        return _run_real([str(self._programs / program), *arguments], stdin, folder)


def _id(number: int, letter: bytes) -> bytes:
    """An id that no output holds by chance."""
    return b"Q%cQ%c%b" % (49 + number, 49 + number, letter)


def _run_real(argv: list[str], stdin: bytes, folder: Path) -> bytes:
    return subprocess.run(
        argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder,
        close_fds=False, check=True, timeout=600,
    ).stdout  # fmt: skip


def record_program(programs: str, store: str) -> int:
    """Be a program that records; the exit status."""
    name = os.path.basename(sys.argv[0])
    recorder = Recorder(Path(programs), Path(store))
    outputs = standin.run(name, sys.argv[1:], sys.stdin.buffer.read(), recorder)
    return standin.write_outputs(outputs)


def check_program(programs: str, recordings: str) -> int:
    """Be the real program, if the stand-in gives the same outputs; else fail."""
    name, arguments, stdin = os.path.basename(sys.argv[0]), sys.argv[1:], sys.stdin.buffer.read()
    report = _run_real([str(Path(programs) / name), *arguments], stdin, Path())
    try:
        outputs = standin.run(name, arguments, stdin, Recordings(recordings))
    except standin.UnknownInput as error:
        sys.stderr.write(f"error: {error}\n")
        return standin.UNKNOWN
    if name == "serialcompare":
        outputs.setdefault(standin.OUTPUT, b"")
    for file, content in outputs.items():
        real = report if file == standin.STDOUT else Path(file).read_bytes()
        if name == "dsspcmbi":
            real = standin.undated(real)
        if name == "puu":
            real = standin.without_preamble(real)
        if arguments[2:] == ["FILTER95"]:
            real = _without_stale_lines(real, standin.Dats(arguments[0]))
        if real != content:
            sys.stderr.write(f"error: {name} {arguments}: {file} differs from the recordings\n")
            return DIFFERENT
    if name == "fssp":
        sys.stdout.buffer.write(report)
    return 0


def _without_stale_lines(output: bytes, dats: standin.Dats) -> bytes:
    """FILTER95's lines on domains that it knows of the line's own first structure."""
    kept = []
    for line in output.splitlines(keepends=True):
        _, ids, domain, _ = line.split(maxsplit=3)
        if int(domain) <= standin.domains(dats[ids[:5]]):
            kept.append(line)
    return b"".join(kept)


def _home(folder: Path, function: str, *arguments: str) -> Path:
    """A DALI home whose programs are ``function`` of this module."""
    body = (
        f"import sys\nsys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})\n"
        f"from tests.replay import record\nsys.exit(record.{function}{arguments!r})\n"
    )
    return write_programs(folder, [], body)


def _hits(home: Path, folder: Path, chunk: int) -> dict[str, str]:
    """The hits of all proteins, and the known pair aligned."""
    DaliAligner.prove({"dali_home": str(home)}, folder / "known")
    aligner = DaliAligner({"dali_home": str(home)}, folder / "sample")
    templates = prepare_templates(aligner)
    hits = {protein: align(aligner, protein, templates, chunk) for protein in PROTEINS}
    aligner.close()
    return hits


def record(dali_home: str, recordings: Path) -> None:
    """Write ``recordings``, then check them."""
    programs = find(dali_home)
    expected = {name: (DATA / f"{name}_iterativdDali_hits").read_text() for name in PROTEINS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store = folder / "store"
        store.mkdir()
        home = _home(folder / "home", "record_program", str(programs), str(store))
        if _hits(home, folder / "record", 1) != expected:
            raise SystemExit("the hits are not upstream's")
        answers = {}
        for file in store.iterdir():
            kind, answer = standin.unpack(file.read_bytes())
            answers[bytes.fromhex(file.name)] = kind.decode(), answer
        recordings.parent.mkdir(exist_ok=True)
        standin.write_answers(str(recordings), answers)
        counts = Counter(kind for kind, _ in answers.values())
        for name, count in sorted(counts.items()):
            size = sum(len(answer) for kind, answer in answers.values() if kind == name)
            print(f"{name:9} {count:5} answers {size:9,} bytes")
        print(f"{recordings.name}: {recordings.stat().st_size:,} bytes")
        home = _home(folder / "check", "check_program", str(programs), str(recordings))
        if _hits(home, folder / "all", ALL) != expected:
            raise SystemExit("the hits are not upstream's where all templates run at once")
        print("checked against the real programs, all templates at once")


def renew_data(dali_home: str, golden: Path) -> None:
    """Take the sample's inputs, and upstream's hits cut down to it, from ``golden``."""
    shutil.rmtree(DATA, ignore_errors=True)
    (DATA / "ECOD70").mkdir(parents=True)
    for template in sorted({template for sample in SAMPLE.values() for template in sample}):
        shutil.copyfile(golden / "ECOD70" / f"{template}.pdb", DATA / "ECOD70" / f"{template}.pdb")
    with tempfile.TemporaryDirectory() as folder:
        aligner = DaliAligner({"dali_home": dali_home}, Path(folder) / "import")
        lengths = {}
        for template, prepared in prepare_templates(aligner).items():
            (chain,) = unpack(prepared)
            lengths[template] = chain.residues
        aligner.close()
    for protein, sample in SAMPLE.items():
        shutil.copyfile(golden / f"{protein}.pdb", DATA / f"{protein}.pdb")
        candidates = (golden / f"{protein}_hits4Dali").read_text().splitlines(keepends=True)
        chosen = [line for line in candidates if line.strip() in sample]
        (DATA / f"{protein}_hits4Dali").write_text("".join(chosen))
        hits = (golden / "hits" / f"{protein}_iterativdDali_hits").read_text()
        (DATA / f"{protein}_iterativdDali_hits").write_text(_cut_down(hits, lengths, set(sample)))


def _cut_down(hits: str, lengths: dict[str, int], sample: set[str]) -> str:
    """The records of ``sample``, each header's last field the template's length."""
    records = []
    for text in re.findall(r"^>[^>]*", hits, flags=re.MULTILINE):
        header, _, rest = text.partition("\n")
        template = header[1:].split("\t", 1)[0].rpartition("_")[0]
        if template in sample:
            fields = [*header.split("\t")[:4], str(lengths[template])]
            records.append("\t".join(fields) + "\n" + rest)
    return "".join(records)


def main() -> None:
    """Parse, renew, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--dali-home", required=True, help="a DaliLite.v5 folder")
    parser.add_argument("--recordings", type=Path, default=RECORDINGS, help="file to write")
    parser.add_argument("--golden", type=Path, help="renew the data from this folder first")
    arguments = parser.parse_args()
    if arguments.golden:
        renew_data(arguments.dali_home, arguments.golden)
    record(arguments.dali_home, arguments.recordings)


if __name__ == "__main__":
    main()
