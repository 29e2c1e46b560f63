"""Objects as the YAML that `render` prints and `kubectl apply -f` reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from visionjobs.cluster.client import Object

_NUMBER_TO_OTHERS = re.compile(r"[-+]?[0-9.][0-9a-fA-FxXoO_.:+-]*")
"""Text that kubectl's reader might take for a number, and PyYAML does not (12e4, 0o17)."""


class _Dumper(yaml.SafeDumper):
    """Text of several lines as a block, and every value written out where it stands."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless  # entries of a list are indented, as in the skeletons
        super().increase_indent(flow, False)


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None
    if "\n" in text:
        style = "|"
    elif _NUMBER_TO_OTHERS.fullmatch(text) or text.lower() in ("y", "n"):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def manifest_yaml(objects: Sequence[Object]) -> str:
    """Documents separated by `---`, keys in the objects' own order."""
    return "---\n".join(
        yaml.dump(obj, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000) for obj in objects
    )
