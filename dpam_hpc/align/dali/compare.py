"""Compare many pairs at once, each with the result that it has alone.

The paths of ``dali.pl`` (WOLF and PARSI, both directions), with one process a step for all pairs.
What would leak from pair to pair is DALICON's first structure, which it moves in place and reads
anew only under another name: here each pair has a name of its own for it (docs/exactness.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dpam_hpc.align.aligner import Alignment, Pair, ProgramFailed
from dpam_hpc.align.dali import texts
from dpam_hpc.align.dali.importing import Chain, unpack
from dpam_hpc.align.dali.workbench import Workbench

MIN_ELEMENTS = 3
OUTPUT = "fort.101"
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# A typical pair takes 1e-6 s a residue squared; the slowest seen are far under a hundred times it.
SECONDS_A_PROCESS = 60.0
SECONDS_A_RESIDUE_SQUARED = 1e-4


@dataclass
class _Query:
    """A query of this wave, and the templates that it meets; each template by its pair's number."""

    id: str
    chain: Chain
    templates: list[_Template]


@dataclass(frozen=True)
class _Template:
    """A template of this wave: the number of its pair, and the id of each of its chains."""

    pair: int
    chains: dict[str, Chain]


class Comparison:
    """Compares waves of pairs in a folder of its own."""

    def __init__(self, programs: Path, folder: Path, time_factor: float, keep_long: bool) -> None:
        self.bench = Workbench(programs, folder, (OUTPUT,))
        self._dat = folder / "D"
        self._dat.mkdir(mode=0o700)
        self._time_factor = time_factor
        self._keep_long = keep_long
        self._timeout = 0.0
        self._new_id = _ids("P")

    def align(self, pairs: Sequence[Pair]) -> list[Alignment | None]:
        """The best alignment of each pair, or None; ProgramFailed if a program fails."""
        self._new_id = _ids("P")
        queries = self._lay_out(pairs)
        self._timeout = self._time_factor * (SECONDS_A_PROCESS + _work(queries))
        try:
            blocks = self._wolf(queries) + self._parsi(queries)
            return self._report(queries, blocks, len(pairs))
        finally:
            for file in os.scandir(self._dat):
                os.unlink(file.path)

    def _lay_out(self, pairs: Sequence[Pair]) -> list[_Query]:
        """Give every structure of the wave an id and write its ``.dat`` under it."""
        queries: dict[bytes, _Query] = {}
        for number, pair in enumerate(pairs):
            if pair.query not in queries:
                (chain,) = unpack(pair.query)
                queries[pair.query] = _Query(self._write(chain), chain, [])
            chains = {self._write(chain): chain for chain in unpack(pair.template)}
            queries[pair.query].templates.append(_Template(number, chains))
        return list(queries.values())

    def _write(self, chain: Chain) -> str:
        name = self._new_id(chain.letter)
        (self._dat / f"{name}.dat").write_bytes(chain.dat)
        return name

    def _wolf(self, queries: list[_Query]) -> list[texts.Block]:
        """The path from WOLF, or from SOAP for a query with too few secondary structures."""
        lines: dict[tuple[str, str], list[str]] = {}
        for query in queries:
            ids = [name for template in query.templates for name in template.chains]
            if query.chain.elements < MIN_ELEMENTS:
                # SOAP moves the query in place as well and never reads it again.
                for template in query.templates:
                    self._collect(lines, self._product("SOAP", [query.id], list(template.chains)))
            else:
                self._collect(lines, self._product("WOLF", [query.id], ids))
                self._collect(lines, self._product("WOLF", ids, [query.id]))
        ordered = "".join(
            texts.wolfitz_line(cd1, cd2, rest)
            for group in self._groups(queries)
            for cd1, cd2 in group
            for rest in lines.get((cd1, cd2), [])
        )
        found = texts.dccp_blocks(self._filter("DP", ordered))
        return self._refine(queries, [block.prealignment() for block in found])

    def _parsi(self, queries: list[_Query]) -> list[texts.Block]:
        """The path from PARSI; nothing for a query with too few secondary structures."""
        batch, alone = [], []
        for query in queries:
            if query.chain.elements < MIN_ELEMENTS:
                continue
            domains = {query.id: query.chain.domains}
            for template in query.templates:
                domains |= {name: chain.domains for name, chain in template.chains.items()}
            for template in query.templates:
                # Of several chains upstream's FILTER95 has the leak that is kept out below.
                if len(template.chains) > 1:
                    alone.append(self._product("PARSI", [query.id], list(template.chains)))
                    alone.append(self._product("PARSI", list(template.chains), [query.id]))
            ids = [next(iter(t.chains)) for t in query.templates if len(t.chains) == 1]
            for lists in (([query.id], ids), (ids, [query.id])) if ids else ():
                batch.append(texts.on_own_domains(self._product("PARSI", *lists), domains))
        filtered = [self._filter("FILTER95", lines) for lines in ("".join(batch), *alone)]
        by_pair: dict[tuple[str, str], list[str]] = {}
        for line in "".join(filtered).splitlines():
            ids_of_pair = line.split()[1]
            by_pair.setdefault((ids_of_pair[:5], ids_of_pair[5:]), []).append(line)
        best = [
            entry
            for group in self._groups(queries)
            for entry in texts.best_filtered(line for ids in group for line in by_pair.get(ids, []))
        ]
        return self._refine(queries, best)

    def _refine(
        self, queries: list[_Query], entries: list[texts.Prealignment]
    ) -> list[texts.Block]:
        """DALICON, then DP: each group of entries has its own name for the first structure."""
        group_of = {ids: at for at, group in enumerate(self._groups(queries)) for ids in group}
        names: dict[tuple[int, str], str] = {}
        real: dict[str, str] = {}
        renamed = []
        for entry in entries:
            key = (group_of[entry.cd1, entry.cd2], entry.cd1)
            if key not in names:
                names[key] = self._alias(entry.cd1)
                real[names[key]] = entry.cd1
            renamed.append(texts.Prealignment(names[key], entry.cd2, entry.ranges))
        if not renamed:
            return []
        refined = self._compare("DALICON", "T", stdin=texts.dalicon_input(renamed))
        for name in real:
            os.unlink(self._dat / f"{name}.dat")
        lines = (
            texts.wolfitz_line(real[cd1], cd2, rest)
            for cd1, cd2, rest in texts.wolfitz_lines(refined)
        )
        return texts.dccp_blocks(self._filter("DP", "".join(lines)))

    def _alias(self, name: str) -> str:
        alias = self._new_id(name[-1])
        os.symlink(f"{name}.dat", self._dat / f"{alias}.dat")
        return alias

    def _report(
        self, queries: list[_Query], blocks: list[texts.Block], pairs: int
    ) -> list[Alignment | None]:
        """The best block of each pair, reported by fssp."""
        by_ids: dict[tuple[str, str], list[texts.Block]] = {}
        for block in blocks:
            by_ids.setdefault((block.cd1, block.cd2), []).append(block)
        alignments: list[Alignment | None] = [None] * pairs
        for query in queries:
            chosen: dict[str, texts.Block] = {}
            for name in (name for template in query.templates for name in template.chains):
                candidates = by_ids.get((query.id, name), []) + by_ids.get((name, query.id), [])
                if candidates:
                    # The first of the largest: the paths come in upstream's order.
                    chosen[name] = max(candidates, key=lambda block: block.z)
            if not chosen:
                continue
            stdin = "".join(block.text for block in chosen.values())
            self.bench.run(
                "report", "fssp", query.id, "1", "D/", "D/",
                writes=(OUTPUT,), timeout=self._timeout, stdin=stdin.encode(),
            )  # fmt: skip
            entries = texts.report_entries(self.bench.stdout().decode("ascii", "replace"))
            if missing := chosen.keys() - entries.keys():
                raise ProgramFailed(f"fssp reports nothing of {len(missing)} alignments")
            for template in query.templates:
                hits = [
                    texts.report_alignment(entries[name], chain.residues, self._keep_long)
                    for name, chain in template.chains.items()
                    if name in chosen
                ]
                alignments[template.pair] = _of_chains(hits)
        return alignments

    def _groups(self, queries: list[_Query]) -> list[list[tuple[str, str]]]:
        """Ids that share one DALICON run upstream: a pair's chains, forward, then all reversed."""
        forward = [
            [(query.id, name) for name in template.chains]
            for query in queries
            for template in query.templates
        ]
        return forward + [[(cd2, cd1) for cd1, cd2 in group] for group in forward]

    def _product(self, mode: str, list1: list[str], list2: list[str]) -> str:
        """WOLF, SOAP or PARSI on every pair of two lists of ids."""
        self.bench.write("list1", "".join(f"{name}\n" for name in list1).encode())
        self.bench.write("list2", "".join(f"{name}\n" for name in list2).encode())
        return self._compare(mode)

    def _filter(self, mode: str, lines: str) -> str:
        """DP or FILTER95 on lines of a mode before it."""
        return self._compare(mode, stdin=lines) if lines else ""

    def _compare(self, mode: str, *arguments: str, stdin: str = "") -> str:
        self.bench.run(
            mode, "serialcompare", "D/", "D/", mode, *arguments,
            writes=(OUTPUT,), timeout=self._timeout, stdin=stdin.encode(),
        )  # fmt: skip
        output = self.bench.output(OUTPUT).decode("ascii", "replace")
        if output and not output.endswith("\n"):
            raise ProgramFailed(f"{mode}: the output is cut")
        return output

    @staticmethod
    def _collect(lines: dict[tuple[str, str], list[str]], output: str) -> None:
        for cd1, cd2, rest in texts.wolfitz_lines(output):
            lines.setdefault((cd1, cd2), []).append(rest)


def _of_chains(hits: list[Alignment]) -> Alignment | None:
    """A template's alignment from those of its chains: upstream reads none where two have one."""
    if len(hits) < 2:
        return hits[0] if hits else None
    zs = ", ".join(hit.z for hit in hits)
    return replace(
        hits[0], equivalences=(), lost=(f"{len(hits)} chains of the template align (z {zs})",)
    )


def _ids(first: str) -> Callable[[str], str]:
    """A source of ids ``Pnnn`` + chain letter, each once, none that is a keyword to a program."""
    number = 0

    def new(letter: str) -> str:
        nonlocal number
        at, number = number, number + 1
        return f"{first}{DIGITS[at // 1296]}{DIGITS[at // 36 % 36]}{DIGITS[at % 36]}{letter}"

    return new


def _work(queries: Iterable[_Query]) -> float:
    """Seconds after which a process over all pairs of the wave cannot be at work any more."""
    return SECONDS_A_RESIDUE_SQUARED * sum(
        query.chain.residues * chain.residues
        for query in queries
        for template in query.templates
        for chain in template.chains.values()
    )
