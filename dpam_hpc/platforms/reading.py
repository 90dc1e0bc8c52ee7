"""Read a platform's file and those that it extends; every error is told at once, with its line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from dpam_hpc import toml_file
from dpam_hpc.errors import ConfigError
from dpam_hpc.platforms.model import Container, Launch, Partition, Platform, Scheduler, Scratch
from dpam_hpc.platforms.toml_lines import KeyPath, key_lines

HINT = "docs/platforms.md says what each field is"
TABLES: dict[str, type[BaseModel]] = {
    "scheduler": Scheduler,
    "launch": Launch,
    "scratch": Scratch,
    "container": Container,
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a platform's file; ``line`` counts from 1."""

    file: Path
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        return f"{self.file}:{self.line}: {key}{self.text}"


class PlatformError(ConfigError):
    """Platform files that cannot be used, with all that is wrong with them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        told = "\n  ".join(str(problem) for problem in problems)
        super().__init__(f"platform files that cannot be used:\n  {told}", HINT)
        self.problems = tuple(problems)


@dataclass(frozen=True)
class _File:
    path: Path
    content: dict[str, Any]
    lines: dict[KeyPath, int]

    def problem(self, where: KeyPath, text: str, key: KeyPath = ()) -> Problem:
        """A problem at a key, or at the nearest table above it; ``key`` if it is another's."""
        line = next(
            (self.lines[where[:n]] for n in range(len(where), 0, -1) if where[:n] in self.lines), 1
        )
        return Problem(self.path, line, ".".join(key or where), text)


def read(path: Path, known: Mapping[str, Sequence[Path]]) -> Platform:
    """The platform of a file; PlatformError tells all that is wrong with it.

    ``known`` has for each platform's name its files, the strongest first: ``extends`` names one of
    them. A file that extends its own name amends the file that it hides.
    """
    problems: list[Problem] = []
    chain = _chain(path, known, problems)
    if not chain:
        raise PlatformError(problems)
    is_whole = not problems
    merged: dict[str, Any] = {}
    for file in reversed(chain):
        merged.pop("name", None)
        merged = _merged(merged, file.content)
    problems += _name_problems(chain[0])
    problems += [_located(chain, *item) for item in _contradictions(merged)]
    platform = None
    try:
        # As JSON, because strict mode then takes lists for tuples: 1 is no true, "2" is no 2.
        platform = Platform.model_validate_json(json.dumps(merged, default=str), strict=True)
    except ValidationError as error:
        for item in error.errors():
            if item["type"] != "missing" or is_whole:  # what is missing may be in a lost file
                problems.append(_explained(chain, item))
    if problems or platform is None:
        unique = dict.fromkeys(problems)
        order = {file.path: number for number, file in enumerate(chain)}
        raise PlatformError(sorted(unique, key=lambda p: (order.get(p.file, len(order)), p.line)))
    return _as_its_base(platform, chain)


def _as_its_base(platform: Platform, chain: Sequence[_File]) -> Platform:
    """A file that amends its own name extends what the amended one extends."""
    names = [file.content.get("extends") for file in chain]
    other = next((name for name in names if name != platform.name), None)
    return platform.model_copy(update={"extends": other})


def _chain(path: Path, known: Mapping[str, Sequence[Path]], problems: list[Problem]) -> list[_File]:
    """The file, then the one that it extends, and so on; what cannot be had is a problem."""
    chain: list[_File] = []
    while True:
        file = _loaded(path, problems)
        if file is None:
            return chain
        chain.append(file)
        wanted = file.content.get("extends")
        if not isinstance(wanted, str):
            return chain
        seen = [each.path.resolve() for each in chain]
        candidates = list(known.get(wanted, ()))
        if wanted == path.stem:
            candidates = [each for each in candidates if each.resolve() not in seen]
        if not candidates:
            text = f"there is no platform {wanted!r}"
            if wanted == path.stem:
                text = f"there is no other platform {wanted!r} that this one could amend"
            problems.append(file.problem(("extends",), text + nearest(wanted, known)))
            return chain
        if candidates[0].resolve() in seen:
            names = " -> ".join([*(each.path.stem for each in chain), wanted])
            problems.append(file.problem(("extends",), f"goes round in a circle: {names}"))
            return chain
        path = candidates[0]


def _loaded(path: Path, problems: list[Problem]) -> _File | None:
    try:
        text = path.read_bytes().decode()
        return _File(path, toml_file.loads(text), key_lines(text))
    except OSError as error:
        problems.append(Problem(path, 1, "", f"cannot be read: {error.strerror}"))
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        problems.append(Problem(path, line, "", "is not UTF-8"))
    except toml_file.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        problems.append(Problem(path, line, "", f"is no TOML: {error}"))
    except ValueError as error:
        problems.append(Problem(path, 1, "", str(error)))
    return None


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``: tables key by key, everything else as a whole.

    ``env_match`` too is taken as a whole, or an extension could not get rid of a rule.
    """
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, dict) and isinstance(below, dict) and key != "env_match":
            value = _merged(below, value)
        result[key] = value
    return result


def _name_problems(file: _File) -> list[Problem]:
    name = file.content.get("name")
    if isinstance(name, str) and name != file.path.stem:
        return [file.problem(("name",), f"{name!r} must be the file's own name, {file.path.stem}")]
    return []


def _contradictions(content: Mapping[str, Any]) -> Iterable[tuple[KeyPath, str]]:
    """What does not fit together; from the raw content, so that it is told beside other errors."""
    partitions = _table(content, "partitions")
    default = content.get("default_partition")
    if isinstance(default, str) and partitions and default not in partitions:
        text = f"{default!r} is not among the partitions" + nearest(default, partitions)
        yield ("default_partition",), text
    for name, partition in partitions.items():
        fewest, most = (_number(partition, key) for key in ("min_nodes", "max_nodes"))
        if fewest and most and fewest > most:
            yield ("partitions", name, "min_nodes"), f"{fewest} is more than max_nodes, {most}"
    scheduler = _table(content, "scheduler")
    access, requires = (scheduler.get(key) for key in ("access", "requires"))
    if isinstance(access, list) and isinstance(requires, list):
        for name in ("account", "partition"):
            if name in requires and not any(f"{{{name}}}" in str(each) for each in access):
                text = f"{name!r} is required, but no template of access has {{{name}}}"
                yield ("scheduler", "requires"), text


def _table(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = content.get(name)
    return value if isinstance(value, dict) else {}


def _number(table: Any, key: str) -> int:
    value = table.get(key) if isinstance(table, dict) else None
    return value if isinstance(value, int) else 0


def _explained(chain: Sequence[_File], item: Any) -> Problem:
    # Without list indices: the value is shown, and a list has the line of its key.
    where = tuple(part for part in item["loc"] if isinstance(part, str) and part != "[key]")
    kind = item["type"]
    text = str(item["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    if kind == "extra_forbidden":
        return _located(chain, where, "there is no such field" + _better_name(where))
    if kind == "missing":
        file = next((each for each in chain if where[:-1] in each.lines), chain[0])
        return file.problem(where[:-1], "is missing", where)
    if kind == "literal_error":
        text += nearest(str(item["input"]), _options(item), " (did you mean {}?)")
    text = text[0].lower() + text[1:]
    value = "" if isinstance(item["input"], dict) else f"{item['input']!r}: "
    return _located(chain, where, f"{value}{text}")


def _options(item: Any) -> list[str]:
    return re.findall(r"'([^']*)'", str(item.get("ctx", {}).get("expected", "")))


def _better_name(where: KeyPath) -> str:
    """What may be meant by an unknown key: the same in another table, or a field of its own."""
    key, table = where[-1], where[:-1]
    model: type[BaseModel] = Platform
    if table:
        model = Partition if table[0] == "partitions" else TABLES.get(table[0], Platform)
    others: dict[str, type[BaseModel]] = {"[partitions.NAME]": Partition, "the top": Platform}
    others |= {f"[{name}]": each for name, each in TABLES.items()}
    places = [place for place, each in others.items() if key in _fields(each)]
    return f"; it belongs in {' or '.join(places)}" if places else nearest(key, _fields(model))


def _fields(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _located(chain: Sequence[_File], where: KeyPath, text: str) -> Problem:
    """A problem in the file that has the key: the strongest one of the chain."""
    for length in range(len(where), 0, -1):
        for file in chain:
            if where[:length] in file.lines:
                return file.problem(where, text)
    return chain[0].problem(where, text)


def nearest(name: str, among: Iterable[str], form: str = "; did you mean {}?") -> str:
    """A question after the nearest known name, or nothing."""
    near = get_close_matches(name, list(among), 1)
    return form.format(near[0]) if near else ""
