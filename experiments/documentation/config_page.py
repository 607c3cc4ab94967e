"""The page of every key of a config, from the pydantic models that check them.

Invariant: each key that `RunConfig` takes has a row, with the default, the values and the words of its own field, so
that nothing about a key is written twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orchestrator.config import RecipeConfig, RunConfig
from orchestrator.config_files import may_change

HEAD = """# Every config key

A config is a YAML file. One that names another as its `base`, a path seen from itself, has only what differs: groups
are merged key by key, all else is replaced. Every key may be given on the command line, too, as `key.path=value`, where
it counts more than the file; a list or a mapping is written as in YAML: `data.train=[train, extra]`. A key that is not
on this page is refused, with the nearest one that is. A run's `config.yaml` has every key, every default written out,
in the order of this page. Where a key has a †, a run may go on with another value; else it goes on with its own config
alone.

`start` and `data` must be given, and `reignition` where the search reignites; all else has a default. (This page is
made from `orchestrator/config.py` and `workers/settings.py`.)
"""
TRAINING_KEYS = "[training](#training)"
BOUNDS = (
    ("minimum", "≥ {}"),
    ("exclusiveMinimum", "> {}"),
    ("maximum", "≤ {}"),
    ("exclusiveMaximum", "< {}"),
)


@dataclass(frozen=True, slots=True)
class Group:
    """Keys that stand below one key; `choice` tells the variants of a group apart, such as ``format: voc``."""

    path: str
    model: type[BaseModel]
    choice: str = ""

    @property
    def title(self) -> str:
        """Its heading."""
        return f"{self.path or 'At the top'}{f' ({self.choice})' if self.choice else ''}"


def config_page() -> str:
    """The page, Markdown."""
    return "\n".join([HEAD, *(part for group in groups() for part in _section(group))])


def groups(group: Group | None = None) -> Iterator[Group]:
    """Every group of keys, a group before those below it."""
    group = group or Group("", RunConfig)
    yield group
    for name, field in group.model.model_fields.items():
        models = list(_models(field.annotation))
        for model in models:
            choice = f"format: {_only_value(model)}" if len(models) > 1 else ""
            yield from groups(Group(f"{group.path}.{name}".lstrip("."), model, choice))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, Annotated, tuple):
        for part in get_args(annotation):
            yield from _models(part)


def _only_value(model: type[BaseModel]) -> str:
    return str(get_args(model.model_fields["format"].annotation)[0])


def _words(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _section(group: Group) -> Iterator[str]:
    yield f"## {group.title}\n"
    yield f"{_words(group.model)}\n"
    if issubclass(group.model, RecipeConfig):
        yield f"Beside these every key of {TRAINING_KEYS}, where it differs.\n"
    yield "| key | default | values | what it is |\n| --- | --- | --- | --- |"
    schema = group.model.model_json_schema(by_alias=False)
    for name, field in group.model.model_fields.items():
        mark = " †" if may_change(f"{group.path}.{name}".lstrip(".")) else ""
        if any(_models(field.annotation)):
            values = "keys, below"
        elif name == "training":
            values = TRAINING_KEYS
        else:
            values = _values(schema["properties"][name])
        yield f"| `{name}`{mark} | {_default(field)} | {values} | {_cell(field.description or '')} |"
    yield ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its keys' own"
    if isinstance(value, float):
        return f"`{value:g}`"
    plain = (
        [f"{part:.4g}" if isinstance(part, float) else part for part in value] if isinstance(value, tuple) else value
    )
    if isinstance(plain, list):
        return f"`[{', '.join(map(str, plain))}]`"
    written = yaml.safe_dump(plain, width=1000).strip().removesuffix("...").strip()
    return f"`{written}`"


def _values(schema: dict[str, Any]) -> str:
    """What a key takes, in words, of a JSON schema."""
    if "anyOf" in schema:
        return ", or ".join(_values(part) for part in schema["anyOf"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    match schema.get("type"):
        case "null":
            return "`null`"
        case "array":
            parts = schema.get("prefixItems") or [schema["items"]]
            length = f" of {len(parts)}" if "prefixItems" in schema else ""
            return f"list{length}, each: {_values(parts[0])}"
        case "object":
            return "mapping"
        case "boolean":
            return "`true`, `false`"
        case "integer":
            return _bounded("whole number", schema)
        case "number":
            return _bounded("number", schema)
    return {"date-time": "date and time"}.get(schema.get("format", ""), "text")


def _bounded(kind: str, schema: dict[str, Any]) -> str:
    bounds = [words.format(schema[key]) for key, words in BOUNDS if key in schema]
    return f"{kind} {' and '.join(bounds)}".strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
