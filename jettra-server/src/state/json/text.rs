//! Strings: from what stands between the quotes to what it reads as, and back.

use std::borrow::Cow;

/// What the inside of a checked JSON string reads as.
pub(crate) fn unescape(raw: &str) -> Cow<'_, str> {
    let Some(first) = raw.find('\\') else { return Cow::Borrowed(raw) };
    let mut text = String::with_capacity(raw.len());
    text.push_str(&raw[..first]);
    let mut rest = raw[first..].chars();
    while let Some(next) = rest.next() {
        if next != '\\' {
            text.push(next);
            continue;
        }
        match rest.next() {
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some('u') => {
                let unit = hex4(&mut rest);
                let scalar = if (0xD800..0xDC00).contains(&unit) {
                    // The low half: `\u` and four digits.
                    rest.next();
                    rest.next();
                    0x10000 + ((unit - 0xD800) << 10) + hex4(&mut rest).wrapping_sub(0xDC00)
                } else {
                    unit
                };
                text.push(char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => text.push(other),
            None => {}
        }
    }
    Cow::Owned(text)
}

fn hex4(chars: &mut std::str::Chars<'_>) -> u32 {
    (0..4).fold(0u32, |value, _| (value << 4) | chars.next().and_then(|c| c.to_digit(16)).unwrap_or(0))
}

/// What a checked JSON value reads as where it is a string; `None` where it is none.
pub(crate) fn unquote(value: &[u8]) -> Option<Cow<'_, str>> {
    let inside = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    Some(unescape(std::str::from_utf8(inside).ok()?))
}

/// Appends `text` as a JSON string, with quotes.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut copied = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0c => b"\\f",
            0..0x20 => &[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]],
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[copied..at]);
        out.extend_from_slice(escape);
        copied = at + 1;
    }
    out.extend_from_slice(&text.as_bytes()[copied..]);
    out.push(b'"');
}

const HEX: &[u8; 16] = b"0123456789abcdef";
