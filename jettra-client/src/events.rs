//! Server-Sent Events, taken apart as their bytes arrive (WHATWG HTML, 9.2.6).

/// An event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    /// The field `event`; empty where there is none.
    pub(crate) kind: String,
    pub(crate) data: String,
}

/// Bytes in, events out. What is incomplete at the end is no event.
#[derive(Debug, Default)]
pub(crate) struct Events {
    buffer: Vec<u8>,
    /// Where the line begins that is read next.
    line: usize,
    /// Up to where there is no line end after `line`.
    searched: usize,
    event: Event,
    has_data: bool,
}

impl Events {
    /// Takes bytes in.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.line);
        self.searched -= self.line;
        self.line = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that wait for the rest of their event.
    pub(crate) fn waiting(&self) -> usize {
        self.buffer.len() - self.line + self.event.data.len()
    }

    /// The next event that is complete.
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            let Some(length) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                return None;
            };
            let end = self.searched + length;
            let line = String::from_utf8_lossy(&self.buffer[self.line..end]).into_owned();
            (self.line, self.searched) = (end + 1, end + 1);
            let line = line.strip_suffix('\r').unwrap_or(&line);
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if std::mem::take(&mut self.has_data) {
                    return Some(event);
                }
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "id" => self.event.id = Some(value.to_owned()),
                "event" => self.event.kind = value.to_owned(),
                "data" => {
                    if std::mem::replace(&mut self.has_data, true) {
                        self.event.data.push('\n');
                    }
                    self.event.data.push_str(value);
                }
                // A comment, or a field that says nothing here.
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, kind: &str, data: &str) -> Event {
        Event { id: Some(id.to_owned()).filter(|id| !id.is_empty()), kind: kind.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn events_are_found_wherever_the_bytes_are_cut() {
        let text = ": hello\n\nid: 1.0\ndata: {\"a\":\"é: x\"}\n\nid: 2\r\nevent: progress\r\ndata:{}\r\n\r\ndata: a\ndata: b\nretry: 5\n\n";
        let want = [event("1.0", "", "{\"a\":\"é: x\"}"), event("2", "progress", "{}"), event("", "", "a\nb")];
        for size in [1, 2, 3, 7, 1000] {
            let (mut events, mut found) = (Events::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                events.push(piece);
                found.extend(std::iter::from_fn(|| events.next()));
            }
            assert_eq!(found, want, "in pieces of {size}");
            assert_eq!(events.waiting(), 0);
        }
    }

    #[test]
    fn half_an_event_is_none() {
        let mut events = Events::default();
        events.push(b"id: 1.0\ndata: {}\n");
        assert_eq!(events.next(), None);
        assert!(events.waiting() > 0);
    }
}
