"""TLS towards the broker: the context that the settings describe, and in words what was wrong with a certificate, whose it ever is."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamdrift.errors import SettingsProblem
from streamdrift.settings import KafkaSettings

NAME = "STREAMDRIFT_KAFKA__"
SHORT_NAMES = {
    "commonName": "CN",
    "organizationalUnitName": "OU",
    "organizationName": "O",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "countryName": "C",
}
"""Of RFC 2253, in which Kafka names a user who has logged in by a certificate."""


def tls_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """Return the TLS context; None where the protocol has no TLS.

    Raises
    ------
    SettingsProblem
        A certificate or key can't be read, or they don't belong together.
    """
    if not settings.security_protocol.endswith("SSL"):
        return None
    _require_readable("SSL_CAFILE", settings.ssl_cafile)
    try:
        context = ssl.create_default_context(cafile=settings.ssl_cafile)
    except (OSError, ssl.SSLError):
        raise _unusable("SSL_CAFILE", settings.ssl_cafile, "not a PEM file; give a readable PEM file") from None
    if settings.ssl_certfile is not None:
        _load_own(context, settings)
    return context


def _load_own(context: ssl.SSLContext, settings: KafkaSettings) -> None:
    certificate, key, secret = settings.ssl_certfile, settings.ssl_keyfile, settings.ssl_password
    _require_readable("SSL_CERTFILE", certificate)
    _require_readable("SSL_KEYFILE", key)
    asked = []

    def password() -> str:  # asked only where the key is locked; without an answer OpenSSL would ask the terminal
        asked.append(True)
        return "" if secret is None else secret.get_secret_value()

    try:
        context.load_cert_chain(str(certificate), key, password)
    except (OSError, ValueError) as e:
        if getattr(e, "reason", None) == "KEY_VALUES_MISMATCH":
            raise _unusable("SSL_KEYFILE", key, f"it is not the key of {certificate}; give the one that is") from None
        if asked:
            why = "is locked, and no password is set" if secret is None else "does not open with this password"
            raise SettingsProblem(f"{NAME}SSL_PASSWORD: the key {key} {why}; give the key's password") from None
        raise _unusable(
            "SSL_CERTFILE or SSL_KEYFILE", f"{certificate} with {key}", "not PEM files; give a certificate and its key"
        ) from None


def _require_readable(name: str, path: Path | None) -> None:
    if path is not None:
        try:
            path.open("rb").close()
        except OSError as e:
            raise _unusable(name, path, f"{e.strerror}; give a readable PEM file") from None


def _unusable(name: str, path: object, why: str) -> SettingsProblem:
    return SettingsProblem(f"{NAME}{name}: {path} can't be used: {why}")


def distrust(error: ssl.SSLCertVerificationError, host: str, settings: KafkaSettings) -> str:
    """Say why we refuse the broker's certificate."""
    said = error.verify_message
    if "ostname mismatch" in said or "IP address mismatch" in said:
        return (
            f"the broker's certificate is not for the name {host!r}; use the name that it is for in "
            f"{NAME}BOOTSTRAP_SERVERS, or give the broker a certificate for this one"
        )
    if "expired" in said or "not yet valid" in said:
        return f"the broker's {said}; renew it there (if it is valid, this host's clock is wrong)"
    by = str(settings.ssl_cafile) if settings.ssl_cafile is not None else "the system's certificates"
    return (
        f"{by} do{'es' if settings.ssl_cafile is not None else ''} not vouch for the broker's certificate "
        f"({said}); set {NAME}SSL_CAFILE to the certificate of the authority that signed it"
    )


def alert(error: ssl.SSLError) -> str:
    """Return the alert by which the other side ended the handshake, in words; empty where it sent none.

    >>> error = ssl.SSLError(1, "[SSL: SSLV3_ALERT_BAD_CERTIFICATE] ...")
    >>> error.reason = "SSLV3_ALERT_BAD_CERTIFICATE"
    >>> alert(error)
    'bad certificate'
    """
    _, found, name = (error.reason or "").partition("_ALERT_")
    return name.lower().replace("_", " ") if found else ""


def refused(said: str, settings: KafkaSettings, now: float) -> str:
    """Say why the broker refuses us, whose alert was this; ``now`` is in seconds since the epoch."""
    path = settings.ssl_certfile
    if path is None and said in {"certificate required", "bad certificate", "handshake failure"}:
        return (
            f"the broker asks its clients for a certificate ({said}); set {NAME}SSL_CERTFILE and {NAME}SSL_KEYFILE to one "
            "that it trusts"
        )
    if path is None or not ("certificate" in said or said in {"unknown ca", "access denied", "handshake failure"}):
        return f"the broker ended the TLS handshake ({said}); correct {NAME}SECURITY_PROTOCOL or its ssl settings"
    dates = decoded(path)
    for name, late in (("notAfter", "expired"), ("notBefore", "is not valid before")):
        at = dates.get(name)
        if at is not None and (ssl.cert_time_to_seconds(at) <= now) == (name == "notAfter"):
            told = f"expired on {at}" if late == "expired" else f"{late} {at}"
            return f"the certificate {path} {told}, and the broker refuses it; set {NAME}SSL_CERTFILE to a valid one"
    return (
        f"the broker refuses the certificate {path} ({said}); set {NAME}SSL_CERTFILE and {NAME}SSL_KEYFILE to one that is "
        "signed by an authority that the broker trusts (its ssl.truststore.location)"
    )


def decoded(path: Path) -> Mapping[str, Any]:
    """Return what a certificate says, as ``SSLSocket.getpeercert`` has it; empty where it can't be told."""
    try:
        found: Mapping[str, Any] = ssl._ssl._test_decode_cert(str(path))  # type: ignore[attr-defined] # noqa: SLF001 - the only decoder there is
    except (AttributeError, OSError, ValueError):
        return {}
    return found


def principal(path: Path) -> str | None:
    """Return the name that Kafka has for who logs in by this certificate; None where it can't be told."""
    parts = list(reversed(decoded(path).get("subject", ())))
    if not parts or any(len(part) > 1 or part[0][0] not in SHORT_NAMES for part in parts):
        return None
    return ",".join(f"{SHORT_NAMES[name]}={value}" for ((name, value),) in parts)
