//! Adaptive windowing, as a Python class (`reference.Adwin`).

use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::adwin_window::{Settings, Window};
use crate::block;
use crate::snapshot::{same, Kind, Reader, Refusal, Writer};

/// See `reference.Adwin`: the same arguments, the same flags.
#[pyclass(module = "streamdrift.kernels._compiled")]
pub struct Adwin {
    settings: Settings,
    window: Window,
}

impl Adwin {
    /// Ask for the memory that the next values will need.
    pub fn prefetch(&self) {
        self.window.prefetch();
    }

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
        block::flags(py, &values, |block, flags| {
            self.window.update(block, self.settings, flags);
        })
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
