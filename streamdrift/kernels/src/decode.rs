//! Raw event bytes to the columns of blocks, for events of the plain shape; all others are handed back in their place.
//!
//! The reference is `blocks/assemble.py` with what it reads events by, `events/inference.py`. An event that this decoder takes
//! is one that the reference takes, with the same values; whatever it is not sure of it leaves to the reference, whose
//! values `push` then puts into the same columns. So it never rejects anything.

mod batch;
mod column;
mod columns;
mod digits;
mod event;
mod ids;
mod json;
mod python;
mod time;

use std::ops::Range;

use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use columns::{Models, Place, Wanted};
use event::{Event, Limits};
use python::Loaded;

const READ: &str = "read";
const DEFERRED: &str = "deferred";
const DUE: &str = "due";
const FULL: &str = "full";

/// How far, why not further, the first event's time, the latest time.
type Reached = (usize, &'static str, Option<i64>, Option<i64>);

/// Decodes what is loaded into the columns of a batch.
#[pyclass(module = "streamdrift.kernels._compiled")]
pub struct Decoder {
    limits: Limits,
    wanted: Wanted,
    loaded: Loaded,
    models: Models,
    cells_max: usize,
    /// The last number that the layout of an event had.
    layout: u64,
}

#[pymethods]
impl Decoder {
    #[new]
    #[pyo3(signature = (event_bytes_max, features_max, segments_max, text_max, free_text, facts, ids, cells_max))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        event_bytes_max: usize,
        features_max: usize,
        segments_max: usize,
        text_max: usize,
        free_text: Vec<String>,
        facts: bool,
        ids: bool,
        cells_max: usize,
    ) -> Self {
        let limits = Limits {
            event_bytes: event_bytes_max,
            features: features_max,
            segments: segments_max,
            text: text_max,
            free_text: free_text.into_iter().map(String::into_bytes).collect(),
        };
        Self {
            limits,
            wanted: Wanted { facts, ids },
            loaded: Loaded::default(),
            models: Models::default(),
            cells_max,
            layout: 0,
        }
    }

    /// Load records one by one, from `begin` on; `sources` numbers their partitions.
    fn load_records(&mut self, records: &Bound<'_, PyAny>, begin: usize, sources: &Bound<'_, PyDict>) -> PyResult<()> {
        self.loaded.records(records, begin, sources)
    }

    /// Load values of one partition; without `headers` none has any.
    fn load_values(
        &mut self,
        values: &Bound<'_, PyList>,
        offsets: PyReadonlyArray1<'_, i64>,
        times: PyReadonlyArray1<'_, i64>,
        headers: Option<Bound<'_, PyList>>,
        source: i32,
        replayed: bool,
    ) -> PyResult<()> {
        self.loaded.values(values, &offsets, &times, headers.as_ref(), source, replayed)
    }

    /// Decode from the loaded event `begin` on, the first one with this `order`, up to `end`, to the first event that is not
    /// of the plain shape (`deferred`, not decoded), the first whose time comes to `due` (decoded), or the first by which the
    /// columns take more than they may (`full`, decoded).
    ///
    /// Returns how far it came, why it stopped there, the first event's time, and the latest time; None without events.
    fn run(&mut self, py: Python<'_>, begin: usize, end: usize, order: i64, due: Option<i64>) -> Reached {
        py.detach(|| self.decode(begin..end.min(self.loaded.len()), order, due))
    }

    /// Add an event that the reference decoded: the loaded one with this index.
    #[allow(clippy::too_many_arguments)]
    fn push(
        &mut self,
        index: usize,
        order: i64,
        time: i64,
        id: Option<&str>,
        model: &str,
        version: Option<&str>,
        segments: &Bound<'_, PyDict>,
        signals: &Bound<'_, PyDict>,
        fact: Option<Py<PyAny>>,
    ) -> PyResult<usize> {
        let place = self.loaded.place(index, order)?;
        let model = self.models.model(model.as_bytes());
        let before = model.cells();
        if self.wanted.ids {
            model.ids.push(id.map(str::as_bytes));
        }
        if self.wanted.facts {
            model.facts.push(fact.map_or(columns::Fact::None, columns::Fact::Given));
        }
        let row = model.begin(place, time, version.map(str::as_bytes));
        python::set_row(model, row, segments, signals, self.limits.text)?;
        let grown = model.cells() - before;
        self.models.cells += grown;
        Ok(row)
    }

    /// Whether the columns take more than they may.
    fn full(&self) -> bool {
        self.models.cells > self.cells_max
    }

    /// Return the columns of each model, and begin anew.
    fn take<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let models = self.models.take();
        let taken = PyList::empty(py);
        for model in models {
            taken.append(python::taken(py, model)?)?;
        }
        Ok(taken)
    }
}

impl Decoder {
    fn decode(&mut self, range: Range<usize>, order: i64, due: Option<i64>) -> Reached {
        let mut event = Event::of_layout(self.layout + 1);
        let Self { limits, wanted, loaded, models, cells_max, .. } = self;
        let reached = decode(&mut event, limits, *wanted, loaded, models, *cells_max, range, order, due);
        self.layout = event.layout;
        reached
    }
}

#[allow(clippy::too_many_arguments)]
fn decode<'e>(
    event: &mut Event<'e>,
    limits: &Limits,
    wanted: Wanted,
    loaded: &'e Loaded,
    models: &mut Models,
    cells_max: usize,
    range: Range<usize>,
    order: i64,
    due: Option<i64>,
) -> Reached {
    let (mut first, mut latest) = (None, None);
    let end = range.end;
    for (index, order) in range.zip(order..) {
        let Some(bytes) = loaded.plain(index) else {
            return (index, DEFERRED, first, latest);
        };
        if event.read(bytes, limits).is_none() {
            return (index, DEFERRED, first, latest);
        }
        let time = event.time.unwrap_or(loaded.times[index]);
        let place = Place { order, ..loaded.places[index] };
        if !models.add(event, place, time, wanted) {
            return (index, DEFERRED, first, latest);
        }
        first = first.or(Some(time));
        latest = latest.max(Some(time));
        if due.is_some_and(|due| time >= due) {
            return (index + 1, DUE, first, latest);
        }
        if models.cells > cells_max {
            return (index + 1, FULL, first, latest);
        }
    }
    (end, READ, first, latest)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(batch::read_batch, module)?)?;
    module.add_class::<Decoder>()
}
