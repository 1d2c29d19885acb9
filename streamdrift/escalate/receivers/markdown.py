"""Markdown files in a folder: one per incident, written anew with each of its pages; and its post-mortem, written once."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from streamdrift.escalate import safe_text
from streamdrift.escalate.receivers.base import Delivered, Outcome, Page, RetryAt
from streamdrift.escalate.receivers.documents import Document, is_postmortem, of_page
from streamdrift.escalate.receivers.formats import to_markdown
from streamdrift.settings import MarkdownSettings


class Markdown:
    """One folder.

    A file that can't be written is tried again: a full disk is emptied, a share comes back.
    """

    name = "markdown"

    def __init__(self, settings: MarkdownSettings) -> None:
        if settings.folder is None:
            raise ValueError("Markdown needs a folder")
        self._folder = settings.folder

    def __repr__(self) -> str:
        return f"Markdown({self._folder})"

    def send(self, page: Page, now: float) -> Outcome:
        """Make one attempt; see ``Receiver``."""
        del now
        incident = str(page.incident.get("incident_id") or page.dedup_key)
        if is_postmortem(page):
            return self.write(f"{incident}-postmortem", of_page(page), once=True)
        return self.write(incident, of_page(page))

    def write(self, name: str, document: Document, *, once: bool = False) -> Outcome:
        """Write a document whole or not at all; ``Delivered.reference`` is the file's name.

        Parameters
        ----------
        once
            A file that is there is left as it is: a post-mortem belongs to those who edit it.
        """
        path = self._folder / f"{safe_text.file_name(name)}.md"
        if once and path.exists():
            return Delivered("it was there", path.name)
        beside = path.with_name(f".{path.name}.new")
        try:
            _write(beside, to_markdown(document))
            beside.replace(path)
        except OSError as e:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            return RetryAt(reason=f"{path.name} can't be written: {e.strerror or type(e).__name__}")
        return Delivered(reference=path.name)


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
