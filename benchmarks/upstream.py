"""Upstream's way of step 7: one ``dali.pl`` for each pair and each round.

As a program it runs that way through the project's own loop, for machines without a checkout of
dpam_c2: ``python benchmarks/upstream.py WORK DATA --dali-home DIR --workers N P1 P2``. It leaves
out what dpam_c2's step does besides, so it costs less than that step.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from dpam_hpc import command
from dpam_hpc.align import hits
from dpam_hpc.align.aligner import Alignment, Options, Pair, ProgramFailed
from dpam_hpc.align.iterate import align_templates
from dpam_hpc.target import CANDIDATES_SUFFIX

OUTPUT_BLOCKS = "summary,equivalences,transrot"
TIMEOUT = 3600.0

RUN_STEP = """\
import sys
from pathlib import Path
from dpam.steps.step07_iterative_dali import run_step7
work, data, workers, *targets = sys.argv[1:]
done = [run_step7(target, Path(work), Path(data), cpus=int(workers)) for target in targets]
sys.exit(not all(done))
"""
"""Runs dpam_c2's own step, by its own Python, for one target after the other."""


class DaliPlAligner:
    """Every pair by ``dali.pl`` in an empty folder, its text read as dpam_c2 reads it."""

    name: ClassVar[str] = "dali.pl"
    hits_suffix: ClassVar[str] = "_iterativdDali_hits"
    step: ClassVar[str] = "iterativeDali"

    @classmethod
    def fingerprint(cls, options: Options) -> str:
        """Nothing is imported ahead."""
        return ""

    @classmethod
    def stage_in(cls, options: Options, folder: Path) -> Options:
        """Nothing to copy."""
        return options

    @classmethod
    def prove(cls, options: Options, folder: Path) -> None:
        """Nothing to prove."""

    def __init__(self, options: Options, folder: Path) -> None:
        self._program = str(Path(options["dali_home"]) / "bin" / "dali.pl")
        self._folder = folder
        self._cpu = 0.0

    def prepare(self, pdb: bytes) -> bytes:
        """The structure as it is: ``dali.pl`` imports both of each pair anew."""
        return pdb

    def align(self, pairs: Sequence[Pair]) -> list[Alignment | None]:
        """One process tree a pair."""
        return [self._align(pair) for pair in pairs]

    def _align(self, pair: Pair) -> Alignment | None:
        output = self._folder / "out"
        (output / "DAT").mkdir(parents=True)
        (self._folder / "query.pdb").write_bytes(pair.query)
        (self._folder / "template.pdb").write_bytes(pair.template)
        argv = [self._program, "--pdbfile1", "../query.pdb", "--pdbfile2", "../template.pdb"]
        argv += ["--dat1", "./", "--dat2", "./", "--outfmt", OUTPUT_BLOCKS]
        try:
            completed = command.run(argv, timeout=TIMEOUT, cwd=output)
            self._cpu += completed.cpu_seconds
            texts = [path.read_text() for path in sorted(output.glob("mol*.txt"))]
        except (command.TimedOut, OSError) as error:
            raise ProgramFailed(str(error)) from None
        finally:
            shutil.rmtree(self._folder)
        return alignment("".join(texts))

    def cpu_seconds(self) -> dict[str, float]:
        """All in one."""
        return {"dali.pl": self._cpu}

    def close(self) -> None:
        """Nothing to give back."""


def alignment(text: str) -> Alignment | None:
    """The first alignment of ``dali.pl``'s text, or None if it names none."""
    z = ""
    rotation, translation = [], []
    pairs: list[tuple[int, int]] = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["-matrix"]:
            values = line.rstrip().removesuffix('"').split()
            rotation.append("\t".join(values[4:7]))
            translation.append(values[7])
        elif "<=>" in words:
            pairs += _segment(words)
        elif words[:1] == ["1:"]:
            z = str(float(words[2]))
        elif words[:1] == ["2:"]:
            break
    if not z:
        return None
    return Alignment(z, tuple(rotation), "\t".join(translation), tuple(pairs), 0)


def _segment(words: list[str]) -> Iterator[tuple[int, int]]:
    """Pairs of an equivalence; none where its words are no numbers or its lengths differ."""
    arrow = words.index("<=>")
    try:
        query_first, query_last = int(words[3]), int(words[5])
        template_first, template_last = int(words[arrow + 1]), int(words[arrow + 3])
    except (ValueError, IndexError):
        return
    length = query_last - query_first + 1
    if length == template_last - template_first + 1:
        for at in range(length):
            yield query_first + at, template_first + at


def run_target(
    target: str,
    work: Path,
    data: Path,
    dali_home: Path,
    threads: ThreadPoolExecutor,
    scratch: Path,
) -> None:
    """Write the hits of a target; a template without a file is left out, as upstream does."""
    query = (work / f"{target}.pdb").read_bytes()
    candidates = set((work / f"{target}{CANDIDATES_SUFFIX}").read_text().split())

    def run(template: str) -> str:
        path = data / "ECOD70" / f"{template}.pdb"
        if not path.exists():
            return ""
        folder = scratch / f"tmp_{target}_{template}"
        aligner = DaliPlAligner({"dali_home": str(dali_home)}, folder)
        (result,) = align_templates(aligner, query, query, {template: path.read_bytes()})
        return "".join(result.records)

    texts = threads.map(run, hits.in_upstream_order(candidates))
    (work / f"{target}{DaliPlAligner.hits_suffix}").write_text("".join(texts))


def main() -> None:
    """Run the targets of a working folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("targets", nargs="+")
    parser.add_argument("--dali-home", type=Path, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--scratch", type=Path, help="for what a pair writes; default: WORK")
    arguments = parser.parse_args()
    with ThreadPoolExecutor(arguments.workers) as threads:
        for target in arguments.targets:
            run_target(
                target,
                arguments.work,
                arguments.data,
                arguments.dali_home,
                threads,
                arguments.scratch or arguments.work,
            )


if __name__ == "__main__":
    main()
