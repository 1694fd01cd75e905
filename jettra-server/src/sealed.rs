//! Small files that say whether they are whole: each carries a checksum of its content.
//!
//! A JSON object has it as its last field, a line as its last word. A damaged file is told apart from a whole one
//! with certainty, and one in which a single bit has changed can be mended: only one such change fits the checksum.

use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The field of a JSON object that holds its checksum.
const FIELD: &str = "checksum";
/// Sealed files are small; a larger one is none.
const MOST_BYTES: u64 = 1 << 20;

/// The first 8 bytes of a hash, in hex.
fn checksum(content: &[u8]) -> String {
    crate::random::to_hex(&blake3::hash(content).as_bytes()[..8])
}

/// `content`, which has no line break, as a line that ends with its checksum.
pub fn line(content: &str) -> String {
    format!("{content} {}\n", checksum(content.as_bytes()))
}

/// The content of a line made by [`line()`]; `None` where it is not as it was written.
pub fn read_line(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (content, _) = text.rsplit_once(' ')?;
    (line(content) == text).then_some(content)
}

/// `value`, which serializes as an object, as JSON that a person can read, with its checksum.
///
/// # Errors
/// A value that is no object.
pub fn json(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut value = serde_json::to_value(value)?;
    let sum = checksum(&serde_json::to_vec(&value)?);
    let object = value.as_object_mut().ok_or_else(|| io::Error::other("only objects can be sealed"))?;
    object.insert(FIELD.to_owned(), Value::String(sum));
    serde_json::to_vec_pretty(&value).map_err(io::Error::from)
}

/// The value that [`json`] wrote; `None` where it is not as it was written.
pub fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let mut value: Value = serde_json::from_slice(bytes).ok()?;
    value.as_object_mut()?.remove(FIELD)?;
    // Another blank between two fields would do no harm, but then it would not be as it was written.
    if json(&value).ok()? != bytes {
        return None;
    }
    serde_json::from_value(value).ok()
}

/// The file as it was before one of its bits changed, where `is_whole` holds for that; `None` where more is broken.
pub fn with_one_bit_mended(bytes: &[u8], is_whole: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let mut tried = bytes.to_vec();
    for at in 0..tried.len() {
        for bit in 0..8 {
            tried[at] ^= 1 << bit;
            if is_whole(&tried) {
                return Some(tried);
            }
            tried[at] ^= 1 << bit;
        }
    }
    None
}

/// Reads the file at `path`; `None` where there is none.
///
/// # Errors
/// I/O errors; a file that is far too large.
pub fn bytes_of(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::metadata(path) {
        Ok(data) if data.len() > MOST_BYTES => Err(damaged(path)),
        Ok(_) => std::fs::read(path).map(Some),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// What is said of a file that is not as it was written.
pub fn damaged(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged: it does not fit its checksum", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn finds_and_mends(whole: Vec<u8>, is_whole: impl Fn(&[u8]) -> bool) {
        assert!(is_whole(&whole));
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_whole(&flipped), "bit {bit}");
            assert_eq!(with_one_bit_mended(&flipped, &is_whole).unwrap(), whole);
        }
        let mut broken = whole;
        broken[0] ^= 3;
        assert_eq!(with_one_bit_mended(&broken, &is_whole), None);
    }

    #[test]
    fn every_flipped_bit_is_found_and_mended() {
        let value = serde_json::json!({"format": 2, "name": "node1", "membership": {"raftId": 1}});
        finds_and_mends(json(&value).unwrap(), |bytes| read_json::<Value>(bytes).is_some());
        finds_and_mends(line("12").into_bytes(), |bytes| read_line(bytes).is_some());
        assert_eq!(read_json::<Value>(&json(&value).unwrap()).unwrap(), value);
    }
}
