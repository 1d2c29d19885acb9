"""How often the confirming scan cries wolf: its evidence T on series that do not change, by simulation.

    python benchmarks/null_rate.py [--series N] [--reference N] [--seed N] [--rows NAME ...] [--quick]

Each series learns a reference window (5,000 events unless told otherwise) and is then scanned for 10,000 more. What is counted is the first time that T
reaches a threshold, in series-periods of 10,000 events at risk, so that one unlucky reference counts once. Brackets: exact
95 % Poisson intervals. The scan decides alone here, as with `policy.require = "none"`; a candidate can only make it rarer.

The law: with a rate of A·exp(-b·(T - 13)) per 10,000 events, the largest T of a series has a Gumbel distribution above
any floor. A and b are its maximum-likelihood estimates from the series that exceed `FLOOR`, all others censored there; errors
are standard errors by the observed information. It is fitted to independent values only; the scan sees ranks, so all continuous
ones are alike, whatever their distribution, and pooled. Rows of dependent values are there to show where they stand to it.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.stats import chi2

from streamdrift.blocks.column import NUMBER, Floats
from streamdrift.detect import baseline
from streamdrift.detect.calibration import calibrate, score_table
from streamdrift.detect.confirm import Scan

REFERENCE, EVENTS = 5_000, 10_000
THRESHOLDS = range(8, 19)
ANCHOR = 13.0
"""T at which the law's A is the rate: about where a few thousand series still show some exceedances."""
FLOOR = 9.0
"""T from which the law is fitted: below, a series exceeds so often that overlapping windows are far from Poisson."""
CHUNK = 50
Simulate = Callable[[np.random.Generator, int, int], Floats]
"""(series, events) values."""


def autoregressive(phi: float, noise: Floats) -> Floats:
    """(series, events) AR(1) of variance 1, stationary from the first event."""
    out = noise * math.sqrt(1 - phi * phi)
    out[:, 0] = noise[:, 0]
    for i in range(1, out.shape[1]):
        out[:, i] += phi * out[:, i - 1]
    return out


def garch(rng: np.random.Generator, series: int, events: int, alpha: float = 0.05, beta: float = 0.9) -> Floats:
    """(series, events) GARCH(1, 1) of variance 1: bursts of spread, of no direction."""
    out = rng.standard_normal((series, events))
    variance = np.ones(series)
    for i in range(events):
        out[:, i] *= np.sqrt(variance)
        variance = (1 - alpha - beta) + alpha * out[:, i] ** 2 + beta * variance
    return out


def phase(rng: np.random.Generator, series: int, events: int, period: int) -> Floats:
    """(series, events) phase of a season in turns, each series with a start of its own."""
    turns: Floats = rng.random((series, 1)) + np.arange(events) / period
    return turns


def season(rng: np.random.Generator, series: int, events: int) -> Floats:
    """A sine of one sd, 2,000 events a day."""
    return rng.standard_normal((series, events)) + np.sin(2 * np.pi * phase(rng, series, events, 2_000))


def new_seasons(rng: np.random.Generator, series: int, events: int) -> Floats:
    """In turn: a slow sine over dependent noise, office hours, two peaks a day that aren't equal."""
    out = rng.standard_normal((series, events))
    out[0::3] = autoregressive(0.5, out[0::3]) + np.sin(2 * np.pi * phase(rng, len(out[0::3]), events, 3_500))
    out[1::3] += 1.5 * (phase(rng, len(out[1::3]), events, 1_440) % 1 < 1 / 3)
    turns = 2 * np.pi * phase(rng, len(out[2::3]), events, 2_400)
    out[2::3] += 0.7 * np.sin(turns) + 0.5 * np.sin(2 * turns + 1)
    return out


INDEPENDENT: dict[str, Simulate] = {
    "normal": lambda rng, s, n: rng.standard_normal((s, n)),
    "uniform": lambda rng, s, n: rng.random((s, n)),
    "t3": lambda rng, s, n: rng.standard_t(3, (s, n)),
    "lognormal 1.5": lambda rng, s, n: rng.lognormal(0, 1.5, (s, n)),
    "Bernoulli .02": lambda rng, s, n: (rng.random((s, n)) < 0.02).astype(float),
}
TIED = {"Bernoulli .02"}
DEPENDENT: dict[str, Simulate] = {
    "AR .5": lambda rng, s, n: autoregressive(0.5, rng.standard_normal((s, n))),
    "AR .8": lambda rng, s, n: autoregressive(0.8, rng.standard_normal((s, n))),
    "AR .9": lambda rng, s, n: autoregressive(0.9, rng.standard_normal((s, n))),
    "season": season,
    "new seasons": new_seasons,
    "GARCH(.05, .9)": garch,
}
ROWS = {**INDEPENDENT, **DEPENDENT}


def highest(values: Floats, learned: int) -> Floats:
    """(stretches,) highest T so far of one series, after its reference window of ``learned`` events."""
    reference, _ = baseline.build(NUMBER, values[:learned], [], 0.0)
    ranks, table = reference.rank(values), score_table(learned)
    scan = Scan(calibrate(table[ranks[:learned]]))
    evidence = scan.update(table[ranks[learned:]], np.arange(len(values) - learned))
    if evidence is None:
        raise ValueError("a series needs at least one stretch of events after its reference")
    so_far: Floats = np.maximum.accumulate(evidence.t.max(axis=(1, 2)))
    return so_far


@dataclass
class Row:
    """What one kind of series showed.

    Attributes
    ----------
    peaks
        (N,) the highest T of each series.
    at_risk
        Series-periods of 10,000 events before T reached each of ``THRESHOLDS``, summed over the series.
    """

    peaks: Floats
    at_risk: Floats

    def crossed(self, threshold: float) -> int:
        """Series that reached the threshold."""
        return int((self.peaks >= threshold).sum())


def simulate(name: str, series: int, seed: int, reference: int = REFERENCE) -> Row:
    """Scan so many series of a kind. The first of them are the same for any larger number, in steps of ``CHUNK``."""
    peaks, at_risk = [], np.zeros(len(THRESHOLDS))
    for chunk in range(math.ceil(series / CHUNK)):
        rng = np.random.default_rng([seed, list(ROWS).index(name), chunk])
        for values in ROWS[name](rng, CHUNK, reference + EVENTS)[: series - chunk * CHUNK]:
            so_far = highest(values, reference)
            peaks.append(float(so_far[-1]))
            at_risk += np.minimum(np.searchsorted(so_far, THRESHOLDS) + 1, len(so_far)) / len(so_far)
    return Row(np.array(peaks), at_risk)


def poisson_interval(count: int) -> tuple[float, float]:
    """Exact 95 % interval of a Poisson mean (Garwood 1936); of zero, the one-sided upper bound, 3.0."""
    if not count:
        return 0.0, float(chi2.ppf(0.95, 2)) / 2
    return float(chi2.ppf(0.025, 2 * count)) / 2, float(chi2.ppf(0.975, 2 * count + 2)) / 2


@dataclass
class Law:
    """rate(T) = A·exp(-b·(T - 13)) per series and 10,000 events, with standard errors (of A: relative)."""

    a: float
    b: float
    a_error: float
    b_error: float

    def rate(self, threshold: float) -> float:
        """Expected first alarms per series and 10,000 events."""
        return self.a * math.exp(-self.b * (threshold - ANCHOR))


def fit(peaks: Floats, floor: float = FLOOR) -> Law | None:
    """Gumbel by maximum likelihood, peaks below the floor censored there; None from fewer than ten exceedances."""
    above = peaks[peaks >= floor] - ANCHOR
    below, edge = len(peaks) - len(above), floor - ANCHOR
    if len(above) < 10:
        return None

    def loss(parameters: Floats) -> float:
        log_a, log_b = parameters
        b = math.exp(log_b)
        exponents = log_a - b * above
        return float(below * math.exp(log_a - b * edge) - (exponents + log_b - np.exp(exponents)).sum())

    start = np.array([math.log(len(above) / len(peaks)) + edge, 0.0])
    found = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-8, "maxiter": 5_000}).x
    errors = np.sqrt(np.diag(np.linalg.inv(_hessian(loss, found))))
    b = math.exp(found[1])
    return Law(math.exp(found[0]), b, float(errors[0]), float(errors[1]) * b)


def _hessian(loss: Callable[[Floats], float], at: Floats, step: float = 1e-3) -> Floats:
    """Second differences: the observed information of the two parameters."""
    shifts = np.eye(2) * step
    hessian: Floats = np.array(
        [[loss(at + i + j) - loss(at + i - j) - loss(at - i + j) + loss(at - i - j) for j in shifts] for i in shifts]
    ) / (4 * step * step)
    return hessian


def cell(count: int, at_risk: float) -> str:
    low, high = (bound / at_risk for bound in poisson_interval(count))
    return f"<{high:.2g}" if not count else f"{count / at_risk:.3g} [{low:.2g}, {high:.2g}]"


def table(rows: dict[str, Row]) -> str:
    lines = ["| | " + " | ".join(f"T ≥ {t}" for t in THRESHOLDS) + " |", "|---" * (len(THRESHOLDS) + 1) + "|"]
    for name, row in rows.items():
        cells = [cell(row.crossed(t), float(risk)) for t, risk in zip(THRESHOLDS, row.at_risk, strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def laws(rows: dict[str, Row]) -> tuple[str, dict[str, Law]]:
    lines = ["| independent values | A | b | rate at T = 16 |", "|---|---|---|---|"]
    peaks = {name: row.peaks for name, row in rows.items() if name in INDEPENDENT}
    if continuous := [peaks[name] for name in peaks if name not in TIED]:
        peaks["continuous, pooled"] = np.concatenate(continuous)
    fitted = {name: law for name, of in peaks.items() if (law := fit(of)) is not None}
    for name, law in fitted.items():
        figures = f"{law.a:.3g} ± {law.a * law.a_error:.1g} | {law.b:.3f} ± {law.b_error:.3f} | {law.rate(16):.2g}"
        lines.append(f"| {name} | {figures} |")
    return "\n".join(lines), fitted


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=400, help="per row (default: %(default)s, about a minute)")
    parser.add_argument("--reference", type=int, default=REFERENCE, help="events of its window (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="NAME", help=", ".join(ROWS)
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test: few series")
    options = parser.parse_args(arguments)
    series = 4 if options.quick else options.series
    began, rows = time.process_time(), {}
    for name in options.rows:
        rows[name] = simulate(name, series, options.seed, options.reference)
        print(f"  {name}: {series} series, {time.process_time() - began:.0f} s", file=sys.stderr, flush=True)
    print(f"\n{series} series a row, reference {options.reference}, seed {options.seed}:")
    print("first alarms per series and 10,000 stationary events\n")
    print(table(rows))
    text, fitted = laws(rows)
    if fitted:
        # of the single continuous rows only chance would choose
        candidates = [name for name in fitted if name not in INDEPENDENT or name in TIED]
        worst = max(candidates or fitted, key=lambda name: fitted[name].rate(16))
        law = fitted[worst]
        print(f"\nrate(T) = A·exp(-b·(T - 13)) per series and 10,000 events\n\n{text}\n")
        print(f"Least favourable at 16: {worst}, A = {law.a:.3g}, b = {law.b:.4g}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
