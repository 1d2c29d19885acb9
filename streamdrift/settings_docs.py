"""Writes ``docs/settings.md`` from the tree: ``python -m streamdrift.settings_docs``, with ``--check`` only compares."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from streamdrift.settings.fields import LEAVES, SECTIONS, Leaf, Place, dotted, environment_name
from streamdrift.settings.identity import DECISIVE, INDIFFERENT_FIELDS
from streamdrift.settings.problems import shown

PAGE = Path("docs/settings.md")

INTRODUCTION = """\
# Settings

<!-- Written by `python -m streamdrift.settings_docs` from streamdrift/settings. Change the tree, not this page. -->

Every setting has a default; `streamdrift detect` on a broker at `localhost:9092` needs none of them.

A setting is given by an environment variable: prefix `STREAMDRIFT_`, sections joined by two underscores.

```sh
export STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS=kafka-1:9092,kafka-2:9092
export STREAMDRIFT_DETECTORS__ADWIN__DELTA=0.0005
export STREAMDRIFT_SEGMENTS='["origin","carrier"]'        # lists are JSON
```

Or by a TOML file that `STREAMDRIFT_CONFIG` names. The environment wins over the file, the file over the defaults,
setting by setting.

```toml
segments = ["origin", "carrier"]

[kafka]
bootstrap_servers = "kafka-1:9092,kafka-2:9092"

[detectors.adwin]
delta = 0.0005
```

- `streamdrift config show` lists every setting, its value and who set it; `streamdrift config check` only checks, and
  leaves with exit code 2 if something is wrong. All problems are named at once, one a line.
- A name that doesn't exist is an error with the nearest real one, in the environment as in the file. So are a leftover
  `${…}` and a value that is out of bounds: nothing is ignored in silence. (The `STREAMDRIFT_SERVICE_HOST` kind, which
  Kubernetes sets beside a Service of that name, is passed over.)
- A section can be given whole, as a JSON object (`STREAMDRIFT_TOPICS='{"alerts": "ml-drift"}'`); variables for single
  settings win over it.
- Relative paths begin in the working directory.
- Settings are read once, at start.

## Secrets

| setting | environment | from a file |
|---|---|---|
"""

SECRETS = """
They are masked in `config show`, in error messages and in log lines. The file's text is the secret, without one newline
at its end; giving both the value and the file is an error. In TOML the twin is called the same: `sasl_password_file`.
A secret shorter than four characters is not looked for in log lines.

## Tuning

Fewer alerts, in the order to try it:

1. `policy.threshold` up (16 → 20): more evidence for every alert. The first thing to turn, in both directions.
2. `escalate.severity_min` to `critical`: alerts stay on the topic, fewer of them page.
3. `reference.events` up, if a series needs longer to show what is normal for it (a daily season).
4. An override for the one feature or segment that is noisy (below), or `enabled = false` there.
5. `segments` to the dimensions that somebody would act on.

More alerts, or earlier ones: `policy.threshold` down; `detectors.*` more sensitive (`adwin.delta` and `ks.alpha` up,
`page_hinkley.threshold` down); `policy.require = "none"`, so that the confirming scan needs no detector to ask for it.

Changes are best tried on recorded events first: `streamdrift replay events.ndjson --summary summary.json` with the new
settings.

## Overrides

A rule changes detector and policy settings for the series that it matches. It has a name of its own, so that a variable
can reach it whatever the feature is called; `model`, `feature` and `segment` say what it is for, and one left out
matches all.

```toml
[overrides.eu_price]
model = "shop"
feature = "Price.USD"
segment = "country=DE"
adwin = { delta = 0.0001 }

[overrides.noisy_test_model]
model = "shop-canary"
enabled = false
```

```sh
export STREAMDRIFT_OVERRIDES__EU_PRICE__ADWIN__DELTA=0.00001
export STREAMDRIFT_OVERRIDES__EU_PRICE__POLICY__THRESHOLD=24
```

What a rule doesn't set keeps its base value. Where several rules match a series, they are laid over it in the order of
their names: the later name wins. Names are lower-case letters and digits with single underscores.

"""

COLUMNS = "| setting | environment | allowed | default | |\n|---|---|---|---|---|\n"


def page() -> str:
    """Return the whole page."""
    return INTRODUCTION + "".join(_secrets()) + SECRETS + "## All settings\n" + "".join(_sections()) + _hash_note()


def _secrets() -> Iterator[str]:
    for place, leaf in LEAVES.items():
        if leaf.secret:
            name = environment_name(place)
            yield f"| `{dotted(place)}` | `{name}` | `{name}_FILE` |\n"


def _sections() -> Iterator[str]:
    yield f"\n### Top level\n\n{COLUMNS}"
    yield "| | `STREAMDRIFT_CONFIG` | path | (not set) | The TOML file. |\n"
    yield from (_row(leaf) for place, leaf in LEAVES.items() if len(place) == 1)
    for place, section in SECTIONS.items():
        leaves = [leaf for at, leaf in LEAVES.items() if at[:-1] == place]
        if place and leaves and not _repeats_base(place):
            text = " ".join((section.__doc__ or "").split())
            yield f"\n### `{dotted(_named(place))}`\n\n{text}\n\n{COLUMNS}"
            yield from map(_row, leaves)
            if place == ("overrides", "*"):
                yield from _branches(place)


def _repeats_base(place: Place) -> bool:
    """Tell whether it is a section below a rule: the same settings stand at their base."""
    return len(place) > 2 and place[:2] == ("overrides", "*")


def _branches(rule: Place) -> Iterator[str]:
    """Yield one row for each section of a rule, pointing at its base."""
    for place in SECTIONS:
        if place[: len(rule)] == rule and len(place) == len(rule) + 1:
            base = place[-1] if (place[-1],) in SECTIONS else f"detectors.{place[-1]}"
            name = _named(place)
            yield (
                f"| `{dotted(name)}.*` | `{environment_name(name)}__*` | as `{base}` | as `{base}` "
                f"| Laid over `{base}`: what is left out keeps its value there. |\n"
            )


def _named(place: Place) -> Place:
    return tuple("<rule>" if name == "*" else name for name in place)


def _row(leaf: Leaf) -> str:
    name = _named(leaf.place)
    cells = (f"`{dotted(name)}`", f"`{environment_name(name)}`", leaf.allowed, _default(leaf), leaf.text)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |\n"


def _default(leaf: Leaf) -> str:
    return "(not set)" if leaf.default is None else f"`{shown(leaf.default)}`"


def _hash_note() -> str:
    names = ", ".join(f"`{name}`" for name in sorted(DECISIVE | {"overrides"}))
    but = sorted(f"`{section}.{field}`" for section, fields in INDIFFERENT_FIELDS.items() for field in fields)
    return (
        "\n## The configuration hash\n\n"
        "Every alert carries `config_hash`, and `streamdrift_build_info` and `config show` have it too: 12 digits over all "
        f"settings that change what is detected ({names}; but not {', '.join(but)}). The others can be changed without changing one alert id.\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or compare it: 1 if it is stale."""
    parser = argparse.ArgumentParser(prog="python -m streamdrift.settings_docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare; exit code 1 if the page is stale")
    check = parser.parse_args(arguments).check
    if not check:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        sys.stderr.write(f"{PAGE} is stale; run: python -m streamdrift.settings_docs\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
