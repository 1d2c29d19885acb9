"""Recorded events from files, and alerts and dead letters into them."""

from streamdrift.transports.files.sink import FileSink
from streamdrift.transports.files.source import FileSource

__all__ = ["FileSink", "FileSource"]
