"""Is a document of the form that docs/schemas says: no field less, and none more."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"
SUFFIX = ".schema.json"


def names() -> list[str]:
    """All that are documented."""
    return sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}"))


def check(name: str, text: str) -> dict[str, Any]:
    """The document; AssertionError with all that is wrong with it."""
    document: dict[str, Any] = json.loads(text)
    wrong = [f"{e.json_path}: {e.message}" for e in validator(name).iter_errors(document)]
    assert not wrong, f"{name}: " + "\n".join(wrong)
    return document


@cache
def validator(name: str) -> Draft202012Validator:
    """A schema that takes no field that it does not name: programs may meet some, tests may not."""
    schemas = {n: _closed(json.loads((FOLDER / f"{n}{SUFFIX}").read_text())) for n in names()}
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    registry: Any = Registry().with_resources(
        [(f"{n}{SUFFIX}", Resource.from_contents(schema)) for n, schema in schemas.items()]
    )
    return Draft202012Validator(schemas[name], registry=registry)


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(closed.get("properties"), dict) and closed.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed
