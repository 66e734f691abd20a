//! The examples of the manual: the fenced blocks of README.md and docs/*.md, each with its place.
//! Text in, blocks and commands out; the story `manual` runs them.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// `docs/console.md`.
    pub file: String,
    /// The line of its fence.
    pub line: usize,
    /// `yaml`; empty if none is named.
    pub language: String,
    pub text: String,
}

/// A command line of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// `docs/console.md:12`.
    pub place: String,
    /// Without its comment; a continued line is one line.
    pub text: String,
}

impl Block {
    /// `docs/console.md:12`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    /// Its command lines.
    pub fn commands(&self) -> Vec<Command> {
        let mut commands: Vec<Command> = Vec::new();
        let mut is_continued = false;
        for (number, line) in self.text.lines().enumerate() {
            let (line, continues) = match line.strip_suffix('\\') {
                Some(start) => (start, true),
                None => (without_comment(line), false),
            };
            match commands.last_mut().filter(|_| is_continued) {
                Some(command) => command.text.push_str(&format!(" {}", line.trim())),
                None if line.trim().is_empty() => {}
                None => commands.push(Command {
                    place: format!("{}:{}", self.file, self.line + 1 + number),
                    text: line.trim().to_owned(),
                }),
            }
            is_continued = continues;
        }
        commands
    }
}

/// A comment begins with a `#` after a blank, outside of quotes.
fn without_comment(line: &str) -> &str {
    let (mut quote, mut before) = (None, ' ');
    for (at, letter) in line.char_indices() {
        match quote {
            Some(mark) if letter == mark => quote = None,
            Some(_) => {}
            None if letter == '\'' || letter == '"' => quote = Some(letter),
            None if letter == '#' && before.is_whitespace() => return &line[..at],
            None => {}
        }
        before = letter;
    }
    line
}

/// All blocks of the manual of this working copy, in the order of the files' names.
pub fn read() -> Result<Vec<Block>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no working copy")?;
    let docs = root.join("docs");
    let items = fs::read_dir(&docs).with_context(|| format!("reading {}", docs.display()))?;
    let mut files = vec!["README.md".to_owned()];
    for item in items {
        let name = item?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            files.push(format!("docs/{name}"));
        }
    }
    files.sort();
    let mut blocks = Vec::new();
    for file in files {
        let text =
            fs::read_to_string(root.join(&file)).with_context(|| format!("reading {file}"))?;
        blocks.extend(parse(&file, &text));
    }
    Ok(blocks)
}

/// The blocks of one file. A block in a list is indented; its lines are not.
pub fn parse(file: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(Block, usize)> = None;
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let fence = line.trim_start().strip_prefix("```");
        match (open.take(), fence) {
            (Some((block, _)), Some(_)) => blocks.push(block),
            (Some((mut block, begin)), None) => {
                block.text.push_str(&line[begin.min(indent)..]);
                block.text.push('\n');
                open = Some((block, begin));
            }
            (None, Some(language)) => {
                let (file, language) = (file.to_owned(), language.trim().to_owned());
                let block = Block { file, line: number + 1, language, text: String::new() };
                open = Some((block, indent));
            }
            (None, None) => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_place_language_and_text() {
        let text = "# A\n\n```yaml\n#cloud-config\nhostname: a\n```\n\n- item\n\n  \
                    ```sh\n  ls\n    x\n  ```\n\n```\nplain\n```\n";
        let found = parse("docs/a.md", text);
        let shown: Vec<(String, &str, &str)> = found
            .iter()
            .map(|block| (block.place(), block.language.as_str(), block.text.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("docs/a.md:3".to_owned(), "yaml", "#cloud-config\nhostname: a\n"),
                ("docs/a.md:10".to_owned(), "sh", "ls\n  x\n"),
                ("docs/a.md:15".to_owned(), "", "plain\n"),
            ]
        );
    }

    #[test]
    fn commands_have_no_comments_and_are_complete() {
        let text = "```sh\nros status   # the machine\n\n# all of it\ndocker run \\\n  \
                    -v /:/host a  # b\necho '# no'\n```\n";
        let commands = parse("d.md", text)[0].commands();
        let shown: Vec<(&str, &str)> = commands
            .iter()
            .map(|command| (command.place.as_str(), command.text.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("d.md:2", "ros status"),
                ("d.md:5", "docker run -v /:/host a"),
                ("d.md:7", "echo '# no'"),
            ]
        );
    }

    #[test]
    fn the_manual_of_this_copy_has_examples() {
        let blocks = read().unwrap();
        assert!(blocks.iter().any(|block| block.file == "README.md"));
        assert!(blocks.iter().all(|block| !block.text.is_empty()));
    }
}
