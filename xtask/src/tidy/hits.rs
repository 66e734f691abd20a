//! What a check finds in the files of the checkout.

use std::collections::BTreeMap;

/// Something that a check refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    /// The path of the file from the root.
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) what: String,
}

/// How many hits each file has, those with the most first. With a path, each hit in it or below it
/// instead.
pub(super) fn table(hits: &[Hit], path: &str) -> String {
    if !path.is_empty() {
        let below = hits.iter().filter(|hit| hit.file.starts_with(path.trim_start_matches("./")));
        return below.map(|hit| hit.shown() + "\n").collect();
    }
    let mut files: BTreeMap<&str, usize> = BTreeMap::new();
    hits.iter().for_each(|hit| *files.entry(&hit.file).or_default() += 1);
    let mut files: Vec<(&str, usize)> = files.into_iter().collect();
    files.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    let lines = files.iter().map(|(file, number)| format!("{number:>6} {file}\n"));
    lines.chain([format!("{:>6} in {} files\n", hits.len(), files.len())]).collect()
}

impl Hit {
    pub(super) fn shown(&self) -> String {
        format!("{}:{}: {}", self.file, self.line, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::{Hit, table};

    fn hit(file: &str, line: usize) -> Hit {
        Hit { file: file.to_owned(), line, what: "bad".to_owned() }
    }

    #[test]
    fn files_with_the_most_hits_come_first() {
        let hits = [hit("a.md", 1), hit("b.md", 2), hit("b.md", 9)];
        assert_eq!(table(&hits, ""), "     2 b.md\n     1 a.md\n     3 in 2 files\n");
        assert_eq!(table(&hits, "./b"), "b.md:2: bad\nb.md:9: bad\n");
    }
}
