//! Completion of commands, and of what the cluster knows: databases, collections, members.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use jettra_client::JettraClient;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};
use tokio::runtime::Handle;

use crate::commands::{self, Argument, TABLE};
use crate::line::{self, Tail};

/// How long a key press may wait for the cluster.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long an answer of the cluster is used again.
const FRESH: Duration = Duration::from_secs(5);
/// How long the cluster is left alone after it did not answer.
const REST: Duration = Duration::from_secs(1);

/// What rustyline asks while a line is typed.
pub struct LineHelper {
    runtime: Handle,
    client: JettraClient,
    database: Option<String>,
    patience: Duration,
    /// What was told of each kind, and until when that is used.
    cache: RefCell<HashMap<Argument, (Instant, Vec<String>)>>,
}

impl LineHelper {
    /// A helper that asks through this client, on a runtime with threads of its own.
    pub fn new(runtime: Handle, client: JettraClient) -> LineHelper {
        LineHelper { runtime, client, database: None, patience: PATIENCE, cache: RefCell::default() }
    }

    /// Follows the shell after a command, which may have changed anything.
    pub fn follow(&mut self, client: &JettraClient, database: Option<&str>) {
        self.client = client.clone();
        self.database = database.map(str::to_owned);
        self.cache.get_mut().clear();
    }

    /// The names that the cluster knows of this kind; none if it does not answer soon.
    fn names(&self, kind: Argument) -> Vec<String> {
        if let Some((until, names)) = self.cache.borrow().get(&kind)
            && Instant::now() < *until
        {
            return names.clone();
        }
        let ask = ask(&self.client, self.database.as_deref(), kind);
        let asked = self.runtime.block_on(async { tokio::time::timeout(self.patience, ask).await });
        // A key press is no place for errors: without an answer there is nothing to complete.
        let (names, fresh) = match asked {
            Ok(Ok(names)) => (names, FRESH),
            Ok(Err(_)) | Err(_) => (Vec::new(), REST),
        };
        self.cache.borrow_mut().insert(kind, (Instant::now() + fresh, names.clone()));
        names
    }

    fn candidates(&self, tail: &Tail) -> Vec<String> {
        let before: Vec<&str> = tail.before.iter().map(String::as_str).collect();
        let mut candidates = next_words(&before);
        if let Some((command, arguments)) = commands::find(&before) {
            candidates.extend(match argument(command.arguments, arguments.len()) {
                Argument::Any => Vec::new(),
                Argument::OneOf(words) => words.iter().map(|word| (*word).to_owned()).collect(),
                Argument::Command => next_words(arguments),
                kind @ (Argument::Database | Argument::Collection | Argument::Node) => self.names(kind),
            });
        }
        candidates.retain(|candidate| candidate.starts_with(&tail.word));
        candidates.sort();
        candidates.dedup();
        candidates
    }
}

/// What stands at this place among a command's arguments.
fn argument(arguments: &[Argument], place: usize) -> Argument {
    match arguments.last() {
        Some(repeated @ Argument::OneOf(_)) => *arguments.get(place).unwrap_or(repeated),
        // `help` takes the words of a command.
        Some(Argument::Command) => Argument::Command,
        _ => *arguments.get(place).unwrap_or(&Argument::Any),
    }
}

/// The words that may follow these on the way to a command's name.
fn next_words(before: &[&str]) -> Vec<String> {
    let next = |name: &'static str| {
        let mut words = name.split(' ');
        let fits = before.iter().all(|said| words.next().is_some_and(|word| word.eq_ignore_ascii_case(said)));
        words.next().filter(|_| fits).map(str::to_owned)
    };
    TABLE.iter().filter_map(|command| next(command.name)).collect()
}

async fn ask(client: &JettraClient, database: Option<&str>, kind: Argument) -> jettra_client::Result<Vec<String>> {
    match (kind, database) {
        (Argument::Database, _) => {
            let databases = client.list_databases().await?;
            Ok(databases.into_iter().map(|database| database.name).collect())
        }
        (Argument::Collection, Some(database)) => client.list_collections(database).await,
        (Argument::Node, _) => Ok(client.get_federated_nodes().await?.into_iter().map(|node| node.id).collect()),
        _ => Ok(Vec::new()),
    }
}

impl Completer for LineHelper {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let Some(tail) = line::tail(&line[..at]) else { return Ok((at, Vec::new())) };
        let pair = |word: String| Pair { display: word.clone(), replacement: format!("{word} ") };
        // Names with control characters are of no use at a prompt, and may harm it.
        let plain = self.candidates(&tail).into_iter().filter(|word| crate::text::plain(word) == *word);
        Ok((tail.start, plain.map(pair).collect()))
    }
}

impl Validator for LineHelper {
    /// Return goes on to the next line while a bracket or quote is open.
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match line::read(context.input()).open {
            Some(_) => ValidationResult::Incomplete,
            None => ValidationResult::Valid(None),
        })
    }
}

impl Hinter for LineHelper {
    type Hint = String;
}

impl Highlighter for LineHelper {}

impl Helper for LineHelper {}

#[cfg(test)]
mod tests {
    use super::*;
    use jettra_client::testing::FakeNode;

    fn complete(helper: &LineHelper, input: &str) -> Vec<String> {
        helper.candidates(&line::tail(input).unwrap())
    }

    #[test]
    fn commands_and_names_are_completed() {
        let node = FakeNode::start().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let client = node.client();
            client.save_document("shop", "users", "{}").await.unwrap();
            client.save_document("shop", "umbrellas", "{}").await.unwrap();
        });
        let mut helper = LineHelper::new(runtime.handle().clone(), node.client());
        helper.patience = Duration::from_secs(30);

        assert_eq!(complete(&helper, "fe"), ["federated"]);
        assert_eq!(complete(&helper, "show dbs; federated "), ["leader", "nodes"]);
        assert_eq!(complete(&helper, "use s"), ["shop"]);
        assert_eq!(complete(&helper, "find u"), Vec::<String>::new(), "no database is in use");
        helper.follow(&node.client(), Some("shop"));
        assert_eq!(complete(&helper, "find u"), ["umbrellas", "users"]);
        assert_eq!(complete(&helper, "find users limit 3 o"), ["offset"]);
        assert_eq!(complete(&helper, "cluster stop "), ["node1"]);
        assert_eq!(complete(&helper, "help show v"), ["version"]);
        assert_eq!(complete(&helper, "create db x"), Vec::<String>::new());
    }

    #[test]
    fn a_cluster_that_is_away_completes_nothing_and_is_not_asked_at_each_key() {
        let node = FakeNode::start().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let helper = LineHelper::new(runtime.handle().clone(), node.client());
        node.stop();
        assert_eq!(complete(&helper, "use s"), Vec::<String>::new());
        assert_eq!(helper.cache.borrow().len(), 1);
    }
}
