"""Job files: YAML on disk -> JobSpec, with errors that name the file, the key and the nearest valid name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from visionjobs.errors import UserError, nearest
from visionjobs.jobfile_messages import explain, kind_of, printable
from visionjobs.spec import JobSpec
from visionjobs.spec_sweep import NO_SECTION


class _Loader(yaml.SafeLoader):
    """YAML as a person means it: `1e-3` is a number (YAML 1.1 calls it text), and a key given twice is an error."""


class _Dumper(yaml.SafeDumper):
    """Writes what _Loader reads back alike: the text "12e4" needs quotes, or it would come back as a number."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
        list("-+0123456789."),
    )

_MERGE = "tag:yaml.org,2002:merge"
"""`<<: *defaults`, which may stand beside the keys that it brings along."""


def _mapping_without_repeats(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == _MERGE:
            continue
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
        problem = f"{source}:{where} is not valid YAML: {error.problem or error}"
    except RecursionError:
        problem = f"{source}: is nested too deeply"
    except (yaml.YAMLError, ValueError) as error:  # a forbidden character; the date 2026-13-01
        problem = f"{source}: is not valid YAML: {' '.join(str(error).split())}"
    except (LookupError, AttributeError, TypeError):  # what PyYAML makes of `!!int ""` or `!!bool maybe`
        problem = f"{source}: is not valid YAML: a value does not fit the !!tag before it"
    raise UserError(printable(problem))


def job_names(folder: Path) -> list[str]:
    """Names of the job files in `folder`, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def find_job(job: str, folder: Path) -> Path:
    """The file of a job given by name (`convnet`) or by path (`other/mine.yaml`). Raises UserError: there is none."""
    if job.endswith((".yaml", ".yml")):
        if os.path.isfile(job):  # noqa: PTH113 (Path.is_file raises where a name is too long)
            return Path(job)
        raise UserError(f"There is no job file {job}. Give a path that exists, or a name that `visionjobs jobs` lists.")
    known = job_names(folder)
    if job in known:
        return folder / f"{job}.yaml"
    listed = f"The jobs in {folder}/ are: {', '.join(known)}." if known else f"There are no job files in {folder}/."
    raise UserError(f'There is no job "{job}". {listed}{nearest(job, known)}')


def load_job(path: Path, sets: Sequence[str] = (), *, sweep: bool = False) -> JobSpec:
    """Read a job file and apply `--set key=value` in order; both are checked alike.

    sweep: whether its sweep section is wanted. Where it is not, one that does not fit the `sets` is in nobody's way:
    with train.epochs=2 a job can be trained whose sweep stops no trial before epoch 3. The spec then has none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    return parse_job(text, str(path), path.stem, sets, sweep=sweep)


def parse_job(text: str, source: str, name: str, sets: Sequence[str] = (), *, sweep: bool = False) -> JobSpec:
    """The text of a job file -> JobSpec. `source` is named in errors; `name` is the job's, unless the text has one.
    sweep: see load_job."""
    tree = parse_yaml(text, source)
    if not isinstance(tree, dict):
        raise UserError(f"{source}: expected keys such as task:, model: and data:, found {kind_of(tree)}")
    tree.setdefault("name", name)
    if sets and not sweep and not any(item.strip().startswith("sweep.") for item in sets):
        tree.pop("sweep", None)
    changed = with_sets(tree, sets)
    section = changed.get("sweep")
    if tree.get("sweep") is None and isinstance(section, dict) and section.keys() <= {"trials", "at_once"}:
        raise UserError(f"{source}: {tree['name']} {NO_SECTION}")
    return build_spec(changed, source, sets)


def build_spec(tree: Mapping[str, Any], source: str, sets: Sequence[str] = ()) -> JobSpec:
    """Plain values -> JobSpec, every problem on a line of its own."""
    try:
        return JobSpec.model_validate(tree)
    except ValidationError as error:
        raise UserError(printable(explain(error, source, sets))) from error


def with_sets(tree: Mapping[str, Any], sets: Sequence[str]) -> dict[str, Any]:
    """A copy of `tree` with each 'a.b=value' put in place; the value is read as YAML."""
    result = {k: dict(v) if isinstance(v, dict) else v for k, v in tree.items()}
    for item in sets:
        key, equals, text = item.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            raise UserError(printable(f'--set {item}: expected key=value, such as "--set train.epochs=3"'))
        if parts[:2] == ["sweep", "space"]:  # its keys have dots
            parts[2:] = [".".join(parts[2:])] if parts[2:] else []
        node: dict[str, Any] = result
        for part in parts[:-1]:
            inner = node.get(part)
            node[part] = dict(inner) if isinstance(inner, dict) else {}
            node = node[part]
        node[parts[-1]] = parse_yaml(text, f"--set {item}")
    return result


def dump_spec(spec: JobSpec) -> str:
    """The spec as YAML in the job files' own format, with every default written out; without `sweep` where it has
    none."""
    return dump_yaml(spec.model_dump(mode="json", exclude=None if spec.sweep else {"sweep"}))


def dump_yaml(tree: Mapping[str, Any]) -> str:
    """Plain values as YAML that `parse_yaml` reads back alike."""
    return yaml.dump(dict(tree), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
