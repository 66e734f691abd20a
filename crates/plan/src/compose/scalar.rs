//! Scalars, lists and list-or-map values, as leniently as people write them.

use super::{ComposeError, Reader};
use corral_config::yaml::{Kind, Node};
use std::collections::BTreeMap;
use std::time::Duration;

impl Reader<'_> {
    fn wanted<T>(&self, node: &Node, what: &str) -> Result<T, ComposeError> {
        Err(self.error(node.at, format!("{what} is wanted here, not {}", node.kind.name())))
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

    pub(super) fn strings(&self, node: &Node) -> Result<Vec<String>, ComposeError> {
        match &node.kind {
            Kind::Sequence(items) => items.iter().map(|item| self.string(item)).collect(),
            Kind::String(text) => Ok(vec![text.clone()]),
            Kind::Null => Ok(Vec::new()),
            _ => self.wanted(node, "a list"),
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
        let Kind::Mapping(items) = &node.kind else { return self.strings(node) };
        let assignment = |(key, value): &(String, Node)| match value.kind {
            Kind::Null => Ok(key.clone()),
            _ => Ok(format!("{key}={}", self.string(value)?)),
        };
        items.iter().map(assignment).collect()
    }

    pub(super) fn map(&self, node: &Node) -> Result<BTreeMap<String, String>, ComposeError> {
        let pair = |text: String| match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (text, String::new()),
        };
        Ok(self.assignments(node)?.into_iter().map(pair).collect())
    }

    /// `10s`, `1m30s`, or a number of seconds.
    pub(super) fn duration(&self, node: &Node) -> Result<Duration, ComposeError> {
        let text = self.string(node)?;
        if let Ok(seconds) = text.parse() {
            return Ok(Duration::from_secs(seconds));
        }
        let (mut total, mut digits) = (Duration::ZERO, String::new());
        for character in text.chars() {
            if character.is_ascii_digit() {
                digits.push(character);
                continue;
            }
            let unit = match character {
                'h' => 3600,
                'm' => 60,
                's' => 1,
                _ => 0,
            };
            let count: u64 = std::mem::take(&mut digits).parse().unwrap_or(0);
            if unit == 0 || count > 1_000_000 {
                return Err(self.error(node.at, format!("{text:?} is not a duration such as 1m30s")));
            }
            total += Duration::from_secs(count * unit);
        }
        Ok(total)
    }

    /// `64m`, `1g`, or a number of bytes.
    pub(super) fn bytes(&self, node: &Node) -> Result<u64, ComposeError> {
        let text = self.string(node)?.to_lowercase();
        let number = text.trim_end_matches(['b', 'k', 'm', 'g', 'i']);
        let shift = match text[number.len()..].chars().next() {
            Some('k') => 10,
            Some('m') => 20,
            Some('g') => 30,
            _ => 0,
        };
        let parsed = number.parse::<u64>().ok().and_then(|count| count.checked_mul(1 << shift));
        parsed.ok_or_else(|| self.error(node.at, format!("{text:?} is not a size such as 64m")))
    }

    fn split(&self, node: &Node, text: &str) -> Result<Vec<String>, ComposeError> {
        split_words(text).ok_or_else(|| self.error(node.at, "a quote is not closed"))
    }
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
