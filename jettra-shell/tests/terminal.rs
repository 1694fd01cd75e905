//! The shell as a person uses it: at a terminal.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

use std::process::Command;
use std::time::Duration;

use expectrl::session::OsSession;
use expectrl::{ControlCode, Eof, Expect, Session};
use jettra_client::testing::{FakeCluster, FakeNode};

/// A shell at a terminal of its own, with a history file of its own.
struct Person {
    session: OsSession,
    directory: tempfile::TempDir,
}

impl Person {
    fn sits_down(arguments: &[&str]) -> Person {
        Person::sits_down_at(tempfile::tempdir().unwrap(), arguments)
    }

    fn sits_down_at(directory: tempfile::TempDir, arguments: &[&str]) -> Person {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("jettra-shell"));
        command.args(arguments).env("TERM", "xterm").env("JETTRA_HISTORY", directory.path().join("state/history"));
        command.env_remove("JETTRA_USER").env_remove("JETTRA_PASSWORD").env_remove("NO_COLOR");
        let mut session = Session::spawn(command).unwrap();
        // Long enough for a machine that does much else; no test waits it out.
        session.set_expect_timeout(Some(Duration::from_secs(60)));
        Person { session, directory }
    }

    fn types(&mut self, text: &str) {
        self.session.send(text).unwrap();
    }

    /// Waits until this is on the screen, and takes note of what came before.
    fn sees(&mut self, text: &str) -> String {
        let seen = self.session.expect(text).unwrap_or_else(|error| panic!("{text:?} was not seen: {error}"));
        String::from_utf8_lossy(seen.before()).into_owned()
    }

    /// Presses Ctrl-D at the prompt.
    fn leaves(mut self) -> tempfile::TempDir {
        self.session.send(ControlCode::EndOfTransmission).unwrap();
        self.session.expect(Eof).unwrap();
        self.directory
    }
}

#[test]
fn connecting_and_listing_the_nodes() {
    let cluster = FakeCluster::start(3).unwrap();
    let mut person = Person::sits_down(&[]);
    person.sees("jettra> ");
    person.types(&format!("connect {}\r", cluster.node(0).url()));
    person.sees(&format!("Connected to {}\r\n", cluster.node(0).url()));
    person.types("federated nodes\r");
    person.sees("Node ID");
    for node in ["node1", "node2", "node3"] {
        person.sees(node);
    }
    person.sees("jettra> ");
    person.types("exit\r");
    person.session.expect(Eof).unwrap();
}

#[test]
fn tab_completes_commands_databases_and_collections() {
    let node = FakeNode::start().unwrap();
    let mut person = Person::sits_down(&[&node.url()]);
    person.sees(&format!("Connected to {}", node.url()));
    person.types("create db shop; use shop\r");
    person.sees("jettra:shop> ");
    person.types("insert customers {\"_id\":\"ada\"}\r");
    person.sees("Saved ada");
    person.sees("jettra:shop> ");

    person.types("fed\t");
    person.sees("federated ");
    person.types("no\t\r");
    person.sees("node1");
    person.sees("jettra:shop> ");
    // The name is asked for while the key is pressed, and not for long: pressed again if it was too long.
    person.types("get c\t");
    while !person.session.is_matched("customers ").unwrap() {
        std::thread::yield_now();
    }
    person.types(" ada\r");
    person.sees("\"_id\": \"ada\"");
    person.sees("jettra:shop> ");
    person.leaves();
}

#[test]
fn an_open_bracket_goes_on_to_the_next_line() {
    let node = FakeNode::start().unwrap();
    let mut person = Person::sits_down(&[&node.url()]);
    person.sees("jettra> ");
    person.types("use shop\r");
    person.sees("jettra:shop> ");
    person.types("insert users {\r\"_id\": \"ada;\"\r}\r");
    person.sees("Saved ada;");
    person.sees("jettra:shop> ");
    person.leaves();
}

#[test]
fn lines_that_come_all_at_once_are_all_run() {
    let node = FakeNode::start().unwrap();
    let mut person = Person::sits_down(&[&node.url()]);
    person.sees("jettra> ");
    person.types("use a\ruse b\rshow dbs\ruse c\r");
    person.sees("Database");
    person.sees("jettra:c> ");
    person.types("use d\n");
    person.sees("jettra:d> ");
    person.leaves();
}

#[test]
fn a_byte_that_is_no_text_does_not_end_the_shell() {
    let mut person = Person::sits_down(&[]);
    person.sees("jettra> ");
    person.session.send(b"find caf\xe9 x\r").unwrap();
    person.sees("not UTF-8");
    person.sees("jettra> ");
    person.types("use a\r");
    person.sees("jettra:a> ");
    person.leaves();
}

#[test]
fn control_c_leaves_the_line_and_control_d_the_shell() {
    let mut person = Person::sits_down(&[]);
    person.sees("jettra> ");
    person.types("find nothing");
    person.sees("find nothing");
    person.session.send(ControlCode::EndOfText).unwrap();
    person.sees("jettra> ");
    person.leaves();
}

#[test]
fn control_c_cancels_a_command_that_waits() {
    let node = FakeNode::start().unwrap();
    let mut person = Person::sits_down(&[&node.url(), "--timeout", "3600"]);
    person.sees("jettra> ");
    let before = node.received().len();
    node.next(jettra_client::testing::Mishap::Silence);
    person.types("show dbs\r");
    while node.received().len() == before {
        std::thread::yield_now();
    }
    person.session.send(ControlCode::EndOfText).unwrap();
    person.sees("cancelled");
    person.sees("jettra> ");
    person.leaves();
}

#[test]
fn the_history_is_kept_without_passwords() {
    let node = FakeNode::start().unwrap();
    let mut person = Person::sits_down(&[&node.url()]);
    person.sees("jettra> ");
    person.types("login admin password\r");
    person.sees("Logged in as admin");
    person.sees("jettra> ");
    person.types("show dbs\r");
    person.sees("Database");
    person.sees("jettra> ");
    let directory = person.leaves();
    let history = std::fs::read_to_string(directory.path().join("state/history")).unwrap();
    assert!(history.contains("show dbs") && !history.contains("password"), "{history}");

    let mut person = Person::sits_down_at(directory, &[&node.url()]);
    person.sees("jettra> ");
    // The arrow up.
    person.types("\x1b[A");
    person.sees("show dbs");
    person.session.send(ControlCode::EndOfText).unwrap();
    person.sees("jettra> ");
    person.leaves();
}

#[test]
fn a_password_is_asked_for_and_not_shown() {
    let node = FakeNode::start().unwrap();
    let mut person = Person::sits_down(&[&node.url()]);
    person.sees("jettra> ");
    person.types("login admin\r");
    person.sees("Password of admin: ");
    person.types("password\r");
    let shown = person.sees("Logged in as admin (admin)");
    assert!(!shown.contains("password"), "{shown}");
    person.sees("jettra> ");
    person.leaves();
}
