"""What pydantic finds wrong in a config, in lines that a user can act on.

Invariant: a line has the key as the user wrote it, the value, and what would be right.
"""

import difflib
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from models.wording import MAX_VALUE, brief, one_line
from orchestrator.errors import MAX_LINES

# The key by which pydantic tells data sets apart.
TAG = "format"


def mistakes(error: ValidationError, values: Any, model: type[BaseModel], prefix: str = "") -> list[str]:
    """One line per mistake: key, value, what would be right.

    Args:
        error: what pydantic found.
        values: what was checked.
        model: what it was checked against.
        prefix: the key below which the values stand.
    """
    items = error.errors()
    lines = [_line(item, values, model, prefix) for item in items[: MAX_LINES - 1]]
    return [*lines, f"... and {len(items) - len(lines)} more mistakes"] if len(items) > len(lines) else lines


def _line(item: Any, values: Any, model: type[BaseModel], prefix: str) -> str:
    """The line for one of pydantic's errors."""
    location, kind = item["loc"], item["type"]
    key = one_line(".".join(filter(None, (prefix, *_keys(location, values, missing=kind == "missing")))), MAX_VALUE)
    reason = one_line(item["msg"].removeprefix("Value error, "))
    match kind:
        case "extra_forbidden":
            known = _known_keys(model, location[:-1])
            close = difflib.get_close_matches(str(location[-1])[:MAX_VALUE], known, n=1)
            return f"{key}: unknown key; " + (f"did you mean {close[0]}?" if close else _one_of(known))
        case "missing":
            return f"{key}: missing; this key has no default"
        case "union_tag_not_found":
            return f"{key}.{TAG}: missing; {_one_of(_tags(model, location))}"
        case "union_tag_invalid":
            return f"{key}.{TAG}: {brief(item['ctx']['tag'])} is unknown; {_one_of(_tags(model, location))}"
        case "value_error":
            return f"{key}: {reason}" if key else reason
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{key}: {brief(item['input'])} is no mapping; give keys with values below it"
        case _:
            return f"{key}: {brief(item['input'])}: {reason[:1].lower()}{reason[1:]}"


def _one_of(names: list[str]) -> str:
    return f"use one of {', '.join(names)}"


def _keys(location: tuple[int | str, ...], values: Any, missing: bool) -> Iterator[str]:
    """The keys as the user wrote them: without the tags that pydantic adds for unions."""
    for position, part in enumerate(location):
        if isinstance(values, dict) and (part in values or (missing and position == len(location) - 1)):
            yield str(part)
            values = values.get(part)
        elif isinstance(values, list) and isinstance(part, int):
            yield str(part)
            values = values[part] if part < len(values) else None  # a list that is too short has parts missing


def _known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Names of the keys that may stand at a place of the config."""
    return [name for option in _schemas(model, location) for name in option.get("properties", {})]


def _tags(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Values of the key that tells apart what may stand at a place of the config."""
    return [tag for option in _schemas(model, location) for tag in option.get("discriminator", {}).get("mapping", {})]


def _schemas(model: type[BaseModel], location: tuple[int | str, ...]) -> list[dict[str, Any]]:
    """The JSON schemas of what may stand at a place of the config."""
    schema = model.model_json_schema()

    def options(node: dict[str, Any]) -> list[dict[str, Any]]:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node
        inner = (option for word in ("anyOf", "oneOf") for option in node.get(word, []))
        return [node, *(found for option in inner for found in options(option))]

    found = options(schema)
    for part in location:
        if isinstance(part, int):  # of a list
            found = [inner for option in found if "items" in option for inner in options(option["items"])]
            continue
        tagged = [option for option in found if option.get("properties", {}).get(TAG, {}).get("const") == part]
        named = [option["properties"][part] for option in found if part in option.get("properties", {})]
        found = tagged or [inner for option in named for inner in options(option)]
    return found
