"""One chain for every log line, ours and the libraries': redacted, on one line, in UTC.

``json`` is for machines: one object a line with ``timestamp``, ``level``, ``logger``, ``event`` and fields, an exception
as the list ``exception``. ``console`` is for people; an exception is indented there, so that no text in it can pass for
a line of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Literal, TextIO

import structlog
from structlog.processors import ExceptionRenderer, JSONRenderer, TimeStamper, format_exc_info
from structlog.stdlib import ProcessorFormatter, add_log_level, add_logger_name
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from streamdrift.settings import TelemetrySettings
from streamdrift.settings.problems import printable
from streamdrift.telemetry.redact import Redact

FRAMES_MAX = 30
"""Frames of one traceback that are kept."""


def get_logger(name: str) -> FilteringBoundLogger:
    """Return the logger of one part of streamdrift, such as ``detect`` or a module's ``__name__``."""
    logger: FilteringBoundLogger = structlog.get_logger(name if _ours(name) else f"streamdrift.{name}")
    return logger


def _ours(name: str) -> bool:
    return name == "streamdrift" or name.startswith("streamdrift.")


def configure_logging(settings: TelemetrySettings, stream: TextIO, secrets: Iterable[str] = ()) -> None:
    """Send every log line of this process to one stream; libraries speak from ``warning`` up.

    Parameters
    ----------
    secrets
        Texts that are masked wherever they turn up in a line (``settings.secret_values``).
    """
    level = getattr(logging, settings.log_level.upper())
    structlog.configure(
        processors=[*_stamps(), ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = _Lines(stream)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=_stamps(),
            processors=[
                ProcessorFormatter.remove_processors_meta,
                *_rendering(_form(settings, stream), stream, secrets),
            ],
        ),
    )
    root = logging.getLogger()
    root.handlers[:] = [*(h for h in root.handlers if not isinstance(h, _Lines)), handler]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("streamdrift").setLevel(level)
    logging.captureWarnings(capture=True)


def _form(settings: TelemetrySettings, stream: TextIO) -> Literal["json", "console"]:
    if settings.log_format == "auto":
        return "console" if stream.isatty() else "json"
    return settings.log_format


def _stamps() -> list[Processor]:
    """Set last, these can't be forged by a field of the same name."""
    return [add_logger_name, add_log_level, TimeStamper(fmt="iso", utc=True)]


def _rendering(form: Literal["json", "console"], stream: TextIO, secrets: Iterable[str]) -> list[Processor]:
    redact = Redact(secrets)
    if form == "console":
        return [format_exc_info, redact, _one_line_each, structlog.dev.ConsoleRenderer(colors=stream.isatty())]
    # Local variables stay out: they hold events and passwords.
    tracebacks = ExceptionRenderer(ExceptionDictTransformer(show_locals=False, max_frames=FRAMES_MAX))
    return [tracebacks, redact, JSONRenderer(ensure_ascii=True, allow_nan=False)]


def _one_line_each(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape what could begin a new line or move the cursor; a traceback keeps its lines, indented."""
    return {
        printable(name): "\n".join(f"    {printable(line)}" for line in value.split("\n"))
        if name == "exception" and isinstance(value, str)
        else printable(value)
        if isinstance(value, str)
        else value
        for name, value in event.items()
    }


class _Lines(logging.StreamHandler[TextIO]):
    """Writes lines; a full disk or a closed pipe costs log lines, never the process."""

    def format(self, record: logging.LogRecord) -> str:
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        return super().format(record).encode(encoding, "backslashreplace").decode(encoding)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - named by logging
        """There is no other place to complain to."""
