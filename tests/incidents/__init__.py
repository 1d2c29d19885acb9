"""Incidents played from their first event to their post-mortem: real broker, real services, scripted receivers; see ``play``."""
