//! A scanner of RFC 8259 that knows when to stop: `None` means that somebody else reads this event, never that it is wrong.
//!
//! The bytes are valid UTF-8 when they come here. Strings are borrowed where they have no escapes. Numbers are correctly
//! rounded: up to 2^53 and 10^22 by one exact multiplication or division (Clinger 1990), by the standard library otherwise.

use std::borrow::Cow;

/// Levels of a value that is passed over; what is deeper is left to others.
const DEPTH_MAX: u32 = 32;

pub type Text<'e> = Cow<'e, [u8]>;

/// A value that is neither an object nor a list.
#[derive(Debug)]
pub enum Scalar<'e> {
    Null,
    Bool(bool),
    /// The number, how it was written, and whether without fraction and exponent.
    Number(f64, &'e [u8], bool),
    Text(Text<'e>),
}

pub struct Scanner<'e> {
    bytes: &'e [u8],
    at: usize,
}

/// Ten to the power of the index, each of them exact.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

impl<'e> Scanner<'e> {
    pub fn new(bytes: &'e [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// The next byte that is no white space, without taking it.
    #[inline]
    pub fn next_byte(&mut self) -> Option<u8> {
        self.space();
        self.peek()
    }

    /// Where the next byte is that is no white space.
    pub fn here(&mut self) -> Option<usize> {
        self.next_byte().map(|_| self.at)
    }

    /// What was read since then.
    pub fn since(&self, begin: usize) -> &'e [u8] {
        &self.bytes[begin..self.at]
    }

    /// Whether nothing but white space is left.
    pub fn at_end(&mut self) -> bool {
        self.next_byte().is_none()
    }

    /// Take this byte, after white space.
    #[inline]
    pub fn take(&mut self, wanted: u8) -> Option<()> {
        if self.next_byte()? == wanted {
            self.at += 1;
            return Some(());
        }
        None
    }

    /// Begin an object or a list; true where it is empty, and then its end is taken.
    #[inline]
    fn begin(&mut self, open: u8, close: u8) -> Option<bool> {
        self.take(open)?;
        if self.next_byte()? == close {
            self.at += 1;
            return Some(true);
        }
        Some(false)
    }

    /// After a member: true where another one follows, false at the end.
    #[inline]
    fn another(&mut self, close: u8) -> Option<bool> {
        let byte = self.next_byte()?;
        self.at += 1;
        match byte {
            b',' => Some(true),
            _ if byte == close => Some(false),
            _ => None,
        }
    }

    /// Take exactly these bytes, after white space; false where others stand there.
    #[inline]
    pub fn take_all(&mut self, wanted: &[u8]) -> bool {
        self.space();
        let found = self.bytes[self.at..].starts_with(wanted);
        self.at += if found { wanted.len() } else { 0 };
        found
    }

    /// Read an object: `member` gets each key, and reads the value.
    #[inline]
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, Text<'e>) -> Option<()>) -> Option<()> {
        self.members(|scanner| {
            let key = scanner.text()?;
            scanner.take(b':')?;
            member(scanner, key)
        })
    }

    /// Read an object: `member` reads each key, the colon, and the value.
    #[inline]
    pub fn members(&mut self, mut member: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if self.begin(b'{', b'}')? {
            return Some(());
        }
        loop {
            member(self)?;
            if !self.another(b'}')? {
                return Some(());
            }
        }
    }

    /// Read a text, escapes resolved; pairs of surrogates are left to others.
    #[inline]
    pub fn text(&mut self) -> Option<Text<'e>> {
        self.take(b'"')?;
        let begin = self.at;
        let end = special(self.bytes, begin)?;
        if self.bytes[end] == b'"' {
            self.at = end + 1;
            return Some(Cow::Borrowed(&self.bytes[begin..end]));
        }
        self.escaped(begin, end)
    }

    #[cold]
    fn escaped(&mut self, mut begin: usize, mut end: usize) -> Option<Text<'e>> {
        let mut text = Vec::new();
        loop {
            text.extend_from_slice(&self.bytes[begin..end]);
            self.at = end + 1;
            match self.bytes[end] {
                b'"' => return Some(Cow::Owned(text)),
                b'\\' => {
                    let c = self.escape()?;
                    text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => return None, // a control character
            }
            begin = self.at;
            end = special(self.bytes, begin)?;
        }
    }

    fn escape(&mut self) -> Option<char> {
        let c = match self.peek()? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let digits = self.bytes.get(self.at + 1..self.at + 5)?;
                let mut code = 0;
                for digit in digits {
                    code = code * 16 + char::from(*digit).to_digit(16)?;
                }
                self.at += 4;
                char::from_u32(code)? // None for surrogates
            }
            _ => return None,
        };
        self.at += 1;
        Some(c)
    }

    /// Read a value that is neither an object nor a list.
    #[inline(always)] // its result stays in registers then
    pub fn scalar(&mut self) -> Option<Scalar<'e>> {
        match self.next_byte()? {
            b'"' => self.text().map(Scalar::Text),
            b'-' | b'0'..=b'9' => self.number(),
            b'n' => self.word(b"null", Scalar::Null),
            b't' => self.word(b"true", Scalar::Bool(true)),
            b'f' => self.word(b"false", Scalar::Bool(false)),
            _ => None,
        }
    }

    fn word(&mut self, word: &[u8], value: Scalar<'e>) -> Option<Scalar<'e>> {
        if !self.bytes[self.at..].starts_with(word) {
            return None;
        }
        self.at += word.len();
        Some(value)
    }

    #[inline(always)]
    fn number(&mut self) -> Option<Scalar<'e>> {
        let (bytes, begin) = (self.bytes, self.at);
        let negative = bytes[begin] == b'-';
        let first = begin + usize::from(negative);
        let (mut mantissa, mut at) = (0, first);
        at = digits(bytes, at, &mut mantissa)?;
        if bytes[first] == b'0' && at > first + 1 {
            return None;
        }
        let (mut exponent, mut integer) = (0, true);
        if bytes.get(at) == Some(&b'.') {
            let end = digits(bytes, at + 1, &mut mantissa)?;
            exponent = -i64::try_from(end - at - 1).ok()?;
            (at, integer) = (end, false);
        }
        self.at = at;
        let length = at - first;
        if let Some(b'e' | b'E') = bytes.get(at) {
            exponent += self.exponent()?;
            integer = false;
        }
        let written = &bytes[begin..self.at];
        let number = match exact(mantissa, length, exponent) {
            Some(0.0) if integer => 0.0, // -0 is the integer 0
            Some(size) if negative => -size,
            Some(size) => size,
            None => std::str::from_utf8(written).ok()?.parse().ok()?,
        };
        number.is_finite().then_some(Scalar::Number(number, written, integer))
    }

    fn exponent(&mut self) -> Option<i64> {
        self.at += 1;
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative || self.peek()? == b'+');
        let (begin, mut size) = (self.at, 0);
        self.at = digits(self.bytes, begin, &mut size)?;
        let size = if self.at - begin > 9 { 1_000_000_000 } else { i64::try_from(size).ok()? };
        Some(if negative { -size } else { size })
    }

    /// Read any value for nothing but its being JSON.
    pub fn skip(&mut self) -> Option<()> {
        self.skip_within(DEPTH_MAX)
    }

    fn skip_within(&mut self, depth: u32) -> Option<()> {
        match self.next_byte()? {
            b'{' => {
                depth.checked_sub(1)?;
                self.object(|scanner, _| scanner.skip_within(depth - 1))
            }
            b'[' => {
                depth.checked_sub(1)?;
                if self.begin(b'[', b']')? {
                    return Some(());
                }
                loop {
                    self.skip_within(depth - 1)?;
                    if !self.another(b']')? {
                        return Some(());
                    }
                }
            }
            _ => self.scalar().map(|_| ()),
        }
    }
}

/// Read digits, at least one, and return where they end; they are added to `mantissa`, which wraps past 19 of them.
#[inline]
fn digits(bytes: &[u8], begin: usize, mantissa: &mut u64) -> Option<usize> {
    let mut at = begin;
    while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (at > begin).then_some(at)
}

/// `mantissa` · 10^`exponent` where one operation on exact operands gives it.
#[inline]
fn exact(mantissa: u64, length: usize, exponent: i64) -> Option<f64> {
    if length > 19 || mantissa > 1 << 53 {
        return None;
    }
    let power = *POWERS.get(usize::try_from(exponent.unsigned_abs()).ok()?)?;
    #[allow(clippy::cast_precision_loss)] // it is at most 2^53
    let mantissa = mantissa as f64;
    Some(if exponent < 0 { mantissa / power } else { mantissa * power })
}

/// Where the next quotation mark, backslash or control character is; None where the bytes end before.
#[inline]
fn special(bytes: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    while let Some(eight) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(eight.try_into().ok()?);
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        // the highest bit of each byte that is zero, or below a space; only above a true one there may be a false one
        let found = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let found = found & (ONES * 0x80);
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte == b'"' || byte == b'\\' || byte < 0x20 {
            return Some(at);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Option<f64> {
        let mut scanner = Scanner::new(text.as_bytes());
        match scanner.scalar()? {
            Scalar::Number(number, _, _) if scanner.at_end() => Some(number),
            _ => None,
        }
    }

    #[test]
    fn numbers_are_those_of_the_standard_library() {
        for text in
            ["0.1", "-0.0", "1e22", "1e23", "9007199254740993", "5e-324", "2.5e-3", "123456789012345678901", "1E+2"]
        {
            let expected: f64 = text.parse().unwrap();
            assert_eq!(number(text).map(f64::to_bits), Some(expected.to_bits()), "{text}");
        }
        assert_eq!(number("-0").map(f64::to_bits), Some(0));
        for text in ["01", "1.", ".5", "-", "+1", "1e", "1e+", "1e999", "0x1", "NaN", "-Infinity", "1.e5", "--1"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn texts_end_at_the_first_quotation_mark_that_is_not_escaped() {
        let read =
            |text: &str| Scanner::new(text.as_bytes()).text().map(|t| String::from_utf8(t.into_owned()).unwrap());
        assert_eq!(read(r#""""#).as_deref(), Some(""));
        assert_eq!(read(r#""a longer text than eight""#).as_deref(), Some("a longer text than eight"));
        assert_eq!(read(r#""a\"b\u00fc\\" "#).as_deref(), Some("a\"bü\\"));
        for text in [r#""a"#, r#""\ud83d\ude00""#, r#""\ud800""#, r#""\x""#, "\"a\nb\"", r#""\u12""#] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_passed_over_is_json_and_not_deep() {
        let passes = |text: &str| {
            let mut scanner = Scanner::new(text.as_bytes());
            scanner.skip().is_some() && scanner.at_end()
        };
        assert!(passes(r#" {"a": [1, {"b": []}, "x", null, true, false, {}]} "#));
        assert!(passes(&("[".repeat(32) + &"]".repeat(32))));
        for text in ["[1,]", "{,}", r#"{"a"}"#, r#"{"a":1,}"#, "[1 2]", "[", "{} x", "nul", "{1:2}"] {
            assert!(!passes(text), "{text}");
        }
        assert!(!passes(&("[".repeat(33) + &"]".repeat(33))));
    }
}
