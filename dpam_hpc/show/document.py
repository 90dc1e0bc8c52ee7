"""What verbs print with ``--json``: one object with the number of its form (docs/json.md)."""

from __future__ import annotations

import json
from typing import Any

SCHEMA = 1


def document(**content: Any) -> str:
    """A document for programs."""
    return json.dumps({"schema": SCHEMA, **content}, indent=1)


def line(**content: Any) -> str:
    """The same on one line, where several follow each other."""
    return json.dumps({"schema": SCHEMA, **content})
