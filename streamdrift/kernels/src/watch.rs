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
const TEXT: u8 = 3;

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
    /// Whether the state is here, and not with whoever was told it.
    lent: bool,
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
            lent: false,
        })
    }

    /// Give the state back, as the reference engine has it: scans by name (None where nothing is watched), and `run`, `recent`,
    /// `flags`, `seen` of the clean values. No value is taken until there is another state to go on from.
    fn told<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let told = PyDict::new(py);
        let rows = self.times.get(Of::Rows).told();
        for (name, lane) in [("missing", &self.missing), ("invalid", &self.invalid)] {
            let lane = lane.as_ref().map(|lane| arrays(py, lane.told(rows.place), &rows));
            told.set_item(name, lane.transpose()?)?;
        }
        if let Some(watched) = &self.values {
            watched.told(py, &told, self.times.get(Of::Clean), self.times.get(Of::Near))?;
        }
        self.lent = false;
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
        self.lent = true;
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
    watches: Vec<Py<Watch>>,
    columns: Vec<Handed<'_>>,
    times: PyReadonlyArray1<'_, i64>,
    rows: Option<PyReadonlyArray1<'_, i64>>,
) -> PyResult<Vec<usize>> {
    if watches.len() != columns.len() {
        return Err(wrong("a watch without its column"));
    }
    let times = times.as_slice()?;
    let rows = rows.as_ref().map(|rows| rows.as_slice()).transpose()?;
    if rows.is_some_and(|rows| rows.len() != times.len()) {
        return Err(wrong("not every row has a time"));
    }
    let flat: Vec<&Py<Watch>> = watches.iter().collect();
    let mut scratch = Scratch::default();
    let mut taken = Vec::with_capacity(watches.len());
    for (i, (watch, (numbers, kinds, codes, places, cut))) in watches.iter().zip(&columns).enumerate() {
        let column = Column::new(numbers, kinds.as_ref(), codes.as_ref())?;
        let places = places.as_ref().map(|places| places.as_slice()).transpose()?.unwrap_or_default();
        let rows = if *cut { rows } else { None };
        if !column.has(rows, times.len()) {
            return Err(wrong("a column is shorter than another"));
        }
        ahead(py, &flat[i..]);
        taken.push(watch.bind(py).borrow_mut().give(py, &column, places, rows, times, &mut scratch)?);
    }
    Ok(taken)
}

/// The series of one group, each with the number of its column.
#[pyclass(frozen, module = "streamdrift.kernels._compiled")]
pub struct Watches {
    all: Vec<(Py<Watch>, usize)>,
}

#[pymethods]
impl Watches {
    #[new]
    fn new(watches: Vec<(Py<Watch>, usize)>) -> Self {
        Self { all: watches }
    }
}

/// The part of a group in a block: its watches, its rows, and, for each watch of texts, the places of the column's texts.
type Part<'py> = (Py<Watches>, PyReadonlyArray1<'py, i64>, Option<Vec<Option<PyReadonlyArray1<'py, f64>>>>);
/// Numbers, kinds and codes, as in `Handed`; None where no row has the feature.
type Whole<'py> =
    Option<(PyReadonlyArray1<'py, f64>, Option<PyReadonlyArray1<'py, u8>>, Option<PyReadonlyArray1<'py, i32>>)>;

/// Give the watches of many groups the rows that are theirs; which groups have a watch that did not take them all, and how
/// many each of its watches took.
#[pyfunction]
pub fn advance_groups(
    py: Python<'_>,
    parts: Vec<Part<'_>>,
    columns: Vec<Whole<'_>>,
    times: PyReadonlyArray1<'_, i64>,
) -> PyResult<Vec<(usize, Vec<usize>)>> {
    let times = times.as_slice()?;
    let absent = (vec![f64::NAN; times.len()], vec![0; times.len()]);
    let columns: Vec<Column<'_>> = columns
        .iter()
        .map(|column| match column {
            Some((numbers, kinds, codes)) => Column::new(numbers, kinds.as_ref(), codes.as_ref()),
            None => Ok(Column { numbers: &absent.0, kinds: Some(&absent.1), codes: None }),
        })
        .collect::<PyResult<_>>()?;
    if columns.iter().any(|column| !column.has(None, times.len())) {
        return Err(wrong("a column is shorter than another"));
    }
    let flat: Vec<&Py<Watch>> = parts.iter().flat_map(|part| part.0.get().all.iter().map(|(watch, _)| watch)).collect();
    let (mut scratch, mut of_rows, mut stopped, mut at) = (Scratch::default(), Vec::new(), Vec::new(), 0);
    for (i, (watches, rows, places)) in parts.iter().enumerate() {
        let (rows, all) = (rows.as_slice()?, &watches.get().all);
        if !within(rows, times.len()) || places.as_ref().is_some_and(|places| places.len() != all.len()) {
            return Err(wrong("a row that isn't in the block, or not every watch has its places"));
        }
        of_rows.clear();
        of_rows.extend(rows.iter().map(|&row| times[row as usize]));
        let mut taken = Vec::new();
        for (k, (watch, column)) in all.iter().enumerate() {
            let column = columns.get(*column).ok_or_else(|| wrong("a watch without its column"))?;
            let places = places.as_ref().and_then(|places| places[k].as_ref());
            let places = places.map(|places| places.as_slice()).transpose()?.unwrap_or_default();
            ahead(py, &flat[at..]);
            at += 1;
            let n = watch.bind(py).borrow_mut().give(py, column, places, Some(rows), &of_rows, &mut scratch)?;
            if n < rows.len() || !taken.is_empty() {
                taken.resize(k, rows.len());
                taken.push(n);
            }
        }
        if !taken.is_empty() {
            stopped.push((i, taken));
        }
    }
    Ok(stopped)
}

fn wrong(what: &str) -> PyErr {
    PyValueError::new_err(format!("rows and columns don't fit: {what}"))
}

fn within(rows: &[i64], whole: usize) -> bool {
    rows.iter().all(|&row| usize::try_from(row).is_ok_and(|row| row < whole))
}

/// A column's arrays.
struct Column<'a> {
    numbers: &'a [f64],
    kinds: Option<&'a [u8]>,
    codes: Option<&'a [i32]>,
}

impl<'a> Column<'a> {
    fn new(
        numbers: &'a PyReadonlyArray1<'_, f64>,
        kinds: Option<&'a PyReadonlyArray1<'_, u8>>,
        codes: Option<&'a PyReadonlyArray1<'_, i32>>,
    ) -> PyResult<Self> {
        let kinds = kinds.map(|kinds| kinds.as_slice()).transpose()?;
        let codes = codes.map(|codes| codes.as_slice()).transpose()?;
        Ok(Self { numbers: numbers.as_slice()?, kinds, codes })
    }

    /// Whether it has these rows, or `n` of them.
    fn has(&self, rows: Option<&[i64]>, n: usize) -> bool {
        let whole = self.numbers.len();
        rows.map_or(whole == n, |rows| within(rows, whole))
            && self.kinds.is_none_or(|kinds| kinds.len() == whole)
            && self.codes.is_none_or(|codes| codes.len() == whole)
    }
}

/// Room that rows are cut out into, and that parts are worked in.
#[derive(Default)]
struct Scratch {
    values: Vec<f64>,
    kinds: Vec<u8>,
    room: Room,
}

/// Ask for the memory of the next watches, nearer and nearer: what a state says where the rest of it lies must come first.
fn ahead(py: Python<'_>, watches: &[&Py<Watch>]) {
    if let Some(watch) = watches.get(3) {
        prefetch::object(watch, size_of::<Watch>());
    }
    if let Some(watch) = watches.get(2) {
        let watch = watch.bind(py).borrow();
        let place = watch.times.get(Of::Rows).place;
        for lane in [&watch.missing, &watch.invalid].into_iter().flatten() {
            lane.prefetch(place);
        }
        watch.times.all.iter().for_each(Timeline::prefetch);
        watch.values.iter().for_each(|values| values.prefetch(watch.times.places()));
    }
    if let Some(watch) = watches.get(1) {
        watch.bind(py).borrow().values.iter().for_each(|values| values.prefetch_beyond(py));
    }
}

impl Watch {
    /// Cut rows out of a column, and take them for as long as none calls for a look; how many were taken.
    fn give(
        &mut self,
        py: Python<'_>,
        column: &Column<'_>,
        places: &[f64],
        rows: Option<&[i64]>,
        times: &[i64],
        scratch: &mut Scratch,
    ) -> PyResult<usize> {
        let Column { numbers, kinds: given, codes } = *column;
        if !self.lent || (given.is_none() && self.kind != NUMBER) {
            return Ok(0);
        }
        let Scratch { values, kinds, room } = scratch;
        let place = |code: i32| usize::try_from(code).ok().and_then(|code| places.get(code)).copied().unwrap_or(0.0);
        values.clear();
        let values = match (rows, codes.filter(|_| self.kind == TEXT)) {
            (None, None) => numbers,
            (Some(rows), None) => {
                values.extend(rows.iter().map(|&row| numbers[row as usize]));
                &values[..]
            }
            (None, Some(codes)) => {
                values.extend(codes.iter().map(|&code| place(code)));
                &values[..]
            }
            (Some(rows), Some(codes)) => {
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
        self.take(py, values, kinds, times, room)
    }

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
