"""What an operator sees of a running process: metrics, health and logs."""

from streamdrift.telemetry.health import Health, Server, serve
from streamdrift.telemetry.last_words import leave_out, masked
from streamdrift.telemetry.logs import configure_logging, get_logger
from streamdrift.telemetry.metrics import Metrics

__all__ = ["Health", "Metrics", "Server", "configure_logging", "get_logger", "leave_out", "masked", "serve"]
