//! Walks over the fields of an object, or the elements of an array, that was checked and made compact before.
//!
//! Text that was not is no danger: the walk ends early or with an error.

use std::borrow::Cow;

use super::JsonError;
use super::text::unescape;

/// The fields of an object or the elements of an array, in order, as they are written.
pub(crate) struct Fields<'a> {
    json: &'a [u8],
    at: usize,
    end: u8,
}

/// One field; the key of an array's element is empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    /// What stands between the key's quotes.
    raw_key: &'a str,
    /// The value as written.
    pub value: &'a [u8],
    /// Where the value starts.
    pub offset: usize,
}

impl<'a> Field<'a> {
    /// What the key reads as.
    pub fn key(&self) -> Cow<'a, str> {
        unescape(self.raw_key)
    }

    /// The key as it is written, without quotes.
    pub fn raw_key(&self) -> &'a str {
        self.raw_key
    }
}

impl<'a> Fields<'a> {
    /// The fields of `json`; an error where it is no object.
    pub fn of_object(json: &'a [u8]) -> Result<Self, JsonError> {
        Self::of(json, b'{', b'}', "expected an object")
    }

    /// The elements of `json`; an error where it is no array.
    pub fn of_array(json: &'a [u8]) -> Result<Self, JsonError> {
        Self::of(json, b'[', b']', "expected an array")
    }

    fn of(json: &'a [u8], start: u8, end: u8, wanted: &str) -> Result<Self, JsonError> {
        if json.first() == Some(&start) && json.last() == Some(&end) {
            Ok(Fields { json, at: 1, end })
        } else {
            Err(JsonError::new(wanted, 0))
        }
    }

    fn field(&mut self) -> Result<Field<'a>, JsonError> {
        let broken = |at| JsonError::new("broken JSON", at);
        let mut raw_key = "";
        if self.end == b'}' {
            let end = skip_string(self.json, self.at).ok_or_else(|| broken(self.at))?;
            raw_key = std::str::from_utf8(&self.json[self.at + 1..end - 1]).map_err(|_| broken(self.at))?;
            if self.json.get(end) != Some(&b':') {
                return Err(broken(end));
            }
            self.at = end + 1;
        }
        let offset = self.at;
        let end = skip_value(self.json, offset).ok_or_else(|| broken(offset))?;
        self.at = match self.json.get(end) {
            Some(b',') => end + 1,
            Some(last) if *last == self.end && end + 1 == self.json.len() => end,
            _ => return Err(broken(end)),
        };
        Ok(Field { raw_key, value: &self.json[offset..end], offset })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, JsonError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at + 1 >= self.json.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.json.len();
        }
        Some(field)
    }
}

/// Whether a checked value is an object.
pub(crate) fn is_object(value: &[u8]) -> bool {
    value.first() == Some(&b'{')
}

/// A value that is a whole number without sign, fraction or exponent.
pub(crate) fn parse_u64(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Where the string that starts at `at` ends.
fn skip_string(json: &[u8], at: usize) -> Option<usize> {
    if json.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Where the value that starts at `at` ends.
fn skip_value(json: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match json.get(at)? {
            b'"' => at = skip_string(json, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
                continue;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            b',' | b':' if depth > 0 => {
                at += 1;
                continue;
            }
            _ => {
                let start = at;
                while json.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)) {
                    at += 1;
                }
                if at == start {
                    return None;
                }
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}
