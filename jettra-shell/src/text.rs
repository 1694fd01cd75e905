//! Text that is safe to print.
//!
//! Names and documents come from whoever may write to the database; a terminal obeys control
//! characters in them. Here they are replaced by what they are called.

use std::fmt::Write;

/// Characters that move the cursor, colour, or turn the direction of text.
fn drives_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A name or message with control characters written out.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if drives_terminal(c) { plain.extend(c.escape_default()) } else { plain.push(c) }
    }
    plain
}

/// Where what stands before the `@` of the first URL in a text begins and ends.
fn credentials(text: &str) -> Option<std::ops::Range<usize>> {
    let mut from = 0;
    while let Some(at) = text[from..].find("://") {
        let start = from + at + "://".len();
        let rest = &text[start..];
        // A password may hold what ends a URL's authority, but neither blanks nor quotes.
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`')).unwrap_or(rest.len());
        if let Some(before) = rest[..end].rfind('@') {
            return Some(start..start + before);
        }
        from = start;
    }
    None
}

/// Whether a URL in a text names a user.
pub fn has_credentials(text: &str) -> bool {
    credentials(text).is_some()
}

/// A text in which nothing stands before the `@` of a URL.
pub fn without_credentials(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = credentials(rest) {
        shown.push_str(&rest[..found.start]);
        shown.push('…');
        shown.push('@');
        rest = &rest[found.end + 1..];
    }
    shown.push_str(rest);
    shown
}

/// A JSON text on one line: blanks between its parts left out, control characters in its strings escaped.
/// It means the same JSON.
pub fn compact(json: &str) -> String {
    layout(json, None)
}

/// A JSON text indented by two blanks, with control characters escaped. It means the same JSON, with
/// numbers as they were written.
pub fn indented(json: &str) -> String {
    layout(json, Some(0))
}

fn layout(json: &str, mut depth: Option<usize>) -> String {
    let mut out = String::with_capacity(json.len());
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => string(&mut out, &mut chars),
            ' ' | '\t' | '\n' | '\r' => {}
            '{' | '[' => {
                out.push(c);
                while chars.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                if let Some(close) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    depth = depth.map(|depth| depth + 1);
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.map(|depth| depth.saturating_sub(1));
                new_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(if depth.is_some() { ": " } else { ":" }),
            other => out.push(other),
        }
    }
    out
}

/// Copies a string of JSON whose opening quote was read.
fn string(out: &mut String, chars: &mut impl Iterator<Item = char>) {
    out.push('"');
    let mut escaped = false;
    for c in chars {
        if drives_terminal(c) {
            // All of them are one UTF-16 unit. Writing to a string does not fail.
            write!(out, "\\u{:04x}", u32::from(c)).unwrap_or_default();
        } else {
            out.push(c);
        }
        if c == '"' && !escaped {
            return;
        }
        escaped = c == '\\' && !escaped;
    }
}

fn new_line(out: &mut String, depth: Option<usize>) {
    if let Some(depth) = depth {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_drive_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mé\n\u{202e}"), "a\\u{1b}[31mé\\n\\u{202e}");
    }

    #[test]
    fn what_stands_before_the_at_of_a_url_is_not_shown() {
        assert_eq!(
            without_credentials("no \"http://ad:min@host:1/x\", https://u:p/w#@b, http://c/ and d@e"),
            "no \"http://…@host:1/x\", https://…@b, http://c/ and d@e"
        );
        assert!(!has_credentials("http://host \"a@b\""));
    }

    #[test]
    fn json_is_laid_out_and_means_the_same() {
        let json =
            "{ \"a\" : [1.0, {\"b\":\"x: {\\\"},\u{9b}\"} ], \"n\":12345678901234567890.10, \"e\":{}, \"f\":[ ] }";
        assert_eq!(
            compact(json),
            "{\"a\":[1.0,{\"b\":\"x: {\\\"},\\u009b\"}],\"n\":12345678901234567890.10,\"e\":{},\"f\":[]}"
        );
        let wanted = "{\n  \"a\": [\n    1.0,\n    {\n      \"b\": \"x: {\\\"},\\u009b\"\n    }\n  ],\n  \"n\": 12345678901234567890.10,\n  \"e\": {},\n  \"f\": []\n}";
        assert_eq!(indented(json), wanted);
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parse(json), parse(&compact(json)));
        assert_eq!(parse(json), parse(&indented(json)));
    }
}
