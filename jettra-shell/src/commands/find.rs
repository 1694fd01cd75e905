//! `find <col> [filter] [limit N] [offset N] [sort S] [fields F]`

use jettra_client::QueryOptions;

use super::{Argument, Command};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// Lists documents.
pub const COMMAND: Command = Command {
    name: "find",
    aliases: &[],
    usage: "find <col> [filter] [limit N] [offset N] [sort S] [fields F]",
    help: "list documents in _id order, 100 unless a limit is given (limit 0 means all)",
    arguments: &[Argument::Collection, Argument::OneOf(&["fields", "limit", "offset", "sort"])],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let (collection, rest) = arguments.split_first().ok_or(Failure::Usage(COMMAND.usage))?;
    let documents = shell.client.query_documents(shell.database()?, collection, &options(rest)?).await?;
    Ok(Report::Documents(documents))
}

fn options(mut words: &[&str]) -> Result<QueryOptions, Failure> {
    let mut options = QueryOptions::new();
    if let [filter, rest @ ..] = words
        && filter.starts_with('{')
    {
        options = options.filter(*filter);
        words = rest;
    }
    let number = |text: &str| {
        text.parse::<u64>().map_err(|_| Failure::Said(format!("{text:?} is no number of documents; give 0 or more")))
    };
    while let [name, value, rest @ ..] = words {
        options = match name.to_ascii_lowercase().as_str() {
            "limit" => options.limit(number(value)?),
            "offset" => options.offset(number(value)?),
            "sort" => options.sort(*value),
            "fields" => options.fields(*value),
            _ => return Err(Failure::Usage(COMMAND.usage)),
        };
        words = rest;
    }
    if words.is_empty() { Ok(options) } else { Err(Failure::Usage(COMMAND.usage)) }
}
