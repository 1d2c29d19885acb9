"""The image tagger that meets styles it has never seen: embeddings, confidence and the mix of its labels, in one source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tests.incidents.story import (
    DAY,
    HOUR,
    MINUTE,
    Floats,
    Innocent,
    Later,
    Message,
    Story,
    World,
    at,
    change,
    changes,
    event,
    season,
    slots,
)

MODEL = {"name": "image-tagger", "version": "5"}
SOURCES = {"studio": 0.5, "marketplace": 0.35, "resale": 0.15}
CATEGORIES = {"tops": 0.35, "shoes": 0.25, "dresses": 0.2, "bags": 0.2}
LABELS = ("casual", "formal", "sport", "party", "outdoor", "vintage")
DIMENSION = 24
NEW_SHARE = 0.45
"""Of the marketplace's photos once all of the new brands are there."""
RAMP_MS = 12 * HOUR
SEED = 23


@dataclass(frozen=True)
class Size:
    """How long and how busy."""

    start: int = at("2026-04-08T00:00")
    onset: int = at("2026-04-15T07:00")
    per_hour: float = 1_000.0


def story(size: Size | None = None) -> Story:
    """Build it."""
    size = size or Size()
    onset, start = size.onset, size.start
    name = MODEL["name"]
    sale = onset - 20 * HOUR
    told = (
        change("deploy-tagger-5", start + 3 * HOUR, "deployment", "image-tagger 5 replaces 4", models=[name]),
        change(
            "deploy-tagger-5-nodes",
            onset - 6 * HOUR,
            "deployment",
            "image-tagger 5 on new nodes, same weights",
            models=[name],
        ),
        change(
            "brightness-2",
            onset - 100 * MINUTE,
            "feature-pipeline",
            "brightness is measured after cropping",
            models=[name],
            features=["brightness"],
        ),
        change(
            "cfg-thumbs", onset - 3 * HOUR, "configuration", "thumbnails are kept for 30 days", models=["thumbnailer"]
        ),
        change(
            "feed-new-brands",
            onset - 10 * MINUTE,
            "data-source",
            "the marketplace's feed takes in 60 new brands, brand by brand",
            models=[name],
            segments={"source": "marketplace"},
        ),
        change(
            "exp-badges",
            onset + 30 * MINUTE,
            "experiment",
            "badges beside the photo",
            models=[name],
            segments={"source": "studio"},
        ),
    )
    made = Story(
        name="tagger",
        title="An image tagger meets styles that it has never seen",
        told=(
            "A shop's image tagger gets photos from its own studio, from a marketplace and from resale; in the morning the marketplace begins to take in sixty new brands, brand by brand for twelve hours.",
            "Their clothes look like nothing that the tagger was trained on: the vectors of the photos lie elsewhere, it is less sure of what it says, and says `vintage` when in doubt.",
            "No input is malformed and the tagger is as it was; the deployment of the night moved it to other machines and changed nothing.",
        ),
        model=MODEL,
        start=start,
        end=onset + 5 * DAY,
        onset=onset,
        guilty="feed-new-brands",
        changes=told,
        features=("embedding.photo", "prediction.confidence", "prediction.entropy", "prediction.label"),
        leads=3,
        segments=({"source": "marketplace"},),
        innocents=(
            Innocent(
                "sale",
                sale,
                sale + 14 * HOUR,
                "a sale at resale: twice as many photos from there for fourteen hours; nobody announced it",
                ("traffic.rate",),
            ),
            Innocent(
                "season",
                start,
                onset + 5 * DAY,
                "day and night: uploads follow office hours; photos are darker at night",
            ),
        ),
        undoing="photos of the new brands are sent to people instead, until the tagger is trained on them",
        messages=lambda world: messages(made, size, world),
    )
    return made


def messages(story: Story, size: Size, world: World) -> Iterator[Message]:
    """Draw the traffic: a photo's vector is that of its style and something of its own; the tagger compares it with styles it knows."""
    rng = np.random.default_rng(SEED)
    later = Later(changes(story.changes))
    sale = story.innocents[0]
    styles = rng.normal(size=(len(CATEGORIES), len(LABELS), DIMENSION))
    look = rng.normal(size=DIMENSION)  # what the new brands' photos have in common
    unseen = rng.normal(size=(len(CATEGORIES), 3, DIMENSION)) + 0.7 * look
    n = 0
    for times in slots(
        rng,
        story.start,
        story.end,
        lambda t: size.per_hour * season(t, 0.2, 13.0) * (1.15 if sale.since <= t < sale.until else 1),
    ):
        count = len(times)
        on_sale = (times >= sale.since) & (times < sale.until)
        source = rng.choice(list(SOURCES), count, p=list(SOURCES.values()))
        source = np.where(on_sale & (rng.random(count) < 0.15 / 1.15), "resale", source)
        category = rng.choice(len(CATEGORIES), count, p=list(CATEGORIES.values()))
        style = rng.choice(len(LABELS), count, p=[0.35, 0.15, 0.2, 0.12, 0.1, 0.08])
        arrived = np.clip((times - story.onset) / RAMP_MS, 0.1, 1)
        new = story.wrong(times, world) & (source == "marketplace") & (rng.random(count) < NEW_SHARE * arrived)
        vectors = styles[category, style]
        vectors = np.where(new[:, None], unseen[category, rng.integers(0, 3, count)], vectors) + rng.normal(
            0, 0.55, (count, DIMENSION)
        )
        probabilities = _tagged(vectors, styles[category])
        # what is like none of them is said to be old
        label = np.where(probabilities.max(axis=1) < 0.45, LABELS.index("vintage"), probabilities.argmax(axis=1))
        hour = times / HOUR % 24
        brightness = np.clip(rng.normal(0.62 + 0.02 * np.cos((hour - 13) / 24 * 2 * np.pi), 0.1, count), 0, 1)
        kilobytes = rng.lognormal(5.5, 0.4, count)
        names = list(CATEGORIES)
        for i, time in enumerate(map(int, times)):
            n += 1
            yield from later.due(time)
            yield event(
                f"i-{n}",
                time,
                MODEL,
                {"source": str(source[i]), "category": names[category[i]]},
                features={"brightness": round(float(brightness[i]), 4), "kilobytes": round(float(kilobytes[i]), 1)},
                embeddings={"photo": [round(v, 3) for v in vectors[i].tolist()]},
                prediction={
                    "label": LABELS[label[i]],
                    "probabilities": {
                        name: round(p, 4) for name, p in zip(LABELS, probabilities[i].tolist(), strict=True)
                    },
                },
            )


def _tagged(vectors: Floats, known: Floats) -> Floats:
    """Probabilities of the labels: of how near the vector is to the styles that are known of its category."""
    direction = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    styles = known / np.linalg.norm(known, axis=2, keepdims=True)
    near = np.einsum("nd,nkd->nk", direction, styles)
    weights = np.exp(5 * near)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)
