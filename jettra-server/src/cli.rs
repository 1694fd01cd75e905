//! The command line: `jettra-server [flags]` runs a node, `jettra-server demo` a cluster to try.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand};

use crate::config::{Flags, KEYS, Key, Kind};
use crate::recover::RecoverArgs;
use crate::repair::RepairArgs;

/// A JettraDB node: a replicated JSON document database.
#[derive(Debug, Parser)]
#[command(name = "jettra-server", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; nothing said means running a node.
    #[command(subcommand)]
    pub task: Option<Task>,
    #[command(flatten)]
    run: RunArgs,
}

impl Cli {
    /// What to do, `run` being the default.
    pub fn into_task(self) -> Task {
        self.task.unwrap_or(Task::Run(self.run))
    }
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Run a node (the default)
    Run(RunArgs),
    /// Start a cluster on this machine to try things out; Ctrl-C stops it
    Demo(DemoArgs),
    /// Check the data directory of a node that does not run, and mend what can be
    Repair(RepairArgs),
    /// Go on with what is left of a cluster that has lost its majority for good
    Recover(RecoverArgs),
}

/// How to run a node.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration file [default: config.json in the working directory, then in the data directory]
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// The configuration file, as --config
    #[arg(value_name = "CONFIG", value_parser = path_of_a_file, conflicts_with = "config")]
    pub config_file: Option<PathBuf>,
    /// Begin an empty database also where the data directory holds data of JettraDBVM
    #[arg(long)]
    pub new: bool,
    /// Print the effective configuration as JSON, secrets masked, and exit
    #[arg(long)]
    pub print_config: bool,
    /// Stop when standard input ends, so that a node does not outlive the program that started it
    #[arg(long, hide = true)]
    pub exit_with_stdin: bool,
    /// The keys of `config.json` as flags.
    #[command(flatten)]
    pub flags: Flags,
}

/// How to start a cluster to try.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub nodes: u16,
    /// Where data, configuration and logs stay [default: a temporary folder, removed at the end]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// The first node's port; the others take the ports after it
    #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..=65_500))]
    pub port: u16,
}

/// A mistyped task is no path.
fn path_of_a_file(text: &str) -> Result<PathBuf, String> {
    if text.contains(['/', '\\', '.']) {
        return Ok(PathBuf::from(text));
    }
    Err(format!("neither run, demo, repair nor recover, nor the path of a file such as ./{text} or {text}.json"))
}

/// One flag a key, from the table of keys.
impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        KEYS.iter().filter_map(|key| argument(key)).fold(command, Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Flags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for key in KEYS.iter().filter(|key| key.flag.is_some()) {
            if let Some(text) = matches.get_one::<String>(key.name) {
                self.set(key, text);
            }
        }
        Ok(())
    }
}

fn argument(key: &'static Key) -> Option<Arg> {
    let arg = Arg::new(key.name).long(key.flag?).help(key.help).help_heading("Configuration");
    Some(match key.kind {
        Kind::Switch => arg
            .value_parser(PossibleValuesParser::new(["true", "false"]))
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .hide_possible_values(true)
            .value_name("true|false"),
        Kind::Number(_) => arg.value_name("NUMBER"),
        Kind::List => arg.value_name("A,B,…"),
        Kind::Text | Kind::Secret => arg.value_name("TEXT"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::collections::BTreeMap;

    use clap::CommandFactory;

    use super::*;
    use crate::config::Config;

    fn config(line: &[&str]) -> Config {
        let cli = Cli::try_parse_from([&["jettra-server"], line].concat()).unwrap();
        let Task::Run(run) = cli.into_task() else { panic!("not a run") };
        Config::resolve(None, &BTreeMap::new(), &run.flags).unwrap().config
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_is_the_default_and_takes_the_same_flags_by_name() {
        for line in [&["--port", "9000", "--distributed"][..], &["run", "--port=9000", "--distributed=true"]] {
            let config = config(line);
            assert!(config.port == 9000 && config.distributed, "{line:?}");
        }
        assert!(!config(&["--distributed=false"]).distributed);
    }

    #[test]
    fn a_path_alone_is_the_configuration() {
        let run = |line: &[&str]| match Cli::try_parse_from([&["jettra-server"], line].concat())?.into_task() {
            Task::Run(run) => Ok::<_, clap::Error>(run),
            other => panic!("{other:?} is not a run"),
        };
        assert_eq!(run(&["data1/config.json"]).unwrap().config_file, Some("data1/config.json".into()));
        assert_eq!(run(&["run", "./c", "--port", "1"]).unwrap().config_file, Some("./c".into()));
        let wrong = |line: &[&str]| run(line).map(|_: RunArgs| ()).unwrap_err().to_string();
        assert!(wrong(&["demmo"]).contains("neither run, demo"), "{}", wrong(&["demmo"]));
        assert!(wrong(&["a.json", "--config", "b.json"]).contains("cannot be used with"));
    }

    #[test]
    fn lists_are_separated_by_commas() {
        assert_eq!(config(&["--peers", "http://a:1, http://b:2"]).peers.len(), 2);
    }

    #[test]
    fn secrets_are_no_flags() {
        assert!(Cli::try_parse_from(["jettra-server", "--admin-password", "x"]).is_err());
        assert!(!Cli::command().render_long_help().to_string().contains("password"));
    }

    #[test]
    fn a_demo_has_three_nodes_from_8080_on() {
        let cli = Cli::try_parse_from(["jettra-server", "demo"]).unwrap();
        let Task::Demo(demo) = cli.into_task() else { panic!("not a demo") };
        assert_eq!((demo.nodes, demo.port, demo.dir), (3, 8080, None));
    }
}
