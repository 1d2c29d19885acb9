//! A series on an ordinary day: its values, through everything that watches them, in one call.
//!
//! `Watch` holds the state that ordinary values change, and takes values for as long as none of them calls for a look: none
//! is of the wrong kind or far out, no run of a value is too long, no scan leaves its bounds. Where one does, it takes that part
//! back and stops; the reference engine goes on from there, with the state that `told` gives it.

use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::prefetch;
use crate::scan::{Scan, UNIT};
use crate::told::{arrays, scan, taken_over, Judged};
use crate::values::Values;

/// Values that are taken back at most, once one of them calls for a look.
const PART: usize = 1024;
/// Kinds of a value, as `blocks.column` numbers them.
const NULL: u8 = 1;
const NUMBER: u8 = 2;

/// Room that is used again for each part.
#[derive(Default)]
struct Room {
    values: Vec<f64>,
    times: Vec<i64>,
    z: Vec<f64>,
    flags: Vec<i64>,
}

/// The state of one series on ordinary days. See `detect/quiet.py`, which makes it.
#[pyclass(module = "streamdrift.kernels._compiled")]
pub struct Watch {
    kind: u8,
    missing: Option<Scan<2>>,
    invalid: Option<Scan<2>>,
    values: Option<Values>,
    room: Room,
}

#[pymethods]
impl Watch {
    /// See `detect/quiet.py` for what the parts are.
    #[new]
    fn new(
        kind: u8,
        missing: Option<Judged<'_>>,
        invalid: Option<Judged<'_>>,
        parts: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        Ok(Self {
            kind,
            missing: missing.as_ref().map(scan).transpose()?,
            invalid: invalid.as_ref().map(scan).transpose()?,
            values: parts.map(Values::new).transpose()?,
            room: Room::default(),
        })
    }

    /// The state, as the reference engine has it: scans by name (None where nothing is watched), and `run`, `recent`, `flags`,
    /// `seen` of the clean values.
    fn told<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let told = PyDict::new(py);
        told.set_item("missing", self.missing.as_ref().map(|scan| arrays(py, scan)).transpose()?)?;
        told.set_item("invalid", self.invalid.as_ref().map(|scan| arrays(py, scan)).transpose()?)?;
        if let Some(watched) = &self.values {
            watched.told(py, &told)?;
        }
        Ok(told)
    }

    /// Go on from a state of `told`'s form.
    fn adopt(&mut self, told: &Bound<'_, PyDict>) -> PyResult<()> {
        taken_over(&mut self.missing, told, "missing")?;
        taken_over(&mut self.invalid, told, "invalid")?;
        if let Some(watched) = &mut self.values {
            watched.adopt(told)?;
        }
        Ok(())
    }
}

/// A column as it comes from Python: see `kernels.engine.Handed`.
type Handed<'py> = (
    PyReadonlyArray1<'py, f64>,
    Option<PyReadonlyArray1<'py, u8>>,
    Option<PyReadonlyArray1<'py, i32>>,
    Option<PyReadonlyArray1<'py, f64>>,
    bool,
);

/// Give each watch its column; how many rows each took before one called for a look.
#[pyfunction]
pub fn advance(
    py: Python<'_>,
    watches: Vec<Bound<'_, Watch>>,
    columns: Vec<Handed<'_>>,
    times: PyReadonlyArray1<'_, i64>,
    rows: Option<PyReadonlyArray1<'_, i64>>,
) -> PyResult<Vec<usize>> {
    let wrong = |what: &str| PyValueError::new_err(format!("rows and columns don't fit: {what}"));
    if watches.len() != columns.len() {
        return Err(wrong("a watch without its column"));
    }
    let times = times.as_slice()?;
    let rows = rows.as_ref().map(|rows| rows.as_slice()).transpose()?;
    if rows.is_some_and(|rows| rows.len() != times.len()) {
        return Err(wrong("not every row has a time"));
    }
    let (mut values, mut kinds) = (Vec::new(), Vec::new());
    let mut taken = Vec::with_capacity(watches.len());
    for (i, (watch, (numbers, given, codes, places, cut))) in watches.iter().zip(&columns).enumerate() {
        let (numbers, given) = (numbers.as_slice()?, given.as_ref().map(|kinds| kinds.as_slice()).transpose()?);
        let codes = codes.as_ref().map(|codes| codes.as_slice()).transpose()?;
        let places = places.as_ref().map(|places| places.as_slice()).transpose()?.unwrap_or_default();
        let rows = if *cut { rows } else { None };
        let whole = numbers.len();
        let fits = match rows {
            Some(rows) => rows.iter().all(|&row| usize::try_from(row).is_ok_and(|row| row < whole)),
            None => whole == times.len(),
        };
        if !fits || given.is_some_and(|kinds| kinds.len() != whole) || codes.is_some_and(|codes| codes.len() != whole) {
            return Err(wrong("a column is shorter than another"));
        }
        ahead(&watches[i..]);
        let mut watch = watch.borrow_mut();
        if given.is_none() && watch.kind != NUMBER {
            taken.push(0);
            continue;
        }
        let place = |code: i32| usize::try_from(code).ok().and_then(|code| places.get(code)).copied().unwrap_or(0.0);
        let values = match (rows, codes) {
            (None, None) => numbers,
            (Some(rows), None) => {
                values.clear();
                values.extend(rows.iter().map(|&row| numbers[row as usize]));
                &values[..]
            }
            (None, Some(codes)) => {
                values.clear();
                values.extend(codes.iter().map(|&code| place(code)));
                &values[..]
            }
            (Some(rows), Some(codes)) => {
                values.clear();
                values.extend(rows.iter().map(|&row| place(codes[row as usize])));
                &values[..]
            }
        };
        let kinds = match (rows, given) {
            (Some(rows), Some(given)) => {
                kinds.clear();
                kinds.extend(rows.iter().map(|&row| given[row as usize]));
                Some(&kinds[..])
            }
            _ => given,
        };
        taken.push(watch.take(py, values, kinds, times)?);
    }
    Ok(taken)
}

/// Ask for the memory of the next watches, nearer and nearer: what a state says where the rest of it lies must come first.
fn ahead(watches: &[Bound<'_, Watch>]) {
    if let Some(watch) = watches.get(3) {
        prefetch::object(watch.as_unbound(), size_of::<Watch>());
    }
    if let Some(watch) = watches.get(2) {
        let watch = watch.borrow();
        for lane in [&watch.missing, &watch.invalid].into_iter().flatten() {
            lane.prefetch();
        }
        watch.values.iter().for_each(Values::prefetch);
    }
    if let Some(watch) = watches.get(1) {
        watch.borrow().values.iter().for_each(|values| values.prefetch_beyond(watch.py()));
    }
}

impl Watch {
    /// Take rows for as long as none calls for a look; how many were taken.
    fn take(&mut self, py: Python<'_>, values: &[f64], kinds: Option<&[u8]>, times: &[i64]) -> PyResult<usize> {
        let n = values.len();
        let mut taken = 0;
        while taken < n {
            let end = n.min(taken + PART);
            let kinds = kinds.map(|kinds| &kinds[taken..end]);
            if !self.part(py, &values[taken..end], kinds, &times[taken..end])? {
                break;
            }
            taken = end;
        }
        Ok(taken)
    }

    /// Take a part, or none of it.
    fn part(&mut self, py: Python<'_>, values: &[f64], kinds: Option<&[u8]>, times: &[i64]) -> PyResult<bool> {
        let kind = self.kind;
        if kinds.is_some_and(|kinds| kinds.iter().any(|&one| one != kind && one > NULL)) {
            return Ok(false);
        }
        let room = &mut self.room;
        let all = kinds.is_none_or(|kinds| kinds.iter().all(|&one| one == kind));
        if !all {
            room.values.clear();
            room.times.clear();
            for (i, &one) in kinds.unwrap_or_default().iter().enumerate() {
                if one == kind {
                    room.values.push(values[i]);
                    room.times.push(times[i]);
                }
            }
        }
        for lane in [&mut self.missing, &mut self.invalid].into_iter().flatten() {
            lane.mark();
        }
        let mut quiet = self.invalid.as_mut().is_none_or(|lane| lane.push_zeros(times));
        if let (true, Some(lane)) = (quiet, &mut self.missing) {
            quiet = match kinds {
                Some(kinds) if !all => kinds.iter().zip(times).all(|(&one, &time)| {
                    let unit = |is: bool| if is { UNIT } else { 0 };
                    lane.push([unit(one <= NULL), unit(one < NULL)], time)
                }),
                _ => lane.push_zeros(times),
            };
        }
        if let (true, Some(watched)) = (quiet, &mut self.values) {
            let (clean, clean_times) = if all { (values, times) } else { (&room.values[..], &room.times[..]) };
            quiet = watched.take(py, clean, clean_times, &mut room.z, &mut room.flags)?;
        }
        if !quiet {
            for lane in [&mut self.missing, &mut self.invalid].into_iter().flatten() {
                lane.rollback();
            }
        }
        Ok(quiet)
    }
}
