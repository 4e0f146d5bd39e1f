"""Reads compose.yaml as far as ours goes: block maps and lists, flow lists of one line, anchors and merges.

What it does not know it refuses, so that nothing is read as something else than Docker would.
"""

import re
from pathlib import Path
from typing import Any

import msgspec

_KEY = re.compile(r"([A-Za-z_<][\w.<-]*):(?: &(\w+))?(?: (.*))?")
_PLAIN = re.compile(r"[A-Za-z0-9./$][^#\"'&*!|>%@`]*")
_FLOW = re.compile(r"\[((?:[\w-]+(?:, )?)+)\]")


class Compose:
    """A file being read line by line."""

    def __init__(self, text: str) -> None:
        lines = [line.rstrip() for line in text.splitlines()]
        self._lines = [line for line in lines if line and not line.lstrip().startswith("#")]
        self._anchors: dict[str, dict[str, Any]] = {}

    def read(self) -> dict[str, Any]:
        found = self._block(0)
        assert not self._lines, self._lines[0]
        assert isinstance(found, dict)
        return found

    def _block(self, indent: int) -> Any:
        return self._list(indent) if self._lines[0].lstrip().startswith("- ") else self._map(indent)

    def _list(self, indent: int) -> list[Any]:
        found = []
        while self._here(indent):
            found.append(_value(self._lines.pop(0).lstrip().removeprefix("- ")))
        return found

    def _map(self, indent: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        own: set[str] = set()
        while self._here(indent):
            line = self._lines.pop(0)
            match = _KEY.fullmatch(line.lstrip())
            assert match, line
            key, anchor, text = match.groups()
            if key == "<<":
                found = {**self._anchors[text.removeprefix("*")], **found}
                continue
            assert key not in own, line
            own.add(key)
            found[key] = _value(text) if text else self._block(indent + 2)
            if anchor:
                self._anchors[anchor] = found[key]
        return found

    def _here(self, indent: int) -> bool:
        if not self._lines:
            return False
        depth = len(self._lines[0]) - len(self._lines[0].lstrip())
        assert depth <= indent, self._lines[0]
        return depth == indent


def _value(text: str) -> Any:
    if text == "{}":
        return {}
    if flow := _FLOW.fullmatch(text):
        return flow[1].split(", ")
    if text.startswith(("[", '"')):
        return msgspec.json.decode(text)
    assert _PLAIN.fullmatch(text), text
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.isdigit() else text


def compose(path: Path) -> dict[str, Any]:
    return Compose(path.read_text("utf-8")).read()
