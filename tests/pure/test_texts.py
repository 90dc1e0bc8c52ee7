"""DALI's texts. The constants below were written by DaliLite.v5 and are at most shortened."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpam_hpc.align.aligner import ProgramFailed
from dpam_hpc.align.dali import texts
from dpam_hpc.align.dali.texts import Prealignment

DCCP = """\
 DCCP   1    278.1 9.9   0     4.0           0     12                P000A P002A
 alignment
  94    97 125   142 155   169 172   184 186   190 191   194 198   201 207   210
 219   222 233   237 238   241 368   371
   2     5   8    25  27    41  42    54  55    59  61    64  68    71  77    80
 124   127 131   135 142   145 151   154
 DCCP   1   1780.8 9.9   0    16.5           0      3                P001A P000A
 alignment
   2    17  19   185 186   186
 855   870 871  10371038  1038
 DCCP   1   1904.5 9.9   0    21.2           0      1                P000A P001A
 alignment
1040  1224
   3   187
"""


def test_dccp_blocks() -> None:
    blocks = texts.dccp_blocks(DCCP)
    assert [(block.cd1, block.cd2, block.z) for block in blocks] == [
        ("P000A", "P002A", 4.0),
        ("P001A", "P000A", 16.5),
        ("P000A", "P001A", 21.2),
    ]
    assert "".join(block.text for block in blocks) == DCCP


def test_dccp_ranges_of_two_lines() -> None:
    ranges = texts.dccp_blocks(DCCP)[0].prealignment().ranges
    assert len(ranges) == 4 * 12
    assert ranges[:4] == ("94", "97", "125", "142")
    assert ranges[22:28] == ("368", "371", "2", "5", "8", "25")
    assert ranges[-2:] == ("151", "154")


def test_dccp_ranges_that_touch() -> None:
    _, three, one = (block.prealignment() for block in texts.dccp_blocks(DCCP))
    assert three == Prealignment(
        "P001A", "P000A",
        ("2", "17", "19", "185", "186", "186", "855", "870", "871", "1037", "1038", "1038"),
    )  # fmt: skip
    assert one.ranges == ("1040", "1224", "3", "187")


def test_dccp_of_three_digits_before_the_point() -> None:
    text = DCCP.replace("    16.5 ", "   116.5 ")
    assert texts.dccp_blocks(text)[1].z == 116.5


@pytest.mark.parametrize("gone", [4, 5])
def test_a_dccp_block_without_a_line_of_ranges_is_refused(gone: int) -> None:
    lines = DCCP.splitlines(keepends=True)
    first = texts.dccp_blocks("".join(lines[:gone] + lines[gone + 1 : 6]))[0]
    with pytest.raises(ProgramFailed, match="12 ranges"):
        first.prealignment()


@pytest.mark.parametrize("text", [DCCP[10:], " DCCP\n", DCCP.replace("    16.5 ", "    **** ")])
def test_a_dccp_block_without_its_head_is_refused(text: str) -> None:
    with pytest.raises(ProgramFailed, match="block"):
        texts.dccp_blocks(text)


WOLFITZ = (
    " WOLFITZ P003AP000A           1           1         187         853        1039\n"
    " WOLFITZ P001AP000A           3           2          17          19         185         186"
    "         186         855         870         871        1037        1038        1038\n"
)


def test_wolfitz_lines_and_their_inverse() -> None:
    found = list(texts.wolfitz_lines(WOLFITZ))
    assert [(cd1, cd2) for cd1, cd2, _ in found] == [("P003A", "P000A"), ("P001A", "P000A")]
    assert found[0][2].split() == ["1", "1", "187", "853", "1039"]
    assert "".join(texts.wolfitz_line(*line) for line in found) == WOLFITZ


@pytest.mark.parametrize(
    "text",
    [
        WOLFITZ[:-15] + "\n",
        WOLFITZ.splitlines()[0][:19] + "\n",
        " WOLFIT\n" + WOLFITZ,
        WOLFITZ + " refineP000AP001A          24     1343944           0\n",
        WOLFITZ + "\n",
    ],
)
def test_wolfitz_lines_that_are_cut_or_others_are_refused(text: str) -> None:
    with pytest.raises(ProgramFailed):
        list(texts.wolfitz_lines(text))


def test_parsis_lines_on_domains_that_the_first_structure_has() -> None:
    lines = [
        f" refine{ids}{domain:12}      958522           1         292         312          39\n"
        for ids, domain in [
            ("P000AP001A", 24), ("P000AP001A", 23), ("P001AP000A", 16), ("P001AP000A", 121),
        ]
    ]  # fmt: skip
    text = "".join(lines)
    assert texts.on_own_domains(text, {"P000A": 23, "P001A": 120}) == lines[1] + lines[2]
    assert texts.on_own_domains(text, {"P000A": 24, "P001A": 121}) == text
    assert texts.on_own_domains("", {}) == ""


def filtered(score: str, domain: int, ranges: str, ids: str = "P000AP001A") -> str:
    """A line of FILTER95."""
    numbers = "".join(f"{int(number):12}" for number in ranges.split())
    segments = len(ranges.split()) // 4
    return f"{score:>13}     {ids}{domain:12}     2002590{segments:12}{numbers}"


def ranges(lines: list[str]) -> list[str]:
    """The ranges that are chosen of FILTER95's lines."""
    return [" ".join(entry.ranges) for entry in texts.best_filtered(lines)]


def test_the_best_two_of_a_pair_from_the_best_on() -> None:
    lines = [
        filtered("2.25729704", 23, "1 2 3 4"),
        filtered("13.5783615", 22, "5 6 7 8"),
        filtered("9.12345600", 21, "9 10 11 12"),
    ]
    assert ranges(lines) == ["5 6 7 8", "9 10 11 12"]
    assert texts.best_filtered(lines[1:2]) == [Prealignment("P000A", "P001A", ("5", "6", "7", "8"))]


def test_scores_under_1_are_left_out() -> None:
    lines = [filtered("0.999999940", 2, "1 2 3 4"), filtered("1.00000000", 3, "5 6 7 8")]
    assert ranges(lines) == ["5 6 7 8"]


def test_a_score_twice_goes_by_the_whole_line_from_the_last_on() -> None:
    lines = [
        filtered("2.25729704", 9, "1 2 3 4"),
        filtered("2.25729704", 23, "5 6 7 8"),
        filtered("2.25729704", 16, "9 10 11 12"),
    ]
    assert ranges(lines) == ["5 6 7 8", "9 10 11 12"]


def test_a_line_twice_counts_once() -> None:
    twice = filtered("3.5", 9, "1 2 3 4")
    assert ranges([twice, twice, filtered("2.5", 9, "5 6 7 8")]) == ["1 2 3 4", "5 6 7 8"]
    # The same ranges of another domain are another line.
    again = filtered("3.5", 8, "1 2 3 4")
    assert ranges([twice, again, filtered("2.5", 9, "5 6 7 8")]) == ["1 2 3 4", "1 2 3 4"]


def test_each_pair_has_its_own_two() -> None:
    lines = [
        filtered(score, 9, f"{at} {at} {at} {at}", ids)
        for at, (score, ids) in enumerate(
            [
                ("5.0", "P000AP001A"),
                ("4.0", "P000AP001B"),
                ("3.0", "P000AP001A"),
                ("2.9", "P000AP001A"),
                ("2.0", "P000AP001B"),
                ("1.9", "P000AP001B"),
            ],
            1,
        )
    ]
    chosen = texts.best_filtered(reversed(lines))
    assert [(entry.cd1, entry.cd2, entry.ranges[0]) for entry in chosen] == [
        ("P000A", "P001A", "1"),
        ("P000A", "P001B", "2"),
        ("P000A", "P001A", "3"),
        ("P000A", "P001B", "5"),
    ]


def test_segments_that_are_masked_drop_out_of_both_halves() -> None:
    line = filtered("2.5", 24, "292 311 -99 -99 379 408 74 93 -99 -99 192 221")
    assert ranges([line]) == ["292 311 379 408 74 93 192 221"]


@pytest.mark.parametrize("cut", [0, 12, 25])
def test_a_cut_line_of_filter95_is_refused(cut: int) -> None:
    line = filtered("2.5", 24, "292 311 74 93")
    if cut:
        with pytest.raises(ProgramFailed, match="P000AP001A"):
            texts.best_filtered([line[:-cut]])
    else:
        assert ranges([line])


scores = st.sampled_from(["0.999999940", "1.00000000", "1.50000000", "2.25729704", "13.5783615"])
filter_lines = st.builds(
    filtered,
    scores,
    st.sampled_from([9, 16, 121]),
    st.sampled_from(["1 2 3 4", "10 2 3 4", "1 2 3 5", "-99 -99 1 2 -99 -99 3 4"]),
    st.sampled_from(["P000AP001A", "P000AP001B", "P001AP000A"]),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(filter_lines, max_size=30))
def test_the_order_is_that_of_sort_and_uniq(lines: list[str]) -> None:
    """Upstream's own pipe, then the first two of each pair."""
    piped = subprocess.run(
        ["/bin/sh", "-c", "sort -nr | uniq"],
        input="".join(f"{line}\n" for line in lines),
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    )
    expected: list[tuple[str, list[str]]] = []
    for words in (line.split() for line in piped.stdout.splitlines()):
        if float(words[0]) >= 1 and sum(ids == words[1] for ids, _ in expected) < 2:
            expected.append((words[1], [word for word in words[5:] if word != "-99"]))
    chosen = texts.best_filtered(lines)
    assert [(entry.cd1 + entry.cd2, list(entry.ranges)) for entry in chosen] == expected


def test_dalicons_input() -> None:
    three = texts.dccp_blocks(DCCP)[1].prealignment()
    entry = "P001A\nP000A*\n3\n2 17 19 185 186 186\n855 870 871 1037 1038 1038\nEND\n"
    assert texts.dalicon_input([three]) == entry + "END\n"
    assert texts.dalicon_input([three, three]) == entry + entry + "END\n"


REPORT = """\
-dbsize     1
-query P000-A
 read_nextDCCP returned P000AP002A   4.40000010              12           0
 //
-protein P002A
-compnd  "                                                                      "
-sequen  "NGHMEYYELPDLTEIVERTSEIFEMTITPEAALELARRSRGTPRIANRLLKRVRDYAQIMGDGVIDDKIADQAL"
-ranges  "P000-A P002-A    94 -  97 <=>    2 -   5   (ALA   94  - TRP   97  <=> GLY    2  - GLU    5 )                          "
-ranges  "P000-A P002-A   327 - 330 <=>  148 - 151   (HIS  327  - LEU  330  <=> TYR  148  - MET  151 )                          "
-matrix  "P000-A P002-A  U(1,.)  -0.513264  0.773752  0.371307          -90.421600"
-matrix  "P000-A P002-A  U(2,.)   0.209101 -0.306861  0.928500         -186.971542"
-matrix  "P000-A P002-A  U(3,.)   0.832368  0.554206 -0.004291         -292.426422"
 # final result:   1.56617701       2.76117706      0.985097110       1.24699357E-11
-transrotate x   89.7353 y  158.2038 z   56.4419    -90.422  -186.972  -292.426
-summar  "P000-A P002-A  4.4  3.6   89   156   11      0      0    12 S                                                                          "
 read_nextDCCP returned P000AP001A   21.2000008               1           0
 //
-protein P001A
-ranges  "P000-A P001-A  1040 -1224 <=>    3 - 187   (ASN 1040  - ARG 1224  <=> ASN    3  - ARG  187 )                          "
-matrix  "P000-A P001-A  U(1,.)  -0.875734  0.482766  0.005151          291.891541"
-matrix  "P000-A P001-A  U(2,.)   0.479738  0.871342 -0.103022          -25.672184"
-matrix  "P000-A P001-A  U(3,.)  -0.054223 -0.087749 -0.994666          -41.526054"
-transrotate x   -5.9133 y  179.7049 z   28.8666    291.892   -25.672   -41.526
-summar  "P000-A P001-A 21.2  0.5  185   187  100      0      0     1 S                                                                          "
 read_nextDCCP returned P000AP001A   21.2000008               1          -1
"""  # noqa: E501
LONG_TEMPLATE = '-ranges  "P000-A P001-A     3 - 187 <=> 1040 -1224   (ASN    3  - ARG  187)"'
LONG_BOTH = '-ranges  "P000-A P001-A     1 -1225 <=>    1 -1225   (GLN    1  - TYR 1225)"'


def lines_of(name: str, text: str = REPORT) -> list[str]:
    """The report's lines on a template."""
    return texts.report_entries(text)[name]


def with_ranges(*lines: str) -> list[str]:
    """The report on P001A with other ranges."""
    return [*lines, *(line for line in lines_of("P001A") if not line.startswith("-ranges"))]


def test_a_reports_alignment() -> None:
    assert list(texts.report_entries(REPORT)) == ["P002A", "P001A"]
    found = texts.report_alignment(lines_of("P002A"), 156, keep_long=False)
    assert found.z == "4.4"
    assert found.rotation == (
        "-0.513264\t0.773752\t0.371307",
        "0.209101\t-0.306861\t0.928500",
        "0.832368\t0.554206\t-0.004291",
    )
    assert found.translation == "-90.421600\t-186.971542\t-292.426422"
    assert found.equivalences == (
        *((q, q - 92) for q in range(94, 98)),
        *((q, q - 179) for q in range(327, 331)),
    )
    assert found.template_length == 156
    assert found.lost == ()


def test_z_is_printed_as_python_prints_it() -> None:
    text = REPORT.replace("P002-A  4.4  3.6", "P002-A 12.0  3.6")
    assert texts.report_alignment(lines_of("P002A", text), 156, keep_long=False).z == "12.0"


def test_a_z_of_100_touches_the_id_and_the_rmsd_is_taken_for_it_as_upstream_does() -> None:
    text = REPORT.replace("P002-A  4.4  3.6", "P002-A104.4  3.6")
    assert texts.report_alignment(lines_of("P002A", text), 156, keep_long=False).z == "3.6"


@pytest.mark.parametrize(
    ("line", "lost", "kept"),
    [
        (
            lines_of("P001A")[0],
            "1040 -1224 <=> 3 - 187",
            [(q, q - 1037) for q in range(1040, 1225)],
        ),
        (LONG_TEMPLATE, "3 - 187 <=> 1040 -1224", [(q, q + 1037) for q in range(3, 188)]),
        (LONG_BOTH, "1 -1225 <=> 1 -1225", [(q, q) for q in range(1, 1226)]),
        (
            '-ranges  "P000-A P001-A   990 -1001 <=> 1000 -1011   (ASN  990  - ARG 1001)"',
            "990 -1001 <=> 1000 -1011",
            [(q, q + 10) for q in range(990, 1002)],
        ),
    ],
)
def test_segments_whose_numbers_touch_are_lost_as_upstream_loses_them_or_kept(
    line: str, lost: str, kept: list[tuple[int, int]]
) -> None:
    other = lines_of("P002A")[-6]
    assert other.startswith("-ranges")
    pairs = [(q, q - 179) for q in range(327, 331)]
    for lines, others in (([line], []), ([other, line], pairs)):
        as_upstream = texts.report_alignment(with_ranges(*lines), 187, keep_long=False)
        assert as_upstream.lost == (lost,)
        assert as_upstream.equivalences == tuple(others)
        mended = texts.report_alignment(with_ranges(*lines), 187, keep_long=True)
        assert mended.lost == ()
        assert mended.equivalences == (*others, *kept)


def test_keeping_long_segments_changes_no_other() -> None:
    lines = lines_of("P002A")
    assert texts.report_alignment(lines, 156, True) == texts.report_alignment(lines, 156, False)


def test_segments_of_unequal_length_are_lost() -> None:
    line = lines_of("P001A")[0].replace("1040 -1224 <=>    3 - 187", " 327 - 330 <=>  148 - 152")
    for keep_long in (False, True):
        found = texts.report_alignment(with_ranges(line), 187, keep_long)
        assert found.lost == ("327 - 330 <=> 148 - 152",)
        assert found.equivalences == ()


@pytest.mark.parametrize("gone", ["-summar", "-ranges", "U(1,.)", "U(3,.)"])
def test_a_report_that_lacks_a_part_is_refused(gone: str) -> None:
    lines = [line for line in lines_of("P002A") if gone not in line]
    with pytest.raises(ProgramFailed, match="without z, matrix or equivalences"):
        texts.report_alignment(lines, 156, keep_long=False)
