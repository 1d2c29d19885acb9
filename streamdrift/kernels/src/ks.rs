//! Exact two-sample KS after every value, fixed reference against sliding window (`reference.SlidingKs`).
//!
//! A value falls into one of 2m+1 cells of the m distinct reference values. Up to a cell's end, the window has counted C
//! values and the reference B; the distance is the largest |R·C - W·B| / (R·W). Between a gap's end and that of the value
//! before it only C can have grown, so the largest R·C - W·B stands at the end of a gap, and the largest W·B - R·C at the
//! end of a value: two curves, of which the maximum is asked for. A value that replaces another moves each curve by R
//! between the two places. All is divided by the greatest common divisor of R and W, so that 16 bits mostly do.

use std::cmp::Ordering;

use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::block;
use crate::curve::{Curve, Height};
use crate::snapshot::{same, Kind, Reader, Refusal, Writer};

/// Values whose cells are looked up at a time: independent of each other, their searches overlap.
const AT_A_TIME: usize = 64;

/// The reference: what cells there are, and what is critical.
struct Cells {
    /// (m,) rising.
    distinct: Vec<f64>,
    /// (m,) how often each is in the reference.
    counts: Vec<u32>,
    r: u64,
    w: u64,
}

impl Cells {
    fn new(mut reference: Vec<f64>, window: usize) -> Self {
        reference.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
        let (mut distinct, mut counts) = (Vec::new(), Vec::<u32>::new());
        for &value in &reference {
            match counts.last_mut() {
                Some(count) if distinct.last() == Some(&value) => *count += 1,
                _ => {
                    distinct.push(value);
                    counts.push(1);
                }
            }
        }
        distinct.shrink_to_fit();
        counts.shrink_to_fit();
        Self { distinct, counts, r: reference.len() as u64, w: window as u64 }
    }

    fn divisor(&self) -> u64 {
        let (mut a, mut b) = (self.r, self.w);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    }

    /// 2i for the gap before value i, 2i+1 for value i itself.
    #[inline(always)]
    fn of(&self, value: f64) -> u32 {
        let below = self.distinct.partition_point(|&d| d < value);
        let on = self.distinct.get(below) == Some(&value);
        #[allow(clippy::cast_possible_truncation, reason = "the constructor bounds the size of a reference")]
        let cell = (2 * below + usize::from(on)) as u32;
        cell
    }

    /// What the same reference has the same of, whatever engine it is in.
    fn checksum(&self) -> u32 {
        let mut hash = crc32fast::Hasher::new();
        for (value, count) in self.distinct.iter().zip(&self.counts) {
            hash.update(&(value + 0.0).to_le_bytes()); // a negative zero equals the other
            hash.update(&count.to_le_bytes());
        }
        hash.finalize()
    }
}

/// The sliding window, and the two curves over the cells.
struct Window<T> {
    /// R·C - W·B at the end of each gap.
    ahead: Curve<T>,
    /// W·B - R·C at the end of each distinct value.
    behind: Curve<T>,
    /// What one value counts for.
    step: T,
    /// Cells of the last W values; the oldest at `next` once there are W.
    ring: Vec<u32>,
    capacity: usize,
    next: usize,
    above: bool,
    /// Height from which on the distance is critical.
    critical: i64,
}

impl<T: Height> Window<T> {
    fn new(cells: &Cells, critical: i64) -> Self {
        let divisor = cells.divisor();
        let (step, weight) = (cells.r / divisor, cells.w / divisor);
        let (mut ahead, mut behind) = (vec![T::of(0)], Vec::new());
        let mut counted = 0;
        for &count in &cells.counts {
            counted += u64::from(count);
            let height = i64::try_from(counted * weight).unwrap_or(i64::MAX);
            ahead.push(T::of(-height));
            behind.push(T::of(height));
        }
        let capacity = usize::try_from(cells.w).unwrap_or(usize::MAX);
        Self {
            ahead: Curve::new(&ahead),
            behind: Curve::new(&behind),
            step: T::of(i64::try_from(step).unwrap_or(i64::MAX)),
            ring: Vec::with_capacity(capacity),
            capacity,
            next: 0,
            above: false,
            critical,
        }
    }

    fn is_full(&self) -> bool {
        self.ring.len() == self.capacity
    }

    /// The largest height of both curves; 0 while the window is not full.
    fn largest(&self) -> i64 {
        if self.is_full() {
            self.ahead.top().max(self.behind.top()).wide().max(0)
        } else {
            0
        }
    }

    /// Let a value in, and the oldest out once there are W.
    #[inline(always)]
    fn slide(&mut self, cell: u32) -> T {
        let new = places(cell);
        if self.ring.len() < self.capacity {
            self.ring.push(cell);
            let ahead = self.ahead.add(new.0, self.ahead.len(), self.step);
            let behind = self.behind.add(new.1, self.behind.len(), self.step.negated());
            return ahead.max(behind);
        }
        let old = places(std::mem::replace(&mut self.ring[self.next], cell));
        self.next += 1;
        if self.next == self.capacity {
            self.next = 0;
        }
        let (down, up) = (self.step.negated(), self.step);
        let ahead = if new.0 < old.0 { self.ahead.add(new.0, old.0, up) } else { self.ahead.add(old.0, new.0, down) };
        let behind =
            if new.1 < old.1 { self.behind.add(new.1, old.1, down) } else { self.behind.add(old.1, new.1, up) };
        ahead.max(behind)
    }

    #[inline(always)]
    fn update_any(&mut self, cells: &Cells, values: &[f64], flags: &mut Vec<i64>) {
        let mut found = [0u32; AT_A_TIME];
        let mut position = 0;
        for piece in values.chunks(AT_A_TIME) {
            for (cell, &value) in found.iter_mut().zip(piece) {
                *cell = cells.of(value);
            }
            for &cell in &found[..piece.len()] {
                let largest = self.slide(cell).wide().max(0);
                let above = largest >= self.critical && self.is_full();
                if above && !self.above {
                    flags.push(position);
                }
                self.above = above;
                position += 1;
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    unsafe fn update_avx2(&mut self, cells: &Cells, values: &[f64], flags: &mut Vec<i64>) {
        self.update_any(cells, values, flags);
    }

    fn update(&mut self, cells: &Cells, values: &[f64], flags: &mut Vec<i64>) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2") {
            // SAFETY: the processor has the features that the function is compiled for (tests::with_and_without_avx2).
            return unsafe { self.update_avx2(cells, values, flags) };
        }
        self.update_any(cells, values, flags);
    }
}

/// From which gap's end, and from which value's end, a value in this cell is counted.
#[inline(always)]
fn places(cell: u32) -> (usize, usize) {
    (cell.div_ceil(2) as usize, (cell / 2) as usize)
}

/// Heights are at most the least common multiple of R and W.
enum Heights {
    Narrow(Window<i16>),
    Wide(Window<i32>),
}

/// Runs the same expression on the window, whatever its heights are.
macro_rules! on {
    ($heights:expr, $window:ident => $what:expr) => {
        match $heights {
            Heights::Narrow($window) => $what,
            Heights::Wide($window) => $what,
        }
    };
}

/// See `reference.SlidingKs`: the same arguments, the same flags.
#[pyclass(module = "streamdrift.kernels._compiled")]
pub struct SlidingKs {
    cells: Cells,
    heights: Heights,
    alpha: f64,
    critical: f64,
}

impl SlidingKs {
    fn begin(cells: &Cells, critical: f64) -> Result<Heights, &'static str> {
        let divisor = cells.divisor();
        let multiple = cells.r / divisor * cells.w;
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "saturates where none is reached"
        )]
        let units = (critical * cells.r as f64 * cells.w as f64).ceil() as i64;
        let height = units.max(0).unsigned_abs().div_ceil(divisor);
        let height = i64::try_from(height).unwrap_or(i64::MAX);
        if i16::try_from(multiple).is_ok() {
            Ok(Heights::Narrow(Window::new(cells, height)))
        } else if i32::try_from(multiple).is_ok() {
            Ok(Heights::Wide(Window::new(cells, height)))
        } else {
            Err("the least common multiple of the reference's size and the window must be below 2^31")
        }
    }
}

#[pymethods]
impl SlidingKs {
    #[new]
    fn new(reference: PyReadonlyArray1<'_, f64>, window: u32, alpha: f64) -> PyResult<Self> {
        let reference = block::copy(&reference);
        let refused = if reference.is_empty() || reference.len() > i32::MAX as usize / 2 {
            Some("the reference must have 1 to 2^30 values")
        } else if !reference.iter().all(|value| value.is_finite()) {
            Some("the reference must be finite")
        } else if window == 0 {
            Some("window must be at least 1")
        } else if !(alpha > 0.0 && alpha <= 1.0) {
            Some("alpha must be above 0, and at most 1")
        } else {
            None
        };
        if let Some(why) = refused {
            return Err(PyValueError::new_err(why));
        }
        let cells = Cells::new(reference, window as usize);
        #[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
        let critical = (-(alpha / 2.0).ln() / 2.0 * (1.0 / cells.r as f64 + 1.0 / cells.w as f64)).sqrt();
        let heights = Self::begin(&cells, critical).map_err(PyValueError::new_err)?;
        Ok(Self { cells, heights, alpha, critical })
    }

    /// Critical distance.
    #[getter]
    fn critical(&self) -> f64 {
        self.critical
    }

    /// D of the current window; 0 while it is not full.
    #[getter]
    #[allow(clippy::cast_precision_loss, reason = "R·W is far below 2^53")]
    fn distance(&self) -> f64 {
        let largest = on!(&self.heights, window => window.largest());
        (largest as f64 * self.cells.divisor() as f64) / (self.cells.r as f64 * self.cells.w as f64)
    }

    /// (n,) the cell that each value falls into.
    fn cells<'py>(&self, py: Python<'py>, values: PyReadonlyArray1<'py, f64>) -> Bound<'py, PyArray1<i64>> {
        let cells: Vec<i64> = block::copy(&values).iter().map(|&value| i64::from(self.cells.of(value))).collect();
        PyArray1::from_vec(py, cells)
    }

    /// Take a block of n values; return the indices (0 to n-1) at which D rose to the critical value.
    fn update<'py>(&mut self, py: Python<'py>, values: PyReadonlyArray1<'py, f64>) -> Bound<'py, PyArray1<i64>> {
        let (cells, heights) = (&self.cells, &mut self.heights);
        block::flags(py, &values, |block, flags| on!(heights, window => window.update(cells, block, flags)))
    }

    /// The state as bytes, for `restore` of either engine. The reference itself is not in it.
    fn snapshot<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let mut to = Writer::new(Kind::SlidingKs);
        to.u64(self.cells.r).u64(self.cells.w).f64(self.alpha).u32(self.cells.checksum());
        on!(&self.heights, window => {
            to.u32(u32::try_from(window.ring.len()).unwrap_or(u32::MAX));
            for &cell in window.ring[window.next..].iter().chain(&window.ring[..window.next]) {
                to.u32(cell);
            }
        });
        PyBytes::new(py, &to.seal())
    }

    /// Go on where a snapshot was taken.
    #[allow(clippy::float_cmp, reason = "the very same setting is asked for")]
    fn restore(&mut self, state: &[u8]) -> Result<(), Refusal> {
        let mut from = Reader::open(Kind::SlidingKs, state)?;
        same(from.u64()? == self.cells.r && from.u64()? == self.cells.w)?;
        same(from.f64()? == self.alpha && from.u32()? == self.cells.checksum())?;
        let n = u64::from(from.u32()?);
        if n > self.cells.w {
            return Err(Refusal::Damaged);
        }
        let mut ring = Vec::new();
        for _ in 0..n {
            ring.push(from.u32()?);
        }
        from.end()?;
        if ring.iter().any(|&cell| cell as usize > 2 * self.cells.distinct.len()) {
            return Err(Refusal::Damaged);
        }
        let mut heights = Self::begin(&self.cells, self.critical).map_err(|_| Refusal::Damaged)?;
        on!(&mut heights, window => {
            for cell in ring {
                window.slide(cell);
            }
            window.above = window.is_full() && window.largest() >= window.critical;
        });
        self.heights = heights;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Cells, Height, Window};

    /// Values without a library: a linear congruential generator, 0 to 1.
    fn values(n: usize, mut seed: u64) -> Vec<f64> {
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(seed >> 40).unwrap()) / f64::from(1u32 << 24)
        };
        (0..n).map(|_| next()).collect()
    }

    fn largest_by_counting(reference: &[f64], window: &[f64]) -> i64 {
        let (r, w) = (reference.len(), window.len());
        let difference = |edge: f64| {
            let below = |of: &[f64]| i64::try_from(of.iter().filter(|v| **v <= edge).count()).unwrap();
            (below(window) * i64::try_from(r).unwrap() - below(reference) * i64::try_from(w).unwrap()).abs()
        };
        reference.iter().chain(window).map(|edge| difference(*edge)).max().unwrap()
    }

    fn agrees<T: Height>(r: usize, w: usize, round: f64) {
        let rounded = |seed, n| values(n, seed).iter().map(|v| (v * round).round()).collect::<Vec<_>>();
        let (reference, stream) = (rounded(1, r), rounded(2, 6 * w));
        let cells = Cells::new(reference.clone(), w);
        let mut window = Window::<T>::new(&cells, 1);
        let divisor = i64::try_from(cells.divisor()).unwrap();
        for (i, value) in stream.iter().enumerate() {
            window.update(&cells, &[*value], &mut Vec::new());
            if i + 1 >= w {
                assert_eq!(window.largest() * divisor, largest_by_counting(&reference, &stream[i + 1 - w..=i]));
            }
        }
    }

    #[test]
    fn the_distance_is_that_of_counting() {
        for (r, w) in [(1, 1), (63, 20), (64, 16), (127, 30), (150, 100), (700, 20)] {
            for round in [1e9, 40.0] {
                agrees::<i16>(r, w, round);
                agrees::<i32>(r, w, round);
            }
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn with_and_without_avx2() {
        if !is_x86_feature_detected!("avx2") || !is_x86_feature_detected!("bmi1") || !is_x86_feature_detected!("bmi2") {
            return;
        }
        let cells = Cells::new(values(1_000, 3), 200);
        let (mut plain, mut fast) = (Window::<i16>::new(&cells, 100), Window::<i16>::new(&cells, 100));
        let (mut plainly, mut quickly) = (Vec::new(), Vec::new());
        let stream = values(20_000, 4);
        plain.update_any(&cells, &stream, &mut plainly);
        // SAFETY: looked for above.
        unsafe { fast.update_avx2(&cells, &stream, &mut quickly) };
        assert!(plainly.len() > 10);
        assert_eq!(plainly, quickly);
        assert_eq!(plain.ring, fast.ring);
        assert_eq!(plain.largest(), fast.largest());
    }

    #[test]
    fn heights_never_leave_their_width_however_long_blocks_are_only_stepped_over() {
        // Over, in, out and over again: each time, the blocks between move one way as a whole and the other piece by piece
        let reference: Vec<f64> = (0..1_000).map(f64::from).collect();
        let cells = Cells::new(reference.clone(), 3);
        let mut window = Window::<i16>::new(&cells, 1);
        let circle = [999.0, 0.0, 500.0, 999.0, 10.0, 510.0, 999.0, 300.0];
        let stream: Vec<f64> = circle.iter().cycle().take(100_000).copied().collect();
        window.update(&cells, &stream, &mut Vec::new());
        assert_eq!(window.largest(), largest_by_counting(&reference, &stream[stream.len() - 3..]));
    }

    #[test]
    fn no_value_makes_it_panic() {
        let cells = Cells::new(values(10, 5), 4);
        let mut window = Window::<i16>::new(&cells, 1);
        window.update(&cells, &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308, -0.0, f64::NAN], &mut Vec::new());
    }
}
