//! One inference event of the plain shape: what it says, borrowed from its bytes. `None` for every other one.

use super::json::{Scalar, Scanner, Text};
use super::time::{rfc3339, MS_MAX};

/// Fields of an event whose place is remembered.
const FIELDS_MAX: usize = 64;

pub const SCORE: &[u8] = b"prediction.score";
pub const LABEL: &[u8] = b"prediction.label";

/// Bounds that one event must keep, in bytes where the settings have characters: what is over is left to the reference.
pub struct Limits {
    pub event_bytes: usize,
    pub features: usize,
    pub segments: usize,
    pub text: usize,
    /// Features that are free text, from which others are derived.
    pub free_text: Vec<Vec<u8>>,
}

/// Buffers that are used for one event after another.
#[derive(Default)]
pub struct Event<'e> {
    pub id: Option<Text<'e>>,
    /// None where the record's own time counts.
    pub time: Option<i64>,
    pub model: Text<'e>,
    pub version: Option<Text<'e>>,
    /// A null is kept: it is no segment, but a key that must not come twice.
    pub segments: Vec<(Text<'e>, Option<Text<'e>>)>,
    /// The monitored features, the prediction's score and label behind them.
    pub features: Vec<(Text<'e>, Scalar<'e>)>,
    /// How many of these are no part of the prediction.
    pub own: usize,
    /// Changes whenever the names of the features, or their order, do: with the same number, a shorter event has the first of
    /// the names of a longer one.
    pub layout: u64,
    names: Habit<'e, Text<'e>>,
    fields: Habit<'e, Field>,
    model_written: &'e [u8],
}

/// Keys that the last event had, as they were written with quotation marks and colon, in its order: nearly every event has those
/// of the one before, and these are recognized at a glance.
type Habit<'e, T> = Vec<(&'e [u8], T)>;

/// A field of an event.
#[derive(Clone, Copy, PartialEq)]
enum Field {
    Id,
    Time,
    Model,
    Segments,
    Features,
    Prediction,
    Embeddings,
    Other,
}

impl<'e> Event<'e> {
    pub fn of_layout(layout: u64) -> Self {
        Self { layout, ..Self::default() }
    }

    /// Read an event into `self`.
    pub fn read(&mut self, bytes: &'e [u8], limits: &Limits) -> Option<()> {
        if bytes.len() > limits.event_bytes || std::str::from_utf8(bytes).is_err() {
            return None;
        }
        self.segments.clear();
        self.features.clear();
        (self.id, self.time) = (None, None);
        let (mut seen, mut nth, mut score, mut label) = (0_u32, 0, None, None);
        let mut scanner = Scanner::new(bytes);
        scanner.members(|scanner| {
            let field = match self.fields.get(nth) {
                Some((written, field)) if scanner.take_all(written) => *field,
                _ => self.learn_field(scanner, nth)?,
            };
            nth += 1;
            let bit = 1 << field as u32;
            if field != Field::Other && seen & bit != 0 {
                return None;
            }
            seen |= bit;
            match field {
                Field::Id => self.id = name(scanner.scalar()?, limits)?,
                Field::Time => self.time = time(&scanner.scalar()?)?,
                Field::Model => self.read_model(scanner, limits)?,
                Field::Segments => self.read_segments(scanner, limits)?,
                Field::Features => self.read_features(scanner, limits)?,
                Field::Prediction => (score, label) = prediction(scanner, limits)?,
                Field::Embeddings => {
                    let Scalar::Null = scanner.scalar()? else {
                        return None;
                    };
                }
                Field::Other => scanner.skip()?,
            }
            Some(())
        })?;
        self.own = self.features.len();
        self.features.extend(score.map(|value| (Text::Borrowed(SCORE), value)));
        self.features.extend(label.map(|value| (Text::Borrowed(LABEL), value)));
        let modelled = seen & (1 << Field::Model as u32) != 0 && !self.model.is_empty();
        let complete = modelled && !self.features.is_empty() && self.features.len() <= limits.features;
        (complete && scanner.at_end()).then_some(())
    }

    /// Read the key of a field and the colon; take note of them for the next event.
    #[cold]
    fn learn_field(&mut self, scanner: &mut Scanner<'e>, nth: usize) -> Option<Field> {
        let begin = scanner.here()?;
        let key = scanner.text()?;
        scanner.take(b':')?;
        let field = match &*key {
            b"prediction_id" => Field::Id,
            b"occurred_at" => Field::Time,
            b"model" => Field::Model,
            b"segments" => Field::Segments,
            b"features" => Field::Features,
            b"prediction" => Field::Prediction,
            b"embeddings" => Field::Embeddings,
            b"specversion" => return None,
            _ => Field::Other,
        };
        self.fields.truncate(nth.min(FIELDS_MAX));
        if self.fields.len() == nth {
            self.fields.push((scanner.since(begin), field));
        }
        Some(field)
    }

    fn read_model(&mut self, scanner: &mut Scanner<'e>, limits: &Limits) -> Option<()> {
        if !self.model_written.is_empty() && scanner.take_all(self.model_written) {
            return Some(());
        }
        let begin = scanner.here()?;
        (self.model_written, self.model, self.version) = (b"", Text::Borrowed(b""), None);
        self.read_new_model(scanner, limits)?;
        self.model_written = scanner.since(begin);
        Some(())
    }

    fn read_new_model(&mut self, scanner: &mut Scanner<'e>, limits: &Limits) -> Option<()> {
        if scanner.next_byte()? != b'{' {
            let Scalar::Text(text) = scanner.scalar()? else {
                return None;
            };
            self.model = within(text, limits)?;
            return Some(());
        }
        let (mut named, mut versioned) = (false, false);
        scanner.object(|scanner, key| {
            match &*key {
                b"name" if !named => {
                    let Scalar::Text(text) = scanner.scalar()? else {
                        return None;
                    };
                    (self.model, named) = (within(text, limits)?, true);
                }
                b"version" if !versioned => (self.version, versioned) = (name(scanner.scalar()?, limits)?, true),
                b"name" | b"version" => return None,
                _ => return scanner.skip(),
            }
            Some(())
        })
    }

    fn read_segments(&mut self, scanner: &mut Scanner<'e>, limits: &Limits) -> Option<()> {
        if scanner.next_byte()? == b'n' {
            return scanner.skip();
        }
        scanner.object(|scanner, key| {
            if self.segments.len() == limits.segments || self.segments.iter().any(|(known, _)| *known == key) {
                return None;
            }
            let value = match scanner.scalar()? {
                Scalar::Bool(value) => Some(Text::Borrowed(if value { b"true".as_slice() } else { b"false" })),
                other => name(other, limits)?,
            };
            self.segments.push((within(key, limits)?, value));
            Some(())
        })
    }

    fn read_features(&mut self, scanner: &mut Scanner<'e>, limits: &Limits) -> Option<()> {
        if scanner.next_byte()? == b'n' {
            return scanner.skip();
        }
        scanner.members(|scanner| {
            let nth = self.features.len();
            let name = match self.names.get(nth) {
                Some((written, name)) if scanner.take_all(written) => name.clone(),
                _ => self.learn_name(scanner, nth, limits)?,
            };
            self.features.push((name, feature(scanner, limits)?));
            (nth < limits.features).then_some(())
        })
    }

    /// Read a feature's name and the colon; take note of them for the next event.
    #[cold]
    fn learn_name(&mut self, scanner: &mut Scanner<'e>, nth: usize, limits: &Limits) -> Option<Text<'e>> {
        let begin = scanner.here()?;
        let name = within(scanner.text()?, limits)?;
        scanner.take(b':')?;
        if *name == *SCORE || *name == *LABEL || limits.free_text.iter().any(|free| **free == *name) {
            return None;
        }
        self.layout += 1;
        self.names.truncate(nth);
        self.names.push((scanner.since(begin), name.clone()));
        Some(name)
    }
}

#[inline]
fn within<'e>(text: Text<'e>, limits: &Limits) -> Option<Text<'e>> {
    (text.len() <= limits.text).then_some(text)
}

#[inline]
fn feature<'e>(scanner: &mut Scanner<'e>, limits: &Limits) -> Option<Scalar<'e>> {
    match scanner.scalar()? {
        Scalar::Text(text) => Some(Scalar::Text(within(text, limits)?)),
        other => Some(other),
    }
}

/// A text, or a small integer as it is written, which is how Python writes it too; the inner None for a null.
#[allow(clippy::option_option)] // the outer None: left to the reference
fn name<'e>(value: Scalar<'e>, limits: &Limits) -> Option<Option<Text<'e>>> {
    match value {
        Scalar::Null => Some(None),
        Scalar::Text(text) => within(text, limits).map(Some),
        Scalar::Number(_, written, true) if written[0] != b'-' && written.len() <= 18.min(limits.text) => {
            Some(Some(Text::Borrowed(written)))
        }
        _ => None,
    }
}

#[allow(clippy::option_option)] // the outer None: left to the reference
fn time(value: &Scalar<'_>) -> Option<Option<i64>> {
    match value {
        Scalar::Null => Some(None),
        Scalar::Text(text) => rfc3339(text).map(Some),
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
        // both are below 2^53
        Scalar::Number(ms, _, _) if (0.0..=MS_MAX as f64).contains(ms) => Some(Some(*ms as i64)),
        _ => None,
    }
}

type Prediction<'e> = (Option<Scalar<'e>>, Option<Scalar<'e>>);

fn prediction<'e>(scanner: &mut Scanner<'e>, limits: &Limits) -> Option<Prediction<'e>> {
    let (mut score, mut label) = (None, None);
    if scanner.next_byte()? == b'n' {
        return scanner.skip().map(|()| (score, label));
    }
    scanner.object(|scanner, key| {
        match &*key {
            b"score" if score.is_none() => score = Some(feature(scanner, limits)?),
            b"label" if label.is_none() => label = Some(feature(scanner, limits)?),
            b"score" | b"label" | b"probabilities" => return None,
            _ => return scanner.skip(),
        }
        Some(())
    })?;
    Some((score, label))
}
