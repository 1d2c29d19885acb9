"""The settings found, as a TOML file: the operator's own, with what was chosen laid over."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from streamdrift.alerts import digest, segment_name
from streamdrift.escalate.words import named
from streamdrift.settings import Override, Settings
from streamdrift.settings.fields import dotted, has_secret, is_secret
from streamdrift.tune.choice import Choice, Noisy

MODEL_RULE, SERIES_RULE = "tune_0_", "tune_1_"
"""Of several rules that match, the one with the later name wins."""
SLUG_MAX = 40
Tree = dict[str, Any]


def rule_name(rule: Noisy) -> str:
    """Return a name for the rule of one series, after its feature and segment.

    Examples
    --------
    >>> rule_name(Noisy("shop/country=DE/Price.USD", "Price.USD", {"country": "DE"}, 1, 1.0, 24.0))
    'tune_1_price_usd_country_de_dfa8'
    """
    return _rule_id(SERIES_RULE, f"{rule.feature} {segment_name(rule.segment)}", rule.series_id)


def _rule_id(prefix: str, told: str, whole: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "_", told.lower())[:SLUG_MAX].strip("_")
    return "_".join(part for part in (prefix.strip("_"), slug, digest(whole)[:4]) if part)


def chosen(choices: Mapping[str, Choice]) -> Tree:
    """Return what is to be set, by model: the threshold of a lone model for all, of several each by a rule."""
    tree: Tree = {}
    rules: Tree = {}
    for model, choice in choices.items():
        if choice.changes and not choice.rules:
            if len(choices) == 1:
                tree["policy"] = {"threshold": choice.threshold}
            else:
                rules[_rule_id(MODEL_RULE, model, model)] = {"model": model, "policy": {"threshold": choice.threshold}}
        for rule in choice.rules:
            rules[rule_name(rule)] = {
                "model": model,
                "feature": rule.feature,
                "segment": segment_name(rule.segment),
                "policy": {"threshold": rule.quiet_at},
            }
    return {**tree, **({"overrides": rules} if rules else {})}


def applied(settings: Settings, changes: Tree) -> Settings:
    """Return the settings with these changes."""
    policy = settings.policy.model_copy(update=changes.get("policy", {}))
    rules = {name: Override.model_validate(rule) for name, rule in changes.get("overrides", {}).items()}
    return settings.model_copy(update={"policy": policy, "overrides": {**settings.overrides, **rules}})


def document(base: Tree, settings: Settings, changes: Tree, head: Sequence[str]) -> str:
    """Return the file.

    Parameters
    ----------
    base
        What the operator's own file has; its secrets are left out, and named in a comment.
    settings
        In force: what the thresholds were found with is written down, even where it is a default.
    head
        Lines of the comment at its beginning.
    """
    tree = copy.deepcopy(base)
    secrets = list(_without_secrets(tree, ()))
    policy = tree.setdefault("policy", {})
    policy["threshold"] = settings.policy.threshold
    policy["false_pages_per_model_week"] = settings.policy.false_pages_per_model_week
    _lay_over(tree, changes)
    left_out = [f"{name} is a secret, and left out here: set it as before" for name in secrets]
    lines = [*(f"# {named(line, 200)}" for line in [*head, *left_out]), *_table(tree, ())]
    return "\n".join(lines) + "\n"


def _without_secrets(tree: Tree, place: tuple[str, ...]) -> Iterator[str]:
    for name in list(tree):
        here = (*place, name)
        if isinstance(tree[name], dict):
            yield from _without_secrets(tree[name], here)
        elif is_secret(here) or has_secret(here, tree[name]):
            del tree[name]
            yield dotted(here)


def _lay_over(tree: Tree, changes: Tree) -> None:
    for name, value in changes.items():
        if isinstance(value, dict):
            _lay_over(tree.setdefault(name, {}), value)
        else:
            tree[name] = value


def _table(tree: Tree, place: tuple[str, ...]) -> Iterator[str]:
    """Lines of a table: its own values, then the tables in it."""
    values = {name: value for name, value in tree.items() if not isinstance(value, dict)}
    if values and place:
        yield ""
        yield f"[{'.'.join(map(_key, place))}]"
    for name, value in values.items():
        yield f"{_key(name)} = {_value(value)}"
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _table(value, (*place, name))


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    # a TOML basic string escapes as JSON does, and DEL besides
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
