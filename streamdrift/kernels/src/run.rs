//! The run of equal values that a series is in (`detect/frozen.py`).

/// Runs shorter than this are nobody's business.
const RUN_MIN: i64 = 20;
/// A run this many times the longest of the reference is frozen.
const FACTOR: i64 = 10;

/// The current run, and how long one of its value may be.
#[derive(Clone, Debug)]
pub struct Run {
    value: f64,
    length: i64,
    since: i64,
}

/// How long runs may be: of values that come back their own longest run counts, of others the longest of all.
#[derive(Debug)]
pub struct Limits {
    /// Values that come back, rising, each with its longest run.
    spells: Vec<(f64, i64)>,
    longest: i64,
    least: i64,
    least_repeating: i64,
}

impl Limits {
    /// `spells` in any order.
    pub fn new(mut spells: Vec<(f64, i64)>, longest: i64, least: i64, least_repeating: i64) -> Self {
        spells.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { spells, longest, least, least_repeating }
    }

    fn limit(&self, value: f64) -> i64 {
        // 0 and -0 are one value
        let place = self.spells.partition_point(|spell| spell.0 < value);
        match self.spells.get(place) {
            Some((spell, longest)) if *spell == value => self.least_repeating.max(FACTOR * longest),
            _ => self.least.max(FACTOR * self.longest),
        }
    }
}

impl Run {
    /// A run that no value was in yet is told by NaN.
    pub fn new(value: f64, length: i64, since: i64) -> Self {
        Self { value, length, since }
    }

    /// Value, length, and event time of its first value.
    pub fn told(&self) -> (f64, i64, i64) {
        (self.value, self.length, self.since)
    }

    /// Take (n,) values and times; whether no run of them became too long.
    pub fn take(&mut self, values: &[f64], times: &[i64], limits: &Limits) -> bool {
        for (&value, &time) in values.iter().zip(times) {
            if value == self.value {
                self.length += 1;
                if self.length >= RUN_MIN && self.length == limits.limit(value) {
                    return false;
                }
            } else {
                (self.value, self.length, self.since) = (value, 1, time); // no limit is as short as one
            }
        }
        true
    }
}
