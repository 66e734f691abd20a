//! What a check finds in the files of the checkout, and the files that it still waits for: a list
//! that can only shrink.

use std::collections::BTreeMap;

/// Something that a check refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    /// The path of the file from the root.
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) what: String,
}

/// What is wrong: each hit in a file that is not to do, and each entry of the list under which
/// there is no hit any more. An entry is a file, or a folder with its slash.
pub(super) fn judge(hits: &[Hit], list: &str, to_do: &[&str]) -> Vec<String> {
    let is_to_do = |hit: &&Hit| to_do.iter().any(|entry| is_below(&hit.file, entry));
    let mut wrong: Vec<String> = hits.iter().filter(|hit| !is_to_do(hit)).map(Hit::shown).collect();
    let is_done = |entry: &&&str| !hits.iter().any(|hit| is_below(&hit.file, entry));
    wrong.extend(
        to_do
            .iter()
            .filter(is_done)
            .map(|entry| format!("{entry} is clean now: take it off the list {list}")),
    );
    wrong
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
    fn shown(&self) -> String {
        format!("{}:{}: {}", self.file, self.line, self.what)
    }
}

fn is_below(file: &str, entry: &str) -> bool {
    file == entry || (entry.ends_with('/') && file.starts_with(entry))
}

#[cfg(test)]
mod tests {
    use super::{Hit, judge, table};

    fn hit(file: &str, line: usize) -> Hit {
        Hit { file: file.to_owned(), line, what: "bad".to_owned() }
    }

    #[test]
    fn the_list_excuses_its_files_and_must_shrink() {
        let hits = [hit("a/b.rs", 3), hit("a.md", 1), hit("c.md", 2)];
        assert_eq!(judge(&hits, "TO_DO", &["a/", "a.md"]), ["c.md:2: bad"]);
        assert!(judge(&hits, "TO_DO", &["a/", "a.md", "c.md"]).is_empty());
        let wrong = judge(&hits[..1], "TO_DO", &["a/b.rs", "a/c/", "a"]);
        assert_eq!(wrong.len(), 2, "a folder has its slash: {wrong:?}");
        assert!(
            wrong[0].starts_with("a/c/ is clean now") && wrong[0].ends_with("TO_DO"),
            "{wrong:?}"
        );
    }

    #[test]
    fn files_with_the_most_hits_come_first() {
        let hits = [hit("a.md", 1), hit("b.md", 2), hit("b.md", 9)];
        assert_eq!(table(&hits, ""), "     2 b.md\n     1 a.md\n     3 in 2 files\n");
        assert_eq!(table(&hits, "./b"), "b.md:2: bad\nb.md:9: bad\n");
    }
}
