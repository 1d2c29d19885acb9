//! Adaptive windowing (`reference.Adwin`), operation for operation in the order of river 0.26.1, for its roundings decide.

use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::block;
use crate::snapshot::{same, Kind, Reader, Refusal, Writer};

/// Of the exponential histogram: a row that has one more merges its two oldest.
const MAX_BUCKETS: usize = 5;
const CAPACITY: usize = MAX_BUCKETS + 1;
/// Values that the shorter side of a cut has at least.
const MIN_WINDOW_LENGTH: f64 = 5.0;
/// A bucket of row r holds 2^r values; more than 2^53 can't be counted exactly anyway.
const ROWS_MAX: usize = 53;

#[derive(Clone, Copy, PartialEq)]
struct Settings {
    delta: f64,
    clock: u32,
    grace_period: u32,
}

/// Buckets of one size, the oldest first; those from `n` on hold what was left behind.
#[derive(Clone, Copy, Default)]
struct Row {
    n: usize,
    totals: [f64; CAPACITY],
    variances: [f64; CAPACITY],
}

impl Row {
    #[inline]
    fn push(&mut self, total: f64, variance: f64) {
        self.totals[self.n] = total;
        self.variances[self.n] = variance;
        self.n += 1;
    }

    #[inline]
    fn drop_oldest(&mut self, k: usize) {
        self.totals.copy_within(k.., 0);
        self.variances.copy_within(k.., 0);
        self.n -= k;
    }
}

#[derive(Clone)]
struct Window {
    width: f64,
    total: f64,
    variance: f64,
    /// Values since the last look for a cut.
    tick: u32,
    /// Row r has buckets of 2^r values; the first row always is there.
    rows: Vec<Row>,
}

#[inline]
fn bucket_size(row: usize) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a power of two")]
    let size = (1u64 << row) as f64;
    size
}

impl Window {
    fn new() -> Self {
        Self { width: 0.0, total: 0.0, variance: 0.0, tick: 0, rows: vec![Row::default()] }
    }

    fn clear(&mut self) {
        (self.width, self.total, self.variance, self.tick) = (0.0, 0.0, 0.0, 0);
        self.rows.truncate(1);
        self.rows[0].n = 0;
    }

    fn update(&mut self, values: &[f64], settings: Settings, flags: &mut Vec<i64>) {
        for (i, &value) in (0..).zip(values) {
            self.insert(value);
            self.tick += 1;
            if self.tick == settings.clock {
                self.tick = 0;
                if self.width > f64::from(settings.grace_period) && self.cut(settings.delta) {
                    flags.push(i);
                    self.clear();
                }
            }
        }
    }

    #[inline]
    fn insert(&mut self, value: f64) {
        let before = self.width;
        self.width = before + 1.0;
        if before > 0.0 {
            let deviation = value - self.total / before;
            self.variance += before * deviation * deviation / self.width;
        }
        self.total += value;
        let newest = &mut self.rows[0];
        newest.push(value, 0.0);
        if newest.n == CAPACITY {
            self.merge();
        }
    }

    /// Merge the two oldest buckets of each full row into one of the next.
    #[inline]
    fn merge(&mut self) {
        let mut r = 0;
        while self.rows[r].n == CAPACITY {
            let n = bucket_size(r);
            let row = &mut self.rows[r];
            let difference = row.totals[0] / n - row.totals[1] / n;
            let total = row.totals[0] + row.totals[1];
            let variance = row.variances[0] + row.variances[1] + n * 0.5 * difference * difference;
            row.drop_oldest(2);
            r += 1;
            if r == self.rows.len() {
                self.rows.reserve_exact(2); // doubling would leave half of it empty in thousands of series
                self.rows.push(Row::default());
            }
            self.rows[r].push(total, variance);
        }
    }

    /// Drop the oldest buckets while two parts differ in mean; return whether any was dropped.
    #[inline(never)]
    fn cut(&mut self, delta: f64) -> bool {
        let mut changed = false;
        while self.differs(delta) {
            self.drop_bucket();
            changed = true;
        }
        changed
    }

    /// Whether the window can be cut at an edge between buckets so that the means of both sides differ.
    ///
    /// The paper's test takes three divisions and a root for each edge. Most edges are nowhere near, which is seen without:
    /// with d = `u0·n1 - u1·n0` and m = `1/a0 + 1/a1`, a side's mean is off by `d/(n0·n1)`, and where its square is below
    /// `2·m·variance·log_term` the bound, which is larger still, isn't passed. `d` is taken at its most with all
    /// roundings, the other side at its least, so that no edge is passed over where the test would decide otherwise.
    fn differs(&self, delta: f64) -> bool {
        let log_term = (2.0 * self.width.ln() / delta).ln();
        let variance = self.variance / self.width;
        let bound = 2.0 * variance * log_term * (1.0 - 1e-9);
        let quick = log_term > 0.1 && bound >= 0.0;
        let (mut n0, mut n1, mut u0, mut u1) = (0.0, self.width, 0.0, self.total);
        for (r, row) in self.rows.iter().enumerate().rev() {
            let size = bucket_size(r);
            let edges = if r == 0 { row.n.saturating_sub(1) } else { row.n };
            for &total in &row.totals[..edges.min(CAPACITY)] {
                n0 += size;
                n1 -= size;
                u0 += total;
                u1 -= total;
                let (a0, a1) = (n0 - MIN_WINDOW_LENGTH + 1.0, n1 - MIN_WINDOW_LENGTH + 1.0);
                let (left, right, product) = (u0 * n1, u1 * n0, n0 * n1);
                let d = (left - right).abs() + (left.abs() + right.abs()) * ROUNDING;
                let far = bound * (a0 + a1) * (product * product);
                if quick && d * d * (a0 * a1) <= far && far < 1e300 {
                    continue;
                }
                if n1 >= MIN_WINDOW_LENGTH && n0 >= MIN_WINDOW_LENGTH {
                    let difference = u0 / n0 - u1 / n1;
                    let m = 1.0 / a0 + 1.0 / a1;
                    let epsilon = (2.0 * m * variance * log_term).sqrt() + 2.0 / 3.0 * log_term * m;
                    if difference.abs() > epsilon {
                        return true;
                    }
                }
            }
        }
        false
    }

    fn drop_bucket(&mut self) {
        let last = self.rows.len() - 1;
        let n = bucket_size(last);
        let row = &mut self.rows[last];
        let (total, variance) = (row.totals[0], row.variances[0]);
        let mean = total / n;
        self.width -= n;
        self.total -= total;
        let rest = self.total / self.width;
        self.variance -= variance + n * self.width * (mean - rest) * (mean - rest) / (n + self.width);
        row.drop_oldest(1);
        if row.n == 0 && last > 0 {
            self.rows.pop();
        }
    }

    fn write(&self, to: &mut Writer) {
        to.u32(self.tick).f64(self.width).f64(self.total).f64(self.variance);
        to.u32(u32::try_from(self.rows.len()).unwrap_or(u32::MAX));
        for row in &self.rows {
            to.u32(u32::try_from(row.n).unwrap_or(u32::MAX));
            for (&total, &variance) in row.totals.iter().zip(&row.variances).take(row.n) {
                to.f64(total).f64(variance);
            }
        }
    }

    fn read(from: &mut Reader<'_>, settings: Settings) -> Result<Self, Refusal> {
        let tick = from.u32()?;
        let (width, total, variance) = (from.f64()?, from.f64()?, from.f64()?);
        let depth = from.u32()? as usize;
        if tick >= settings.clock || depth == 0 || depth > ROWS_MAX {
            return Err(Refusal::Damaged);
        }
        let mut window = Self { width, total, variance, tick, rows: Vec::with_capacity(depth) };
        let mut counted = 0.0;
        for r in 0..depth {
            let mut row = Row::default();
            let n = from.u32()?;
            if n as usize > MAX_BUCKETS || (n == 0 && depth > 1) {
                return Err(Refusal::Damaged);
            }
            for _ in 0..n {
                row.push(from.f64()?, from.f64()?);
            }
            counted += f64::from(n) * bucket_size(r);
            window.rows.push(row);
        }
        #[allow(clippy::float_cmp, reason = "whole numbers")]
        let fits = counted == width;
        if fits { Ok(window) } else { Err(Refusal::Damaged) }
    }
}

/// More than what two products and their difference are off by, in parts of the products.
const ROUNDING: f64 = 8.0 * f64::EPSILON;

/// See `reference.Adwin`: the same arguments, the same flags.
#[pyclass(module = "streamdrift.kernels._compiled")]
pub struct Adwin {
    settings: Settings,
    window: Window,
}

impl Adwin {
    /// Take values; append the indices at which it flagged.
    pub fn feed(&mut self, values: &[f64], flags: &mut Vec<i64>) {
        self.window.update(values, self.settings, flags);
    }
}

#[pymethods]
impl Adwin {
    #[new]
    fn new(delta: f64, clock: u32, grace_period: u32) -> PyResult<Self> {
        if clock == 0 {
            return Err(PyValueError::new_err("clock must be at least 1"));
        }
        Ok(Self { settings: Settings { delta, clock, grace_period }, window: Window::new() })
    }

    /// Take a block of n values; return the indices (0 to n-1) at which it flagged.
    fn update<'py>(&mut self, py: Python<'py>, values: PyReadonlyArray1<'py, f64>) -> Bound<'py, PyArray1<i64>> {
        block::flags(py, &values, |block, flags| self.window.update(block, self.settings, flags))
    }

    /// Values in the window.
    #[getter]
    fn width(&self) -> f64 {
        self.window.width
    }

    /// Sum of the values in the window.
    #[getter]
    fn total(&self) -> f64 {
        self.window.total
    }

    /// Sum of their squared deviations from the mean.
    #[getter]
    fn variance(&self) -> f64 {
        self.window.variance
    }

    /// The state as bytes, for `restore` of either engine.
    fn snapshot<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let mut to = Writer::new(Kind::Adwin);
        to.f64(self.settings.delta).u32(self.settings.clock).u32(self.settings.grace_period);
        self.window.write(&mut to);
        PyBytes::new(py, &to.seal())
    }

    /// Go on where a snapshot was taken.
    fn restore(&mut self, state: &[u8]) -> Result<(), Refusal> {
        let mut from = Reader::open(Kind::Adwin, state)?;
        let settings = Settings { delta: from.f64()?, clock: from.u32()?, grace_period: from.u32()? };
        same(settings == self.settings)?;
        let window = Window::read(&mut from, settings)?;
        from.end()?;
        self.window = window;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Settings, Window};

    const SETTINGS: Settings = Settings { delta: 0.002, clock: 32, grace_period: 10 };

    fn step() -> Vec<f64> {
        (0..1_000).map(|i| if i < 500 { 0.0 } else { 1.0 }).collect()
    }

    #[test]
    fn flags_a_step_whatever_the_blocks() {
        for size in [1, 7, 1_000] {
            let (mut window, mut found) = (Window::new(), Vec::new());
            for (k, piece) in step().chunks(size).enumerate() {
                let mut flags = Vec::new();
                window.update(piece, SETTINGS, &mut flags);
                found.extend(flags.iter().map(|i| usize::try_from(*i).unwrap() + k * size));
            }
            assert_eq!(found, [511]);
        }
    }

    #[test]
    fn a_constant_is_counted() {
        let mut window = Window::new();
        window.update(&[1.0; 5_000], SETTINGS, &mut Vec::new());
        assert!((window.width - 5_000.0).abs() < 0.5 && window.variance.abs() < 1e-9);
        let counted: usize = window.rows.iter().enumerate().map(|(r, row)| row.n << r).sum();
        assert_eq!(counted, 5_000);
    }

    #[test]
    fn no_value_makes_it_panic() {
        let wild = [f64::NAN, f64::INFINITY, -1e308, 1e308, 5e-324, 0.0];
        let values: Vec<f64> = wild.iter().cycle().take(2_000).copied().collect();
        Window::new().update(&values, SETTINGS, &mut Vec::new());
    }
}
