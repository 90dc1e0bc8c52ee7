"""Stand-in for DALI's five programs: the answers of the real ones, from recordings.

Each program is asked in questions so small that any batch is made of them: one pair of structures,
one run of lines of a pair, one DALICON run under one name. A question holds all that its answer
depends on, ids left out. One that was never recorded ends the program with exit status 97.

A test starts this a few hundred times, so it imports next to nothing.
"""

from __future__ import annotations

import sys
import zlib

try:
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

MAGIC = b"replay 1\n"
KEY_SIZE = 16
ENTRY_SIZE = KEY_SIZE + 8
UNKNOWN = 97
STDOUT = "-"
OUTPUT = "fort.101"
LINE_STARTS = {"DP": b" WOLFITZ ", "FILTER95": b" refine"}
PUU_FILES = ("units.puu", "subunits.puu", "domains.puu")
FSSP_PART = b" read_nextDCCP"
Outputs = dict[str, bytes]


class UnknownInput(Exception):
    """There is no recording of the real program on this input."""


class Question:
    """What one answer depends on: the program or mode, and all that it reads, ids left out."""

    def __init__(self, kind: str, *parts: bytes) -> None:
        self.kind = kind
        self.parts = parts

    def key(self) -> bytes:
        """The question's digest."""
        digest = blake2b(self.kind.encode(), digest_size=KEY_SIZE)
        for part in self.parts:
            digest.update(b"\n%d\n" % len(part))
            digest.update(part)
        return digest.digest()


class Answers:
    """Recorded answers in one file: sorted keys with offset and size, then the answers, deflated.

    Answers of one kind share a dictionary, which is the answer to ``dictionary(kind)``.
    """

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115
        head = self._file.read(len(MAGIC) + 4)
        if head[: len(MAGIC)] != MAGIC:
            raise UnknownInput(f"{path} holds no recordings")
        self._index = self._file.read(ENTRY_SIZE * int.from_bytes(head[len(MAGIC) :], "big"))
        self._dictionaries: dict[str, bytes] = {}

    def get(self, question: Question) -> bytes:
        """The answer; UnknownInput if there is none."""
        if question.kind not in self._dictionaries:
            self._dictionaries[question.kind] = self._read(dictionary(question.kind).key(), b"")
        try:
            return self._read(question.key(), self._dictionaries[question.kind])
        except KeyError:
            text = f"{question.kind} was never recorded on this input: key {question.key().hex()}"
            raise UnknownInput(text) from None

    def stale(self, line: bytes) -> bytes:
        """What FILTER95 makes of a line by what an earlier structure left behind: the worst."""
        return b"   99.9999999     " + line

    def _read(self, key: bytes, zdict: bytes) -> bytes:
        low, high = 0, len(self._index) // ENTRY_SIZE
        while low < high:
            middle = (low + high) // 2
            if self._index[middle * ENTRY_SIZE : middle * ENTRY_SIZE + KEY_SIZE] < key:
                low = middle + 1
            else:
                high = middle
        entry = self._index[low * ENTRY_SIZE : (low + 1) * ENTRY_SIZE]
        if entry[:KEY_SIZE] != key:
            raise KeyError(key)
        size = int.from_bytes(entry[KEY_SIZE + 4 :], "big")
        if not size:
            return b""
        self._file.seek(int.from_bytes(entry[KEY_SIZE : KEY_SIZE + 4], "big"))
        return zlib.decompressobj(-15, zdict).decompress(self._file.read(size))


def dictionary(kind: str) -> Question:
    """The question whose answer is the dictionary of ``kind``."""
    return Question("dictionary", kind.encode())


def write_answers(path: str, answers: dict[bytes, tuple[str, bytes]]) -> None:
    """Write answers, each of a kind and by its key; the same answers give the same bytes."""
    entries: dict[bytes, bytes] = {}
    for kind in sorted({kind for kind, _ in answers.values()}):
        texts = {key: text for key, (of, text) in sorted(answers.items()) if of == kind}
        typical = sorted((text for text in texts.values() if text), key=len)
        zdict = b"".join(text[:8000] for text in typical[:: -(-len(typical) // 4) or 1])
        entries[dictionary(kind).key()] = _deflate(zdict, b"")
        entries.update((key, _deflate(text, zdict)) for key, text in texts.items())
    offset = len(MAGIC) + 4 + ENTRY_SIZE * len(entries)
    index = []
    for key, packed in sorted(entries.items()):
        index.append(key + offset.to_bytes(4, "big") + len(packed).to_bytes(4, "big"))
        offset += len(packed)
    with open(path, "wb") as file:
        file.write(MAGIC + len(entries).to_bytes(4, "big"))
        file.write(b"".join(index) + b"".join(packed for _, packed in sorted(entries.items())))


def _deflate(text: bytes, zdict: bytes) -> bytes:
    if not text:
        return b""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, zdict)
    return packer.compress(text) + packer.flush()


def pack(parts: list[bytes]) -> bytes:
    """Several texts as one."""
    return b"".join(b"%d\n%b" % (len(part), part) for part in parts)


def unpack(packed: bytes) -> list[bytes]:
    """The inverse of ``pack``."""
    parts = []
    while packed:
        size, _, rest = packed.partition(b"\n")
        parts.append(rest[: int(size)])
        packed = rest[int(size) :]
    return parts


def fill(text: bytes, ids: list[bytes]) -> bytes:
    """Put ids (letters and digits, five) where ``blank`` left marks: whole, dashed or cut."""
    for number, name in enumerate(ids):
        for form, mark in zip(_forms(name), _marks(number), strict=True):
            text = text.replace(mark, form)
    return text


def blank(text: bytes, ids: list[bytes]) -> bytes:
    """Put a mark for each id."""
    for number, name in enumerate(ids):
        for form, mark in zip(_forms(name), _marks(number), strict=True):
            text = text.replace(form, mark)
    return text


def _forms(name: bytes) -> tuple[bytes, bytes, bytes]:
    return name, name[:4] + b"-" + name[4:], b"PDBID     " + name[:4]


def _marks(number: int) -> tuple[bytes, bytes, bytes]:
    return b"\1%c" % (48 + number), b"\2%c" % (48 + number), b"\3%c" % (48 + number)


def with_id(dat: bytes, name: bytes) -> bytes:
    """A ``.dat`` with another id in its three head lines."""
    first, *rest = (b"\n" + dat).split(b"\n>>>> ")
    return (b"\n>>>> " + name).join([first, *(part[5:] for part in rest)])[1:]


def undated(dssp: bytes) -> bytes:
    """A ``.dssp`` with a fixed date in its first line."""
    at = dssp.find(b"DATE=")
    if not 0 <= at < dssp.find(b"\n"):
        return dssp
    return dssp[: at + 5] + b"01-JAN-2000" + dssp[at + 16 :]


def without_preamble(puu: bytes) -> bytes:
    """One of puu's files from its first ``//`` on: no date, no notice, all that puutos reads."""
    return puu if puu.startswith(b"//\n") else puu[puu.index(b"\n//\n") + 1 :]


def run(program: str, arguments: list[str], stdin: bytes, answers: Answers) -> Outputs:
    """What ``program`` writes, by file name; what would be empty is left out."""
    if program not in PROGRAMS:
        raise UnknownInput("no program of DALI")
    outputs = PROGRAMS[program](arguments, stdin, answers)
    return {name: content for name, content in outputs.items() if content}


def _dsspcmbi(arguments: list[str], stdin: bytes, answers: Answers) -> Outputs:
    pdb, output = arguments
    return {output: answers.get(Question("dsspcmbi", _read(pdb)))}


def _puu(arguments: list[str], stdin: bytes, answers: Answers) -> Outputs:
    name, pdb, dssp = arguments
    parts = [name[4:].encode(), _read("puu.default"), _read(pdb), undated(_read(dssp))]
    question = Question("puu", *parts)
    contents = unpack(answers.get(question))
    return dict(zip(PUU_FILES, (fill(text, [name.encode()]) for text in contents), strict=True))


def _puutos(arguments: list[str], stdin: bytes, answers: Answers) -> Outputs:
    units, dssp, folder = arguments
    text = without_preamble(_read(units))
    fields = dict(line.split(maxsplit=1) for line in text.splitlines()[1:3])
    name = fields[b"PDBID"].strip() + fields[b"CHAIN"].strip()
    answer = answers.get(Question("puutos", blank(text, [name]), undated(_read(dssp))))
    return {f"{folder}{name.decode()}.dat": fill(answer, [name])}


def _serialcompare(arguments: list[str], stdin: bytes, answers: Answers) -> Outputs:
    folder1, folder2, mode, *options = arguments
    if mode not in MODES or options != (["T"] if mode == "DALICON" else []):
        raise UnknownInput(f"no recordings of mode {' '.join([mode, *options])}")
    return {OUTPUT: MODES[mode](mode, Dats(folder1), Dats(folder2), stdin, answers)}


class Dats:
    """The ``.dat`` files of a folder, ids left out, each read once."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._read: dict[bytes, bytes] = {}

    def __getitem__(self, name: bytes) -> bytes:
        if len(name) != 5 or not name.isalnum():
            raise UnknownInput(f"{name!r} is no id")
        if name not in self._read:
            self._read[name] = with_id(_read(f"{self._folder}{name.decode()}.dat"), b"-----")
        return self._read[name]


def _product(mode: str, dats1: Dats, dats2: Dats, stdin: bytes, answers: Answers) -> bytes:
    """WOLF and PARSI: each pair of two lists has an answer of its own."""
    list1, list2 = _read("list1").split(), _read("list2").split()
    return b"".join(
        fill(answers.get(Question(mode, dats1[cd1], dats2[cd2])), [cd1, cd2])
        for cd1 in list1
        for cd2 in list2
    )


def _soap(mode: str, dats1: Dats, dats2: Dats, stdin: bytes, answers: Answers) -> bytes:
    """SOAP moves its first structure in place: one answer for all pairs of two lists."""
    list1, list2 = _read("list1").split(), _read("list2").split()
    dats = [*(dats1[name] for name in list1), *(dats2[name] for name in list2)]
    return fill(answers.get(Question(mode, b"%d" % len(list1), *dats)), list1 + list2)


def _dp(mode: str, dats1: Dats, dats2: Dats, stdin: bytes, answers: Answers) -> bytes:
    """DP: an answer for each run of lines of one pair."""
    return b"".join(
        fill(answers.get(Question(mode, dats1[cd1], dats2[cd2], b"".join(rest))), [cd1, cd2])
        for cd1, cd2, rest in _runs_of_lines(LINE_STARTS[mode], stdin)
    )


def _filter95(mode: str, dats1: Dats, dats2: Dats, stdin: bytes, answers: Answers) -> bytes:
    """FILTER95: an answer for each run of lines of one pair, on the first structure's own domains.

    PARSI numbers more domains than FILTER95 knows of. FILTER95 says nothing of a line on one of
    the others, unless the process had read a first structure with more domains before: then what
    it says is of that one.
    """
    outputs = []
    known = 0
    for cd1, cd2, rest in _runs_of_lines(LINE_STARTS[mode], stdin):
        own = domains(dats1[cd1])
        lines = [line for line in rest if int(line.split(maxsplit=1)[0]) <= own]
        if lines:
            question = Question(mode, dats1[cd1], dats2[cd2], b"".join(lines))
            outputs.append(fill(answers.get(question), [cd1, cd2]))
        for line in rest:
            if own < int(line.split(maxsplit=1)[0]) <= known:
                outputs.append(answers.stale(cd1 + cd2 + line))
        known = max(known, own)
    return b"".join(outputs)


def domains(dat: bytes) -> int:
    """The number of domains in the last part of a ``.dat``, the one that FILTER95 reads."""
    return int(dat[dat.rindex(b"\n>>>> ") + 11 :][:5])


def _runs_of_lines(start: bytes, stdin: bytes) -> list[tuple[bytes, bytes, list[bytes]]]:
    """Runs of lines of the same pair: its ids, and each line's rest."""
    runs: list[tuple[bytes, bytes, list[bytes]]] = []
    at = len(start)
    for line in stdin.splitlines(keepends=True):
        if line[:at] != start or line[-1:] != b"\n":
            raise UnknownInput(f"the input has a line that begins {line[:20]!r}")
        cd1, cd2 = line[at : at + 5], line[at + 5 : at + 10]
        if not runs or runs[-1][:2] != (cd1, cd2):
            runs.append((cd1, cd2, []))
        runs[-1][2].append(line[at + 10 :])
    return runs


def _dalicon(mode: str, dats1: Dats, dats2: Dats, stdin: bytes, answers: Answers) -> bytes:
    """DALICON moves its first structure in place: an answer for each run of entries of one name."""
    groups: list[tuple[bytes, list[bytes]]] = []
    lines = iter(stdin.splitlines())
    for cd1 in lines:
        if cd1 == b"END":
            break
        if not groups or groups[-1][0] != cd1:
            groups.append((cd1, []))
        for cd2 in lines:
            if cd2 == b"END":
                break
            groups[-1][1].append(b"\n".join([cd2, next(lines), next(lines), next(lines)]))
        else:
            raise UnknownInput("DALICON's input is cut")
    outputs = []
    for cd1, entries in groups:
        cd2s = list(dict.fromkeys(entry[:5] for entry in entries))
        ids = [cd1, *cd2s]
        text = b"".join(b"%b\n%b\nEND\n" % (cd1, entry) for entry in entries)
        dats = [dats1[cd1], *(dats2[cd2] for cd2 in cd2s)]
        outputs.append(fill(answers.get(Question(mode, blank(text, ids), *dats)), ids))
    return b"".join(outputs)


def _fssp(arguments: list[str], stdin: bytes, answers: Answers) -> Outputs:
    """The report: a head, an answer for each block, a foot that repeats the last block's ids."""
    query, number, folder1, folder2 = arguments
    cd1, dats1, dats2 = query.encode(), Dats(folder1), Dats(folder2)
    before, *blocks = stdin.split(b" DCCP ")
    if before or not blocks:
        raise UnknownInput("fssp reads no DCCP blocks")
    head, bodies, foot = b"", [], b""
    for block in blocks:
        ids = block.split(b"\n", 1)[0].split()[-2:]
        cd2s = [name for name in ids if name != cd1]
        if len(cd2s) != 1:
            raise UnknownInput(f"fssp reads a block of {b' '.join(ids)!r} for {query}")
        names = [cd1, *cd2s]
        text = blank(b" DCCP " + block, names)
        question = Question("fssp", number.encode(), dats1[cd1], dats2[cd2s[0]], text)
        head, body, foot = (fill(part, names) for part in unpack(answers.get(question)))
        bodies.append(body)
    return {STDOUT: head + b"".join(bodies) + foot}


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


PROGRAMS = {
    "dsspcmbi": _dsspcmbi,
    "puu": _puu,
    "puutos": _puutos,
    "serialcompare": _serialcompare,
    "fssp": _fssp,
}
MODES = {
    "WOLF": _product,
    "PARSI": _product,
    "SOAP": _soap,
    "DP": _dp,
    "FILTER95": _filter95,
    "DALICON": _dalicon,
}


def main(recordings: str) -> int:
    """Be the program of this name; the exit status."""
    program = sys.argv[0].rpartition("/")[2]
    try:
        outputs = run(program, sys.argv[1:], sys.stdin.buffer.read(), Answers(recordings))
    except (UnknownInput, OSError, ValueError, KeyError, StopIteration) as error:
        sys.stderr.write(f"{program}: error: {error}\n")
        return UNKNOWN
    return write_outputs(outputs)


def write_outputs(outputs: Outputs) -> int:
    """Write into files of the working folder, through links, and to standard output; 0."""
    for name, content in outputs.items():
        if name == STDOUT:
            sys.stdout.buffer.write(content)
            sys.stdout.flush()
        else:
            with open(name, "wb") as file:
                file.write(content)
    return 0
