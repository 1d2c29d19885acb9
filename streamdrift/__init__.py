"""streamdrift: drift detection that stands beside production models."""

__version__ = "0.1.0"
