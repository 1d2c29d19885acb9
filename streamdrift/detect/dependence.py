"""How much less a window of dependent values says than as many independent ones.

References
----------
J. Durbin: The fitting of time-series models. Revue de l'Institut International de Statistique 28, 1960 (the recursion).
G. Schwarz: Estimating the dimension of a model. Annals of Statistics 6, 1978 (the order).
"""

from __future__ import annotations

import math

import numpy as np

from streamdrift.blocks.column import Floats, Ints

ORDER_MAX = 12
NEGLIGIBLE = 1e-5  # autocorrelation below which the rest of the tail is left out


def autoregression(z: Floats) -> tuple[Floats, Floats]:
    """AR coefficients by Yule-Walker, of the order that BIC chooses, and the autocorrelations 0 to 12."""
    n = len(z)
    z = z - z.mean()
    r = np.array([np.dot(z[: n - k], z[k:]) / n for k in range(ORDER_MAX + 1)])
    if r[0] <= 0:
        return np.zeros(0), np.eye(1, ORDER_MAX + 1)[0]
    phi, error = np.zeros(0), float(r[0])
    best, chosen = n * math.log(error), phi
    for k in range(1, ORDER_MAX + 1):
        reflection = (r[k] - (np.dot(phi, r[k - 1 : 0 : -1]) if k > 1 else 0.0)) / error
        phi = np.append(phi - reflection * phi[::-1], reflection)
        error *= max(1 - reflection * reflection, 1e-9)
        criterion = n * math.log(error) + k * math.log(n)
        if criterion < best:
            best, chosen = criterion, phi.copy()
    return chosen, r / r[0]


def inflation(phi: Floats, acf: Floats, spans: Ints) -> Floats:
    """Variance of a mean over each span, relative to independence: 1 + 2·Σ (1 - k/w)·ρ(k), by the AR fit's ρ."""
    rho = correlations(phi, acf, int(spans.max()))
    if not len(rho):
        return np.ones(len(spans))
    k = np.arange(1, len(rho) + 1)
    plain = np.concatenate([[0.0], np.cumsum(rho)])
    weighted = np.concatenate([[0.0], np.cumsum(k * rho)])
    last = np.minimum(spans - 1, len(rho))
    return 1 + 2 * (plain[last] - weighted[last] / spans)


def correlations(phi: Floats, acf: Floats, lags: int) -> Floats:
    """ρ(1), ρ(2), …: measured up to the order, then by the recursion, until negligible; none where there is no fit."""
    p = len(phi)
    if not p:
        return np.zeros(0)
    rho = acf[1 : p + 1].tolist()
    coefficients = phi.tolist()
    while len(rho) < lags:
        value = 0.0
        for i, c in enumerate(coefficients):
            value += c * rho[-1 - i]
        rho.append(value)
        if abs(value) < NEGLIGIBLE and max(map(abs, rho[-p:])) < NEGLIGIBLE:
            break
    return np.array(rho)


def inflation_error(phi: Floats, acf: Floats, n: int) -> float:
    """Factor for what the fit can't know: 1 + 4 relative standard errors of 1/(1 - Σφ)."""
    p = len(phi)
    if not p:
        return 1.0
    total = float(phi.sum())
    gain = 1 / (1 - total) if total < 0.999 else 1_000.0
    toeplitz = acf[np.abs(np.subtract.outer(np.arange(p), np.arange(p)))]
    innovation = max(1 - float(np.dot(phi, acf[1 : p + 1])), 1e-6)
    try:
        error = math.sqrt(max(float(innovation * np.linalg.inv(toeplitz).sum() / n), 0.0))
    except np.linalg.LinAlgError:
        error = 0.05
    return 1 + 4 * error * max(gain, 0.0)
