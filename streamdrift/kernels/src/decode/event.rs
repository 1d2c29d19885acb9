//! One inference event of the plain shape: what it says, borrowed from its bytes. `None` for every other one.

use super::json::{Scalar, Scanner, Text};
use super::time::{rfc3339, MS_MAX};

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
    pub scored: bool,
    pub labelled: bool,
    habit: Habit<'e>,
}

/// Names of the features that the last event had, as they were written with quotation marks and colon, in its order: nearly every
/// event has those of the one before, and these are recognized at a glance.
type Habit<'e> = Vec<(&'e [u8], Text<'e>)>;

impl<'e> Event<'e> {
    /// Read an event into `self`.
    pub fn read(&mut self, bytes: &'e [u8], limits: &Limits) -> Option<()> {
        if bytes.len() > limits.event_bytes || std::str::from_utf8(bytes).is_err() {
            return None;
        }
        self.segments.clear();
        self.features.clear();
        (self.id, self.time, self.version, self.model) = (None, None, None, Text::Borrowed(b""));
        let (mut seen, mut score, mut label) = (0_u32, None, None);
        let mut scanner = Scanner::new(bytes);
        scanner.object(|scanner, key| {
            let bit = match &*key {
                b"prediction_id" => 1,
                b"occurred_at" => 2,
                b"model" => 4,
                b"segments" => 8,
                b"features" => 16,
                b"prediction" => 32,
                b"embeddings" => 64,
                b"specversion" => return None,
                _ => return scanner.skip(),
            };
            if seen & bit != 0 {
                return None;
            }
            seen |= bit;
            match bit {
                1 => self.id = name(scanner.scalar()?, limits)?,
                2 => self.time = time(&scanner.scalar()?)?,
                4 => self.read_model(scanner, limits)?,
                8 => self.read_segments(scanner, limits)?,
                16 => self.read_features(scanner, limits)?,
                32 => (score, label) = prediction(scanner, limits)?,
                _ => {
                    let Scalar::Null = scanner.scalar()? else { return None };
                }
            }
            Some(())
        })?;
        (self.scored, self.labelled) = (score.is_some(), label.is_some());
        self.features.extend(score.map(|value| (Text::Borrowed(SCORE), value)));
        self.features.extend(label.map(|value| (Text::Borrowed(LABEL), value)));
        let complete = !self.model.is_empty() && !self.features.is_empty() && self.features.len() <= limits.features;
        (complete && scanner.at_end()).then_some(())
    }

    fn read_model(&mut self, scanner: &mut Scanner<'e>, limits: &Limits) -> Option<()> {
        if scanner.next_byte()? != b'{' {
            let Scalar::Text(text) = scanner.scalar()? else { return None };
            self.model = within(text, limits)?;
            return Some(());
        }
        let (mut named, mut versioned) = (false, false);
        scanner.object(|scanner, key| {
            match &*key {
                b"name" if !named => {
                    let Scalar::Text(text) = scanner.scalar()? else { return None };
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
        let (features, habit) = (&mut self.features, &mut self.habit);
        scanner.members(|scanner| {
            let nth = features.len();
            let key = match habit.get(nth) {
                Some((member, key)) if scanner.take_all(member) => key.clone(),
                _ => learned(scanner, habit, nth, limits)?,
            };
            features.push((key, feature(scanner, limits)?));
            (nth < limits.features).then_some(())
        })
    }
}

/// Read a feature's name and the colon; take note of them for the next event.
#[cold]
fn learned<'e>(scanner: &mut Scanner<'e>, habit: &mut Habit<'e>, nth: usize, limits: &Limits) -> Option<Text<'e>> {
    let begin = scanner.here()?;
    let key = within(scanner.text()?, limits)?;
    scanner.take(b':')?;
    if limits.free_text.iter().any(|free| **free == *key) {
        return None;
    }
    if let Text::Borrowed(_) = key {
        habit.truncate(nth);
        if habit.len() == nth {
            habit.push((scanner.since(begin), key.clone()));
        }
    }
    Some(key)
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

fn time(value: &Scalar<'_>) -> Option<Option<i64>> {
    match value {
        Scalar::Null => Some(None),
        Scalar::Text(text) => rfc3339(text).map(Some),
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // both are below 2^53
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
