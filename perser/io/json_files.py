"""Read and write JSON files, and turn options into what JSON can hold."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from perser.io.files import write_text_atomic


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file, or None if the file is missing, damaged or holds no object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON with a final newline, by way of a temporary file and a rename."""
    write_text_atomic(path, json.dumps(content, indent=1) + "\n")


def to_json_value(value: Any) -> Any:
    """Return `value` with dataclasses as dictionaries, tuples as lists and paths as strings, at any depth."""
    if is_dataclass(value) and not isinstance(value, type):
        return to_json_value(asdict(value))
    if isinstance(value, dict):
        return {key: to_json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_value(item) for item in value]
    return str(value) if isinstance(value, Path) else value
