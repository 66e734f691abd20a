//! Rust files that documents name in backticks, such as `boot/state.rs`: each must exist. A rename
//! would otherwise leave its old name in ARCHITECTURE.md.

use super::hits::Hit;
use super::source::Text;

/// Names of Rust files in documents for which no file of the checkout ends with that path. The
/// changelog is left out: it names files of its time.
pub(super) fn hits(documents: &[Text], code: &[Text]) -> Vec<Hit> {
    let exists = |name: &str| code.iter().any(|file| is_below(&file.name, name));
    let documents = documents.iter().filter(|document| document.name != "CHANGELOG.md");
    documents.flat_map(|document| missing(document, exists)).collect()
}

fn missing(document: &Text, exists: impl Fn(&str) -> bool) -> Vec<Hit> {
    let lines = document.text.lines().zip(1..);
    let named = lines
        .flat_map(|(text, line)| text.split('`').skip(1).step_by(2).map(move |name| (line, name)));
    named
        .filter(|(_, name)| is_rust_file(name) && !exists(name))
        .map(|(line, name)| Hit {
            file: document.name.clone(),
            line,
            what: format!("{name:?}: there is no such file; write its name of today"),
        })
        .collect()
}

fn is_rust_file(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    name.ends_with(".rs") && name.bytes().all(is_part)
}

/// `state.rs` and `boot/state.rs` are `crates/init/src/boot/state.rs`; `te.rs` is not.
fn is_below(path: &str, name: &str) -> bool {
    path.strip_suffix(name).is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::{Text, hits};

    #[test]
    fn a_file_that_was_renamed_is_reported_with_its_line() {
        let text = |name: &str, text: &str| Text { name: name.to_owned(), text: text.to_owned() };
        let code = [text("crates/init/src/boot/state.rs", "")];
        let document = text("A.md", "`state.rs`, `boot/state.rs`\n`te.rs` state.rs `x.yml`\n");
        let lines: Vec<(usize, String)> =
            hits(&[document], &code).into_iter().map(|hit| (hit.line, hit.what)).collect();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].0, 2);
        assert!(lines[0].1.starts_with("\"te.rs\""), "{}", lines[0].1);
        assert_eq!(hits(&[text("CHANGELOG.md", "`gone.rs`")], &code), []);
    }
}
