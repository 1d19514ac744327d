"""The config file: YAML in, :class:`~probity.config.RunConfig` out, with an error that says what to change.

Unknown keys are refused with the likely one; a key that stands twice is refused too, because YAML would let the second
win in silence.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from probity.config import RunConfig
from probity.errors import ConfigError
from probity.suggestion import did_you_mean

__all__ = ["load_config", "parse_assignments", "parse_config", "parse_settings"]

_Settings = TypeVar("_Settings", bound=BaseModel)


def load_config(path: Path, *, overrides: Iterable[str] = ()) -> RunConfig:
    """Reads a YAML config.

    A file may say ``extends: OTHER.yaml`` (relative to itself): mappings are merged (but not a trainer of another
    name or a model of another kind), everything else is replaced, and
    relative paths of both start at the folder of the file that was asked for. Where ``card`` is a text, it names
    another YAML file, relative to the file that says so, whose mapping is read in its place.

    Args:
        path: The file.
        overrides: ``a.b=c`` assignments, applied before validation; ``c`` is read as YAML.

    Raises:
        ConfigError: If the file cannot be read, is not a mapping, or does not describe a run that can be built.
    """
    value = _read_mapping(path, seen=())
    for assignment in overrides:
        _assign(value, assignment)
    return parse_config(value, origin=path.name)


def parse_config(value: Mapping[str, Any], *, origin: str = "config") -> RunConfig:
    """Parses an already loaded mapping.

    Raises:
        ConfigError: Names the first offending key, what is allowed there and, for a misspelt key, the likely one.
    """
    return parse_settings(RunConfig, value, origin=origin)


def parse_settings(kind: type[_Settings], value: object, *, origin: str) -> _Settings:
    """Parses any settings class with the errors of :func:`parse_config`; trainers use it for their own settings."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise _config_error(error, kind, origin=origin) from error


class _StrictLoader(yaml.SafeLoader):
    """YAML lets the second of two equal keys win in silence; a second ``rules`` would disarm the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, "a key appears twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _read_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a subclass of SafeLoader


def _read_mapping(path: Path, *, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Reads a YAML mapping and what it extends; a chain of files that comes back to itself is refused."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            str(path),
            seen="no readable UTF-8 file" if not path.is_dir() else "a folder",
            allowed="a YAML file",
            remedy="check the path, or scaffold a project with: probity init",
        ) from error
    try:
        value = _read_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date such as 2024-13-45 is a ValueError
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(
            str(path),
            seen=f"invalid YAML{where}",
            allowed="a YAML mapping",
            remedy="mend it there; a key may appear only once",
        ) from error
    if not isinstance(value, dict):
        raise ConfigError(
            str(path),
            seen=f"a YAML {_yaml_kind(value)}",
            allowed="a YAML mapping with keys such as name, data and model",
            remedy="start from the file that probity init writes",
        )
    if isinstance(value.get("card"), str):
        value["card"] = _read_other(value["card"], key="card", beside=path, seen=seen)
    base = value.pop("extends", None)
    return value if base is None else _merged(_read_other(str(base), key="extends", beside=path, seen=seen), value)


def _read_other(name: str, *, key: str, beside: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Reads the file that a key of another file names."""
    source = beside.parent / name
    if source.resolve() in (*seen, beside.resolve()):
        raise ConfigError(
            f"{beside.name}: {key}",
            seen="files that name one another in a circle",
            allowed="a chain with an end",
            remedy=f"remove one of the {key} keys",
        )
    return _read_mapping(source, seen=(*seen, beside.resolve()))


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Returns ``base`` with the values of ``over``: mappings are merged, everything else is replaced.

    A trainer of another name and a model of another kind are replaced too: settings of the one mean nothing to the
    other.
    """
    merged = dict(base)
    for key, value in over.items():
        both = (
            isinstance(value, dict) and isinstance(merged.get(key), dict) and not _is_another(key, merged[key], value)
        )
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _is_another(key: str, base: dict[str, Any], over: dict[str, Any]) -> bool:
    telling = {"trainer": ("name",), "model": ("kind", "module"), "mitigation": ("method",)}.get(key, ())
    return any(name in over and over[name] != base.get(name) for name in telling)


def parse_assignments(assignments: Iterable[str], *, argument: str) -> dict[str, Any]:
    """Returns ``a.b=c`` assignments as one mapping; ``c`` is read as YAML.

    Args:
        assignments: As they stand on the command line.
        argument: The option that they were given to, for messages.

    Raises:
        ConfigError: If one is no assignment.
    """
    value: dict[str, Any] = {}
    for assignment in assignments:
        _assign(value, assignment, argument=argument)
    return value


def _assign(value: dict[str, Any], assignment: str, *, argument: str = "--set") -> None:
    key, separator, text = assignment.partition("=")
    parts = key.split(".")
    if not separator or not all(parts):
        raise ConfigError(
            argument,
            seen=f"{assignment!r}",
            allowed="KEY.SUBKEY=VALUE",
            remedy=f"for example {argument} {'trainer' if argument == '--set' else 'plain'}.epochs=3",
        )
    try:
        parsed = _read_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{argument} {key}", seen="a value that is not YAML", allowed="a YAML value", remedy="quote it"
        ) from error
    target = value
    for part in parts[:-1]:
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise ConfigError(
                f"{argument} {key}",
                seen=f"{part!r} is a {_yaml_kind(target)}",
                allowed="a path through mappings",
                remedy="set the whole value in the file instead",
            )
    target[parts[-1]] = parsed


def _config_error(error: ValidationError, kind: type[BaseModel], *, origin: str) -> ConfigError:
    details = error.errors(include_url=False)
    # An unknown key explains missing ones beside it, so it is reported first.
    first = next((entry for entry in details if entry["type"] == "extra_forbidden"), details[0])
    location, holder = _walk(kind, [part for part in first["loc"] if part not in _UNION_TAGS])
    path = ".".join(str(part) for part in location) or "the whole file"
    more = f" ({len(details) - 1} more problem{'s' if len(details) > 2 else ''} after this one)" if details[1:] else ""
    argument = f"{origin}: {path}"
    if first["type"] == "extra_forbidden":
        known = [field.alias or name for name, field in holder.model_fields.items()] if holder else []
        key = str(location[-1])
        return ConfigError(
            argument,
            seen=f"unknown key {key!r}{did_you_mean(key, known)}{more}",
            allowed=", ".join(known) or "no further keys",
            remedy="correct or remove the key",
        )
    if first["type"] == "missing":
        return ConfigError(
            argument, seen=f"missing{more}", allowed="a value for this key", remedy="add it; see probity schema config"
        )
    message = str(first["msg"]).removeprefix("Value error, ")
    seen = first["input"]
    shown = f"{seen!r}" if isinstance(seen, (str, int, float, bool)) else f"a {_yaml_kind(seen)}"
    shown = "a URL" if "://" in shown else shown  # it may hold a password
    return ConfigError(argument, seen=f"{shown}{more}", allowed=message, remedy="change it in the config or with --set")


# Names that pydantic inserts into an error's location for the branches of a union; they are no keys of the file.
_UNION_TAGS = frozenset(
    {
        "[key]",
        "str",
        "int",
        "float",
        "bool",
        "PrivacyUnitColumn",
        "literal['row']",
        "dict[literal['train','eval','test'],str]",
    }
)


def _walk(kind: type[BaseModel], location: Iterable[int | str]) -> tuple[list[int | str], type[BaseModel] | None]:
    """Returns a location without the tags of tagged unions, which are no keys of the file, and what holds its last key.

    Found by walking the annotations; the holder is ``None`` where they lead to no settings class.
    """
    kept: list[int | str] = []
    current: list[type[BaseModel]] = [kind]
    holder: type[BaseModel] | None = None
    for part in location:
        if isinstance(part, int):
            kept.append(part)
            continue
        tagged = [branch for branch in current if _has_tag(branch, part)] if len(current) > 1 else []
        if tagged:
            current = tagged
            continue
        holder = current[0] if current else None
        fields = (
            {field.alias or name: field.annotation for name, field in holder.model_fields.items()} if holder else {}
        )
        current = list(_models_in(fields.get(part)))
        kept.append(part)
    return kept, holder


def _has_tag(kind: type[BaseModel], tag: str) -> bool:
    """Whether a branch of a tagged union is chosen by this value of one of its fields."""
    return any(tag in typing.get_args(field.annotation) for field in kind.model_fields.values())


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif typing.get_origin(annotation) in (tuple, typing.Union, types.UnionType):
        for argument in typing.get_args(annotation):
            yield from _models_in(argument)


def _yaml_kind(value: object) -> str:
    kinds = {dict: "mapping", list: "list", tuple: "list", str: "text", bool: "boolean", int: "number", float: "number"}
    return kinds.get(type(value), "null" if value is None else type(value).__name__)
