//! A file that is added to the page or taken out of it is a reason to build again.

fn main() {
    println!("cargo:rerun-if-changed=ui");
}
