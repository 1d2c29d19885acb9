"""Corrective actions as tickets, tracked until they are done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamdrift.escalate import safe_text
from streamdrift.escalate.receivers.base import Delivered, Outcome
from streamdrift.escalate.receivers.documents import Document, Paragraph
from streamdrift.escalate.receivers.jira import ACTION_LABEL, LABEL
from streamdrift.escalate.receivers.jira_site import FOUND_MAX, Issue, JiraSite
from streamdrift.settings import JiraSettings


@dataclass(frozen=True, slots=True)
class CorrectiveAction:
    """What is to be done so that it doesn't come again.

    Attributes
    ----------
    action_id
        Its own and stable: an action has one ticket, however often it is told.
    """

    action_id: str
    incident_id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a ticket is: its status by name, and whether that is one of being done."""

    status: str
    done: bool


class JiraActions:
    """Corrective actions in one project."""

    def __init__(self, settings: JiraSettings, *, private: bool = True) -> None:
        self._site, self._kind = JiraSite(settings, private=private), settings.action_type

    def __repr__(self) -> str:
        return f"JiraActions({self._site.place})"

    def open(self, action: CorrectiveAction, now: float) -> Outcome:
        """Make the action's ticket, or find it; ``Delivered.reference`` is its key.

        It is looked for before it is made, so that an attempt whose outcome is not known may be repeated after
        ``Ambiguous.seconds``.
        """
        label = f"{LABEL}-action-{safe_text.file_name(action.action_id)}"
        keys = self._site.labelled(label, now)
        if not isinstance(keys, list):
            return keys
        if keys:
            return Delivered("found", keys[0])
        incident = f"{LABEL}-{safe_text.file_name(action.incident_id)}"
        text = (Paragraph(action.text), Paragraph(f"Corrective action of incident {action.incident_id}"))
        labels = (LABEL, ACTION_LABEL, incident, label)
        made = self._site.create(Issue(action.title, Document(action.title, text), self._kind, labels), now)
        return made if not isinstance(made, str) else Delivered(reference=made)

    def progress(self, keys: Sequence[str], now: float) -> dict[str, Progress] | Outcome:
        """Return how far these tickets are; one that is gone, or not to be seen, is left out."""
        found: dict[str, Progress] = {}
        for start in range(0, len(keys), FOUND_MAX):
            some = self._site.statuses(tuple(keys[start : start + FOUND_MAX]), now)
            if not isinstance(some, dict):
                return some
            found |= {key: Progress(status, done) for key, (status, done) in some.items()}
        return found
