"""The texts that DALI's programs exchange: pure parsers and writers.

Formats as seen in the programs' files (docs/exactness.md describes each); ids are five characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from dpam_hpc.align.aligner import Alignment, ProgramFailed

MASKED = "-99"
MIN_FILTER_SCORE = 1.0
BEST_OF_PAIR = 2
RANGE_WIDTH = 10
HIGHEST_INDEX = 9999
"""Of a residue: DALI writes it in four columns."""


@dataclass(frozen=True)
class Prealignment:
    """Matched segments of a pair, as DALICON takes them: ``cd1``'s ranges, then ``cd2``'s."""

    cd1: str
    cd2: str
    ranges: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """One DCCP block: an alignment of ``cd1`` with ``cd2`` and its z, with its text."""

    cd1: str
    cd2: str
    z: float
    text: str

    def prealignment(self) -> Prealignment:
        """The block's ranges, cut at fixed columns since numbers of four digits touch."""
        with _readable("DP"):
            header, _, *rows = self.text.splitlines()
            count = int(header.split()[-3])
        ends = [
            end.strip()
            for row in rows
            for at in range(0, len(row.rstrip()), RANGE_WIDTH)
            for end in (row[at : at + 4], row[at + 4 : at + RANGE_WIDTH])
        ]
        if len(ends) != 4 * count:
            raise ProgramFailed(f"DP: a block of {count} ranges lists {len(ends) // 2} of twice it")
        return Prealignment(self.cd1, self.cd2, tuple(ends))


def dccp_blocks(text: str) -> list[Block]:
    """All blocks of DP's output, in its order."""
    blocks = []
    for part in _split_before(text, " DCCP"):
        header = part.split("\n", 1)[0]
        words = header.split()
        try:
            blocks.append(Block(words[-2], words[-1], float(header[26:34]), part))
        except (IndexError, ValueError):
            raise ProgramFailed(f"DP: a block begins {header[:80]!r}") from None
    return blocks


def wolfitz_lines(text: str) -> Iterator[tuple[str, str, str]]:
    """(cd1, cd2, rest of the line) for each line of WOLF's, SOAP's or DALICON's output."""
    for line in text.splitlines():
        if not line.startswith(" WOLFITZ ") or len(line) < 20:
            raise ProgramFailed(f"serialcompare wrote a line that begins {line[:40]!r}")
        words = line[19:].split()
        with _readable("serialcompare"):
            count = int(words[0])
        if count * 4 + 1 != len(words):
            raise ProgramFailed(f"serialcompare wrote a cut line for {line[9:19]}")
        yield line[9:14], line[14:19], line[19:]


def wolfitz_line(cd1: str, cd2: str, rest: str) -> str:
    """The inverse of ``wolfitz_lines``."""
    return f" WOLFITZ {cd1}{cd2}{rest}\n"


def on_own_domains(text: str, domains: Mapping[str, int]) -> str:
    """PARSI's lines on domains that FILTER95 knows of the first structure.

    Alone it says nothing of the others; after a structure with more domains it would say something
    of that one.
    """
    with _readable("PARSI"):
        return "".join(
            line
            for line in text.splitlines(keepends=True)
            if int(line[17:].split(maxsplit=1)[0]) <= domains[line[7:12]]
        )


def best_filtered(lines: Iterable[str]) -> list[Prealignment]:
    """PARSI's best two of each pair from FILTER95's lines, in the order DALICON must see them.

    Upstream: ``sort -nr | uniq``, then the first two of each key; ties by the whole line, reversed.
    """
    chosen = []
    taken: dict[str, int] = {}
    previous = ""
    with _readable("FILTER95"):
        for line in sorted(lines, key=lambda line: (float(line.split()[0]), line), reverse=True):
            if line == previous:
                continue
            previous = line
            words = line.split()
            ids = words[1]
            if float(words[0]) < MIN_FILTER_SCORE or taken.get(ids, 0) == BEST_OF_PAIR:
                continue
            taken[ids] = taken.get(ids, 0) + 1
            segments, numbers = int(words[4]) if len(words) > 4 else -1, words[5:]
            if len(numbers) != 4 * segments:
                raise ProgramFailed(f"FILTER95 wrote a cut line for {ids}")
            ranges = tuple(number for number in numbers if number != MASKED)
            chosen.append(Prealignment(ids[:5], ids[5:], ranges))
    return chosen


def dalicon_input(prealignments: Iterable[Prealignment]) -> str:
    """DALICON's standard input, one entry a prealignment."""
    entries = []
    for entry in prealignments:
        half = len(entry.ranges) // 2
        entries.append(
            f"{entry.cd1}\n{entry.cd2}*\n{half // 2}\n"
            f"{' '.join(entry.ranges[:half])}\n{' '.join(entry.ranges[half:])}\nEND\n"
        )
    return "".join(entries) + "END\n"


def report_entries(text: str) -> dict[str, list[str]]:
    """fssp's report: the lines of each template, by its id."""
    entries: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("-protein"):
            with _readable("fssp"):
                lines = entries.setdefault(line.replace('"', " ").split()[1], [])
        elif line.startswith("-"):
            lines.append(line)
    return entries


def report_alignment(lines: list[str], template_length: int, keep_long: bool) -> Alignment:
    """One template's alignment, its words read as upstream's parser reads them.

    ``keep_long``: read the segments that upstream drops since two numbers touch.
    """
    z = ""
    rotation, translation, pairs, lost = [], [], [], []
    with _readable("fssp"):
        for line in lines:
            if line.startswith("-summar"):
                # dali.pl prints the line with the rank in front; upstream reads the third word.
                words = f"   1: {line.split(chr(34), 1)[1][6:]}".split()
                z = str(float(words[2]))
            elif line.startswith("-matrix"):
                words = line.rstrip().removesuffix('"').split()
                rotation.append("\t".join(words[4:7]))
                translation.append(words[7])
            elif line.startswith("-ranges"):
                segment = _segment(line, keep_long)
                if segment is None:
                    lost.append(" ".join(line.split('"')[1].split("(")[0].split()[2:]))
                else:
                    first_query, first_template, length = segment
                    pairs += [(first_query + i, first_template + i) for i in range(length)]
    if not z or len(rotation) != 3 or not (pairs or lost):
        raise ProgramFailed("fssp: a report without z, matrix or equivalences")
    return Alignment(
        z, tuple(rotation), "\t".join(translation), tuple(pairs), template_length, tuple(lost)
    )


def _segment(line: str, keep_long: bool) -> tuple[int, int, int] | None:
    """First query index, first template index, length; None where upstream's parser skips it."""
    text = line.split('"', 1)[1]
    words = ["1:", *text.split()]
    try:
        arrow = words.index("<=>")
        ends = [int(words[at]) for at in (3, 5, arrow + 1, arrow + 3)]
    except (ValueError, IndexError):
        if not keep_long:
            return None
        ends = _fixed_columns(text)
    if ends[1] - ends[0] != ends[3] - ends[2]:
        return None
    if min(ends) < 1 or max(ends) > HIGHEST_INDEX:
        raise ValueError(f"a segment with the residues {ends}")
    return ends[0], ends[2], ends[1] - ends[0] + 1


def _fixed_columns(text: str) -> list[int]:
    """The four ends of ``mol1-A mol2-A  1060 -1244 <=>    1 - 185``, each four columns wide."""
    query, _, template = text.partition("<=>")
    query = query.rstrip()
    return [int(query[-10:-6]), int(query[-4:]), int(template[1:5]), int(template[7:11])]


@contextmanager
def _readable(program: str) -> Iterator[None]:
    """ProgramFailed where an answer has another form than the program's own."""
    try:
        yield
    except (ValueError, IndexError, KeyError) as error:
        raise ProgramFailed(f"{program} wrote what cannot be read: {error!r}") from None


def _split_before(text: str, mark: str) -> list[str]:
    """Parts of ``text`` that each begin with a line that begins with ``mark``."""
    parts: list[list[str]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith(mark):
            parts.append([])
        if not parts:
            raise ProgramFailed(f"a block is missing its first line: {line[:40]!r}")
        parts[-1].append(line)
    return ["".join(part) for part in parts]
