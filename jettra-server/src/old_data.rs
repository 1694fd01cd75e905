//! Data of JettraDBVM, the product that this one replaces: recognised, and never begun a database beside.

use std::path::{Path, PathBuf};

/// Folders that are looked into, at most: a data directory of ours has fewer, and one of the old product shows a
/// document in one of the first.
const FOLDERS: usize = 10_000;

/// One of the old product's documents in `dir`, as `<database>/<collection>/<id>.jdb`, if there is any.
pub fn example_in(dir: &Path) -> Option<PathBuf> {
    let mut looked = 0;
    for database in folders(dir) {
        for collection in folders(&database) {
            looked += 1;
            if looked > FOLDERS {
                return None;
            }
            let mut files = std::fs::read_dir(&collection).into_iter().flatten().flatten().map(|entry| entry.path());
            let document = files.find(|path| path.extension().is_some_and(|extension| extension == "jdb"));
            if let Some(document) = document {
                return document.strip_prefix(dir).ok().map(Path::to_owned);
            }
        }
    }
    None
}

fn folders(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_document_of_the_old_product_is_found_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(example_in(dir.path()), None);
        assert_eq!(example_in(&dir.path().join("absent")), None);
        for path in ["log/0/x.wal", "state/1/blobs/2", "config.json", "shop.jdb", "a/b.jdb"] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        assert_eq!(example_in(dir.path()), None);
        std::fs::create_dir_all(dir.path().join("shop/users/_versions/7")).unwrap();
        std::fs::write(dir.path().join("shop/users/7.jdb"), "x").unwrap();
        assert_eq!(example_in(dir.path()), Some(PathBuf::from("shop/users/7.jdb")));
    }
}
