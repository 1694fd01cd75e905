//! `jettra-server` as a later version would be that supports one feature level more: for the tests of upgrades.

fn main() -> std::process::ExitCode {
    jettra_server::feature::support(jettra_server::feature::LEVEL + 1);
    jettra_server::program::main()
}
