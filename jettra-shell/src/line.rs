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
    let mut reader = Reader::default();
    reader.push(input);
    reader.end()
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

/// Takes an input apart piece by piece, looking at each character once: what was open at the end of a piece
/// goes on in the next.
#[derive(Debug, Default)]
pub struct Reader {
    /// The statements that are whole.
    whole: Vec<Statement>,
    /// The words of the statement under way.
    statement: Statement,
    /// The word under way.
    word: String,
    /// Where that began in the input, bytes.
    start: usize,
    /// How much was read, bytes.
    at: usize,
    place: Place,
}

/// What the next character belongs to.
#[derive(Debug, Default)]
enum Place {
    #[default]
    Between,
    Comment,
    Plain,
    Quoted {
        quote: char,
        /// Whether the last character was a `\` that may stand for the next one.
        escaped: bool,
    },
    Json {
        /// The brackets to close, the innermost last.
        open: Vec<char>,
        in_string: bool,
        /// Whether the last character was a `\` in a string.
        escaped: bool,
    },
}

impl Reader {
    /// Reads on.
    pub fn push(&mut self, piece: &str) {
        for c in piece.chars() {
            self.take(c);
            self.at += c.len_utf8();
        }
    }

    /// The statements that have become whole since this was last asked.
    pub fn whole(&mut self) -> Vec<Statement> {
        std::mem::take(&mut self.whole)
    }

    /// How long the word under way is, bytes.
    pub fn pending(&self) -> usize {
        self.word.len()
    }

    /// What the input comes to if it ends here.
    pub fn end(mut self) -> Input {
        let open = match &self.place {
            Place::Between | Place::Comment => None,
            Place::Plain => {
                self.end_word_at(self.at, false);
                None
            }
            Place::Quoted { quote, .. } => Some(*quote),
            Place::Json { in_string: true, .. } => Some('"'),
            Place::Json { open, .. } => open.last().copied(),
        };
        let unfinished = !self.statement.is_empty();
        self.end_statement();
        Input { statements: self.whole, open, unfinished }
    }

    fn take(&mut self, c: char) {
        match &mut self.place {
            Place::Between => self.begin(c),
            Place::Comment if c == '\n' => self.place = Place::Between,
            Place::Comment => {}
            Place::Plain if c.is_whitespace() || c == ';' => {
                self.end_word_at(self.at, false);
                self.begin(c);
            }
            Place::Plain => self.word.push(c),
            Place::Quoted { escaped, .. } if *escaped => {
                *escaped = false;
                if !matches!(c, '"' | '\\') {
                    self.word.push('\\');
                }
                self.word.push(c);
            }
            Place::Quoted { quote: '"', escaped } if c == '\\' => *escaped = true,
            Place::Quoted { quote, .. } if c == *quote => self.end_word_with(c),
            Place::Quoted { .. } => self.word.push(c),
            Place::Json { .. } => self.take_json(c),
        }
    }

    /// Takes a character that stands between words.
    fn begin(&mut self, c: char) {
        self.start = self.at;
        match c {
            ';' | '\n' => self.end_statement(),
            '#' if self.statement.is_empty() => self.place = Place::Comment,
            blank if blank.is_whitespace() => {}
            '{' | '[' => {
                self.place = Place::Json { open: Vec::new(), in_string: false, escaped: false };
                self.take_json(c);
            }
            quote @ ('\'' | '"') => self.place = Place::Quoted { quote, escaped: false },
            first => {
                self.word.push(first);
                self.place = Place::Plain;
            }
        }
    }

    fn take_json(&mut self, c: char) {
        let Place::Json { open, in_string, escaped } = &mut self.place else { return };
        self.word.push(c);
        match c {
            _ if *escaped => *escaped = false,
            '\\' if *in_string => *escaped = true,
            '"' => *in_string = !*in_string,
            '{' | '[' if !*in_string => open.push(c),
            '}' | ']' if !*in_string => {
                open.pop();
                if open.is_empty() {
                    self.end_word_with(c);
                }
            }
            _ => {}
        }
    }

    /// Ends a word whose last character is this one, which is under way.
    fn end_word_with(&mut self, last: char) {
        let end = self.at + last.len_utf8();
        self.end_word_at(end, true);
    }

    fn end_word_at(&mut self, end: usize, special: bool) {
        self.statement.push(Word { text: std::mem::take(&mut self.word), start: self.start, end, special });
        self.place = Place::Between;
    }

    fn end_statement(&mut self) {
        if !self.statement.is_empty() {
            self.whole.push(std::mem::take(&mut self.statement));
        }
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
    fn pieces_are_read_as_the_whole_is() {
        let input = "use é; insert t {\"a\": \"x\\\" }\", \"b\": [1]}\n# c; d\r\nget t \"q \\\\ \\n\"; 'x;\n'";
        let whole = read(input).statements;
        let mut reader = Reader::default();
        let mut statements = Vec::new();
        for c in input.chars() {
            reader.push(c.encode_utf8(&mut [0; 4]));
            statements.extend(reader.whole());
        }
        statements.extend(reader.end().statements);
        assert_eq!(statements, whole);
        assert_eq!(whole.len(), 4, "{whole:?}");
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
