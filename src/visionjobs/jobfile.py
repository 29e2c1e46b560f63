"""Job files: YAML on disk -> JobSpec, with errors that name the file, the key and the nearest valid name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from visionjobs.errors import UserError, nearest
from visionjobs.spec import JobSpec


class _Loader(yaml.SafeLoader):
    """YAML as a person means it: `1e-3` is a number (YAML 1.1 calls it text), and a key given twice is an error."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def _mapping_without_repeats(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is not text", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f'the key "{key}" is given twice', key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping_without_repeats)


def parse_yaml(text: str, source: str) -> Any:
    """YAML text -> plain values. Raises UserError naming `source` and the line."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{source}:{where} is not valid YAML: {error.problem or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{source}: is not valid YAML: {error}") from error


def job_names(folder: Path) -> list[str]:
    """Names of the job files in `folder`, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def find_job(job: str, folder: Path) -> Path:
    """The file of a job given by name (`convnet`) or by path (`other/mine.yaml`)."""
    if job.endswith((".yaml", ".yml")):
        if Path(job).is_file():
            return Path(job)
        raise UserError(f"There is no job file {job}. Give a path that exists, or a name that `visionjobs jobs` lists.")
    path = folder / f"{job}.yaml"
    if "/" not in job and path.is_file():
        return path
    known = job_names(folder)
    listed = f"The jobs in {folder}/ are: {', '.join(known)}." if known else f"There are no job files in {folder}/."
    raise UserError(f'There is no job "{job}". {listed}{nearest(job, known)}')


def load_job(path: Path, sets: Sequence[str] = ()) -> JobSpec:
    """Read a job file and apply `--set key=value` in order; both are checked alike."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    return parse_job(text, str(path), path.stem, sets)


def parse_job(text: str, source: str, name: str, sets: Sequence[str] = ()) -> JobSpec:
    """The text of a job file -> JobSpec. `source` is named in errors; `name` is the job's, unless the text has one."""
    tree = parse_yaml(text, source)
    if not isinstance(tree, dict):
        raise UserError(f"{source}: expected keys such as task:, model: and data:, found {_kind(tree)}")
    tree.setdefault("name", name)
    return build_spec(with_sets(tree, sets), source, sets)


def build_spec(tree: Mapping[str, Any], source: str, sets: Sequence[str] = ()) -> JobSpec:
    """Plain values -> JobSpec, every problem on a line of its own."""
    try:
        return JobSpec.model_validate(tree)
    except ValidationError as error:
        from_set = {item.split("=", 1)[0].strip() for item in sets}
        lines = [_explain(item, source, from_set) for item in error.errors()]
        raise UserError("\n".join(dict.fromkeys(lines))) from error


def with_sets(tree: Mapping[str, Any], sets: Sequence[str]) -> dict[str, Any]:
    """A copy of `tree` with each 'a.b=value' put in place; the value is read as YAML."""
    result = {k: dict(v) if isinstance(v, dict) else v for k, v in tree.items()}
    for item in sets:
        key, equals, text = item.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            raise UserError(f'--set {item}: expected key=value, such as "--set train.epochs=3"')
        node: dict[str, Any] = result
        for part in parts[:-1]:
            inner = node.get(part)
            node[part] = dict(inner) if isinstance(inner, dict) else {}
            node = node[part]
        node[parts[-1]] = parse_yaml(text, f"--set {item}")
    return result


def dump_spec(spec: JobSpec) -> str:
    """The spec as YAML in the job files' own format, with every default written out."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _explain(error: ErrorDetails, source: str, from_set: Iterable[str]) -> str:
    """One pydantic error -> 'file: key: what was expected, what was found'."""
    loc = [str(part) for part in error["loc"] if not _is_union_branch(part)]
    key, message, kind = ".".join(loc), error["msg"], error["type"]
    if kind == "value_error" and not loc:  # raised by JobSpec._combinations, which begins with the key
        key, _, message = message.removeprefix("Value error, ").partition(": ")
    elif kind == "extra_forbidden":
        section = _section(loc[:-1])
        where = f"in {'.'.join(loc[:-1])}" if len(loc) > 1 else "at the top"
        message = f"there is no such key {where}; expected one of {', '.join(section)}.{nearest(loc[-1], section)}"
    elif kind == "missing":
        message = "this key is needed, and missing"
    else:
        message = f"{message[0].lower()}{message[1:]}, found {_found(error['input'])}"
        if kind == "literal_error":
            message += nearest(str(error["input"]), re.findall(r"'([^']+)'", error["msg"])) + ""
    place = f"--set {key}" if key in set(from_set) else f"{source}: {key}"
    return f"{place}: {message}"


def _is_union_branch(part: object) -> bool:
    """pydantic names the branch of a union that it tried ("literal['auto']"); a user knows no branches."""
    return isinstance(part, str) and (
        "[" in part or part in {"constrained-int", "int", "float", "str", "constrained-str"}
    )


def _section(loc: Sequence[str]) -> list[str]:
    """The valid keys of the section at `loc`."""
    model: type[BaseModel] = JobSpec
    for part in loc:
        field = model.model_fields.get(part)
        if field is None:  # inside `published`, whose keys are free
            from visionjobs.spec import Published

            return sorted(Published.model_fields)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    return sorted(model.model_fields)


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else type(value).__name__)


def _found(value: Any) -> str:
    text = repr(value)
    return f"{_kind(value)} {text if len(text) <= 60 else text[:57] + '...'}" if value is not None else "nothing"
