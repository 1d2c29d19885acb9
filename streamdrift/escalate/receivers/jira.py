"""Jira Cloud's API v3: a ticket per incident, with a comment for what happens to it.

Jira knows no dedup keys. A ticket has a label with the incident's id, and a comment names its delivery: by these one that
may have got through is found. https://developer.atlassian.com/cloud/jira/platform/rest/v3/
"""

from __future__ import annotations

from dataclasses import replace

from streamdrift.escalate import safe_text
from streamdrift.escalate.receivers.base import Ambiguous, Delivered, Outcome, Page, Permanent, RetryAt
from streamdrift.escalate.receivers.documents import Paragraph, is_postmortem, of_page
from streamdrift.escalate.receivers.jira_site import Issue, JiraSite
from streamdrift.escalate.receivers.reference import Reference, reference_of
from streamdrift.settings import JiraSettings

LABEL = "streamdrift"
ACTION_LABEL, POSTMORTEM_LABEL = f"{LABEL}-corrective-action", f"{LABEL}-postmortem"
"""Of tickets that have the incident's label, and are not its own."""
WHAT = {"trigger": "Grew", "acknowledge": "Acknowledged", "resolve": "Resolved"}


class Jira:
    """One project."""

    name = "jira"

    def __init__(self, settings: JiraSettings, *, private: bool = True) -> None:
        self.site = JiraSite(settings, private=private)
        self._settings = settings

    def __repr__(self) -> str:
        return f"Jira({self.site.place})"

    def send(self, page: Page, now: float) -> Outcome:
        """Make one attempt; see ``Receiver``."""
        return self._postmortem(page, now) if is_postmortem(page) else self._page(page, now)

    def _page(self, page: Page, now: float) -> Outcome:
        known = reference_of(page)
        if page.action == "resolve" and known.over:
            return Delivered("its end was told before")
        if known.name:
            return self._comment(page, known, now)
        found = self._found(page, now) if page.uncertain or page.action != "trigger" else None
        if isinstance(found, str):
            known = Reference(found)
            return Delivered("found", str(known)) if page.action == "trigger" else self._comment(page, known, now)
        if found is not None:
            return found
        if page.action != "trigger":
            return Delivered("there is no ticket that could be over")
        made = self.site.create(_issue(page, self._settings), now)
        return made if not isinstance(made, str) else Delivered(reference=made)

    def _postmortem(self, page: Page, now: float) -> Outcome:
        """A comment on the incident's ticket; where it has none, a ticket."""
        if page.reference:
            return Delivered("it was told before", page.reference)
        ticket = str(page.incident.get("ticket") or "")
        if ticket:
            return self._as_comment(page, ticket, now)
        label = f"{LABEL}-postmortem-{safe_text.file_name(str(page.incident.get('incident_id')))}"
        keys = self.site.labelled(label, now) if page.uncertain else []
        if not isinstance(keys, list):
            return keys
        if keys:
            return Delivered("found", keys[0])
        document = of_page(page)
        issue = Issue(
            page.headline, document, self._settings.issue_type, (LABEL, incident_label(page), POSTMORTEM_LABEL, label)
        )
        made = self.site.create(issue, now)
        return made if not isinstance(made, str) else Delivered(reference=made)

    def _as_comment(self, page: Page, ticket: str, now: float) -> Outcome:
        if page.uncertain:
            found = self.site.commented(ticket, page.delivery_id, now)
            if found is not False:
                return Delivered("found", ticket) if found is True else found
        document = of_page(page)
        blocks = (
            _mark(page),
            Paragraph(page.headline),
            *document.blocks,
        )  # first, for what does not fit is cut at the end
        done = self.site.comment(ticket, replace(document, blocks=blocks), now)
        return replace(done, reference=ticket) if isinstance(done, Delivered) else done

    def _found(self, page: Page, now: float) -> str | Outcome | None:
        keys = self.site.labelled(incident_label(page), now, without=(ACTION_LABEL, POSTMORTEM_LABEL))
        if isinstance(keys, Permanent) and page.uncertain:
            return Permanent(f"perhaps delivered: it was sent, and can't be looked for ({keys.reason})")
        return (keys[0] if keys else None) if isinstance(keys, list) else keys

    def _comment(self, page: Page, known: Reference, now: float) -> Outcome:
        over = page.action == "resolve"
        if over and self._settings.done_transition is not None:
            # it changes nothing when repeated, so that it goes first
            moved = self.site.move(known.name, self._settings.done_transition, now)
            if isinstance(moved, Ambiguous):
                return RetryAt(moved.seconds, moved.reason)
            if isinstance(moved, RetryAt):
                return moved
        told = str(replace(known, over=over))
        if page.uncertain:
            found = self.site.commented(known.name, page.delivery_id, now)
            if found is True:
                return Delivered("found", told)
            if found is not False:
                return found
        document = of_page(page)
        what = Paragraph(f"{WHAT[page.action]}: {page.headline}")
        blocks = (what, *document.blocks[1:], _mark(page))
        done = self.site.comment(known.name, replace(document, blocks=blocks), now)
        return replace(done, reference=told) if isinstance(done, Delivered) else done


def incident_label(page: Page) -> str:
    """The label of an incident's ticket, and of its corrective actions."""
    return f"{LABEL}-{safe_text.file_name(str(page.incident.get('incident_id') or page.dedup_key))}"


def _issue(page: Page, settings: JiraSettings) -> Issue:
    document = of_page(page)
    whole = replace(document, blocks=(*document.blocks, _mark(page)))
    return Issue(page.headline, whole, settings.issue_type, (LABEL, incident_label(page)))


def _mark(page: Page) -> Paragraph:
    return Paragraph(f"Told by streamdrift: {page.dedup_key}, delivery {page.delivery_id}")
