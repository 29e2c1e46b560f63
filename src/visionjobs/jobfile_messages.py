"""pydantic's findings about a job file -> lines for a person: where, which key, what was expected, what was found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from visionjobs.errors import nearest
from visionjobs.spec import PATTERNS, JobSpec

_WORDS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "list_type": "a list",
    "too_short": "at least {min_length} items",
    "too_long": "at most {max_length} items",
}

_FREE_KEYS = {"published": ("accuracy", "miou"), "space": ("train.lr", "train.batch")}
"""Mappings whose keys are the user's to choose: examples."""


def explain(error: ValidationError, source: str, sets: Sequence[str]) -> str:
    """Every problem on a line of its own, which begins with `source`, or with the `--set key` that brought it."""
    set_keys = [item.split("=", 1)[0].strip() for item in sets]
    problems: dict[str, list[ErrorDetails]] = {}
    for detail in error.errors():
        key, _ = _key_and_message(detail)
        problems.setdefault(key, []).append(detail)  # a key has several where each form that it may take was tried
    return "\n".join(_line(key, details, source, set_keys) for key, details in problems.items())


def printable(text: str) -> str:
    """`text` without control characters and lone surrogates, which would harm or crash a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def kind_of(value: Any) -> str:
    """What a YAML value is, in words."""
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else f"a {type(value).__name__}")


def expected_and_found(details: Sequence[ErrorDetails]) -> str:
    """One value that is wrong; details: one for each form that it may take."""
    expected = " or ".join(dict.fromkeys(_expected(detail) for detail in details))
    return f"expected {expected}; found {_found(details[0]['input'])}.{_hint(details[0])}"


def _line(key: str, details: Sequence[ErrorDetails], source: str, set_keys: Sequence[str]) -> str:
    kind = details[0]["type"]
    if kind in ("value_error", "extra_forbidden", "missing"):
        _, message = _key_and_message(details[0])
    else:
        message = expected_and_found(details)
    place = f"{source}: {key}"
    brought = [name for name in set_keys if _belongs(name, key)]
    if brought:
        place = f"--set {brought[0]}" if brought[0] == key else f"--set {brought[0]}: {key}"
    elif kind == "value_error":  # a combination: any of the keys that the message names may come from --set
        named = [f"--set {name}" for name in set_keys if name in message]
        place = f"{source} with {', '.join(named)}: {key}" if named else place
    return f"{place}: {message}"


def _belongs(set_key: str, key: str) -> bool:
    return key == set_key or key.startswith(f"{set_key}.") or set_key.startswith(f"{key}.")


def _key_and_message(detail: ErrorDetails) -> tuple[str, str]:
    kind, loc = detail["type"], [str(part) for part in detail["loc"]]
    if kind == "value_error" and not loc:  # raised by JobSpec._combinations, which begins with the key
        key, _, message = detail["msg"].removeprefix("Value error, ").partition(": ")
        return key, message
    if kind == "extra_forbidden":
        valid = _keys_of(loc[:-1])
        where = f"in {'.'.join(loc[:-1])}" if len(loc) > 1 else "at the top"
        hint = _dots(loc) or nearest(loc[-1], valid)
        return ".".join(loc), f"there is no such key {where}; expected one of {', '.join(valid)}.{hint}"
    told = detail["msg"].removeprefix("Value error, ") if kind == "value_error" else "this key is needed, and missing."
    return ".".join(_without_branches(detail["loc"])), told


def _dots(loc: Sequence[str]) -> str:
    """' The keys of sweep.space have dots: train.lr:' where sweep.space was written as sections with keys, else ''."""
    section = _section_in(JobSpec, loc[2]) if loc[:2] == ["sweep", "space"] else None
    known = section is not None and loc[3] in getattr(section, "model_fields", {})
    return f" The keys of sweep.space have dots: {loc[2]}.{loc[3]}:" if known else ""


def _without_branches(loc: Sequence[str | int]) -> list[str]:
    """`loc` up to the form that pydantic tried last, such as "literal['auto']": a user knows no such key."""
    section: Any = JobSpec
    kept = []
    for part in loc:
        if section is None and not isinstance(part, int):
            break
        kept.append(str(part))
        section = _section_in(section, str(part))
    return kept


def _expected(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"keys such as {', '.join(f'{key}:' for key in _keys_of([str(part) for part in detail['loc']])[:3])}"
    if kind == "string_pattern_mismatch":
        return PATTERNS[context["pattern"]]
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return f"a number {detail['msg'].removeprefix('Input should be ')}"
    if kind in _WORDS:
        return _WORDS[kind].format(**context).replace(" 1 items", " 1 item")
    return detail["msg"].removeprefix("Input should be ")


def _hint(detail: ErrorDetails) -> str:
    value = detail["input"]
    if detail["type"] == "literal_error":
        return nearest(str(value), re.findall(r"'([^']+)'", detail["msg"]))
    if detail["type"] == "string_type" and isinstance(value, (int, float)):
        return " Put it in quotes."
    return ""


def _keys_of(loc: Sequence[str]) -> list[str]:
    """The valid keys of the section at `loc`, those it needs first; examples where any are."""
    section: Any = JobSpec
    for part in loc:
        section = _section_in(section, part)
    if get_origin(section) is dict:
        return list(_FREE_KEYS[loc[-1]])
    fields = section.model_fields
    return sorted(fields, key=lambda key: (not fields[key].is_required(), key))


def _section_in(section: Any, key: str) -> Any:
    """The section, or mapping of sections, that `key` holds; None: it holds a value, or does not exist."""
    if get_origin(section) is dict:
        return get_args(section)[1]
    field = section.model_fields.get(key) if section else None
    kind = field.annotation if field else None
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return next((each for each in kinds if _is_section(each)), None)


def _is_section(kind: Any) -> bool:
    return get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, BaseModel))


def _found(value: Any) -> str:
    text = repr(value)
    return f"{kind_of(value)} {text if len(text) <= 60 else text[:57] + '...'}" if value is not None else "nothing"
