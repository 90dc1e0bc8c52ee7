"""One setting after the other: given, known, found, or asked for; what is still open at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpam_hpc import toml_file, trust
from dpam_hpc.errors import ConfigError
from dpam_hpc.setup import finding
from dpam_hpc.setup.questions import MEANINGS, PATHS, Found, Question

Ask = Callable[[Question], str]
"""Asks a person; an empty answer leaves the setting out."""
GIVEN, ANSWERED = "as given", "as answered"
CHOICES_SHOWN = 8


def listed(choices: Sequence[Found]) -> str:
    """What was found, on a line."""
    more = f" and {len(choices) - CHOICES_SHOWN} more" if len(choices) > CHOICES_SHOWN else ""
    return ", ".join(each.value for each in choices[:CHOICES_SHOWN]) + more


@dataclass
class Settled:
    """Values with where each came from, and what is needed and not known, with the reason."""

    work_dir: Path
    values: dict[str, Found] = field(default_factory=dict)
    open: dict[str, str] = field(default_factory=dict)
    choices: dict[str, list[Found]] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)
    """Settings that are not asked for, as the file that is replaced has them."""

    def value(self, name: str) -> str:
        """A setting's value; empty if it has none."""
        return self.values[name].value if name in self.values else ""


def settle(
    work_dir: Path, given: Mapping[str, str], known: Mapping[str, Found], ask: Ask | None
) -> Settled:
    """Settle all settings of a working folder; ConfigError tells all that are given wrong.

    ``known``: from the environment and settings files. ``ask`` None: nobody is asked.
    """
    return _Settling(work_dir, given, known, ask).all()


def change(settled: Settled, name: str, ask: Ask) -> None:
    """Ask once more for one setting; of another platform its account and partition as well."""
    questions = _Settling(settled.work_dir, {}, {}, ask)
    questions.settled = settled
    before = settled.values.pop(name, None)
    question = questions.question(name)
    if before and before.value not in [each.value for each in question.found]:
        question.found.insert(0, before)
    questions.put(question, ask(question), ANSWERED)
    if name == "platform":
        questions.ask_for_access()


class _Settling:
    def __init__(
        self,
        work_dir: Path,
        given: Mapping[str, str],
        known: Mapping[str, Found],
        ask: Ask | None,
    ) -> None:
        self._given, self._known, self._ask = given, known, ask
        self._problems: list[str] = []
        self.settled = Settled(work_dir)

    def all(self) -> Settled:
        """In the order in which one decides on another."""
        self._settle("platform")
        self._settle("data_dir")
        if self._on_cluster() or "image" in self._given:
            self._image_or_dali()
        else:
            self._settle("dali_home")
        self._settle("templates")
        self.ask_for_access()
        for name in ("nodes", "scratch_dir"):
            if name in self._known:
                self.settled.values[name] = self._known[name]
        if self._problems:
            raise ConfigError("\n  ".join(self._problems))
        return self.settled

    def ask_for_access(self) -> None:
        """Account and partition, as the platform wants them."""
        for name in ("account", "partition"):
            self.settled.values.pop(name, None)
            self.settled.open.pop(name, None)
            self.settled.choices.pop(name, None)
            if self._on_cluster():
                self._settle(name)

    def question(self, name: str) -> Question:
        """The question about a setting, with what is found now."""
        work_dir, value = self.settled.work_dir, self.settled.value
        site = finding.known_site(value("platform"))
        if name == "platform":
            return finding.platform()
        if name == "data_dir":
            return finding.data_dir(work_dir)
        if name == "dali_home":
            return finding.dali_home()
        if name == "templates":
            dali = "" if value("image") else value("dali_home")
            return finding.templates(work_dir, value("data_dir"), dali)
        if site is None:
            return Question(name, asked=False)
        if name == "image":
            return finding.image(work_dir, value("data_dir"), site)
        return finding.account(site) if name == "account" else finding.partition(site)

    def put(self, question: Question, value: str, where: str) -> None:
        """Note a value, or that there is none."""
        name = question.name
        self.settled.choices[name] = question.found
        self.settled.open.pop(name, None)
        if value:
            found = {each.value: each for each in question.found}
            self.settled.values[name] = found.get(value, Found(value, where))
        elif question.needed:
            several = "found, and not chosen: " + listed(question.found)
            self.settled.open[name] = several if question.found else question.looked

    def _on_cluster(self) -> bool:
        return finding.is_cluster(finding.known_site(self.settled.value("platform")))

    def _image_or_dali(self) -> None:
        """The image has a DALI of its own; where there is one the other is not asked for."""
        dali = self.question("dali_home")
        has_dali = bool(self._told(dali) or dali.taken)
        self._settle("image", asked=not has_dali)
        if not self.settled.value("image") or "dali_home" in self._given:
            self._settle("dali_home")

    def _settle(self, name: str, asked: bool = True) -> None:
        question = self.question(name)
        told = self._told(question)
        if told:
            self.put(question, told.value, told.where)
        elif question.taken:
            self.put(question, question.taken.value, "")
        elif self._ask and question.asked and asked and not self._problems:
            self.put(question, self._ask(question), ANSWERED)
        else:
            self.put(question, "", "")

    def _told(self, question: Question) -> Found | None:
        """What is given, or known by settings, if it is right."""
        name = question.name
        if value := self._given.get(name):
            if reason := question.problem(value):
                problem = f"{name} = {value!r}: {reason}"
                if problem not in self._problems:
                    self._problems.append(problem)
            return Found(value, GIVEN)
        known = self._known.get(name)
        if known is None:
            return None
        if reason := question.problem(known.value):
            question.looked = f"{reason} ({known.where})"
            return None
        return known


def other_settings(path: Path, settled: Settled) -> dict[str, Any]:
    """What a settings file says besides; nothing where it is not there, or cannot be used."""
    from dpam_hpc.settings import EXCLUDED_BY, SubmitSettings

    try:
        content = toml_file.loads(trust.read(path))
    except (OSError, ValueError):
        return {}
    return {
        name: value
        for name, value in content.items()
        if name in SubmitSettings.model_fields.keys() - MEANINGS
        and EXCLUDED_BY.get(name) not in settled.values
        and all(
            isinstance(each, str | int | float)  # no date, which is a TOML value too
            for each in (value if isinstance(value, list) else [value])
        )
    }


def known_values(work_dir: Path) -> dict[str, Found]:
    """What environment and settings files say; nothing where a file of them cannot be used."""
    from dpam_hpc.settings import SubmitSettings, resolve_for

    try:
        resolved = resolve_for(SubmitSettings, {"work_dir": work_dir})
    except ConfigError:
        return {}  # it is about to be replaced, or the next verb will tell
    values = resolved.settings.model_dump(mode="json")
    found = {}
    for name in MEANINGS:
        if values[name] and resolved.sources[name] != "default":
            value = str(Path(values[name]).absolute()) if name in PATHS else str(values[name])
            found[name] = Found(value, resolved.sources[name])
    return found
