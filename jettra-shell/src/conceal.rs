//! A password that was given on the command line is taken off it.
//!
//! Every user of a machine may read the arguments of every process there; only its owner may read its
//! environment. So the program starts anew in the same process, with the password in `JETTRA_PASSWORD`.

use std::ffi::{OsStr, OsString};
use std::process::Command;

use clap::ArgMatches;
use clap::parser::ValueSource;

/// Where the password goes.
const VARIABLE: &str = "JETTRA_PASSWORD";
/// What holds a password, as clap knows it.
const ARGUMENT: &str = "password";
/// The short options of the program and of `bench` that take a value.
const WITH_VALUE: [char; 4] = ['c', 'u', 'p', 'f'];

/// Whether a password stands among the arguments.
pub fn is_on_command_line(matches: &ArgMatches) -> bool {
    let here = |matches: &ArgMatches| matches.value_source(ARGUMENT) == Some(ValueSource::CommandLine);
    here(matches) || matches.subcommand().is_some_and(|(_, matches)| here(matches))
}

/// Starts the program anew without the password among its arguments. Returns, with what to tell, only if that
/// cannot be done.
pub fn start_anew() -> String {
    let because = match std::env::current_exe() {
        Ok(program) => {
            let mut given = std::env::args_os();
            let name = given.next().unwrap_or_else(|| program.clone().into());
            let (arguments, password) = without_password(given);
            let mut command = Command::new(program);
            command.args(arguments).env(VARIABLE, password.unwrap_or_default());
            replace(command, &name)
        }
        Err(error) => error.to_string(),
    };
    format!(
        "every user of this machine can read the password on the command line ({because}); \
         better: --password-file, {VARIABLE}, or -u alone, which asks"
    )
}

#[cfg(unix)]
fn replace(mut command: Command, name: &OsStr) -> String {
    use std::os::unix::process::CommandExt;
    command.arg0(name).exec().to_string()
}

#[cfg(not(unix))]
fn replace(_: Command, _: &OsStr) -> String {
    "it cannot be taken off on this system".into()
}

/// The arguments without any password, and the last password. They are known to be in order.
fn without_password(given: impl Iterator<Item = OsString>) -> (Vec<OsString>, Option<OsString>) {
    let mut given = given;
    let mut kept = Vec::new();
    let mut password = None;
    while let Some(argument) = given.next() {
        // What is no UTF-8 is no option of ours.
        let text = argument.to_str().unwrap_or_default();
        if text == "--" {
            kept.push(argument);
            kept.extend(given);
            break;
        }
        if text == "--password" {
            password = given.next();
        } else if let Some(value) = text.strip_prefix("--password=") {
            password = Some(value.into());
        } else if let Some(options) = text.strip_prefix('-').filter(|options| !options.starts_with('-')) {
            match options.find(WITH_VALUE) {
                Some(at) if options[at..].starts_with('p') => {
                    let value = options[at + 1..].trim_start_matches('=');
                    password = if value.is_empty() { given.next() } else { Some(value.into()) };
                    if at > 0 {
                        kept.push(format!("-{}", &options[..at]).into());
                    }
                }
                Some(at) if at + 1 == options.len() => {
                    kept.push(argument);
                    // Its value, which may look like anything.
                    kept.extend(given.next());
                }
                _ => kept.push(argument),
            }
        } else {
            kept.push(argument);
        }
    }
    (kept, password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_taken_off_however_it_was_given() {
        for given in [
            "http://a -p secret -k",
            "http://a -psecret -k",
            "http://a -p=secret -k",
            "http://a --password secret -k",
            "http://a --password=secret -k",
        ] {
            let (kept, password) = without_password(given.split(' ').map(OsString::from));
            assert_eq!(
                (kept.join(OsStr::new(" ")), password),
                ("http://a -k".into(), Some("secret".into())),
                "{given}"
            );
        }
        let (kept, password) = without_password(["-kp", "secret", "-c", "use p"].map(OsString::from).into_iter());
        assert_eq!((kept, password), (["-k", "-c", "use p"].map(OsString::from).into(), Some("secret".into())));
        let (kept, password) = without_password(["-upaul", "-fjson", "--", "-p"].map(OsString::from).into_iter());
        assert_eq!((kept.len(), password), (4, None));
    }
}
