"""Certificates for the tests, made by the openssl program: authorities, and what they sign."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


class NoCertificateError(Exception):
    """The openssl program is missing, or failed; the message says which."""


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, each a PEM file."""

    path: Path
    key: Path


def authority(folder: Path, name: str, *, host: str = "localhost") -> Certificate:
    """Make a certificate that vouches for itself and for what it signs; it is good for a server of this name too."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    names = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{host}")
    _openssl("req", "-x509", *CURVE, "-nodes", "-days", "30", *names, "-keyout", made.key, "-out", made.path)
    return made


def signed(by: Certificate, name: str, *, expired: bool = False, password: str = "") -> Certificate:
    """Make a certificate for ``localhost`` beside its authority's.

    Parameters
    ----------
    expired
        It ends the moment it begins.
    password
        What the key is locked with; not at all where empty.
    """
    made, request = Certificate(by.path.with_name(f"{name}.pem"), by.path.with_name(f"{name}.key")), f"{by.path}.csr"
    lock = ("-passout", f"pass:{password}") if password else ("-nodes",)
    _openssl("req", *CURVE, *lock, "-subj", f"/CN={name}", "-keyout", made.key, "-out", request)
    extensions = by.path.with_suffix(".ext")
    extensions.write_text(
        "subjectAltName=DNS:localhost\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n"
    )
    signing = ("-CA", by.path, "-CAkey", by.key, "-CAcreateserial", "-extfile", extensions)
    _openssl("x509", "-req", "-in", request, *signing, "-days", "0" if expired else "30", "-out", made.path)
    return made


def _openssl(*arguments: object) -> None:
    if not shutil.which("openssl"):
        raise NoCertificateError("no certificates for the tests: it takes the program openssl, which is not there")
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise NoCertificateError(f"openssl {arguments[0]} failed ({done.returncode}): {done.stderr[-1000:]}")
