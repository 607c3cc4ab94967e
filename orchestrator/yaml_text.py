"""A config's text as plain values.

Invariant: reading takes time and memory in proportion to the text, which is bounded. What comes of it is made of
mappings with words as keys, lists, strings, numbers, dates, booleans and null, nested a few levels deep, no value
standing in two places; tags, aliases and keys that are written twice are refused.
"""

from typing import Any

import yaml
from yaml.constructor import ConstructorError

MAX_BYTES = 128 * 1024
MAX_DEPTH = 20
MAX_DIGITS = 100  # of a number: those of base 60, which YAML has, take the square of their length to read

_WORD = "tag:yaml.org,2002:str"


def read_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        ValueError: in one line, with the place where there is one.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"is longer than {MAX_BYTES} characters")
    try:
        return yaml.load(text, _Loader)  # a safe loader: it makes nothing but plain values
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{where}no YAML ({getattr(error, 'problem', None) or str(error).splitlines()[0]})") from None


class _Loader(yaml.SafeLoader):
    """Refuses what makes much of a short text, and what is hardly meant."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """One value: no alias, no tag, not too deep."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refusal(event, "an alias (*); write the value out")
        if getattr(event, "tag", None) is not None:
            raise _refusal(event, "a tag (!); write the plain value")
        if self._depth == MAX_DEPTH:
            raise _refusal(event, f"more than {MAX_DEPTH} levels of nesting")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping: its keys are words, each written once."""
        seen = set()
        for key, _ in node.value:
            if key.tag != _WORD:
                raise _refusal(key, "a key that is no word; put it in quotes if it is meant so")
            if key.value in seen:
                raise _refusal(key, "a key for the second time; leave one of them")
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_number(self, node: yaml.ScalarNode) -> float:
        """A number of bearable length."""
        if len(node.value) > MAX_DIGITS:
            raise _refusal(node, f"a number of more than {MAX_DIGITS} digits")
        read = self.construct_yaml_int if node.tag.endswith(":int") else self.construct_yaml_float
        return read(node)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


def _refusal(found: Any, what: str) -> ConstructorError:
    return ConstructorError(None, None, f"found {what}", found.start_mark)
