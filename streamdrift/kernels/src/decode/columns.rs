//! The rows of a batch, column by column, one set of columns per model; names and texts in order of appearance.

use std::collections::HashSet;

use pyo3::{Py, PyAny};

use super::column::{Coded, Column, Map, NULL, NUMBER};
use super::event::{Event, SCORE};
use super::ids::Ids;
use super::json::Scalar;

/// What a label may be compared with, of one row.
pub enum Fact {
    None,
    Told(Box<[u8]>, Label, Option<f64>),
    /// As the reference has it.
    Given(Py<PyAny>),
}

pub enum Label {
    None,
    Text(Box<[u8]>),
    Bool(bool),
    Integer(i64),
    Number(f64),
}

/// What is kept of an event besides its features.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub facts: bool,
    pub ids: bool,
}

/// Where a row comes from.
#[derive(Clone, Copy)]
pub struct Place {
    pub source: i32,
    pub offset: i64,
    pub muted: bool,
    pub order: i64,
}

/// All rows of one model.
pub struct Model {
    pub name: Box<[u8]>,
    pub times: Vec<i64>,
    pub sources: Vec<i32>,
    pub offsets: Vec<i64>,
    pub orders: Vec<i64>,
    pub muted: Vec<bool>,
    pub versions: Coded,
    pub columns: Vec<Column>,
    /// By name, with the first row that has it.
    pub dimensions: Vec<(Box<[u8]>, usize, Coded)>,
    pub facts: Vec<Fact>,
    /// Of the predictions; empty where none is asked for.
    pub ids: Ids,
    by_name: Map<usize>,
    by_dimension: Map<usize>,
    /// Of the events whose features' columns are in `slots`.
    layout: u64,
    slots: Vec<usize>,
    turn: u64,
    room: usize,
}

/// What a column, or a dimension, takes beside its rows, in cells.
const COLUMN_CELLS: usize = 32;

/// A feature without a column.
const NEW: usize = usize::MAX;

impl Model {
    /// With room for as many rows as there will probably be.
    fn new(name: &[u8], room: usize) -> Self {
        Self {
            name: name.into(),
            times: Vec::with_capacity(room),
            sources: Vec::with_capacity(room),
            offsets: Vec::with_capacity(room),
            orders: Vec::with_capacity(room),
            muted: Vec::with_capacity(room),
            versions: Coded::default(),
            columns: Vec::new(),
            dimensions: Vec::new(),
            facts: Vec::new(),
            ids: Ids::default(),
            by_name: Map::default(),
            by_dimension: Map::default(),
            layout: u64::MAX,
            slots: Vec::new(),
            turn: 0,
            room,
        }
    }

    pub fn rows(&self) -> usize {
        self.times.len()
    }

    /// What it takes: `blocks/assemble.py` counts alike.
    pub fn cells(&self) -> usize {
        (self.rows() + COLUMN_CELLS) * (self.columns.len() + self.dimensions.len())
    }

    /// Begin a row; its values follow.
    pub fn begin(&mut self, place: Place, time: i64, version: Option<&[u8]>) -> usize {
        let row = self.rows();
        self.times.push(time);
        self.sources.push(place.source);
        self.offsets.push(place.offset);
        self.orders.push(place.order);
        self.muted.push(place.muted);
        if let Some(version) = version {
            self.versions.set(row, version);
        }
        row
    }

    /// Return the column of a feature; it begins with this row where there is none.
    pub fn column(&mut self, name: &[u8], row: usize) -> &mut Column {
        let slot = match self.by_name.get(name) {
            Some(&slot) => slot,
            None => self.add_column(name, row),
        };
        &mut self.columns[slot]
    }

    fn add_column(&mut self, name: &[u8], row: usize) -> usize {
        self.columns.push(Column::new(name, row, self.room));
        self.by_name.insert(name.into(), self.columns.len() - 1);
        self.columns.len() - 1
    }

    pub fn segment(&mut self, nth: usize, name: &[u8], row: usize, value: &[u8]) {
        let expected = self.dimensions.get(nth).is_some_and(|(known, _, _)| **known == *name);
        let slot = if expected { Some(nth) } else { self.by_dimension.get(name).copied() };
        let slot = slot.unwrap_or_else(|| {
            self.dimensions.push((name.into(), row, Coded::default()));
            self.by_dimension.insert(name.into(), self.dimensions.len() - 1);
            self.dimensions.len() - 1
        });
        self.dimensions[slot].2.set(row, value);
    }

    /// Find the columns of an event's own features, `NEW` for those that have none; false where a name comes twice.
    fn find(&mut self, event: &Event) -> bool {
        if self.layout != event.layout {
            self.layout = event.layout;
            self.slots.clear();
            self.turn += 1;
        }
        let known = self.slots.len().min(event.own);
        let mut new = HashSet::new();
        for (nth, (name, _)) in event.features[..event.own].iter().enumerate().skip(known) {
            let slot = self.slot(nth, name);
            let first = match slot {
                NEW => new.insert(&**name),
                slot => std::mem::replace(&mut self.columns[slot].seen, self.turn) != self.turn,
            };
            if !first {
                self.layout = u64::MAX;
                return false;
            }
            self.slots.push(slot);
        }
        true
    }

    /// Where the column of this name is, probably at `nth`.
    #[inline]
    fn slot(&self, nth: usize, name: &[u8]) -> usize {
        match self.columns.get(nth) {
            Some(column) if *column.name == *name => nth,
            _ => self.by_name.get(name).copied().unwrap_or(NEW),
        }
    }

    /// Add an event; false where the reference has to, and then nothing was added.
    fn add(&mut self, event: &Event, place: Place, time: i64, wanted: Wanted) -> bool {
        let fact = if wanted.facts { fact_of(event) } else { Some(Fact::None) };
        let Some(fact) = fact.filter(|_| self.find(event)) else {
            return false;
        };
        if wanted.facts {
            self.facts.push(fact);
        }
        if wanted.ids {
            self.ids.push(event.id.as_deref());
        }
        let row = self.begin(place, time, event.version.as_deref());
        for (nth, (name, value)) in event.features.iter().enumerate() {
            let mut slot = if nth < event.own { self.slots[nth] } else { self.slot(nth, name) };
            if slot == NEW {
                slot = self.add_column(name, row);
                self.columns[slot].seen = self.turn;
                if nth < event.own {
                    self.slots[nth] = slot;
                }
            }
            let column = &mut self.columns[slot];
            match value {
                Scalar::Number(number, _, _) => column.set(row, NUMBER, *number),
                Scalar::Null => column.set_kind(row, NULL),
                Scalar::Bool(value) => column.set_bool(row, *value),
                Scalar::Text(text) => column.set_text(row, text),
            }
        }
        for (nth, (name, value)) in event.segments.iter().enumerate() {
            if let Some(value) = value {
                self.segment(nth, name, row, value);
            }
        }
        true
    }
}

/// See `blocks/measures.py`, `prediction_of`; None where a label is an integer that needs care.
fn fact_of(event: &Event) -> Option<Fact> {
    let Some(id) = &event.id else {
        return Some(Fact::None);
    };
    let (mut score, mut label) = (None, Label::None);
    for (name, value) in &event.features[event.own..] {
        if **name == *SCORE {
            if let Scalar::Number(number, _, _) = value {
                score = Some(*number);
            }
            continue;
        }
        label = match value {
            Scalar::Null => Label::None,
            Scalar::Bool(value) => Label::Bool(*value),
            Scalar::Text(text) => Label::Text((**text).into()),
            Scalar::Number(_, written, true) if written.len() > 18 => return None,
            Scalar::Number(_, written, true) => Label::Integer(std::str::from_utf8(written).ok()?.parse().ok()?),
            Scalar::Number(number, _, false) => Label::Number(*number),
        };
    }
    if score.is_none() && matches!(label, Label::None) {
        return Some(Fact::None);
    }
    Some(Fact::Told((**id).into(), label, score))
}

/// The models of a batch, in order of appearance.
#[derive(Default)]
pub struct Models {
    all: Vec<Model>,
    by_name: Map<usize>,
    last: usize,
    /// Rows that the models of the last batch had.
    rows: Map<usize>,
    /// What all of them take.
    pub cells: usize,
}

impl Models {
    /// Return the models that have rows, and begin anew.
    pub fn take(&mut self) -> Vec<Model> {
        let mut models = std::mem::take(self).all;
        models.retain(|model| model.rows() > 0);
        self.rows = models.iter().map(|model| (model.name.clone(), model.rows())).collect();
        models
    }

    pub fn model(&mut self, name: &[u8]) -> &mut Model {
        if self.all.get(self.last).is_none_or(|last| *last.name != *name) {
            self.last = match self.by_name.get(name) {
                Some(&at) => at,
                None => self.begin(name),
            };
        }
        &mut self.all[self.last]
    }

    fn begin(&mut self, name: &[u8]) -> usize {
        let room = self.rows.get(name).copied().unwrap_or(0);
        self.all.push(Model::new(name, room));
        self.by_name.insert(name.into(), self.all.len() - 1);
        self.all.len() - 1
    }

    /// Add an event; false where the reference has to, and then nothing was added.
    pub fn add(&mut self, event: &Event, place: Place, time: i64, wanted: Wanted) -> bool {
        let model = self.model(&event.model);
        let before = model.cells();
        let added = model.add(event, place, time, wanted);
        self.cells += self.all[self.last].cells() - before;
        added
    }
}
