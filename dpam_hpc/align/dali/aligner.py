"""The DALI aligner: what the loop's protocol asks for, done by DaliLite.v5's own programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from dpam_hpc.align import iterate
from dpam_hpc.align.aligner import Alignment, Options, Pair, Point, ProgramFailed, Unusable
from dpam_hpc.align.dali import install
from dpam_hpc.align.dali.compare import Comparison
from dpam_hpc.align.dali.importing import Importer, unpack
from dpam_hpc.errors import AlignerError

KNOWN_QUERY, KNOWN_TEMPLATE, KNOWN_HITS = "query.pdb", "template.pdb", "hits"


class DaliAligner:
    """Options: ``dali_home``, ``fix_long_chains`` ("1" keeps long segments), ``time_factor``."""

    name: ClassVar[str] = "dali"
    hits_suffix: ClassVar[str] = "_iterativdDali_hits"
    step: ClassVar[str] = "iterativeDali"

    @classmethod
    def fingerprint(cls, options: Options) -> str:
        """SHA-256 of the import programs; AlignerError if DALI is missing or cannot start here."""
        programs = install.find(options.get("dali_home", ""))
        install.check_virtual_memory()
        return install.import_fingerprint(programs)

    @classmethod
    def programs(cls, options: Options) -> dict[str, str]:
        """SHA-256 of each program."""
        return install.checksums(install.find(options.get("dali_home", "")))

    @classmethod
    def trace(cls, prepared: bytes) -> list[Point]:
        """CA atoms of the first chain."""
        return unpack(prepared)[0].alphas()

    @classmethod
    def stage_in(cls, options: Options, folder: Path) -> Options:
        """Run copies of the five programs in ``folder``, so that no start reads a shared disk."""
        programs = install.find(options.get("dali_home", ""))
        return {**options, "dali_home": str(install.copy_programs(programs, folder / "dali"))}

    @classmethod
    def prove(cls, options: Options, folder: Path) -> None:
        """Align the known pair; AlignerError unless the hits are equal to the byte."""
        home = options.get("dali_home", "")
        known = Path(__file__).parent / "known_answer"
        query = (known / KNOWN_QUERY).read_bytes()
        aligner = cls({"dali_home": home}, folder)
        try:
            prepared = aligner.prepare(query)
            template = aligner.prepare((known / KNOWN_TEMPLATE).read_bytes())
            (result,) = iterate.align_templates(aligner, query, prepared, {"known": template})
        except (ProgramFailed, Unusable) as error:
            raise AlignerError(
                f"DALI in {home} fails on the known pair: {error}", _REBUILD
            ) from None
        finally:
            aligner.close()
        answer, expected = "".join(result.records), (known / KNOWN_HITS).read_text()
        if answer != expected:
            raise AlignerError(
                f"DALI in {home} gives another answer for the known pair:"
                f" {len(result.records)} hits in {len(answer.splitlines())} lines, not"
                f" {expected.count('>')} in {len(expected.splitlines())};"
                f" first difference: {_first_difference(answer, expected)}",
                _REBUILD,
            )

    def __init__(self, options: Options, folder: Path) -> None:
        programs = install.find(options.get("dali_home", ""))
        time_factor = float(options.get("time_factor", "1"))
        keep_long = options.get("fix_long_chains") == "1"
        self._importer = Importer(programs, folder / "import", time_factor)
        self._comparison = Comparison(programs, folder / "compare", time_factor, keep_long)

    def prepare(self, pdb: bytes) -> bytes:
        """Import a structure; see ``importing``."""
        return self._importer.prepare(pdb)

    def align(self, pairs: Sequence[Pair]) -> list[Alignment | None]:
        """Compare pairs; see ``compare``."""
        return self._comparison.align(pairs)

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds of DALI's programs by step."""
        return {**self._importer.bench.cpu, **self._comparison.bench.cpu}

    def close(self) -> None:
        """Close the memory files."""
        self._importer.bench.close()
        self._comparison.bench.close()


_REBUILD = (
    "build DALI anew with dsspcmbi at -O2 or -O3 (at -O it reads 0 residues): docs/dali.md; hits"
    " from this build would be lost or wrong"
)


def _first_difference(answer: str, expected: str) -> str:
    lines = zip(answer.splitlines(), expected.splitlines(), strict=False)
    for number, (a, e) in enumerate(lines, 1):
        if a != e:
            return f"line {number}: {a!r} for {e!r}"
    return "the shorter one ends first"
