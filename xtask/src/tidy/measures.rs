//! `cargo xtask tidy --measures`: how long files and functions are, how large each crate is, and
//! whether that is within the limits of the house style. Unit tests within a file are left out.

use super::functions::{self, functions};
use super::source::{Text, without_tests};
use std::fmt::Write;

/// Nine files of ten have at most so many lines.
const FILE_P90: usize = 350;
/// Nine functions of ten have at most so many lines.
const FUNCTION_P90: usize = 30;
/// The largest crate has less of all lines than this, in per cent.
const LARGEST_CRATE: usize = 25;

/// Numbers of lines, from small to large.
#[derive(Debug, Default)]
struct Sizes {
    files: Vec<usize>,
    functions: Vec<usize>,
}

/// The table: a line for each crate, all of them together, and the limits. A crate is named by its
/// folder.
pub(super) fn table(code: &[Text], crates: &[&str]) -> String {
    let all = Sizes::of(code.iter());
    let total = all.lines().max(1);
    let share = |sizes: &Sizes| 100.0 * sizes.lines() as f64 / total as f64;
    let mut text = format!(
        "{:<14} {:>6} {:>6} {:>6} {:>15} ",
        "crate", "files", "lines", "share", "p50/p90/max"
    );
    let _ = writeln!(text, "{:>9} {:>15}", "functions", "p50/p90/p99/max");
    let mut largest = ("none", 0);
    for name in crates {
        let sizes =
            Sizes::of(code.iter().filter(|file| crate_of(&file.name, crates) == Some(*name)));
        if sizes.lines() > largest.1 {
            largest = (*name, sizes.lines());
        }
        text.push_str(&sizes.line(name, share(&sizes)));
    }
    text.push_str(&all.line("all", 100.0));
    for (limit, holds) in all.limits(largest) {
        let _ = writeln!(text, "{} {limit}", if holds { "holds:" } else { "DOES NOT HOLD:" });
    }
    text
}

impl Sizes {
    fn of<'a>(files: impl Iterator<Item = &'a Text>) -> Sizes {
        let mut sizes = Sizes::default();
        for file in files {
            let code = without_tests(&file.text);
            sizes.files.push(code.lines().count());
            sizes.functions.extend(functions(code).iter().map(|function| function.lines));
        }
        sizes.files.sort_unstable();
        sizes.functions.sort_unstable();
        sizes
    }

    fn lines(&self) -> usize {
        self.files.iter().sum()
    }

    fn line(&self, name: &str, share: f64) -> String {
        let files = [50, 90, 100].map(|part| percentile(&self.files, part).to_string()).join("/");
        let functions =
            [50, 90, 99, 100].map(|part| percentile(&self.functions, part).to_string()).join("/");
        let (number, lines, of_functions) = (self.files.len(), self.lines(), self.functions.len());
        format!(
            "{name:<14} {number:>6} {lines:>6} {share:>5.1}% {files:>15} {of_functions:>9} \
             {functions:>15}\n"
        )
    }

    /// Each limit, and whether it holds.
    fn limits(&self, (largest, lines): (&str, usize)) -> [(String, bool); 4] {
        let (file, function) = (percentile(&self.files, 90), percentile(&self.functions, 90));
        let too_long = self.functions.iter().filter(|lines| **lines > functions::LONGEST).count();
        [
            (
                format!("nine files of ten have {file} lines at most, of {FILE_P90}"),
                file <= FILE_P90,
            ),
            (
                format!("nine functions of ten have {function} lines at most, of {FUNCTION_P90}"),
                function <= FUNCTION_P90,
            ),
            (
                format!("{too_long} functions have more than {} lines", functions::LONGEST),
                too_long == 0,
            ),
            (
                format!(
                    "{largest} is the largest crate, with less than {LARGEST_CRATE} % of all lines"
                ),
                lines * 100 < self.lines() * LARGEST_CRATE,
            ),
        ]
    }
}

/// The smallest number that so many per cent do not exceed.
fn percentile(sorted: &[usize], part: usize) -> usize {
    let rank = (sorted.len() * part).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

/// The crate with the longest folder that the file is in.
fn crate_of<'a>(file: &str, crates: &[&'a str]) -> Option<&'a str> {
    let has =
        |folder: &&&str| file.strip_prefix(**folder).is_some_and(|rest| rest.starts_with('/'));
    crates.iter().filter(has).max_by_key(|folder| folder.len()).copied()
}

#[cfg(test)]
mod tests {
    use super::{Text, crate_of, percentile, table};

    #[test]
    fn percentiles_are_numbers_that_there_are() {
        let numbers: Vec<usize> = (1..=10).collect();
        assert_eq!([0, 50, 90, 91, 100].map(|part| percentile(&numbers, part)), [1, 5, 9, 10, 10]);
        assert_eq!(percentile(&[], 90), 0);
        assert_eq!(percentile(&[7], 50), 7);
    }

    #[test]
    fn a_file_is_of_the_crate_with_the_longest_folder() {
        let crates = ["tests", "tests/engine"];
        assert_eq!(crate_of("tests/engine/cli.rs", &crates), Some("tests/engine"));
        assert_eq!(crate_of("tests/engines.rs", &crates), Some("tests"));
        assert_eq!(crate_of("other/a.rs", &crates), None);
    }

    #[test]
    fn the_table_says_which_limits_hold() {
        let file = |name: &str, text: String| Text { name: name.to_owned(), text };
        let small = format!("fn a() {{\n}}\n#[cfg(test)]\n{}", "\n".repeat(400));
        let code = [
            file("a/x.rs", small.clone()),
            file("b/x.rs", format!("fn b() {{{}}}\n", "\n".repeat(70))),
        ];
        let text = table(&code, &["a", "b"]);
        assert!(
            text.contains(
                "\na                   1      2   2.7%           2/2/2         1         2/2/2/2\n"
            ),
            "{text}"
        );
        assert!(text.contains("\nholds: nine files of ten have 71 lines"), "{text}");
        assert!(text.contains("\nDOES NOT HOLD: nine functions of ten have 71 lines"), "{text}");
        assert!(text.contains("\nDOES NOT HOLD: 1 functions have more"), "{text}");
        assert!(text.contains("\nDOES NOT HOLD: b is the largest crate"), "{text}");
    }
}
