//! Lines → statements → words.
//!
//! Statements end at `;` or at the end of a line, outside of quotes and JSON. A word that begins
//! with `{` or `[` is JSON and goes on to the bracket that closes it, blanks, `;` and line ends
//! included. A word in `'…'` is taken as it is; in `"…"`, `\"` and `\\` stand for `"` and `\`. A
//! statement that begins with `#` is a comment.

/// A command as it was typed: its words.
pub type Statement = Vec<Word>;

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// What it means, quotes taken off.
    pub text: String,
    /// Where it begins in the input, bytes.
    start: usize,
    /// Where it ends.
    end: usize,
    /// Whether it is written in quotes or is JSON.
    special: bool,
}

/// An input taken apart.
#[derive(Debug, Default)]
pub struct Input {
    /// The statements that have words, in order.
    pub statements: Vec<Statement>,
    /// What is still open at the end: a quote, or a bracket.
    pub open: Option<char>,
    /// Whether the end of the input belongs to the last statement.
    unfinished: bool,
}

/// The end of an input, where completion happens.
#[derive(Debug, PartialEq, Eq)]
pub struct Tail {
    /// The words before the one under the cursor.
    pub before: Vec<String>,
    /// The beginning of the word under the cursor.
    pub word: String,
    /// Where that word begins, bytes.
    pub start: usize,
}

/// Takes an input apart.
pub fn read(input: &str) -> Input {
    let mut reader = Reader { input, at: 0 };
    let mut read = Input::default();
    let mut statement = Vec::new();
    while let Some(next) = reader.peek() {
        match next {
            ';' | '\n' => {
                reader.skip(next);
                read.statements.extend((!statement.is_empty()).then(|| std::mem::take(&mut statement)));
            }
            '#' if statement.is_empty() => reader.skip_while(|c| c != '\n'),
            blank if blank.is_whitespace() => reader.skip(blank),
            first => match reader.word(first) {
                Ok(word) => statement.push(word),
                Err(opened) => {
                    read.open = Some(opened);
                    break;
                }
            },
        }
    }
    read.unfinished = !statement.is_empty();
    read.statements.extend(read.unfinished.then_some(statement));
    read
}

/// The end of an input, or nothing where completion makes no sense: inside of quotes or JSON.
pub fn tail(input: &str) -> Option<Tail> {
    let mut read = read(input);
    if read.open.is_some() {
        return None;
    }
    let mut words = if read.unfinished { read.statements.pop().unwrap_or_default() } else { Vec::new() };
    let under_cursor = words.pop_if(|word| word.end == input.len());
    let before = words.into_iter().map(|word| word.text).collect();
    match under_cursor {
        Some(word) if word.special => None,
        Some(word) => Some(Tail { before, word: word.text, start: word.start }),
        None => Some(Tail { before, word: String::new(), start: input.len() }),
    }
}

struct Reader<'a> {
    input: &'a str,
    /// Bytes; always at the beginning of a character.
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.input[self.at..].chars().next()
    }

    fn skip(&mut self, c: char) {
        self.at += c.len_utf8();
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while let Some(c) = self.peek().filter(|c| wanted(*c)) {
            self.skip(c);
        }
    }

    /// Reads the word that begins here, or says what is not closed.
    fn word(&mut self, first: char) -> Result<Word, char> {
        let start = self.at;
        let text = match first {
            '{' | '[' => self.json()?,
            '\'' | '"' => self.quoted(first)?,
            _ => {
                self.skip_while(|c| !c.is_whitespace() && c != ';');
                self.input[start..self.at].to_owned()
            }
        };
        Ok(Word { text, start, end: self.at, special: matches!(first, '{' | '[' | '\'' | '"') })
    }

    fn quoted(&mut self, quote: char) -> Result<String, char> {
        self.skip(quote);
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.skip(c);
            if c == quote {
                return Ok(text);
            }
            let escaped = self.peek().filter(|next| quote == '"' && c == '\\' && matches!(next, '"' | '\\'));
            if let Some(next) = escaped {
                self.skip(next);
            }
            text.push(escaped.unwrap_or(c));
        }
        Err(quote)
    }

    fn json(&mut self) -> Result<String, char> {
        let start = self.at;
        let mut open = Vec::new();
        let mut in_string = false;
        while let Some(c) = self.peek() {
            self.skip(c);
            match c {
                '\\' if in_string => {
                    if let Some(escaped) = self.peek() {
                        self.skip(escaped);
                    }
                }
                '"' => in_string = !in_string,
                '{' | '[' if !in_string => open.push(c),
                '}' | ']' if !in_string => {
                    open.pop();
                    if open.is_empty() {
                        return Ok(self.input[start..self.at].to_owned());
                    }
                }
                _ => {}
            }
        }
        Err(if in_string { '"' } else { open.last().copied().unwrap_or('{') })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(input: &str) -> Vec<Vec<String>> {
        let read = read(input);
        assert_eq!(read.open, None, "{input}");
        read.statements.iter().map(|words| words.iter().map(|word| word.text.clone()).collect()).collect()
    }

    #[test]
    fn statements_end_at_semicolons_and_lines() {
        assert_eq!(
            words("use db; show dbs ;\n\n count users"),
            [vec!["use", "db"], vec!["show", "dbs"], vec!["count", "users"]]
        );
        assert_eq!(words(" ;; \n"), Vec::<Vec<String>>::new());
        assert_eq!(words("# a comment; with more\nshow dbs"), [["show", "dbs"]]);
    }

    #[test]
    fn json_is_one_word_whatever_is_in_it() {
        let json = r#"{"a": "x; } ' \" y", "b": [1, {"c": 2}]}"#;
        assert_eq!(
            words(&format!("insert users {json}; count users")),
            [vec!["insert", "users", json], vec!["count", "users"]]
        );
        assert_eq!(words("insert users {\n \"a\": 1\n}"), [["insert", "users", "{\n \"a\": 1\n}"]]);
        assert_eq!(words("insert t [1];count t").len(), 2);
    }

    #[test]
    fn quotes_keep_words_together() {
        assert_eq!(words("get users 'a b; c'"), [["get", "users", "a b; c"]]);
        assert_eq!(words(r#"get users "say \"hi\" \\ \n""#), [["get", "users", r#"say "hi" \ \n"#]]);
        assert_eq!(words("get users ''"), [["get", "users", ""]]);
        assert_eq!(words("get users O'Brien"), [["get", "users", "O'Brien"]]);
        assert_eq!(words(r#"insert users '{"a":1}'"#), [["insert", "users", r#"{"a":1}"#]]);
    }

    #[test]
    fn what_is_open_is_told() {
        assert_eq!(read("insert users {\"a\": [1,").open, Some('['));
        assert_eq!(read("insert users {\"a\": \"x}").open, Some('"'));
        assert_eq!(read("get users 'x").open, Some('\''));
        assert_eq!(read("show dbs; insert users {").statements.len(), 2, "the first is whole, the second begun");
    }

    #[test]
    fn the_tail_is_what_is_completed() {
        let tail_of = |input: &str| tail(input).map(|tail| (tail.before, tail.word, tail.start));
        let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(tail_of("show d"), Some((strings(&["show"]), "d".into(), 5)));
        assert_eq!(tail_of("use db; show "), Some((strings(&["show"]), String::new(), 13)));
        assert_eq!(tail_of("use db;"), Some((strings(&[]), String::new(), 7)));
        assert_eq!(tail_of("insert é {\"a"), None);
        assert_eq!(tail_of("get 'a"), None);
    }
}
