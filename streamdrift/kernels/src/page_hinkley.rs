//! Two-sided Page-Hinkley test with forgetting (`reference.PageHinkley`).

use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::block;
use crate::snapshot::{same, Kind, Reader, Refusal, Writer};

#[derive(Clone, Copy, PartialEq)]
struct Settings {
    delta: f64,
    threshold: f64,
    min_instances: u64,
    alpha: f64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct State {
    n: f64,
    mean: f64,
    up: f64,
    down: f64,
    up_min: f64,
    down_max: f64,
}

/// river's start values: the first deviation replaces both extremes.
const BEGIN: State = State { n: 0.0, mean: 0.0, up: 0.0, down: 0.0, up_min: f64::INFINITY, down_max: -1.0 };

impl State {
    fn update(&mut self, values: &[f64], settings: Settings, flags: &mut Vec<i64>) {
        let Settings { delta, threshold, alpha, .. } = settings;
        let least = settings.min_instances as f64;
        let mut s = *self;
        for (i, &value) in (0..).zip(values) {
            s.n += 1.0;
            s.mean += 1.0 / s.n * (value - s.mean);
            let deviation = value - s.mean;
            s.up = alpha * s.up + deviation - delta;
            s.down = alpha * s.down + deviation + delta;
            if s.up < s.up_min {
                s.up_min = s.up;
            }
            if s.down > s.down_max {
                s.down_max = s.down;
            }
            if (s.up - s.up_min > threshold || s.down_max - s.down > threshold) && s.n >= least {
                flags.push(i);
                s = BEGIN;
            }
        }
        *self = s;
    }
}

/// See `reference.PageHinkley`: the same arguments, the same flags.
#[pyclass(module = "streamdrift.kernels._compiled")]
pub struct PageHinkley {
    settings: Settings,
    state: State,
}

impl PageHinkley {
    /// Take values; append the indices at which it flagged.
    pub fn feed(&mut self, values: &[f64], flags: &mut Vec<i64>) {
        self.state.update(values, self.settings, flags);
    }
}

#[pymethods]
impl PageHinkley {
    #[new]
    fn new(delta: f64, threshold: f64, min_instances: u64, alpha: f64) -> Self {
        Self { settings: Settings { delta, threshold, min_instances, alpha }, state: BEGIN }
    }

    /// Take a block of n values; return the indices (0 to n-1) at which it flagged.
    fn update<'py>(&mut self, py: Python<'py>, values: PyReadonlyArray1<'py, f64>) -> Bound<'py, PyArray1<i64>> {
        block::flags(py, &values, |block, flags| {
            self.state.update(block, self.settings, flags);
        })
    }

    /// The state as bytes, for `restore` of either engine.
    fn snapshot<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let mut to = Writer::new(Kind::PageHinkley);
        let (settings, state) = (self.settings, self.state);
        to.f64(settings.delta).f64(settings.threshold).u64(settings.min_instances).f64(settings.alpha);
        for number in [state.n, state.mean, state.up, state.down, state.up_min, state.down_max] {
            to.f64(number);
        }
        PyBytes::new(py, &to.seal())
    }

    /// Go on where a snapshot was taken.
    fn restore(&mut self, state: &[u8]) -> Result<(), Refusal> {
        let mut from = Reader::open(Kind::PageHinkley, state)?;
        let settings =
            Settings { delta: from.f64()?, threshold: from.f64()?, min_instances: from.u64()?, alpha: from.f64()? };
        same(settings == self.settings)?;
        let restored = State {
            n: from.f64()?,
            mean: from.f64()?,
            up: from.f64()?,
            down: from.f64()?,
            up_min: from.f64()?,
            down_max: from.f64()?,
        };
        from.end()?;
        self.state = restored;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Settings, BEGIN};

    #[test]
    fn flags_a_step_whatever_the_blocks() {
        let settings = Settings { delta: 0.005, threshold: 50.0, min_instances: 30, alpha: 0.9999 };
        let values: Vec<f64> = (0..400).map(|i| if i < 200 { 0.0 } else { 1.0 }).collect();
        let (mut whole, mut flags) = (BEGIN, Vec::new());
        whole.update(&values, settings, &mut flags);
        assert_eq!(flags, [257]);
        let mut pieces = BEGIN;
        for piece in values.chunks(7) {
            pieces.update(piece, settings, &mut flags);
        }
        assert_eq!(pieces, whole);
    }
}
