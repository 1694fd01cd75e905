//! Randomness: the one place that it enters by.

/// `N` random bytes.
///
/// # Panics
/// When the operating system has no randomness to give: nothing safe can be done then.
#[allow(clippy::expect_used)]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// `N` random bytes as hex.
pub fn hex<const N: usize>() -> String {
    to_hex(&bytes::<N>())
}

/// Bytes as hex.
pub fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, b| {
        // Writing to a String cannot fail.
        write!(text, "{b:02x}").unwrap_or_default();
        text
    })
}
