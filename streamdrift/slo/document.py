"""One document of a YAML or JSON file, and what is wrong with it, in sentences that name the place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import yaml

from streamdrift.errors import SettingsProblem

FILE_BYTES_MAX = 1_000_000
DOCUMENTS_MAX = 1_000
DEPTH_MAX = 50
NODES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Document:
    """A mapping of a file.

    Attributes
    ----------
    nth
        Of the documents in its file, from 1.
    """

    file: str
    nth: int
    content: dict[str, Any]

    def __str__(self) -> str:
        kind, metadata = self.content.get("kind"), self.content.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        called = f" ({kind} {name})" if isinstance(kind, str) and isinstance(name, str) else ""
        return f"{self.file}, document {self.nth}{called[:120]}"

    def problem(self, where: str, what: str) -> SettingsProblem:
        """Return what is wrong at a path."""
        return SettingsProblem(f"{self}: {where} {what}")

    @staticmethod
    def at(*path: Any) -> str:
        """A path in words.

        >>> Document.at("spec", "objectives", 0, "target")
        'spec.objectives[0].target'
        """
        told = ""
        for part in path:
            told += f"[{part}]" if isinstance(part, int) else f".{part}" if told else str(part)
        return told or "the document"

    def get(self, *path: Any, default: Any = ...) -> Any:
        """Return what is at a path; ``default``, or a problem, where it isn't there."""
        found: Any = self.content
        for n, part in enumerate(path):
            holder = isinstance(found, list) if isinstance(part, int) else isinstance(found, dict)
            there = holder and (part < len(found) if isinstance(part, int) else part in found)
            if not there:
                if default is ... or (not holder and found is not None):
                    kind = "a list" if isinstance(part, int) else "a mapping"
                    raise self.problem(self.at(*path[: n + holder]), "is missing" if holder else f"is not {kind}")
                return default
            found = found[part]
        if found is None and default is ...:
            raise self.problem(self.at(*path), "is empty")
        return default if found is None else found

    def text(self, *path: Any) -> str:
        """Return a text."""
        found = self.get(*path)
        if not isinstance(found, str) or not found.strip():
            raise self.problem(self.at(*path), "is no text" if not isinstance(found, str) else "is empty")
        return found

    def number(self, *path: Any) -> float:
        """Return a number."""
        found = self.get(*path)
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            raise self.problem(self.at(*path), "is no number")
        return float(found)

    def fields(self, *path: Any) -> list[str]:
        """Return the names in a mapping."""
        found = self.get(*path) if path else self.content
        if not isinstance(found, dict):
            raise self.problem(self.at(*path), "is not a mapping")
        wrong = [name for name in found if not isinstance(name, str)]
        if wrong:
            raise self.problem(self.at(*path), f"has a name that is no text: {wrong[0]!r}")
        return list(found)

    def length(self, *path: Any) -> int:
        """Return how many there are in a list."""
        found = self.get(*path)
        if not isinstance(found, list):
            raise self.problem(self.at(*path), "is not a list")
        return len(found)


def parsed(file: str, data: bytes) -> list[Document]:
    """Read a file's documents; JSON is YAML.

    Raises
    ------
    SettingsProblem
        It is too large, or no YAML, or not made of mappings; or a name stands twice in one.
    """
    if len(data) > FILE_BYTES_MAX:
        raise SettingsProblem(f"{file} has more than {FILE_BYTES_MAX:,} bytes; objectives need some thousand")
    try:
        text = data.decode("utf-8-sig")
        for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
            _check(file, node)
        loaded = [content for content in yaml.safe_load_all(text) if content is not None]
    except UnicodeDecodeError as e:
        raise SettingsProblem(f"{file} is not UTF-8: byte {e.start + 1}") from None
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        where = "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"
        raise SettingsProblem(f"{file} is no YAML or JSON: {e.problem or e.context}{where}") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as e:
        raise SettingsProblem(f"{file} is no YAML or JSON: {str(e).splitlines()[0][:200]}") from None
    except RecursionError:
        raise SettingsProblem(f"{file} is nested too deeply") from None
    if not loaded:
        raise SettingsProblem(f"{file} has no document in it")
    wrong = next((n for n, content in enumerate(loaded, 1) if not isinstance(content, dict)), None)
    if wrong is not None:
        raise SettingsProblem(f"{file}, document {wrong}: is not a mapping")
    return [Document(file, n, content) for n, content in enumerate(loaded, 1)]


def _check(file: str, root: Any) -> None:
    """Refuse names that stand twice (the last one would win in silence), and what is nested too deeply or in itself."""
    waiting, seen = [(root, 0)], 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        if depth > DEPTH_MAX or seen > NODES_MAX:  # aliases count as often as they are used
            raise SettingsProblem(f"{file} is nested too deeply, or in itself, at line {node.start_mark.line + 1}")
        if isinstance(node, yaml.MappingNode):
            names: set[str] = set()
            for name, _ in node.value:
                if isinstance(name, yaml.ScalarNode):
                    if name.value in names:
                        raise SettingsProblem(
                            f"{file}: {name.value[:80]!r} stands twice in one mapping, at line {name.start_mark.line + 1}"
                        )
                    names.add(name.value)
            waiting += [(one, depth + 1) for pair in node.value for one in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(one, depth + 1) for one in node.value]
