//! Exact two-sample KS after every value, as a Python class (`reference.SlidingKs`).

use std::sync::Arc;

use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::block;
use crate::ks_window::{Cells, Window};
use crate::prefetch;
use crate::snapshot::{same, Kind, Reader, Refusal, Writer};

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

impl SlidingKs {
    /// Ask for the memory that the next values will need.
    pub fn prefetch(&self) {
        on!(&self.heights, window => window.prefetch());
        prefetch::slice(self.cells.distinct());
    }

    /// Go on with distinct values that are held elsewhere anyway, if they begin with the same.
    pub fn share(&mut self, distinct: &Arc<[f64]>) {
        self.cells.share(distinct);
    }

    /// Take values; append the indices at which it flagged.
    pub fn feed(&mut self, values: &[f64], flags: &mut Vec<i64>) {
        let cells = &self.cells;
        on!(&mut self.heights, window => window.update(cells, values, flags));
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
            let cells = window.oldest_first();
            to.u32(u32::try_from(cells.len()).unwrap_or(u32::MAX));
            for cell in cells {
                to.u32(cell);
            }
        });
        PyBytes::new(py, &to.seal())
    }

    /// Go on where a snapshot was taken.
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
        if ring.iter().any(|&cell| cell as usize > 2 * self.cells.distinct().len()) {
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
