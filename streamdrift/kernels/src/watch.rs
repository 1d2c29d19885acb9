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
use crate::shares::{Before, Shares, Undo};
use crate::timeline::{self, Timeline};
use crate::told::{arrays, needed, no_sums, normal, parts, Judged, Parts};
use crate::values::{self, Places, Values};

/// Values that are taken back at most, once one of them calls for a look.
const PART: usize = 1024;
/// Kinds of a value, as `blocks.column` numbers them.
const NULL: u8 = 1;
const NUMBER: u8 = 2;

/// Room that is used again for each part, whichever series it is of.
#[derive(Default)]
struct Room {
    values: Vec<f64>,
    times: Vec<i64>,
    missing: Undo<Before<2>, [u8; 2]>,
    invalid: Undo<Before<2>, [u8; 2]>,
    watched: values::Room,
}

/// Who counts which events.
#[derive(Clone, Copy)]
enum Of {
    /// All rows.
    Rows,
    /// Those with a clean value.
    Clean,
    /// Those whose value isn't far out.
    Near,
}

/// Where the events have come to: mostly all rows have clean values, and one timeline serves all.
#[derive(Default)]
struct Timelines {
    all: Vec<Timeline>,
    /// Which of them is whose.
    of: [u8; 3],
}

impl Timelines {
    fn new(told: [Option<timeline::Told>; 3]) -> Self {
        let mut distinct: Vec<timeline::Told> = Vec::new();
        let of = told.map(|one| {
            let one = one?;
            let known = distinct.iter().position(|other| *other == one);
            Some(known.unwrap_or_else(|| {
                distinct.push(one);
                distinct.len() - 1
            }) as u8)
        });
        // where nobody counts them, they go with the next: a timeline that is split off would serve no-one
        let near = of[Of::Near as usize].or(of[Of::Rows as usize]).unwrap_or(0);
        let clean = of[Of::Clean as usize].unwrap_or(near);
        let mut all: Vec<Timeline> = distinct.iter().map(Timeline::new).collect();
        if all.is_empty() {
            all.push(Timeline::default());
        }
        all.shrink_to_fit();
        Self { all, of: [of[Of::Rows as usize].unwrap_or(near), clean, near] }
    }

    fn get(&self, of: Of) -> &Timeline {
        &self.all[usize::from(self.of[of as usize])]
    }

    fn places(&self) -> Places {
        Places { clean: self.get(Of::Clean).place, near: self.get(Of::Near).place }
    }

    /// Take rows that have a clean value each.
    fn take_all(&mut self, times: &[i64]) {
        self.all.iter_mut().for_each(|timeline| timeline.take(times));
    }

    /// Take rows of which some have a clean value.
    fn take(&mut self, rows: &[i64], clean: &[i64]) {
        let [of_rows, others @ ..] = self.of;
        if others.contains(&of_rows) {
            self.all.push(self.all[usize::from(of_rows)].clone());
            let split = (self.all.len() - 1) as u8;
            for of in &mut self.of[1..] {
                if *of == of_rows {
                    *of = split;
                }
            }
        }
        for (i, timeline) in self.all.iter_mut().enumerate() {
            timeline.take(if i == usize::from(of_rows) { rows } else { clean });
        }
    }
}

/// The state of one series on ordinary days. See `detect/quiet.py`, which makes it.
#[pyclass(module = "streamdrift.kernels._compiled")]
pub struct Watch {
    kind: u8,
    missing: Option<Shares<2>>,
    invalid: Option<Shares<2>>,
    values: Option<Values>,
    times: Timelines,
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
        let lane = |judged: Judged<'_>| normal::<2>(&judged).map(|normal| Shares::new(&normal, judged.1));
        Ok(Self {
            kind,
            missing: missing.map(lane).transpose()?,
            invalid: invalid.map(lane).transpose()?,
            values: parts.map(Values::new).transpose()?,
            times: Timelines::new([None, None, None]),
        })
    }

    /// The state, as the reference engine has it: scans by name (None where nothing is watched), and `run`, `recent`, `flags`,
    /// `seen` of the clean values.
    fn told<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let told = PyDict::new(py);
        let rows = self.times.get(Of::Rows).told();
        for (name, lane) in [("missing", &self.missing), ("invalid", &self.invalid)] {
            let lane = lane.as_ref().map(|lane| arrays(py, lane.told(rows.place), &rows));
            told.set_item(name, lane.transpose()?)?;
        }
        if let Some(watched) = &self.values {
            watched.told(py, &told, self.times.get(Of::Clean), self.times.get(Of::Near))?;
        }
        Ok(told)
    }

    /// Go on from a state of `told`'s form.
    fn adopt(&mut self, told: &Bound<'_, PyDict>) -> PyResult<()> {
        let mut rows: Option<timeline::Told> = None;
        for (name, lane) in [("missing", &mut self.missing), ("invalid", &mut self.invalid)] {
            if let Some(lane) = lane {
                let Parts { timeline, sums, partial } = parts(&needed(told, name)?)?;
                if rows.as_ref().is_some_and(|rows| *rows != timeline) || !lane.adopt(timeline.place, &sums, partial) {
                    return Err(no_sums());
                }
                rows = Some(timeline);
            }
        }
        let (mut clean, mut near) = (None, None);
        if let Some(watched) = &mut self.values {
            let (of_clean, of_near) = watched.adopt(told)?;
            (clean, near) = (of_clean, Some(of_near));
        }
        self.times = Timelines::new([rows, clean, near]);
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
    let (mut values, mut kinds, mut room) = (Vec::new(), Vec::new(), Room::default());
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
        taken.push(watch.take(py, values, kinds, times, &mut room)?);
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
        let place = watch.times.get(Of::Rows).place;
        for lane in [&watch.missing, &watch.invalid].into_iter().flatten() {
            lane.prefetch(place);
        }
        watch.times.all.iter().for_each(Timeline::prefetch);
        watch.values.iter().for_each(|values| values.prefetch(watch.times.places()));
    }
    if let Some(watch) = watches.get(1) {
        watch.borrow().values.iter().for_each(|values| values.prefetch_beyond(watch.py()));
    }
}

impl Watch {
    /// Take rows for as long as none calls for a look; how many were taken.
    fn take(
        &mut self,
        py: Python<'_>,
        values: &[f64],
        kinds: Option<&[u8]>,
        times: &[i64],
        room: &mut Room,
    ) -> PyResult<usize> {
        let n = values.len();
        let mut taken = 0;
        while taken < n {
            let end = n.min(taken + PART);
            let kinds = kinds.map(|kinds| &kinds[taken..end]);
            if !self.part(py, &values[taken..end], kinds, &times[taken..end], room)? {
                break;
            }
            taken = end;
        }
        Ok(taken)
    }

    /// Take a part, or none of it.
    fn part(
        &mut self,
        py: Python<'_>,
        values: &[f64],
        kinds: Option<&[u8]>,
        times: &[i64],
        room: &mut Room,
    ) -> PyResult<bool> {
        let kind = self.kind;
        if kinds.is_some_and(|kinds| kinds.iter().any(|&one| one != kind && one > NULL)) {
            return Ok(false);
        }
        let all = kinds.is_none_or(|kinds| kinds.iter().all(|&one| one == kind));
        let kinds = if all { None } else { kinds };
        if let Some(kinds) = kinds {
            room.values.clear();
            room.times.clear();
            for (i, _) in kinds.iter().enumerate().filter(|(_, &one)| one == kind) {
                room.values.push(values[i]);
                room.times.push(times[i]);
            }
        }
        let (place, places, n) = (self.times.get(Of::Rows).place, self.times.places(), times.len());
        let mut quiet = true;
        if let Some(lane) = &mut self.invalid {
            lane.mark(&mut room.invalid);
            quiet = lane.take_none(place, n, &mut room.invalid);
        }
        if let Some(lane) = &mut self.missing {
            lane.mark(&mut room.missing);
            quiet = quiet
                && match kinds {
                    Some(kinds) => lane.take(place, n, &mut room.missing, |i| [kinds[i] <= NULL, kinds[i] < NULL]),
                    None => lane.take_none(place, n, &mut room.missing),
                };
        }
        if let (true, Some(watched)) = (quiet, &mut self.values) {
            let (clean, clean_times) = if all { (values, times) } else { (&room.values[..], &room.times[..]) };
            quiet = watched.take(py, clean, clean_times, places, &mut room.watched)?;
        }
        for (lane, undo) in [(&mut self.missing, &mut room.missing), (&mut self.invalid, &mut room.invalid)] {
            match lane {
                Some(lane) if quiet => lane.settle(),
                Some(lane) => lane.rollback(place, undo),
                None => {}
            }
        }
        match kinds {
            _ if !quiet => {}
            None => self.times.take_all(times),
            Some(_) => self.times.take(times, &room.times),
        }
        Ok(quiet)
    }
}
