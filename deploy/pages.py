"""Stands in for a pager: takes signed webhooks on port 8080, checks the signature, prints one line each.

``PAGES_SECRET`` is the signing secret; ``PAGES_PORT`` another port.
"""

# ruff: noqa: INP001 - a script of the stack, no package

from __future__ import annotations

import logging
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson

from streamdrift.app import SystemClock
from streamdrift.demo.receiver import BODY_BYTES_MAX, key, verify
from streamdrift.errors import Rejected

log = logging.getLogger("pages")
SECRET = os.environ.get("PAGES_SECRET", "")
CLOCK = SystemClock()


class Page(BaseHTTPRequestHandler):
    """One delivery."""

    timeout = 10

    def do_POST(self) -> None:
        """Answer 202 to what is signed, 401 to what is not."""
        body = self.rfile.read(min(int(self.headers.get("content-length") or 0), BODY_BYTES_MAX))
        try:
            verify(key(SECRET), {name.lower(): value for name, value in self.headers.items()}, body, CLOCK.now())
        except Rejected as e:
            log.warning("refused: %s", e.detail)
            self.send_response(401)
        else:
            page = orjson.loads(body)["data"]
            log.info("PAGE %s: %s", page["action"], page["headline"])
            self.send_response(202)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Pages only."""


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    if not SECRET:
        sys.exit("pages: set PAGES_SECRET to the secret that pages are signed with")
    ThreadingHTTPServer(("", int(os.environ.get("PAGES_PORT", "8080"))), Page).serve_forever()
