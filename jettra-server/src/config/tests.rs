#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use super::*;

fn file(text: &str) -> FileText {
    FileText { path: "config.json".into(), text: text.to_owned() }
}

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn flags(pairs: &[(&str, &str)]) -> Flags {
    let mut flags = Flags::default();
    for (flag, text) in pairs {
        flags.set(KEYS.iter().find(|key| key.flag == Some(flag)).unwrap(), *text);
    }
    flags
}

fn from_file(text: &str) -> Result<Loaded, ConfigError> {
    Config::resolve(Some(&file(text)), &env(&[]), &Flags::default())
}

/// The message of a file that is refused.
fn refusal(text: &str) -> String {
    let message = from_file(text).unwrap_err().to_string();
    assert!(!message.contains('\n'), "one line: {message}");
    message
}

#[test]
fn nothing_at_all_is_a_standalone_node_on_8080() {
    let loaded = Config::resolve(None, &env(&[]), &Flags::default()).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(!loaded.config.distributed);
    assert_eq!((loaded.config.port, loaded.config.data_dir.to_str()), (8080, Some("data")));
    assert_eq!(loaded.config.advertise_url.as_str(), "http://localhost:8080");
    assert!(loaded.warnings.is_empty() && loaded.sources.is_empty());
}

#[test]
fn the_product_pages_file_is_understood() {
    let loaded = from_file(
        r#"{ "Host": "0.0.0.0", "Port": 8080, "DataDir": "data", "distributed": true,
             "NodeID": "node1", "Bootstrap": true, "Peers": [] }"#,
    )
    .unwrap();
    let config = loaded.config;
    assert!(config.distributed && config.bootstrap && config.peers.is_empty());
    assert_eq!(config.node_id.unwrap().as_str(), "node1");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn flags_count_more_than_environment_and_environment_more_than_the_file() {
    let text = file(r#"{"Port": 1, "Host": "10.0.0.1", "NodeID": "file", "HeartbeatMs": 20}"#);
    let env = env(&[("JETTRA_PORT", "2"), ("JETTRA_NODE_ID", "env"), ("JETTRA_HOST", "")]);
    let loaded = Config::resolve(Some(&text), &env, &flags(&[("port", "3")])).unwrap();
    assert_eq!(loaded.config.port, 3);
    assert_eq!(loaded.config.node_id.unwrap().as_str(), "env");
    assert_eq!(loaded.config.host, "10.0.0.1", "an empty variable counts as not set");
    assert_eq!(loaded.sources["Port"], Source::Flag("port"));
    assert_eq!(loaded.sources["NodeID"], Source::Env("JETTRA_NODE_ID"));
    assert_eq!(loaded.sources["HeartbeatMs"], Source::File("config.json".into()));
    assert_eq!(loaded.sources.get("DataDir"), None);
}

#[test]
fn every_key_can_come_from_the_environment_and_all_but_secrets_from_flags() {
    let sample = |key: &Key| match (&key.kind, key.name) {
        (_, "AdvertiseUrl") => "http://h:1".to_owned(),
        (_, "LogFormat") => "json".to_owned(),
        (_, "LogLevel") => "debug".to_owned(),
        (_, "ElectionMaxMs") => "5000".to_owned(),
        (_, "ElectionMinMs") => "200".to_owned(),
        (_, "MaxInFlightBytes") => (1u64 << 30).to_string(),
        (Kind::Switch, _) => "true".to_owned(),
        (Kind::Number(range), _) => range.start().to_string(),
        (Kind::List, "Peers") => "http://a:1,http://b:2".to_owned(),
        (Kind::Secret, name) => format!("a sample of {name}"),
        _ => "sample".to_owned(),
    };
    let all: BTreeMap<String, String> = KEYS.iter().map(|key| (key.env.to_owned(), sample(key))).collect();
    let by_env = Config::resolve(None, &all, &Flags::default()).unwrap();
    assert_eq!(by_env.sources.len(), KEYS.len());

    let mut flags = Flags::default();
    for key in KEYS.iter().filter(|key| key.flag.is_some()) {
        flags.set(key, sample(key));
    }
    let by_flags = Config::resolve(None, &env(&[]), &flags).unwrap();
    assert_eq!(by_flags.sources.len(), KEYS.len() - 3);
    let without_secrets =
        Config { admin_password: None, cluster_secret: None, cluster_secret_before: None, ..by_env.config };
    assert_eq!(by_flags.config, without_secrets);
}

#[test]
fn what_is_shown_has_every_key_in_the_tables_order_and_can_be_read_back() {
    let shown = from_file(r#"{"Port": 9000, "Peers": ["http://b:9001/"], "distributed": true}"#).unwrap().config;
    let json = shown.masked_json();
    let mut after = 0;
    for key in KEYS {
        let place = json[after..].find(&format!("\"{}\":", key.name));
        after += place.unwrap_or_else(|| panic!("{} is missing or out of order in {json}", key.name));
    }
    let object: BTreeMap<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(object.len(), KEYS.len());
    assert_eq!(from_file(&json).unwrap().config, shown);
}

#[test]
fn what_is_meant_to_be_a_secret_and_is_not_known_stops_the_start() {
    for (name, meant) in [
        ("adminPassword", "AdminPassword"),
        ("AdminPasword", "AdminPassword"),
        ("AdminPassword ", "AdminPassword"),
        ("admin_password", "AdminPassword"),
        ("AdminPasswrod", "AdminPassword"),
        ("clustersecret", "ClusterSecret"),
        ("ClusterSecert", "ClusterSecret"),
        ("ClusterSecretBefor", "ClusterSecretBefore"),
        ("JETTRA_ADMIN_PASSWORD", "AdminPassword"),
    ] {
        let refused = refusal(&format!(r#"{{"{name}": "correct horse battery"}}"#));
        assert!(
            refused.contains(&format!("{name:?}")) && refused.contains(&format!("write it as {meant},")),
            "{refused}"
        );
        assert!(!refused.contains("horse"), "{refused}");
    }
    for (name, meant) in [
        ("JETTRA_ADMIN_PASWORD", "JETTRA_ADMIN_PASSWORD"),
        ("jettra_admin_password", "JETTRA_ADMIN_PASSWORD"),
        ("JETTRA_CLUSTER_SECRETS", "JETTRA_CLUSTER_SECRET"),
    ] {
        let resolved = Config::resolve(None, &env(&[(name, "correct horse battery")]), &Flags::default());
        let refused = resolved.unwrap_err().to_string();
        assert!(refused.contains(&format!("write it as {meant},")), "{refused}");
        assert!(Config::resolve(None, &env(&[(name, "")]), &Flags::default()).is_ok());
    }
    for other in ["Password", "AdminPasswordHash", "ClusterID", "Secret", "admin"] {
        let loaded = from_file(&format!(r#"{{"{other}": "x"}}"#)).unwrap();
        assert_eq!(loaded.warnings.len() + usize::from(loaded.note.is_some()), 1, "{other}");
    }
    assert!(
        Config::resolve(
            None,
            &env(&[("JETTRA_PASSWORD", "the shell's"), ("ADMIN_PASSWORD", "another program's")]),
            &Flags::default()
        )
        .is_ok()
    );
}

#[test]
fn secrets_show_nowhere() {
    let text = r#"{"AdminPassword": "open sesame", "ClusterSecret": "a long and random one"}"#;
    let loaded = from_file(text).unwrap();
    assert_eq!(loaded.config.admin_password.as_ref().unwrap().expose(), "open sesame");
    for shown in [loaded.config.masked_json(), loaded.config.masked_json_pretty(), format!("{loaded:?}")] {
        assert!(!shown.contains("sesame") && !shown.contains("random one"), "{shown}");
        assert!(shown.contains(Secret::MASK));
    }
    assert!(!refusal(r#"{"AdminPassword": 4711}"#).contains("4711"));
    assert!(refusal(r#"{"AdminPassword": "********"}"#).contains("not the mask"));
    assert!(refusal(r#"{"AdminPassword": "seven.."}"#).contains("8 to 1024 bytes"));
    assert!(from_file(r#"{"AdminPassword": "password"}"#).is_ok());
    assert!(refusal(r#"{"ClusterSecret": ""}"#).contains("leave the key out"));
    for key in ["ClusterSecret", "ClusterSecretBefore"] {
        let short = refusal(&format!(r#"{{"ClusterSecret": "long enough, this one", "{key}": "fifteen bytes.."}}"#));
        assert!(short.contains("16 bytes") && short.contains("openssl rand") && !short.contains("fifteen"), "{short}");
    }
    assert!(refusal(r#"{"ClusterSecretBefore": "long enough, this one"}"#).contains("beside ClusterSecret"));
    let same = r#"{"ClusterSecret": "long enough, this one", "ClusterSecretBefore": "long enough, this one"}"#;
    assert!(refusal(same).contains("another one than ClusterSecret"));
}

#[test]
fn a_refusal_names_the_key_the_value_its_origin_and_the_expectation() {
    let message = refusal(r#"{"Port": "eighty"}"#);
    assert_eq!(message, r#"Port is "eighty" (in config.json), but must be a whole number from 1 to 65535"#);
    let by_env = Config::resolve(None, &env(&[("JETTRA_PORT", "70000")]), &Flags::default()).unwrap_err();
    assert_eq!(by_env.to_string(), "Port is 70000 (from JETTRA_PORT), but must be a whole number from 1 to 65535");
    let by_flag = Config::resolve(None, &env(&[]), &flags(&[("distributed", "maybe")])).unwrap_err();
    assert_eq!(by_flag.to_string(), r#"distributed is "maybe" (from --distributed), but must be true or false"#);
}

#[test]
fn wrong_values_are_refused() {
    for (text, expected) in [
        (r#"{"Port": 0}"#, "from 1 to 65535"),
        (r#"{"Port": 80.5}"#, "whole number"),
        (r#"{"Port": -1}"#, "whole number"),
        (r#"{"distributed": "true"}"#, "true or false"),
        (r#"{"NodeID": 7}"#, "a string"),
        (r#"{"NodeID": "../etc"}"#, "not starting with a dot"),
        (r#"{"NodeID": ""}"#, "1 to 120"),
        (r#"{"Peers": "http://a:1"}"#, "a list of strings"),
        (r#"{"Peers": ["a:1"]}"#, r#""a:1" is not a URL"#),
        (r#"{"Peers": ["http://u:p@a:1"]}"#, "without path, user"),
        (r#"{"AdvertiseUrl": "http://a:1/ui"}"#, "without path"),
        (r#"{"AdvertiseUrl": "ftp://a:1"}"#, "http://host:8080"),
        (r#"{"Host": "http://0.0.0.0"}"#, "without port"),
        (r#"{"Host": ""}"#, "host name to listen on"),
        (r#"{"DataDir": ""}"#, "a directory"),
        (r#"{"AllowedHosts": ["http://x"]}"#, "db.example.com"),
        (r#"{"HeartbeatMs": 150}"#, "at least twice HeartbeatMs, here 300"),
        (r#"{"ElectionMinMs": 400}"#, "more than ElectionMinMs, here 400"),
        (r#"{"MaxInFlightBytes": 2048}"#, "at least MaxBodyBytes, here 16777216"),
        (r#"{"LogFormat": "xml"}"#, r#""human" or "json""#),
        (r#"{"LogLevel": "inof"}"#, "off, error, warn"),
        (r#"{"Port": 8080"#, "EOF while parsing"),
        (r#"[]"#, "must be one JSON object"),
    ] {
        let message = refusal(text);
        assert!(message.contains(expected), "{text} said: {message}");
    }
}

#[test]
fn keys_are_case_sensitive_and_unknown_ones_are_named() {
    let loaded = from_file(r#"{"port": 9999, "Colour": "red"}"#).unwrap();
    assert_eq!(loaded.config.port, 8080);
    assert_eq!(
        loaded.warnings,
        [
            r#"unknown key "port" in config.json is ignored: did you mean "Port"?"#,
            r#"unknown key "Colour" in config.json is ignored: see --help for the keys"#,
        ]
    );
}

#[test]
fn settings_without_effect_are_pointed_out() {
    let warnings = |text: &str| from_file(text).unwrap().warnings.join(" ");
    assert!(warnings(r#"{"Bootstrap": true}"#).contains("distributed is false"));
    assert!(warnings(r#"{"distributed": true, "Peers": ["http://db2:8080"]}"#).contains("set it to this machine's"));
    let changing = r#"{"ClusterSecret": "the new one, at length", "ClusterSecretBefore": "the one until now"}"#;
    assert!(warnings(changing).contains("take ClusterSecretBefore out"));
    assert_eq!(warnings(r#"{"distributed": true, "Peers": ["http://localhost:8081"]}"#), "");
}

#[test]
fn the_advertised_url_follows_host_and_port() {
    for (text, expected) in [
        (r#"{"Port": 8081}"#, "http://localhost:8081"),
        (r#"{"Host": "::"}"#, "http://localhost:8080"),
        (r#"{"Host": "[::1]"}"#, "http://localhost:8080"),
        (r#"{"Host": "127.0.0.1"}"#, "http://localhost:8080"),
        (r#"{"Host": "10.1.2.3"}"#, "http://10.1.2.3:8080"),
        (r#"{"Host": "fd00::7"}"#, "http://[fd00::7]:8080"),
        (r#"{"Host": "db1"}"#, "http://db1:8080"),
        (r#"{"AdvertiseUrl": "http://DB1/"}"#, "http://db1:80"),
        (r#"{"AdvertiseUrl": "https://db1"}"#, "https://db1:443"),
    ] {
        assert_eq!(from_file(text).unwrap().config.advertise_url.as_str(), expected, "{text}");
    }
}

#[test]
fn peers_are_normalised_and_leave_out_the_node_itself() {
    let text = r#"{"Peers": ["http://localhost:8080/", "http://B:8081/", "http://b:8081"]}"#;
    let peers = from_file(text).unwrap().config.peers;
    assert_eq!(peers.iter().map(NodeUrl::as_str).collect::<Vec<_>>(), ["http://b:8081"]);
    assert_eq!((peers[0].authority(), peers[0].host()), ("b:8081", "b"));
}
