"""Findings on a screen: a row a check, the word before the colour."""

from __future__ import annotations

import time

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dpam_hpc.doctor.findings import Findings, Level
from dpam_hpc.printable import printable

STYLES = {Level.OK: "green", Level.WARNING: "bold yellow", Level.PROBLEM: "bold red"}


def show(findings: Findings, console: Console) -> None:
    """Print it; what comes from files and programs is made printable."""
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(findings.at))
    job = f", job {findings.job}" if findings.job else ""
    _print(console, f"{findings.host}{job}, {at}; platform {findings.platform}: {findings.reason}")
    group = None
    table = _table()
    for row in findings.rows:
        if row.group != group:
            group = row.group
            console.print(table)
            table = _table()
            console.print(Text(f"\n{group or 'settings'}", style="bold"))
        found = Text(_one_line(row.found))
        if row.remedy:
            found.append(f"\n-> {_one_line(row.remedy)}", style="bold")
        level = Text(row.level.value, style=STYLES[row.level])
        table.add_row(level, Text(row.check), found)
    console.print(table)
    console.print(Text(f"\n{_verdict(findings)}"))


def _one_line(text: str) -> str:
    return " ".join(printable(text, " ").split())


def _verdict(findings: Findings) -> str:
    problems = sum(row.level is Level.PROBLEM for row in findings.rows)
    warnings = sum(row.level is Level.WARNING for row in findings.rows)
    if problems:
        return f"{_count(problems, 'problem')} to mend, {_count(warnings, 'warning')}"
    return f"no problem, {_count(warnings, 'warning')}" if warnings else "all is well"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _table() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(min_width=len(Level.WARNING.value), no_wrap=True)
    table.add_column(min_width=15, no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _print(console: Console, text: str) -> None:
    console.print(Text(_one_line(text)))
