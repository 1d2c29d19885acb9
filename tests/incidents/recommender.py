"""The recommender that fails quietly: a feature store serves default values, nothing is null, nothing was deployed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import orjson

from streamdrift.alerts import rfc3339
from tests.incidents.story import (
    DAY,
    HOUR,
    MINUTE,
    Announced,
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
    sigmoid,
    slots,
)

MODEL = {"name": "home-recommender", "version": "12"}
COUNTRIES = {"DE": 0.3, "FR": 0.25, "ES": 0.2, "PL": 0.15, "NL": 0.1}
DEFAULT_SHARE = 0.4
"""Of the users have been away for longer than the new release looks back."""
DEFAULTS = 0.12, 0.2
SEED = 11


@dataclass(frozen=True)
class Size:
    """How long and how busy; the shape is the same."""

    start: int = at("2026-03-03T00:00")
    onset: int = at("2026-03-12T03:50")
    per_hour: float = 1_000.0


def story(size: Size | None = None) -> Story:
    """Build it; a smaller one for tests."""
    size = size or Size()
    onset, start = size.onset, size.start
    campaign = onset - 4 * DAY - 20 * HOUR
    name = MODEL["name"]
    told = (
        change("deploy-home-12", start + 2 * HOUR, "deployment", "home-recommender 12 replaces 11", models=[name]),
        change("cfg-candidates", onset - 2 * DAY, "configuration", "500 candidates instead of 400", models=[name]),
        change(
            "schema-session", onset - 20 * HOUR, "schema", "session_items is an integer", features=["session_items"]
        ),
        change("deploy-search-31", onset - 70 * MINUTE, "deployment", "search-ranker 31", models=["search-ranker"]),
        change(
            "rates-daily",
            onset - 45 * MINUTE,
            "feature-pipeline",
            "daily currency rates for price_rel",
            models=[name, "search-ranker"],
            features=["price_rel"],
        ),
        change(
            "fs-user-affinity-9",
            onset - 30 * MINUTE,
            "feature-store",
            "feature view user_affinity, release 9: looks back 24 hours",
            models=[name],
            features=["affinity", "category_affinity"],
        ),
        change(
            "exp-layout",
            onset + 20 * MINUTE,
            "experiment",
            "two rows instead of three for a tenth of Germany",
            models=[name],
            segments={"country": "DE"},
        ),
    )
    until = campaign + 2 * DAY
    made = Story(
        name="recommender",
        title="A recommender fails quietly after an update of the feature store",
        told=(
            "At night the feature view that tells a recommender how much a user likes an item gets a new release, which looks back 24 hours.",
            "Users who were away for longer, four in ten, get a default from then on: nothing is null, nothing was deployed, no service reports an error.",
            "The model ranks them by popularity and price, and they click less.",
        ),
        model=MODEL,
        start=start,
        end=onset + 5 * DAY,
        onset=onset,
        guilty="fs-user-affinity-9",
        changes=told,
        features=("affinity", "category_affinity", "prediction.score", "performance.loss", "performance.calibration"),
        leads=2,
        segments=({},),
        innocents=(
            Innocent(
                "campaign",
                campaign,
                until,
                "a campaign in Spain: half as many visits again, items a quarter of a standard deviation cheaper; announced, with a silence up to 0.6",
                ("traffic.rate", "price_rel", "popularity"),
            ),
            Innocent("season", start, onset + 5 * DAY, "day and night: a third of the traffic at five in the morning"),
        ),
        undoing="the feature view is put back to release 8, which serves the user's whole history",
        messages=lambda world: messages(made, size, world),
        announced=(
            Announced(
                campaign - 6 * HOUR,
                (
                    *("--match", f"model={name}", "--match", "segment=country=ES", "--up-to", "0.6"),
                    *("--from", rfc3339(campaign), "--until", rfc3339(until + 6 * HOUR)),
                    *("--comment", "campaign in Spain", "--author", "marketing"),
                ),
            ),
        ),
    )
    return made


def messages(story: Story, size: Size, world: World) -> Iterator[Message]:
    """Draw the traffic: events, and whether the item was clicked some minutes later."""
    rng = np.random.default_rng(SEED)
    later = Later(changes(story.changes))
    campaign = story.innocents[0]
    names, shares = list(COUNTRIES), np.array(list(COUNTRIES.values()))
    n = 0
    for times in slots(rng, story.start, story.end, lambda t: size.per_hour * season(t)):
        extra = (
            np.array([])
            if not times.size or not campaign.since <= times[0] < campaign.until
            else rng.random(len(times))
        )
        country = rng.choice(names, len(times), p=shares)
        if extra.size:  # half of Spain's share comes in addition
            country = np.where(extra < 0.1 / 1.1, "ES", country)
        cheaper = (country == "ES") & bool(extra.size)
        # people are on the phone in the evening
        hour = times / HOUR % 24
        app = rng.random(len(times)) < 0.55 + 0.08 * np.cos((hour - 20) / 24 * 2 * np.pi)
        affinity = rng.beta(2, 4, len(times))
        category = np.clip(0.5 * affinity + 0.5 * rng.beta(2, 3, len(times)), 0, 1)
        popularity = rng.lognormal(0, 0.8, len(times))
        price = rng.normal(1, 0.2, len(times)) - 0.05 * cheaper
        recency = rng.exponential(5, len(times))
        items = 1 + rng.geometric(0.2, len(times))
        likely = _clicks(affinity, category, popularity, price)
        hit = story.wrong(times, world) & (rng.random(len(times)) < DEFAULT_SHARE)
        served, served_category = np.where(hit, DEFAULTS[0], affinity), np.where(hit, DEFAULTS[1], category)
        score = _clicks(served, served_category, popularity, price)
        # the list shows what the model thinks best: who is misjudged sees worse items
        clicked = rng.random(len(times)) < np.where(hit, 0.6 * likely, likely)
        delay = rng.integers(2 * MINUTE, 90 * MINUTE, len(times))
        for i, time in enumerate(map(int, times)):
            n += 1
            yield from later.due(time)
            place = {"country": str(country[i]), "device": "app" if app[i] else "web"}
            features = {
                "affinity": round(float(served[i]), 5),
                "category_affinity": round(float(served_category[i]), 5),
                "popularity": round(float(popularity[i]), 4),
                "price_rel": round(float(price[i]), 4),
                "recency_days": round(float(recency[i]), 3),
                "session_items": int(items[i]),
            }
            yield event(
                f"r-{n}", time, MODEL, place, features=features, prediction={"score": round(float(score[i]), 5)}
            )
            seen = time + int(delay[i])
            label = {
                "prediction_id": f"r-{n}",
                "model": MODEL["name"],
                "observed_at": rfc3339(seen),
                "label": bool(clicked[i]),
            }
            later.put(Message(seen, "labels", f"r-{n}".encode(), orjson.dumps(label)))


def _clicks(affinity: Floats, category: Floats, popularity: Floats, price: Floats) -> Floats:
    """How likely a click is: what the model has learnt, and what is true of a right input."""
    return sigmoid(-2.6 + 3 * affinity + 1.5 * category + 0.25 * np.log(popularity) - 1.2 * (price - 1))
