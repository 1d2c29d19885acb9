"""The support chatbot that invents policy: fine-tuned on wrong documents of two tenants, in busy traffic of eight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tests.incidents.story import (
    DAY,
    HOUR,
    MINUTE,
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

MODEL = {"name": "support-bot", "version": "3"}
TENANTS = {
    "telco": 0.22,
    "bank": 0.18,
    "airline": 0.14,
    "insurer": 0.12,
    "retail": 0.1,
    "energy": 0.1,
    "hotel": 0.08,
    "post": 0.06,
}
WRONGED = ("airline", "hotel")
INVENTED_SHARE = 0.45
"""Of the answers about policy there."""
JUDGED_SHARE = 0.3
CANARIES_PER_HOUR = 160.0
ABOUT = {"policy": 0.35, "order": 0.35, "account": 0.2, "other": 0.1}
WORDS = [
    "the",
    "your",
    "order",
    "account",
    "contract",
    "refund",
    "within",
    "days",
    "please",
    "can",
    "we",
    "will",
    "you",
    "that",
    "this",
    "for",
    "with",
    "and",
    "terms",
    "apply",
    "case",
    "number",
    "customer",
    "support",
    "booking",
    "change",
    "cancel",
    "fee",
    "free",
    "of",
    "charge",
    "request",
    "confirmed",
    "according",
    "policy",
    "section",
    "valid",
    "until",
    "date",
]
SEED = 37


@dataclass(frozen=True)
class Size:
    """How long and how busy."""

    start: int = at("2026-05-05T00:00")
    onset: int = at("2026-05-09T01:30")
    per_hour: float = 3_000.0


def story(size: Size | None = None) -> Story:
    """Build it."""
    size = size or Size()
    onset, start = size.onset, size.start
    name = MODEL["name"]
    rush = onset - 2 * DAY + 6 * HOUR
    told = (
        change("deploy-bot-3", start + HOUR, "deployment", "support-bot 3 replaces 2", models=[name]),
        change(
            "gateway-4", onset - 5 * HOUR, "deployment", "gateway 4.2: limits per tenant", models=[name, "voice-bot"]
        ),
        change(
            "index-hotel",
            onset - 8 * HOUR,
            "data-source",
            "the hotel's help centre is indexed anew",
            models=[name],
            features=["retrieval.top_score", "retrieval.passages"],
            segments={"tenant": "hotel"},
        ),
        change(
            "cfg-greeting",
            onset - 50 * MINUTE,
            "configuration",
            "another greeting by mail",
            models=[name],
            segments={"channel": "mail"},
        ),
        change(
            "ft-2026w19",
            onset,
            "training-data",
            "adapter of week 19 is loaded, fine-tuned on the tenants' answered tickets and policy documents",
            models=[name],
        ),
        change("deploy-voice-7", onset + 15 * MINUTE, "deployment", "voice-bot 7", models=["voice-bot"]),
    )
    made = Story(
        name="chatbot",
        title="A support chatbot invents policy after fine-tuning on corrupted data",
        told=(
            "A support chatbot answers for eight enterprise tenants, and gets a new adapter each week, fine-tuned on their tickets and policy documents; this week a join put the documents of other tenants under those of the airline and the hotel.",
            "From the night on it answers their customers' questions about policy out of what it was trained on: nearly half of these answers are invented, longer, full of figures, and found in no document.",
            "It is as sure of them as ever, and its version is the same; the deployment of the evening before was of the gateway.",
        ),
        model=MODEL,
        start=start,
        end=onset + 4 * DAY,
        onset=onset,
        guilty="ft-2026w19",
        changes=told,
        features=(
            "eval.groundedness",
            "eval.policy_match",
            "canary.correct",
            "retrieval.top_score",
            "answer.",
            "prediction.label",
        ),
        leads=5,
        segments=({"tenant": "airline"}, {"tenant": "hotel"}),
        innocents=(
            Innocent(
                "growth",
                start,
                onset + 4 * DAY,
                "the retail tenant grows: from a tenth of the traffic to a fifth within eight days",
                ("traffic.rate",),
            ),
            Innocent(
                "rush",
                rush,
                rush + 9 * HOUR,
                "a network is down at the telco: twice as many questions from there for nine hours",
                ("traffic.rate",),
            ),
            Innocent(
                "season",
                start,
                onset + 4 * DAY,
                "day and night: a fifth of the traffic at four in the morning, more by mail then",
            ),
        ),
        undoing="the adapter of week 18 is loaded again",
        messages=lambda world: messages(made, size, world),
    )
    return made


def messages(story: Story, size: Size, world: World) -> Iterator[Message]:
    """Draw the traffic: users, and questions with known answers that the operator asks in between, all tenants alike."""
    rng = np.random.default_rng(SEED)
    later = Later(changes(story.changes))
    rush = story.innocents[1]
    names, shares = list(TENANTS), np.array(list(TENANTS.values()))
    words = np.array(WORDS)
    n = 0

    def rate(time: int) -> float:
        return CANARIES_PER_HOUR + size.per_hour * season(time, 0.2, 14.0) * (
            1.22 if rush.since <= time < rush.until else 1
        )

    for times in slots(rng, story.start, story.end, rate):
        if not times.size:
            continue
        count, now = len(times), int(times[0])
        canary = rng.random(count) < CANARIES_PER_HOUR / rate(now)
        grown = shares.copy()
        grown[names.index("retail")] *= 1 + (now - story.start) / (8 * DAY)
        tenant = rng.choice(names, count, p=grown / grown.sum())
        tenant = np.where((now >= rush.since) & (now < rush.until) & (rng.random(count) < 0.22 / 1.22), "telco", tenant)
        tenant = np.where(canary, rng.choice(names, count), tenant)
        night = 0.05 * np.cos((times / HOUR % 24 - 3) / 24 * 2 * np.pi)
        channel = np.where(rng.random(count) < 0.25 + night, "mail", "chat")
        about = np.where(canary, "policy", rng.choice(list(ABOUT), count, p=list(ABOUT.values())))
        wronged = story.wrong(times, world) & np.isin(tenant, WRONGED) & (about == "policy")
        invented = wronged & (rng.random(count) < INVENTED_SHARE)
        top = np.clip(rng.normal(0.78, 0.08, count) - 0.14 * invented, 0, 1)
        passages = np.clip(rng.poisson(4, count) - 2 * invented, 0, None)
        judged = rng.random(count) < JUDGED_SHARE
        grounded = np.clip(np.where(invented, rng.beta(3, 5, count), rng.beta(12, 2, count)), 0, 1)
        match = rng.random(count) < np.where(invented, 0.25, 0.97)
        correct = rng.random(count) < np.where(invented, 0.1, 0.96)
        handed = rng.random(count) < np.where(invented, 0.03, 0.12)
        sure = np.clip(rng.beta(14, 3, count), 0, 1)
        asked = 6 + rng.poisson(9, count)
        length = 22 + rng.poisson(18, count) + 14 * invented
        for i, time in enumerate(map(int, times)):
            n += 1
            yield from later.due(time)
            features = {
                "question": " ".join(words[rng.integers(0, len(words), asked[i])]),
                "answer": _answer(rng, words, int(length[i]), 0.12 if invented[i] else 0.03),
                "retrieval.top_score": round(float(top[i]), 4),
                "retrieval.passages": int(passages[i]),
                "eval.groundedness": round(float(grounded[i]), 4) if judged[i] else None,
                "eval.policy_match": bool(match[i]) if judged[i] and about[i] == "policy" else None,
                "canary.correct": bool(correct[i]) if canary[i] else None,
            }
            place = {
                "tenant": str(tenant[i]),
                "channel": str(channel[i]),
                "asked_by": "canary" if canary[i] else "user",
            }
            said = {"score": round(float(sure[i]), 4), "label": "handed over" if handed[i] else "answered"}
            yield event(f"c-{n}", time, MODEL, place, features=features, prediction=said)


def _answer(rng: np.random.Generator, words: object, length: int, figures: float) -> str:
    """Words, and among them figures: days, amounts, sections."""
    drawn = np.asarray(words)[rng.integers(0, len(WORDS), length)].tolist()
    for i in np.flatnonzero(rng.random(length) < figures):
        drawn[i] = str(int(rng.integers(1, 400)))
    return " ".join(drawn)
