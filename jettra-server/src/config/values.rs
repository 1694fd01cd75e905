//! The layers, merged: each key's value with where it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::ConfigError;
use super::keys::{KEYS, Key, Kind};
use super::old_keys;
use super::types::Secret;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// A `config.json`.
    File(PathBuf),
    /// An environment variable.
    Env(&'static str),
    /// The environment, under a name that is no key's.
    Environment,
    /// A flag, without the dashes.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("by default"),
            Source::File(path) => write!(f, "in {}", path.display()),
            Source::Env(name) => write!(f, "from {name}"),
            Source::Environment => f.write_str("in the environment"),
            Source::Flag(name) => write!(f, "from --{name}"),
        }
    }
}

/// A configuration file that was read.
#[derive(Debug, Clone)]
pub struct FileText {
    /// Where it was.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// What the command line says: key name → text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags(BTreeMap<&'static str, String>);

impl Flags {
    /// Notes that `key` was given as `text`.
    pub fn set(&mut self, key: &'static Key, text: impl Into<String>) {
        self.0.insert(key.name, text.into());
    }

    pub(super) fn get(&self, key: &Key) -> Option<&str> {
        self.0.get(key.name).map(String::as_str)
    }
}

/// The merged layers. Later layers are added over earlier ones.
#[derive(Debug, Default)]
pub(super) struct Values(BTreeMap<&'static str, (Value, Source)>);

impl Values {
    /// Adds what the file says; returns a warning for each key that does not exist, and a note about those of the
    /// product that this one replaces.
    pub(super) fn add_file(&mut self, file: &FileText) -> Result<(Vec<String>, Option<String>), ConfigError> {
        let text = file.text.trim_start_matches('\u{feff}');
        let object: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| ConfigError::Syntax { path: file.path.clone(), what: error.to_string() })?;
        let (mut warnings, mut old) = (Vec::new(), Vec::new());
        for (name, value) in object {
            match Key::named(&name) {
                // As printed by --print-config for a key without value.
                Some(_) if value.is_null() => {}
                Some(key) => {
                    self.0.insert(key.name, (value, Source::File(file.path.clone())));
                }
                None => {
                    if let Some(key) = Key::of_secret_meant_by(&name) {
                        return Err(ConfigError::Misspelt {
                            name,
                            origin: Source::File(file.path.clone()),
                            meant: key.name,
                        });
                    }
                    if let Some(instead) = old_keys::needs_another_cluster(&name, &value) {
                        let origin = Source::File(file.path.clone());
                        return Err(ConfigError::Replaced { name, origin, instead });
                    }
                    if old_keys::is_without_meaning(&name) {
                        old.push(name);
                        continue;
                    }
                    warnings.push(unknown_key(&name, &file.path));
                }
            }
        }
        let note = (!old.is_empty())
            .then(|| format!("{} of {} have no meaning any more, and may go", old.join(", "), file.path.display()));
        Ok((warnings, note))
    }

    /// Adds what the environment says. A variable that is empty counts as not set.
    pub(super) fn add_env(&mut self, env: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        let given = env.iter().filter(|(_, text)| !text.is_empty()).map(|(name, _)| name);
        for name in given.filter(|name| KEYS.iter().all(|key| key.env != *name)) {
            if let Some(key) = Key::of_variable_meant_by(name) {
                return Err(ConfigError::Misspelt { name: name.clone(), origin: Source::Environment, meant: key.env });
            }
        }
        for key in KEYS {
            if let Some(text) = env.get(key.env).filter(|text| !text.is_empty()) {
                self.0.insert(key.name, (from_text(key, text), Source::Env(key.env)));
            }
        }
        Ok(())
    }

    /// Adds what the command line says.
    pub(super) fn add_flags(&mut self, flags: &Flags) {
        for key in KEYS {
            if let (Some(flag), Some(text)) = (key.flag, flags.get(key)) {
                self.0.insert(key.name, (from_text(key, text), Source::Flag(flag)));
            }
        }
    }

    /// Where each given key's value came from.
    pub(super) fn sources(&self) -> BTreeMap<&'static str, Source> {
        self.0.iter().map(|(name, (_, source))| (*name, source.clone())).collect()
    }

    pub(super) fn text(&self, key: &Key) -> Result<Option<String>, ConfigError> {
        self.read(key, |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn secret(&self, key: &Key) -> Result<Option<Secret>, ConfigError> {
        self.read(key, |value| value.as_str().map(Secret::new))
    }

    pub(super) fn switch(&self, key: &Key) -> Result<Option<bool>, ConfigError> {
        self.read(key, Value::as_bool)
    }

    pub(super) fn list(&self, key: &Key) -> Result<Vec<String>, ConfigError> {
        let strings = |value: &Value| {
            value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        };
        Ok(self.read(key, strings)?.unwrap_or_default())
    }

    /// A number within the key's range, or `default`.
    pub(super) fn number<T: TryFrom<u64>>(&self, key: &Key, default: T) -> Result<T, ConfigError> {
        let in_range = |value: &Value| {
            let number = value.as_u64()?;
            let allowed = matches!(&key.kind, Kind::Number(range) if range.contains(&number));
            T::try_from(number).ok().filter(|_| allowed)
        };
        Ok(self.read(key, in_range)?.unwrap_or(default))
    }

    /// The error for a value that has the right type and yet cannot be used.
    pub(super) fn wrong(&self, key: &Key, expected: impl Into<String>) -> ConfigError {
        let (value, origin) = match self.0.get(key.name) {
            Some((_, source)) if key.is_secret() => (Secret::MASK.to_owned(), source.clone()),
            Some((value, source)) => (value.to_string(), source.clone()),
            None => ("not set".to_owned(), Source::Default),
        };
        ConfigError::Value { key: key.name, value, origin, expected: expected.into() }
    }

    /// The error for a timing that is wrong beside another one; it may itself be the default.
    pub(super) fn wrong_beside(&self, key: &Key, value: Duration, expected: impl Into<String>) -> ConfigError {
        let origin = self.0.get(key.name).map_or(Source::Default, |(_, source)| source.clone());
        ConfigError::Value { key: key.name, value: value.as_millis().to_string(), origin, expected: expected.into() }
    }

    fn read<T>(&self, key: &Key, parse: impl Fn(&Value) -> Option<T>) -> Result<Option<T>, ConfigError> {
        match self.0.get(key.name) {
            None => Ok(None),
            Some((value, _)) => match parse(value) {
                Some(parsed) => Ok(Some(parsed)),
                None => Err(self.wrong(key, key.kind.expectation())),
            },
        }
    }
}

/// The value that a text of the environment or the command line stands for. Text that fits the key
/// not at all stays text, and is refused where the key is read.
fn from_text(key: &Key, text: &str) -> Value {
    let as_text = || Value::from(text);
    match key.kind {
        Kind::Text | Kind::Secret => as_text(),
        Kind::Switch => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Value::from(true),
            "false" | "0" | "no" | "off" => Value::from(false),
            _ => as_text(),
        },
        Kind::Number(_) => text.trim().parse::<u64>().map_or_else(|_| as_text(), Value::from),
        Kind::List => text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect(),
    }
}

fn unknown_key(name: &str, path: &Path) -> String {
    let hint = match Key::resembling(name) {
        Some(key) => format!("did you mean \"{}\"?", key.name),
        None => "see --help for the keys".to_owned(),
    };
    format!("unknown key {name:?} in {} is ignored: {hint}", path.display())
}
