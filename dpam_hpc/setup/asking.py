"""A conversation on a terminal: what was found, what is missing, each answer checked at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dpam_hpc.errors import InterruptedRun
from dpam_hpc.printable import printable
from dpam_hpc.setup import settling
from dpam_hpc.setup.questions import MEANINGS, PATHS, Question
from dpam_hpc.setup.settling import Settled

CHOICES_SHOWN = 12
NONE = "-"
"""The answer that leaves a setting out where Enter would take what was found."""


class Asking:
    """Asks by ``read`` (a prompt, an answer), and says things."""

    def __init__(
        self, read: Callable[[str], str] = input, say: Callable[[str], None] = print
    ) -> None:
        self._read = read
        self._say = say

    def __call__(self, question: Question) -> str:
        """Ask until the answer is right; empty if the setting is to be left out."""
        self._say(f"\n{question.name}: {question.meaning}")
        if not question.found and question.looked:
            self._say(f"  not found: {printable(question.looked)}")
        for number, each in enumerate(question.found[:CHOICES_SHOWN], 1):
            self._say(f"  {number}  {printable(each.value)}   ({printable(each.where)})")
        if (more := len(question.found) - CHOICES_SHOWN) > 0:
            self._say(f"  ... and {more} more")
        default = question.found[0].value if question.found else ""
        out = f"; {NONE}: none" if default and not question.needed else ""
        shown = printable(default) if default else "none"
        while True:
            answer = self._input(f"{question.name} [{shown}{out}]: ")
            value = self._meant(question, answer or default)
            if not value:
                return ""
            reason = question.problem(value)
            if not reason:
                return value
            self._say(f"  {printable(reason)}")

    def confirm(self, settled: Settled, file: Path) -> bool:
        """Show what would be written, let it be changed; whether to write it."""
        while True:
            self._say("")
            show(settled, self._say)
            answer = self._input(
                f"\nEnter writes {printable(str(file))}; a setting's name changes it;"
                " q writes nothing: "
            )
            if not answer or answer.lower() in ("y", "yes"):
                return True
            if answer.lower() in ("q", "n", "no", "quit"):
                return False
            if answer in MEANINGS and answer not in ("nodes", "scratch_dir"):
                settling.change(settled, answer, self)
            else:
                self._say(f"  there is no setting {printable(answer)} here")

    def _meant(self, question: Question, answer: str) -> str:
        if answer == NONE:
            return ""
        values = [each.value for each in question.found]
        if answer not in values and answer.isdecimal() and 1 <= int(answer) <= len(values):
            return values[int(answer) - 1]
        if question.name in PATHS:
            try:
                return str(Path(answer).expanduser().absolute()) if answer else ""
            except RuntimeError:  # there is no such user
                return answer
        return answer

    def _input(self, prompt: str) -> str:
        try:
            return self._read(prompt).strip()
        except (EOFError, KeyboardInterrupt):
            self._say("")
            raise InterruptedRun(
                "nothing was written", "dpam-hpc init begins anew; with --yes it asks nothing"
            ) from None


def show(settled: Settled, say: Callable[[str], None]) -> None:
    """What is settled, a line each, and what is open."""
    width = max(len(name) for name in MEANINGS)
    for name in MEANINGS:
        if name in settled.values:
            found = settled.values[name]
            say(f"  {name:{width}}  {printable(found.value)}   ({printable(found.where)})")
        elif name in settled.open:
            say(f"  {name:{width}}  not known: {printable(settled.open[name])}")
