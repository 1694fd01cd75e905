//! What a person is told to do when a data directory is damaged.

use std::path::Path;

/// The command that says what is damaged in `data_dir`, and mends it or names what does.
pub fn repair_command(data_dir: &Path) -> String {
    format!("jettra-server repair --data-dir {}", shell_word(&data_dir.display().to_string()))
}

/// `why` a node cannot start or go on, with the command that helps, unless another remedy is named already.
pub fn with_command(why: &str, data_dir: &Path) -> String {
    // The directory's own name tells nothing.
    let words = why.replace(&data_dir.display().to_string(), "");
    let names_a_remedy = ["jettra-server ", "upgrade this node", "start the version", "start a version"];
    if names_a_remedy.iter().any(|remedy| words.contains(remedy)) {
        return why.to_owned();
    }
    // What passed through openraft has its words in front.
    let why = why.find("storage at ").map_or(why, |at| &why[at..]);
    format!("{why}: stop the node and run: {}", repair_command(data_dir))
}

/// `text` as one word of a shell's command line.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The two commands that give a member of a cluster its data again when its own promises are lost: it leaves the
/// cluster at another member, and comes back as a new one.
pub fn register_anew(data_dir: &Path, url: Option<&str>, other: Option<&str>) -> String {
    let (url, other) = (url.unwrap_or("http://<this node>"), other.unwrap_or("http://<another member>"));
    let aside = format!("{}.damaged", data_dir.display());
    format!(
        "curl -X POST {other}/api/cluster/deregister -d '{{\"url\":\"{url}\"}}' && mv {} {}; then start the node and run: \
         curl -X POST {other}/api/cluster/register -d '{{\"url\":\"{url}\"}}'",
        shell_word(&data_dir.display().to_string()),
        shell_word(&aside),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_the_command() {
        assert_eq!(repair_command(Path::new("/var/lib/j")), "jettra-server repair --data-dir /var/lib/j");
        assert_eq!(repair_command(Path::new("/a b/it's")), r"jettra-server repair --data-dir '/a b/it'\''s'");
    }

    #[test]
    fn one_remedy_is_enough() {
        let dir = Path::new("d");
        assert_eq!(with_command("broken", dir), "broken: stop the node and run: jettra-server repair --data-dir d");
        let told = with_command("broken", dir);
        assert_eq!(with_command(&told, dir), told);
        let dir = Path::new("/srv/my jettra-server data");
        let told = with_command("/srv/my jettra-server data/log is damaged", dir);
        assert!(told.ends_with("run: jettra-server repair --data-dir '/srv/my jettra-server data'"), "{told}");
        assert_eq!(with_command(&told, dir), told);
    }
}
