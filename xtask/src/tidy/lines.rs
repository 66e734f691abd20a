//! Lines that are too long for two windows side by side: of documents, and of code with its
//! comments.

use super::hits::Hit;
use super::source::Text;

/// Columns.
const LONGEST: usize = 100;

/// mdBook reads a link of it from one line.
const TABLE_OF_CONTENTS: &str = "docs/SUMMARY.md";

/// All such lines.
pub(super) fn hits(documents: &[Text], code: &[Text]) -> Vec<Hit> {
    let documents = documents.iter().filter(|file| file.name != TABLE_OF_CONTENTS);
    let documents = documents.flat_map(|file| found(file, in_document(&file.text)));
    let code = code.iter().flat_map(|file| found(file, in_code(&file.text)));
    documents.chain(code).collect()
}

fn found(file: &Text, lines: Vec<(usize, usize)>) -> impl Iterator<Item = Hit> {
    let name = file.name.clone();
    lines.into_iter().map(move |(line, length)| Hit {
        file: name.clone(),
        line,
        what: format!("{length} columns; break it (at most {LONGEST})"),
    })
}

/// Lines of Markdown and their lengths, but for tables, code, and a link or another word that has
/// its line to itself.
fn in_document(text: &str) -> Vec<(usize, usize)> {
    let mut is_code = false;
    let is_prose = |line: &str| {
        let trimmed = line.trim_start();
        let is_fence = trimmed.starts_with("```") || trimmed.starts_with("~~~");
        is_code ^= is_fence;
        !is_code && !is_fence && !trimmed.starts_with('|') && !line.starts_with("    ")
    };
    let prose: Vec<bool> = text.lines().map(is_prose).collect();
    let lines = long_lines(text).filter(|(number, _, _)| prose[number - 1]);
    let broken = lines.filter(|(_, _, line)| words_of_item(line).count() > 1);
    broken.map(|(number, length, _)| (number, length)).collect()
}

/// Lines of Rust and their lengths, but for those with a word that fits into no line.
fn in_code(text: &str) -> Vec<(usize, usize)> {
    let has_room = |line: &str| {
        let indentation = line.len() - line.trim_start().len();
        let longest = line.split_whitespace().map(columns).max().unwrap_or(0);
        indentation + longest <= LONGEST
    };
    let lines = long_lines(text).filter(|(_, _, line)| has_room(line));
    lines.map(|(number, length, _)| (number, length)).collect()
}

fn long_lines(text: &str) -> impl Iterator<Item = (usize, usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, columns(line), line));
    lines.filter(|(_, length, _)| *length > LONGEST)
}

/// The words of a line, without what makes it an item of a list, a quotation, or the target of a
/// link.
fn words_of_item(line: &str) -> impl Iterator<Item = &str> {
    let is_mark = |word: &&str| {
        let is_number = word.ends_with('.') && word[..word.len() - 1].chars().all(char::is_numeric);
        is_number
            || ["-", "*", "+", ">"].contains(word)
            || (word.starts_with('[') && word.ends_with("]:"))
    };
    line.split_whitespace().skip_while(is_mark)
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, in_code, in_document};

    #[test]
    fn prose_is_broken_and_what_cannot_be_is_left() {
        let long = "a ".repeat(LONGEST);
        let link = "x".repeat(LONGEST);
        let text = format!(
            "short\n{long}\n| {long} |\n```\n{long}\n```\n- {link}\n12. {link}\n\
             [1]: {link}\nsee {link}\n\n    {long}\n"
        );
        let lines: Vec<usize> = in_document(&text).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [2, 10]);
        assert_eq!(in_document(&"é".repeat(LONGEST)), []);
        assert_eq!(in_document(&"é ".repeat(LONGEST / 2 + 1)), [(1, LONGEST + 2)]);
    }

    #[test]
    fn code_is_broken_but_for_words_that_fit_nowhere() {
        let word = "x".repeat(LONGEST - 8);
        let text = format!(
            "fn a() {{}}\n    let b = \"{word}\";\n        // {word} c\n         // {word}y\n"
        );
        let lines: Vec<usize> = in_code(&text).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [2, 3]);
    }
}
