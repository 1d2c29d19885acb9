//! RFC 3339 to milliseconds since the epoch, in the forms that nearly all producers write; `None` for all others.

/// 9999-12-31T23:59:59.999Z
pub const MS_MAX: i64 = 253_402_300_799_999;

/// `2013-04-01T08:15:00`, with a fraction or without, and `Z` or `+02:00`; years from 1970.
pub fn rfc3339(text: &[u8]) -> Option<i64> {
    let head = text.get(..19)?;
    if head[4] != b'-' || head[7] != b'-' || !matches!(head[10], b'T' | b' ') || head[13] != b':' || head[16] != b':' {
        return None;
    }
    let year = two(head, 0)? * 100 + two(head, 2)?;
    let (month, day) = (two(head, 5)?, two(head, 8)?);
    let (hour, minute, second) = (two(head, 11)?, two(head, 14)?, two(head, 17)?);
    if year < 1970 || !(1..=12).contains(&month) || day < 1 || day > days_of(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = fraction(&text[19..])?;
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute - offset(zone)?) * 60 + second;
    let ms = seconds * 1000 + fraction;
    (0..=MS_MAX).contains(&ms).then_some(ms)
}

fn two(text: &[u8], at: usize) -> Option<i64> {
    let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens * 10 + ones))
}

/// Whole milliseconds, and what follows: one to nine digits, all but three of them cut off.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    if text.first() != Some(&b'.') {
        return Some((0, text));
    }
    let digits = text[1..].iter().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=9).contains(&digits) {
        return None;
    }
    let ms = (1..4).fold(0, |ms, i| ms * 10 + if i <= digits { i64::from(text[i] - b'0') } else { 0 });
    Some((ms, &text[1 + digits..]))
}

/// Minutes east of UTC.
fn offset(zone: &[u8]) -> Option<i64> {
    if zone == b"Z" {
        return Some(0);
    }
    if zone.len() != 6 || zone[3] != b':' {
        return None;
    }
    let (hours, minutes) = (two(zone, 1)?, two(zone, 4)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    match zone[0] {
        b'+' => Some(hours * 60 + minutes),
        b'-' => Some(-(hours * 60 + minutes)),
        _ => None,
    }
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 (Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`; from March on).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn common_forms() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2013-04-01T08:15:00Z", Some(1_364_804_100_000)),
            ("2013-04-01 10:15:00+02:00", Some(1_364_804_100_000)),
            ("2013-04-01T08:15:00.1239Z", Some(1_364_804_100_123)),
            ("2013-04-01T08:15:00.5-00:00", Some(1_364_804_100_500)),
            ("9999-12-31T23:59:59.999999Z", Some(253_402_300_799_999)),
            ("9999-12-31T23:59:59-00:01", None),
            ("1970-01-01T00:00:00+00:01", None),
            ("2013-02-29T00:00:00Z", None),
            ("2013-04-01T24:00:00Z", None),
            ("2013-04-01T08:15:00", None),
            ("2013-04-01T08:15:00.Z", None),
            ("2013-04-01T08:15Z", None),
            ("", None),
        ] {
            assert_eq!(rfc3339(text.as_bytes()), ms, "{text}");
        }
        assert!(rfc3339(b"2012-02-29T00:00:00Z").is_some());
    }
}
