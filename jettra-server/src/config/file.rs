//! Which `config.json` counts. All that reads files and the environment is here.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::keys::{DATA_DIR, KEYS, Key, Kind};
use super::values::{FileText, Flags, Source};
use super::{Config, ConfigError, Loaded};

const FILE_NAME: &str = "config.json";

/// The environment variable that names the configuration file, as `--config` does.
const PATH_ENV: &str = "JETTRA_CONFIG";

impl Config {
    /// The configuration of this process: the file `path` if given, else `config.json` in the working
    /// directory, else the one in the data directory, else none; the environment; the flags.
    pub fn load(path: Option<&Path>, flags: &Flags) -> Result<Loaded, ConfigError> {
        let env = environment()?;
        let named =
            path.map(Path::to_owned).or_else(|| env.get(PATH_ENV).filter(|path| !path.is_empty()).map(PathBuf::from));
        let file = match named {
            Some(path) => Some(read(&path)?),
            None => look_up(&env, flags)?,
        };
        let mut loaded = Config::resolve(file.as_ref(), &env, flags)?;
        loaded.config.data_dir = absolute(&loaded.config.data_dir)?;
        if let Some(path) = &loaded.file {
            let in_file = |key: &&&Key| matches!(loaded.sources.get(key.name), Some(Source::File(_)));
            let secrets = KEYS.iter().filter(|key| matches!(key.kind, Kind::Secret)).filter(in_file);
            let secrets: Vec<&str> = secrets.map(|key| key.name).collect();
            loaded.warnings.extend(crate::private::warning_about(path, &secrets));
        }
        Ok(loaded)
    }
}

fn look_up(env: &BTreeMap<String, String>, flags: &Flags) -> Result<Option<FileText>, ConfigError> {
    // Before the file is read, only flags and environment can say where the data directory is.
    let data_dir = Config::resolve(None, &only_data_dir(env), flags)?.config.data_dir;
    for path in [PathBuf::from(FILE_NAME), data_dir.join(FILE_NAME)] {
        match read(&path) {
            Ok(file) => return Ok(Some(file)),
            Err(ConfigError::Unreadable { error, .. })
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn only_data_dir(env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    env.iter().filter(|(name, _)| *name == DATA_DIR.env).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn read(path: &Path) -> Result<FileText, ConfigError> {
    let absolute = absolute(path)?;
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(FileText { path: absolute, text }),
        Err(error) => Err(ConfigError::Unreadable { path: absolute, error }),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, ConfigError> {
    std::path::absolute(path).map_err(|error| {
        ConfigError::Surroundings(format!("cannot tell the working directory ({error}): start in one that exists"))
    })
}

/// The variables that are ours.
fn environment() -> Result<BTreeMap<String, String>, ConfigError> {
    let mut env = BTreeMap::new();
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let misspelt = names.filter(|name| Key::of_variable_meant_by(name).is_some());
    let known = KEYS.iter().map(|key| key.env).chain([PATH_ENV]).map(str::to_owned);
    for name in known.chain(misspelt) {
        match std::env::var(&name) {
            Ok(value) => {
                env.insert(name.to_owned(), value);
            }
            Err(std::env::VarError::NotPresent) => {}
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(ConfigError::Surroundings(format!("{name} is not UTF-8: set it anew or unset it")));
            }
        }
    }
    Ok(env)
}
