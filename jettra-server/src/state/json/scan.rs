//! Checks JSON text and makes it compact, in one pass without recursion.

use std::borrow::Cow;
use std::collections::HashSet;

use super::JsonError;
use super::text::unescape;
use crate::state::names::shown;

/// How deep objects and arrays may nest.
pub(crate) const MAX_DEPTH: usize = 100;

/// From how many keys of one object on their set is hashed rather than searched.
const HASHED_FROM: usize = 16;

/// Checks that `input` is one JSON value and returns it without white space around its tokens; borrowed where there
/// was none. Numbers, strings and the order of fields stay as written.
///
/// Refused beyond what the grammar refuses: bytes that are not UTF-8, a key twice in one object (compared as they
/// read, not as they are written), escapes of lone surrogates, and nesting deeper than [`MAX_DEPTH`].
pub(crate) fn compact(input: &[u8]) -> Result<Cow<'_, [u8]>, JsonError> {
    let text =
        std::str::from_utf8(input).map_err(|error| JsonError::new("the text is not UTF-8", error.valid_up_to()))?;
    Scanner { text, bytes: input, at: 0, copied: 0, out: Vec::new(), keys: Vec::new(), open: Vec::new() }.run()
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Everything before this is in `out`; where `out` is empty, nothing has been left out yet.
    copied: usize,
    out: Vec<u8>,
    /// The keys of all open objects that are not hashed yet.
    keys: Vec<Cow<'a, str>>,
    open: Vec<Frame<'a>>,
}

enum Frame<'a> {
    Array,
    /// `keys[from..]` are its keys so far, or all are in `hashed`.
    Object {
        from: usize,
        hashed: Option<HashSet<Cow<'a, str>>>,
    },
}

impl<'a> Scanner<'a> {
    fn run(mut self) -> Result<Cow<'a, [u8]>, JsonError> {
        self.skip_white_space();
        'value: loop {
            // At the start of a value.
            match self.peek() {
                Some(b'{') => {
                    self.enter(Frame::Object { from: self.keys.len(), hashed: None })?;
                    if self.peek() == Some(b'}') {
                        self.leave();
                    } else {
                        self.key()?;
                        continue 'value;
                    }
                }
                Some(b'[') => {
                    self.enter(Frame::Array)?;
                    if self.peek() == Some(b']') {
                        self.leave();
                    } else {
                        continue 'value;
                    }
                }
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal("true")?,
                Some(b'f') => self.literal("false")?,
                Some(b'n') => self.literal("null")?,
                _ => return Err(self.unexpected("a value")),
            }
            // After a value: what the object or array around it goes on with.
            loop {
                self.skip_white_space();
                let in_object = match self.open.last() {
                    None => return self.finish(),
                    Some(Frame::Array) => false,
                    Some(Frame::Object { .. }) => true,
                };
                match (self.peek(), in_object) {
                    (Some(b','), true) => {
                        self.advance_past_token();
                        self.key()?;
                        continue 'value;
                    }
                    (Some(b','), false) => {
                        self.advance_past_token();
                        continue 'value;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => self.leave(),
                    (_, true) => return Err(self.unexpected("a comma or the end of the object")),
                    (_, false) => return Err(self.unexpected("a comma or the end of the array")),
                }
            }
        }
    }

    fn finish(mut self) -> Result<Cow<'a, [u8]>, JsonError> {
        if self.at < self.bytes.len() {
            return Err(JsonError::new("there is something after the value", self.at));
        }
        if self.out.is_empty() && self.copied == 0 {
            return Ok(Cow::Borrowed(self.bytes));
        }
        self.out.extend_from_slice(&self.bytes[self.copied..]);
        Ok(Cow::Owned(self.out))
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn unexpected(&self, wanted: &str) -> JsonError {
        let found = match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(found) => format!("expected {wanted}, found {found:?}"),
            None => format!("expected {wanted}, found the end"),
        };
        JsonError::new(found, self.at)
    }

    fn skip_white_space(&mut self) {
        let start = self.at;
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
        if self.at > start {
            self.out.extend_from_slice(&self.bytes[self.copied..start]);
            self.copied = self.at;
        }
    }

    /// Goes over a token of one byte and the white space after it.
    fn advance_past_token(&mut self) {
        self.at += 1;
        self.skip_white_space();
    }

    fn enter(&mut self, frame: Frame<'a>) -> Result<(), JsonError> {
        if self.open.len() == MAX_DEPTH {
            return Err(JsonError::new(format!("nested deeper than {MAX_DEPTH} levels"), self.at));
        }
        self.open.push(frame);
        self.advance_past_token();
        Ok(())
    }

    fn leave(&mut self) {
        if let Some(Frame::Object { from, hashed: None }) = self.open.pop() {
            self.keys.truncate(from);
        }
        self.at += 1;
    }

    /// A key and its colon, up to the start of the value.
    fn key(&mut self) -> Result<(), JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a key in quotes"));
        }
        let start = self.at;
        let key = self.string()?;
        let Some(Frame::Object { from, hashed }) = self.open.last_mut() else {
            return Err(JsonError::new("a key outside an object", start));
        };
        let known = match hashed {
            Some(hashed) => !hashed.insert(key.clone()),
            None => {
                let known = self.keys[*from..].contains(&key);
                if self.keys.len() - *from >= HASHED_FROM {
                    *hashed = Some(self.keys.drain(*from..).chain([key.clone()]).collect());
                } else {
                    self.keys.push(key.clone());
                }
                known
            }
        };
        if known {
            return Err(JsonError::new(format!("the key {} stands twice in one object", shown(&key)), start));
        }
        self.skip_white_space();
        if self.peek() != Some(b':') {
            return Err(self.unexpected("a colon"));
        }
        self.advance_past_token();
        Ok(())
    }

    /// A string; returns what it reads as.
    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let start = self.at + 1;
        self.at = start;
        let mut escaped = false;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0..0x20) => return Err(JsonError::new("a control character in a string", self.at)),
                Some(_) => self.at += 1,
                None => return Err(JsonError::new("a string without its end", start - 1)),
            }
        }
        // Both ends stand at an ASCII byte, so they are character boundaries.
        let raw = &self.text[start..self.at];
        self.at += 1;
        Ok(if escaped { unescape(raw) } else { Cow::Borrowed(raw) })
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        self.at += 2;
        match self.bytes.get(start + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(()),
            Some(b'u') => match self.hex4(start)? {
                0xDC00..0xE000 => Err(lone_surrogate(start)),
                0xD800..0xDC00 => {
                    if self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
                        return Err(lone_surrogate(start));
                    }
                    self.at += 2;
                    match self.hex4(start)? {
                        0xDC00..0xE000 => Ok(()),
                        _ => Err(lone_surrogate(start)),
                    }
                }
                _ => Ok(()),
            },
            _ => Err(JsonError::new("an unknown escape in a string", start)),
        }
    }

    fn hex4(&mut self, start: usize) -> Result<u32, JsonError> {
        let digits = self.bytes.get(self.at..self.at + 4).unwrap_or_default();
        let mut value = 0;
        for digit in digits {
            let Some(digit) = char::from(*digit).to_digit(16) else { break };
            value = value * 16 + digit;
            self.at += 1;
        }
        if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(JsonError::new("an escape \\u without its four hex digits", start));
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected("a digit")) } else { Ok(()) }
    }

    fn literal(&mut self, word: &str) -> Result<(), JsonError> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.unexpected("a value"))
        }
    }
}

fn lone_surrogate(offset: usize) -> JsonError {
    JsonError::new("an escape of half a surrogate pair", offset)
}
