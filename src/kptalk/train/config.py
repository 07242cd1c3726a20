"""Configs of training: frozen dataclasses, read from TOML, each field documented in its class and changed by name."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from kptalk.errors import OptionError
from kptalk.files import explain
from kptalk.train.loop import LoopConfig

Config = TypeVar("Config", bound="RecipeConfig")
BASE = "base"  # in a file: the config that it changes
KINDS = {int: "a whole number", float: "a number", bool: "true or false", tuple: "a list of numbers", str: "text"}


@dataclass(frozen=True)
class RecipeConfig:
    """What a recipe is trained with.

    Attributes:
        loop: how it is trained.
    """

    loop: LoopConfig


def read_config(name: str, configs: Mapping[str, Config], changes: Sequence[str] = ()) -> Config:
    """A config by its name, or of a TOML file, with changes.

    A file has ``base = "NAME"`` (else it changes ``embedded``) and the fields that it changes, those of a part in a
    table of its own: ``[loop]`` and below it ``steps = 1000``.

    Args:
        name: of ``configs``, or the path of a ``.toml`` file.
        configs: the recipe's own.
        changes: ``field=value`` each, the value as in TOML, the field as ``loop.steps`` or, where only one part has
            it, ``steps``.

    Raises:
        OptionError: there is no such config, file, field or value.
    """
    if name.endswith(".toml"):
        tables = _parse(Path(name))
        base = tables.pop(BASE, "embedded")
        return _changed(_named(str(base), configs), [*_flat(tables), *map(_assignment, changes)])
    return _changed(_named(name, configs), [_assignment(change) for change in changes])


def _named(name: str, configs: Mapping[str, Config]) -> Config:
    if name not in configs:
        raise OptionError(f"no config {name!r}: give {', '.join(configs)}, or a file that ends in .toml")
    return configs[name]


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise OptionError(f"cannot read config {path}: {explain(error)}") from error


def _assignment(text: str) -> tuple[str, Any]:
    """``loop.steps=100`` as name and value; a bare word is text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise OptionError(f"cannot set {text!r}: give FIELD=VALUE, such as steps=1000")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()


def _flat(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tables.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _changed(config: Config, changes: Sequence[tuple[str, Any]]) -> Config:
    found: dict[str, Any] = {}
    for name, value in changes:
        found[_full_name(config, name)] = value
    known = dict(config_fields(config))
    for name, value in found.items():
        config = _with(config, name.split("."), _converted(name, value, known[name]))
    return config


def _full_name(config: object, name: str) -> str:
    known = [each for each, _ in config_fields(config)]
    matching = [each for each in known if each == name or ("." not in name and each.endswith(f".{name}"))]
    if name in matching:
        return name
    if len(matching) != 1:
        hint = f"give {' or '.join(matching)}" if matching else f"there are {', '.join(known)}"
        raise OptionError(f"no single field is named {name!r}: {hint}")
    return matching[0]


def config_fields(config: object, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full name and value of every field, those of parts as ``part.field``."""
    for each in fields(config):  # type: ignore[arg-type]  # every config is a dataclass
        value = getattr(config, each.name)
        if is_dataclass(value):
            yield from config_fields(value, f"{prefix}{each.name}.")
        else:
            yield prefix + each.name, value


def _with(config: Any, path: Sequence[str], value: Any) -> Any:
    first, *rest = path
    try:
        return replace(config, **{first: _with(getattr(config, first), rest, value) if rest else value})
    except ValueError as error:  # of the networks' own configs
        raise OptionError(f"cannot set {path[-1]} to {value!r}: {error}") from error


def _converted(name: str, value: Any, old: Any) -> Any:
    """A value of a file in the type of the one that it replaces."""
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(old, tuple) and isinstance(value, list):
        kinds = {type(each) for each in old}
        if len(kinds) == 1 and all(isinstance(each, int | float) for each in value):
            return tuple(type(old[0])(each) for each in value)
    if type(value) is not type(old):
        kind = {
            int: "a whole number",
            float: "a number",
            bool: "true or false",
            tuple: "a list of numbers",
            str: "text",
        }
        raise OptionError(f"{name} is {value!r}: give {kind[type(old)]}")
    return value


def config_text(config: RecipeConfig) -> str:
    """A config as a file that ``read_config`` reads, all of its fields stated."""
    tables: dict[str, list[str]] = {"": []}
    for name, value in config_fields(config):
        table, _, key = name.rpartition(".")
        shown = json.dumps(list(value) if isinstance(value, tuple) else value)
        tables.setdefault(table, []).append(f"{key} = {shown}")
    parts = [(f"[{table}]\n" if table else "") + "\n".join(lines) for table, lines in tables.items() if lines]
    return "\n\n".join(parts) + "\n"


def field_docs(kind: type) -> dict[str, str]:
    """What the docstrings of a config say of each field, in their sections ``Attributes``."""
    docs: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        section = re.search(r"\n\s*Attributes:\n((?:\s+.*\n?|\n)*)", (each.__doc__ or "") + "\n")
        for match in re.finditer(r"^ {8}(\w+(?:, \w+)*): (.*(?:\n {12}.*)*)", section[1] if section else "", re.M):
            text = " ".join(match[2].split())
            docs |= dict.fromkeys(match[1].split(", "), text)
    return docs
