//! Decimal digits to numbers.

/// Each byte a one.
const ONES: u64 = 0x0101_0101_0101_0101;

const TENS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Ten to the power of the index, each of them exact.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Read digits, at least one, and return where they end; they are added to `mantissa`, which wraps past 19 of them.
#[inline]
pub fn digits(bytes: &[u8], begin: usize, mantissa: &mut u64) -> Option<usize> {
    let mut at = begin;
    while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (at > begin).then_some(at)
}

/// The same for digits that are several, and no one knows how many: eight at a time, by arithmetic instead of branches that
/// the processor can't foresee (Lemire 2018, "Quickly parsing eight digits").
#[inline]
pub fn many_digits(bytes: &[u8], begin: usize, mantissa: &mut u64) -> Option<usize> {
    let Some(eight) = bytes.get(begin..begin + 8) else {
        return digits(bytes, begin, mantissa);
    };
    let values = u64::from_le_bytes(eight.try_into().ok()?) ^ (ONES * 0x30);
    // the highest bit of each byte that is over 9; only above a true one there may be a false one
    let others = (values.wrapping_add(ONES * 0x76) | values) & (ONES * 0x80);
    let count = others.trailing_zeros() / 8;
    if count == 0 {
        return None;
    }
    let last = values << (64 - 8 * count); // zeros before the digits
    let pairs = last.wrapping_mul(10).wrapping_add(last >> 8);
    let even = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let odd = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    let number = even.wrapping_add(odd) >> 32;
    *mantissa = mantissa.wrapping_mul(TENS[count as usize]).wrapping_add(number);
    let end = begin + count as usize;
    if count < 8 {
        return Some(end);
    }
    digits(bytes, end, mantissa).or(Some(end))
}

/// `mantissa` · 10^`exponent` where one operation on exact operands gives it.
#[inline]
pub fn exact(mantissa: u64, length: usize, exponent: i64) -> Option<f64> {
    if length > 19 || mantissa > 1 << 53 {
        return None;
    }
    let power = *POWERS.get(usize::try_from(exponent.unsigned_abs()).ok()?)?;
    #[allow(clippy::cast_precision_loss)] // it is at most 2^53
    let mantissa = mantissa as f64;
    Some(if exponent < 0 { mantissa / power } else { mantissa * power })
}
