//! One feature, or one dimension: values of rows as numbers and codes, texts in order of appearance.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// Kinds of a value, as in `blocks/column.py`.
pub const ABSENT: u8 = 0;
pub const NULL: u8 = 1;
pub const NUMBER: u8 = 2;
pub const TEXT: u8 = 3;
pub const BOOLEAN: u8 = 4;
pub const INFINITE: u8 = 5;
pub const OTHER: u8 = 6;

pub type Map<V> = HashMap<Box<[u8]>, V, RandomState>;

/// Distinct texts, coded in order of appearance.
#[derive(Default)]
pub struct Texts {
    pub all: Vec<Box<[u8]>>,
    codes: Map<i32>,
    last: usize,
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // there are fewer texts in a batch than 2^31
impl Texts {
    #[inline]
    pub fn code(&mut self, text: &[u8]) -> i32 {
        if self.all.get(self.last).is_none_or(|last| **last != *text) {
            self.last = match self.codes.get(text) {
                Some(&code) => code as usize,
                None => self.add(text),
            };
        }
        self.last as i32
    }

    fn add(&mut self, text: &[u8]) -> usize {
        let code = self.all.len();
        self.all.push(text.into());
        self.codes.insert(text.into(), code as i32);
        code
    }
}

/// Texts of some rows; -1 is none.
#[derive(Default)]
pub struct Coded {
    pub codes: Vec<i32>,
    pub values: Texts,
}

impl Coded {
    /// Set the text of a row behind all that are set; those in between have none.
    #[inline]
    pub fn set(&mut self, row: usize, text: &[u8]) {
        let code = self.values.code(text);
        self.fill(row);
        self.codes.push(code);
    }

    pub fn fill(&mut self, rows: usize) {
        if self.codes.len() < rows {
            self.codes.resize(rows, -1);
        }
    }
}

/// One feature.
pub struct Column {
    pub name: Box<[u8]>,
    pub first_row: usize,
    pub numbers: Vec<f64>,
    /// Empty as long as all values are numbers.
    pub kinds: Vec<u8>,
    /// Empty as long as no value is a text.
    pub texts: Option<Coded>,
    /// When it was found last, see `Model::find`.
    pub seen: u64,
}

impl Column {
    pub fn new(name: &[u8], row: usize, room: usize) -> Self {
        Self {
            name: name.into(),
            first_row: row,
            numbers: Vec::with_capacity(room),
            kinds: Vec::new(),
            texts: None,
            seen: 0,
        }
    }

    /// Set the value of a row behind all that are set; in between the feature is absent.
    #[inline]
    pub fn set(&mut self, row: usize, kind: u8, number: f64) {
        self.fill(row);
        if kind != NUMBER || !self.kinds.is_empty() {
            self.kinds.resize(row, NUMBER);
            self.kinds.push(kind);
        }
        self.numbers.push(number);
    }

    pub fn fill(&mut self, rows: usize) {
        if self.numbers.len() < rows {
            self.kinds.resize(self.numbers.len(), NUMBER);
            self.kinds.resize(rows, ABSENT);
            self.numbers.resize(rows, f64::NAN);
        }
    }

    pub fn set_number(&mut self, row: usize, number: f64) {
        if number.is_finite() {
            self.set(row, NUMBER, number);
        } else {
            self.set(row, INFINITE, f64::NAN);
        }
    }

    pub fn set_bool(&mut self, row: usize, value: bool) {
        self.set(row, BOOLEAN, f64::from(u8::from(value)));
    }

    pub fn set_text(&mut self, row: usize, text: &[u8]) {
        self.set(row, TEXT, f64::NAN);
        self.texts.get_or_insert_default().set(row, text);
    }

    /// Set a value that is neither number nor text.
    pub fn set_kind(&mut self, row: usize, kind: u8) {
        self.set(row, kind, f64::NAN);
    }
}
