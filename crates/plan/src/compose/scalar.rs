//! Scalars, lists and list-or-map values, as leniently as people write them.

use super::error::ComposeError;
use super::reader::Reader;
use corral_config::yaml::{Kind, Node};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

impl Reader<'_> {
    pub(super) fn wanted<T>(&self, node: &Node, what: &str) -> Result<T, ComposeError> {
        Err(self.error(node.at, format!("expected {what}, not {}", node.kind.name())))
    }

    pub(super) fn string(&self, node: &Node) -> Result<String, ComposeError> {
        match &node.kind {
            Kind::String(text) => Ok(text.clone()),
            Kind::Number(number) => Ok(number.to_string()),
            Kind::Bool(value) => Ok(value.to_string()),
            Kind::Null => Ok(String::new()),
            _ => self.wanted(node, "a string"),
        }
    }

    pub(super) fn boolean(&self, node: &Node) -> Result<bool, ComposeError> {
        match &node.kind {
            Kind::Bool(value) => Ok(*value),
            Kind::String(text) if text == "true" => Ok(true),
            Kind::String(text) if text == "false" => Ok(false),
            _ => self.wanted(node, "true or false"),
        }
    }

    /// An IPv4 address or subnet; `what` it is, for the message. One of IPv6 is left out with a
    /// warning: bridges of the system engine have none.
    pub(super) fn ipv4<T: FromStr>(
        &mut self,
        node: &Node,
        what: &str,
    ) -> Result<Option<T>, ComposeError> {
        let text = self.string(node)?;
        if text.contains(':') {
            self.warn(node.at, format!("{text}: IPv6 has no effect here"));
            return Ok(None);
        }
        let value =
            text.parse().map_err(|_| self.error(node.at, format!("{text:?} is not {what}")));
        value.map(Some)
    }

    /// A number, bare or in quotes.
    pub(super) fn number<T: FromStr>(&self, node: &Node) -> Result<T, ComposeError> {
        let text = self.string(node)?;
        text.parse().map_err(|_| self.error(node.at, format!("{text:?} is not a number in range")))
    }

    pub(super) fn strings(&self, node: &Node) -> Result<Vec<String>, ComposeError> {
        match &node.kind {
            Kind::Sequence(items) => items.iter().map(|item| self.string(item)).collect(),
            Kind::String(text) => Ok(vec![text.clone()]),
            Kind::Null => Ok(Vec::new()),
            _ => self.wanted(node, "a list"),
        }
    }

    /// The items of a list, which may be a single one.
    pub(super) fn items<'n>(&self, node: &'n Node) -> Result<&'n [Node], ComposeError> {
        match &node.kind {
            Kind::Sequence(items) => Ok(items),
            Kind::Null => Ok(&[]),
            Kind::Mapping(_) => self.wanted(node, "a list"),
            _ => Ok(std::slice::from_ref(node)),
        }
    }

    /// A command: a list of words, or one string that is split as a shell would.
    pub(super) fn command(&self, node: &Node) -> Result<Option<Vec<String>>, ComposeError> {
        match &node.kind {
            Kind::Null => Ok(None),
            Kind::String(text) => Ok(Some(self.split(node, text)?)),
            _ => self.strings(node).map(Some),
        }
    }

    /// `[A=1, B]` or `{A: 1, B: }` → `A=1`, `B`.
    pub(super) fn assignments(&self, node: &Node) -> Result<Vec<String>, ComposeError> {
        self.pairs(node, "=")
    }

    /// `[a:1]` or `{a: 1}` → `a:1`.
    pub(super) fn pairs(&self, node: &Node, separator: &str) -> Result<Vec<String>, ComposeError> {
        let Kind::Mapping(items) = &node.kind else { return self.strings(node) };
        let pair = |(key, value): &(String, Node)| match value.kind {
            Kind::Null => Ok(key.clone()),
            _ => Ok(format!("{key}{separator}{}", self.string(value)?)),
        };
        items.iter().map(pair).collect()
    }

    pub(super) fn map(&self, node: &Node) -> Result<BTreeMap<String, String>, ComposeError> {
        let pair = |text: String| match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (text, String::new()),
        };
        Ok(self.assignments(node)?.into_iter().map(pair).collect())
    }

    pub(super) fn duration(&self, node: &Node) -> Result<Duration, ComposeError> {
        let text = self.string(node)?;
        duration(&text)
            .ok_or_else(|| self.error(node.at, format!("{text:?} is not a duration such as 1m30s")))
    }

    /// `64m`, `1.5g`, `512MiB`, or a number of bytes.
    pub(super) fn bytes(&self, node: &Node) -> Result<u64, ComposeError> {
        let text = self.string(node)?.to_lowercase();
        let wrong = || self.error(node.at, format!("{text:?} is not a size such as 64m"));
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit: u64 = match unit.trim() {
            "" | "b" => 1,
            "k" | "kb" | "kib" => 1 << 10,
            "m" | "mb" | "mib" => 1 << 20,
            "g" | "gb" | "gib" => 1 << 30,
            "t" | "tb" | "tib" => 1 << 40,
            _ => return Err(wrong()),
        };
        if let Ok(integer) = number.parse::<u64>() {
            return integer.checked_mul(unit).ok_or_else(wrong);
        }
        let value = number.parse::<f64>().map_err(|_| wrong())? * unit as f64;
        // The cast saturates, and what is larger than this is no size of memory.
        if value.is_finite() && value < 1e18 { Ok(value as u64) } else { Err(wrong()) }
    }

    fn split(&self, node: &Node, text: &str) -> Result<Vec<String>, ComposeError> {
        split_words(text).ok_or_else(|| self.error(node.at, "a quote is not closed"))
    }
}

/// As [`corral_config::duration::parse`] reads it; nothing at all is no time.
pub fn duration(text: &str) -> Option<Duration> {
    if text.trim().is_empty() { Some(Duration::ZERO) } else { corral_config::duration::parse(text) }
}

/// Splits a text into words as a shell would; None if a quote is not closed.
pub fn split_words(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut open, mut quote) = (Vec::new(), String::new(), false, None);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', None | Some('"')) => word.extend(characters.next()),
            (mark, Some(open)) if mark == open => quote = None,
            ('"' | '\'', None) => (quote, open) = (Some(character), true),
            (blank, None) if blank.is_whitespace() => {
                if open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (other, _) => word.push(other),
        }
    }
    if open || !word.is_empty() {
        words.push(word);
    }
    quote.is_none().then_some(words)
}

/// The lines of an environment file: `KEY=VALUE`, or `KEY` alone. Comments and empty lines are left
/// out, and quotes around a value are removed.
pub fn env_file(text: &str) -> Vec<String> {
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let line = line.strip_prefix("export ").unwrap_or(line);
            let Some((key, value)) = line.split_once('=') else { return line.to_owned() };
            let value = value.trim();
            let bare = ['"', '\'']
                .iter()
                .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
                .unwrap_or(value);
            format!("{}={bare}", key.trim_end())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::Project;
    use corral_config::Position;

    fn reader() -> Reader<'static> {
        Reader { file: "f", warnings: Vec::new(), project: Project::default() }
    }

    fn text(value: &str) -> Node {
        Node::new(Position { line: 1, column: 1 }, Kind::String(value.to_owned()))
    }

    #[test]
    fn durations_are_read_as_compose_writes_them() {
        for (written, millis) in
            [("90", 90_000), ("1m30s", 90_000), ("1.5s", 1500), ("500ms", 500), ("1h", 3_600_000)]
        {
            assert_eq!(reader().duration(&text(written)).unwrap().as_millis(), millis, "{written}");
        }
        for written in ["5x", "s", "1m30", "1e400h", "1..2s"] {
            assert!(reader().duration(&text(written)).is_err(), "{written}");
        }
    }

    #[test]
    fn environment_files_are_read_line_by_line() {
        let text = "# comment\n\nA=1\nexport B=\"two words\"\nC = 'x'\nD\nE=a=b\n";
        assert_eq!(env_file(text), ["A=1", "B=two words", "C=x", "D", "E=a=b"]);
    }

    #[test]
    fn sizes_are_read_as_compose_writes_them() {
        for (written, bytes) in [
            ("64", 64),
            ("64k", 65_536),
            ("1.5g", 1_610_612_736),
            ("2MB", 2 << 20),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(reader().bytes(&text(written)).unwrap(), bytes, "{written}");
        }
        for written in ["", "m", "1q", "99999999999t", "-1"] {
            assert!(reader().bytes(&text(written)).is_err(), "{written}");
        }
    }
}
