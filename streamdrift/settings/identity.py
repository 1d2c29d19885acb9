"""The short name of everything in the settings that changes what is detected."""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path

from streamdrift.errors import InputProblem
from streamdrift.settings.tree import Settings

DECISIVE = frozenset(
    {
        "segments",
        "max_event_bytes",
        "features_per_event_max",
        "segments_per_event_max",
        "text_length_max",
        "categories_max",
        "free_text",
        "embeddings_per_event_max",
        "embedding_dimension_max",
        "series_max",
        "segments_per_model_max",
        "reference",
        "detectors",
        "policy",
        "anomalies",
        "labels",
    },
)
"""With ``overrides``: what alerts depend on. The rest says how events and alerts travel."""

INDIFFERENT = frozenset({"engine", "exchange", "block_events_max", "kafka", "topics", "escalate", "slo", "telemetry"})
"""Never changes an alert. A new setting must be put in one of the two sets (a test insists)."""

INDIFFERENT_FIELDS = {"labels": {"enabled", "join_memory_max", "spill_directory"}}
"""Fields of decisive sections that never change an alert: where labels come from, and where predictions wait for them."""

LATER = (("reference", "mode"), ("reference", "renew_events"))
"""Settings that came later, and by default leave everything as it was: then they leave alert ids as they were, too."""


def config_hash(settings: Settings) -> str:
    """12 hex digits that are the same wherever the same alerts come out of the same events.

    Examples
    --------
    >>> config_hash(Settings()) == config_hash(Settings(exchange="direct"))
    True
    >>> config_hash(Settings()) == config_hash(Settings(series_max=10))
    False

    Raises
    ------
    InputProblem
        The recorded baseline is missing or can't be read: it counts by what is in it, wherever it lies.
    """
    tree = settings.model_dump(mode="json", include=set(DECISIVE), exclude=INDIFFERENT_FIELDS)
    if settings.reference.baseline is not None:
        tree["reference"]["baseline"] = _content(settings.reference.baseline)
    for section, name in LATER:
        if tree[section][name] == type(getattr(settings, section)).model_fields[name].default:
            del tree[section][name]
    # A rule acts by what it sets: a field left out is not the same as one set to its default.
    tree["overrides"] = settings.model_dump(mode="json", include={"overrides"}, exclude_unset=True).get("overrides", {})
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return blake2b(text.encode(), digest_size=6).hexdigest()


def _content(path: Path) -> str:
    """Name a file by what is in it; a gigabyte takes about a second."""
    h = blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                h.update(piece)
    except (OSError, ValueError) as e:
        why = str(getattr(e, "strerror", None) or e).lower()
        raise InputProblem(
            f"the recorded baseline {path} can't be read: {why}; correct reference.baseline, or leave it out"
        ) from None
    return h.hexdigest()
