"""The TOML file into `Config`: every wrong key, type and value is found in one go and told with its path.

cattrs does the walking (detailed validation collects the errors with their places); the hooks here make it strict about types, since a
file that says "5" where a number belongs has been misunderstood by somebody. No problem text repeats a string that may be a secret.
"""

from __future__ import annotations

import difflib
import math
import tomllib
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from zmtwist.config.database_url import parse_url
from zmtwist.config.endpoints import local_endpoint
from zmtwist.config.model import (
    Config,
    DatabaseConfig,
    FieldError,
    ManholeConfig,
    MonitorOverride,
    MqttConfig,
    PipelineConfig,
)
from zmtwist.config.mqtt_url import broker_of, worker_broker_of
from zmtwist.untrusted.redact import mask

# What a value must also pass, beside its class's own validators. The URLs hold secrets: their parsers never quote what they were given.
_PARSERS: Final[dict[tuple[type, str], Callable[[str], object]]] = {
    (DatabaseConfig, "url"): parse_url,
    (PipelineConfig, "mqtt_url"): worker_broker_of,
    (MqttConfig, "url"): broker_of,
    (ManholeConfig, "endpoint"): local_endpoint,
}


_WORDS: Final[dict[type, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    dict: "a table",
    list: "a list",
}


class ConfigError(Exception):
    """The configuration cannot be used. `problems` has one line for each thing to put right."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(path: str | Path) -> Config:
    """Read the file at `path`. Raises `ConfigError`, also where the file can't be read."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError((f"{path}: cannot be read: {error.strerror or type(error).__name__}",)) from None
    except UnicodeDecodeError as error:
        raise ConfigError((f"{path}: is not UTF-8 (byte {error.start})",)) from None
    return parse(text, where=str(path))


def parse(text: str, where: str = "config") -> Config:
    """The configuration in `text`; `where` begins each problem of the `ConfigError` that it raises."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError((mask(f"{where}: not TOML: {error}"),)) from None
    except ValueError:
        # The only other one that comes out of tomllib is Python's own, which has a limit to the digits of a number.
        raise ConfigError((f"{where}: not TOML: a number has too many digits",)) from None
    except RecursionError:
        raise ConfigError((f"{where}: not TOML: nested too deeply",)) from None
    try:
        return _converter.structure(table, Config)
    except Exception as error:
        problems = tuple(mask(f"{where}: {path}: {problem}") for path, problem in _flatten(error, ""))
        raise ConfigError(problems) from None


def _flatten(error: BaseException, path: str) -> Iterator[tuple[str, str]]:
    """Every problem in cattrs's tree of exceptions, with its path, in the order of the classes' fields."""
    if isinstance(error, cattrs.ClassValidationError):
        noted, others = error.group_exceptions()
        for inner, note in noted:
            yield from _flatten(inner, f"{path}.{note.name}" if path else note.name)
        for other in others:
            yield from _flatten(other, path)
    elif isinstance(error, cattrs.IterableValidationError):
        for inner, place in error.group_exceptions()[0]:
            yield from _flatten(
                inner, f"{path}[{place.index}]" if isinstance(place.index, int) else f"{path}.{place.index}"
            )
        for other in error.group_exceptions()[1]:
            yield from _flatten(other, path)
    elif isinstance(error, cattrs.ForbiddenExtraKeysError):
        for key in sorted(error.extra_fields):
            yield f"{path}.{key}" if path else key, _unknown(key, error.cl)
    elif isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _flatten(inner, path)
    elif isinstance(error, FieldError):
        yield f"{path}.{error.field}", error.problem
    elif isinstance(error, KeyError):
        yield path, "is missing"
    else:
        yield path, str(error)


def _unknown(key: str, cls: type) -> str:
    """What to say of a key that `cls` does not have: the nearest that it has, or the table where it belongs."""
    names = [field.name for field in attrs.fields(cls)]
    if near := difflib.get_close_matches(key, names, n=1):
        return f'unknown key; did you mean "{near[0]}"?'
    for table, other in _tables(Config, ""):
        if key in (field.name for field in attrs.fields(other)):
            return f"unknown key here; it belongs to [{table}]" if table else "unknown key here; it belongs to the top"
    return f"unknown key; known are {', '.join(names)}"


def _tables(cls: type, path: str) -> Iterator[tuple[str, type]]:
    """Every table of the file with its class."""
    yield path, cls
    for field in attrs.fields(attrs.resolve_types(cls)):
        if attrs.has(field.type):
            yield from _tables(field.type, f"{path}.{field.name}" if path else field.name)


def _kind(value: object) -> str:
    """The TOML type of `value`, in words."""
    return _WORDS.get(type(value), "a date or time")


def _bool(value: object, _type: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"must be true or false, got {_kind(value)}")
    return value


def _int(value: object, _type: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"must be a whole number, got {_kind(value)}")
    return value


def _float(value: object, _type: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"must be a number, got {_kind(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    return number


def _str(value: object, _type: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"must be a string, got {_kind(value)}")
    if "\0" in value:
        raise ValueError("must not hold a NUL character")
    return value


def _literal(cls: Any) -> Callable[[object, object], object]:
    allowed = get_args(cls)
    words = ", ".join(f'"{word}"' for word in allowed)

    def structure(value: object, _type: object) -> object:
        if not isinstance(value, str):
            raise TypeError(f"must be one of {words}, got {_kind(value)}")
        if value not in allowed:
            raise ValueError(f'must be one of {words}, got "{value}"')
        return value

    return structure


def _optional(cls: Any) -> Callable[[object, object], object]:
    """`X | None`: for a string, an empty one is the same as leaving the key out."""
    (inner,) = (arg for arg in get_args(cls) if arg is not type(None))

    def structure(value: object, _type: object) -> object:
        return None if value == "" else _converter.structure(value, inner)

    return structure


def _each(value: list[Any] | dict[str, Any], inner: Any) -> list[Any]:
    """The structured members of a list or table; all that are wrong are told together."""
    found, wrong = [], []
    for place, member in value.items() if isinstance(value, dict) else enumerate(value):
        try:
            found.append(_converter.structure(member, inner))
        except Exception as error:
            error.add_note(cattrs.IterableValidationNote(f"at {place}", place, inner))
            wrong.append(error)
    if inner is MonitorOverride:
        wrong.extend(_duplicates(value))
    if wrong:
        raise cattrs.IterableValidationError("members", wrong, list)
    return found


def _duplicates(tables: Any) -> Iterator[ValueError]:
    """One problem per monitor that has more than one table, looking only at ids that are right by themselves."""
    ids = Counter(table.get("id") for table in tables if isinstance(table, dict) and type(table.get("id")) is int)
    for monitor_id, count in ids.items():
        if count > 1:
            yield ValueError(f"{count} tables for id {monitor_id}, must be one")


def _tuple(cls: Any) -> Callable[[object, object], tuple[Any, ...]]:
    inner = get_args(cls)[0]

    def structure(value: object, _type: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise TypeError(f"must be a list, got {_kind(value)}")
        return tuple(_each(value, inner))

    return structure


def _table(value: object, _type: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError(f"must be a table, got {_kind(value)}")
    return dict(zip(value, _each(value, str), strict=True))


def _monitors(value: object, _type: object) -> tuple[int, ...] | Literal["all"]:
    if value == "all":
        return "all"
    if not isinstance(value, list):
        raise TypeError(f'must be "all" or a list of monitor ids, got {_kind(value)}')
    ids: tuple[int, ...] = tuple(_each(value, int))
    if wrong := [number for number in ids if number < 1]:
        raise ValueError(f"monitor ids must be > 0, got {', '.join(map(str, wrong))}")
    return ids


def _field(cls: type, field: Any) -> Callable[[Any, Any], Any]:
    """Structure one field and run its validators at once, so that the problem bears the field's path."""
    parser = _PARSERS.get((cls, field.name))

    def structure(value: Any, _type: Any) -> Any:
        result = _converter.structure(value, field.type)
        if result == "" and field.type is str:
            raise ValueError("must not be empty")
        if field.validator is not None:
            field.validator(None, field, result)
        if parser is not None and result is not None:
            parser(result)
        return result

    return structure


def _class(cls: Any) -> Callable[[object, object], Any]:
    """A table into its class. Checks between fields run even where other fields are wrong."""
    fields = {field.name: _field(cls, field) for field in attrs.fields(attrs.resolve_types(cls))}
    overrides: dict[str, Any] = {name: override(struct_hook=hook) for name, hook in fields.items()}
    inner = make_dict_structure_fn(
        cls, _converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True, **overrides
    )

    def structure(value: object, _type: object) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"must be a table, got {_kind(value)}")
        try:
            return inner(value, cls)
        except cattrs.ClassValidationError as error:
            noted, others = error.group_exceptions()
            failed = {note.name for _, note in noted}
            if not failed and not any(isinstance(other, cattrs.ForbiddenExtraKeysError) for other in others):
                raise
            good = {name: fields[name](value[name], None) for name in value if name in fields and name not in failed}
            between = [one for one in _conflicts(cls, good) if failed.isdisjoint({one.field, *one.beside})]
            raise error.derive([*error.exceptions, *between]) from None

    return structure


def _conflicts(cls: Any, values: dict[str, Any]) -> list[FieldError]:
    """What is wrong between the fields of `cls` with these values, which are right by themselves."""
    try:
        cls(**values)
    except FieldError as error:
        return [error]
    except ExceptionGroup as group:
        return [error for error in group.exceptions if isinstance(error, FieldError)]
    except TypeError:
        pass  # a field that must be given is missing, which is told already
    return []


def _is_optional(cls: Any) -> bool:
    return get_origin(cls) in (Union, types.UnionType) and type(None) in get_args(cls)


def _origin(wanted: object) -> Callable[[Any], bool]:
    return lambda cls: get_origin(cls) is wanted


_converter: Final = cattrs.Converter(detailed_validation=True)
_converter.register_structure_hook_factory(attrs.has, _class)
_converter.register_structure_hook_factory(_origin(tuple), _tuple)
_converter.register_structure_hook_factory(_origin(Literal), _literal)
_converter.register_structure_hook_factory(_is_optional, _optional)
_converter.register_structure_hook_func(lambda cls: cls == tuple[int, ...] | Literal["all"], _monitors)
_converter.register_structure_hook_func(lambda cls: cls == dict[str, str], _table)
for _plain, _hook in ((bool, _bool), (int, _int), (float, _float), (str, _str)):
    _converter.register_structure_hook(_plain, _hook)
