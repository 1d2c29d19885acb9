//! Asking for memory before it is needed: thousands of series don't fit into the caches, and their states lie apart.

use pyo3::Py;

/// Bytes of a line, and of one array that are asked for at most.
const LINE: usize = 64;
const BYTES_MAX: usize = 4096;
/// What Python and `PyO3` put before an object's own value.
const HEAD: usize = 32;

/// Ask for what a slice lies in.
#[inline]
pub fn slice<T>(data: &[T]) {
    let bytes = size_of_val(data).min(BYTES_MAX);
    for offset in (0..bytes).step_by(LINE) {
        line(data.as_ptr().cast::<u8>().wrapping_add(offset));
    }
}

/// Ask for a value.
#[inline]
pub fn value<T>(one: &T) {
    slice(std::slice::from_ref(one));
}

/// Ask for an object of Python's: its head, and `bytes` of what it holds.
#[inline]
pub fn object<T>(one: &Py<T>, bytes: usize) {
    for offset in (0..HEAD + bytes.min(BYTES_MAX)).step_by(LINE) {
        line(one.as_ptr().cast::<u8>().wrapping_add(offset));
    }
}

#[inline]
fn line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and can't fault, whatever the address (tests::any_address_will_do).
    unsafe {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_address_will_do() {
        super::line(std::ptr::null());
        super::line(std::ptr::without_provenance(usize::MAX));
        super::slice::<u64>(&[]);
        super::slice(&[0_u8; 10_000]);
    }
}
