"""Settings of mitigation: what the serving side may be asked to do about an incident."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from streamdrift.settings.receivers import ReceiverSection
from streamdrift.settings.values import Allowed, Findings, Positive, SigningSecret, Url

MITIGATIONS = ("roll_back", "shadow", "stop_segment", "fallback")
"""What can be asked for."""
EXPIRY_MAX_S = 604_800
"""A week: what was proposed longer ago than that is about another model by now."""


def _offer(value: str) -> str:
    pattern, equals, actions = value.rpartition("=")
    named = [name.strip() for name in actions.split(",") if name.strip()]
    unknown = [name for name in named if name not in MITIGATIONS]
    if not pattern.strip() or not equals or unknown:
        raise ValueError(
            f"is no pattern=actions, as in fraud-*=roll_back,fallback; actions are {', '.join(MITIGATIONS)}, and none after = offers none"
        )
    return f"{pattern}={','.join(dict.fromkeys(named))}"


def _action(value: str) -> str:
    if value not in MITIGATIONS:
        raise ValueError(f"is none of {', '.join(MITIGATIONS)}")
    return value


OfferRule = Annotated[str, AfterValidator(_offer)]
Offers = Annotated[
    tuple[OfferRule, ...], Allowed("""JSON list of pattern=actions, such as '["fraud-*=roll_back,fallback","*="]'""")
]
Actions = Annotated[
    tuple[Annotated[str, AfterValidator(_action)], ...], Allowed(f"JSON list of {', '.join(MITIGATIONS)}")
]
Wait = Annotated[float, Field(ge=30, le=EXPIRY_MAX_S)]


class MitigationSettings(ReceiverSection):
    """What the serving side may be asked to do about an incident (`docs/mitigation.md`). On when it has a URL."""

    url: Url | None = None
    """The serving side's webhook: it rolls back, stops a segment, and so on."""
    secret: SigningSecret | None = None
    """Key of the signature, as plain text or `whsec_` and base64. Needed: whoever can write to that URL changes production."""
    timeout_s: Positive = 10.0
    """How long one request may take."""
    offers: Offers = ("*=roll_back,shadow,stop_segment,fallback",)
    """What is offered for which model, by its name (`*` stands for anything); the first that matches counts, nothing without."""
    approval: Literal["required", "automatic"] = "required"
    """`automatic`: the first that can be offered is sent without asking, once for an incident; never one of which something isn't known."""
    dry_run: bool = False
    """The serving side is told that it shall only say what it would do; nothing is verified or taken back."""
    expiry_s: Wait = 1_800.0
    """An offer that nobody approved ends after this; so does one that was approved and could not be delivered."""
    cooldown_s: Annotated[float, Field(ge=0, le=EXPIRY_MAX_S)] = 3_600.0
    """After an action was sent for a model, the same is not offered again for so long; by itself none is sent at all."""
    verify_s: Wait = 1_800.0
    """Within this time after it was sent, or within the time in which they could show it if that is longer, the incident's alerts have to recover. That no data come is no recovery."""
    reverts: Actions = MITIGATIONS
    """Actions that are taken back by themselves where the alerts did not recover; others stay, and somebody is called."""

    def _findings(self) -> Findings:
        if self.secret is not None and self.url is None:
            yield "secret", "is given without url, so nothing would be sent; give both or neither"
        if self.url is not None and self.secret is None:
            yield "secret", "is needed with url: without a signature anybody who finds that URL could change production"
        if self.approval == "automatic" and self.url is None:
            yield "approval", "is automatic, but there is no url to send to; set escalate.mitigation.url and secret"
