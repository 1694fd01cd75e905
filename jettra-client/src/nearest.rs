//! The known word that is nearest to a mistyped one.

/// Characters of the longest word that is looked at.
const LONGEST: usize = 64;

/// The nearest of `known` to `word`, if it is near: at most one edit in three characters. The case of `word` does not
/// count, and a word of more than 64 characters is near to none.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.chars().count() > LONGEST {
        return None;
    }
    let near = |known: &'a str| (edits(&word.to_lowercase(), known), known);
    known
        .map(near)
        .min_by_key(|(edits, _)| *edits)
        .filter(|(edits, known)| edits * 3 <= known.chars().count() + 1)
        .map(|(_, known)| known)
}

/// How many characters to insert, delete or replace, or neighbours to swap (optimal string
/// alignment; Damerau 1964).
fn edits(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut rows = vec![(0..=to.len()).collect::<Vec<_>>()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(a != b);
            let mut fewest = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                fewest = fewest.min(rows[i - 1][j - 1] + 1);
            }
            row.push(fewest);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_near_and_other_words_are_not() {
        let known = ["federated nodes", "find", "insert", "count"];
        let nearest = |word| nearest(word, known.into_iter());
        assert_eq!(nearest("fnid"), Some("find"));
        assert_eq!(nearest("Insrt"), Some("insert"));
        assert_eq!(nearest("federated ndoes"), Some("federated nodes"));
        assert_eq!(nearest("xyzzy"), None);
        assert_eq!(nearest(""), None);
        assert_eq!(nearest(&"find".repeat(1 << 20)), None);
    }
}
