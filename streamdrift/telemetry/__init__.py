"""What an operator sees of a running process: metrics, health and logs."""

from streamdrift.telemetry.metrics import Metrics

__all__ = ["Metrics"]
