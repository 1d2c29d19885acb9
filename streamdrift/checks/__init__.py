"""Suites that every plug-in passes: detectors, transports, receivers. They ship with the package."""
