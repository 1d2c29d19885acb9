"""From an environment to the tree, or to one error that names everything that is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from streamdrift.errors import SettingsProblem
from streamdrift.settings.fields import LEAVES, RULES, Place, dotted
from streamdrift.settings.problems import problem
from streamdrift.settings.sources import Given, Layer, environment_layer, file_layer
from streamdrift.settings.tree import Settings


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and where each came from.

    Attributes
    ----------
    origins
        By dotted name: ``default``, ``file <path>``, ``environment <NAME>`` or ``secret file <path>``.
    """

    settings: Settings
    origins: dict[str, str]


def load(environ: Mapping[str, str], *, root: Path) -> Loaded:
    """Read the settings from an environment and the file it names.

    Parameters
    ----------
    environ
        All variables; those that don't begin with ``STREAMDRIFT_`` are passed over.
    root
        Where relative file names begin.

    Raises
    ------
    SettingsProblem
        Names every problem, one a line.

    Examples
    --------
    >>> loaded = load({"STREAMDRIFT_POLICY__THRESHOLD": "20"}, root=Path())
    >>> loaded.settings.policy.threshold, loaded.origins["policy.threshold"]
    (20.0, 'environment STREAMDRIFT_POLICY__THRESHOLD')
    """
    layers = (file_layer(environ, root), environment_layer(environ, root))
    given = {place: value for layer in layers for place, value in layer.given.items()}
    refused = {place for layer in layers for place in layer.refused}
    problems = [text for layer in layers for text in layer.problems]
    try:
        settings = _merged(layers)
    except ValidationError as e:
        problems += _sentences(e, given, refused)
        settings = Settings()
    if problems:
        raise SettingsProblem(_message(problems))
    return Loaded(settings, _origins(given))


class _LayerSource(PydanticBaseSettingsSource):
    """A layer as pydantic-settings takes it: nested, to be merged below the layers before it."""

    def __init__(self, settings: type[BaseSettings], layer: Layer) -> None:
        super().__init__(settings)
        self._layer = layer

    def __call__(self) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for place, (value, _) in self._layer.given.items():
            below = tree
            for name in place[:-1]:
                below = below.setdefault(name, {})
            below[place[-1]] = value
        return tree

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Never asked: ``__call__`` gives the whole tree at once."""
        raise NotImplementedError(field, field_name)


def _merged(layers: Iterable[Layer]) -> Settings:
    """Validate the layers, a later one before an earlier one."""

    class Merged(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            *_sources: PydanticBaseSettingsSource,
            **_more: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(_LayerSource(settings_cls, layer) for layer in reversed(list(layers)))

    merged = Merged()
    # what the caller gets is a plain Settings, equal to one that was built by hand
    return Settings.model_construct(_fields_set=merged.model_fields_set, **dict(merged))


def _origins(given: Mapping[Place, Given]) -> dict[str, str]:
    """Every setting of the tree in its order, then what the rules set (what they leave out is not theirs)."""
    places = [place for place in LEAVES if "*" not in place]
    places += sorted(place for place in given if place[0] in RULES)
    return {dotted(place): given[place].origin if place in given else "default" for place in places}


def _sentences(error: ValidationError, given: Mapping[Place, Given], refused: set[Place]) -> Iterator[str]:
    for place, what in _findings(error):
        source = given.get(place) or next((g for at, g in given.items() if at[: len(place)] == place), None)
        if place not in refused:
            value = given[place].value if place in given else None
            yield problem(place, what, source.origin if source else None, value)


def _findings(error: ValidationError) -> Iterator[tuple[Place, str]]:
    """Each place, with what is wrong there; rules between fields are taken apart again."""
    for detail in error.errors(include_url=False, include_input=False):
        names = [name for name in detail["loc"] if isinstance(name, str) and name != "[key]"]
        context = detail.get("ctx", {})
        if detail["type"] == "rule":
            yield from ((tuple(names + field.split(".")), what) for field, what in context["findings"])
        else:
            what = str(context["error"]) if detail["type"] == "value_error" else detail["msg"].removeprefix("Input ")
            yield tuple(names), what


def _message(problems: list[str]) -> str:
    head = "1 setting is wrong" if len(problems) == 1 else f"{len(problems)} settings are wrong"
    return "\n".join(
        [f"{head}; nothing was started. Every setting is in docs/settings.md.", *(f"  {p}" for p in problems)]
    )
