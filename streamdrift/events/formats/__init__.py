"""Envelopes that events come in, one file each. A format takes a decoded message and gives the bare event."""
