//! Rust text in pieces: comments, literals, names, and the rest. It takes apart what the compiler
//! has accepted, and checks nothing itself.

/// A file of the checkout.
#[derive(Debug)]
pub(super) struct Text {
    /// Its path from the root.
    pub(super) name: String,
    pub(super) text: String,
}

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of any sort, without its slashes or its stars.
    Comment,
    /// A string or a byte string, without its quotes; escapes are as they are written.
    Literal,
    /// One in which a backslash is no escape.
    RawLiteral,
    /// An identifier or a keyword.
    Name,
    /// A number, a literal of one character, or one character of anything else.
    Other,
}

/// A piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// Where it begins, from 1.
    pub(super) line: usize,
}

/// How many bytes a piece takes up, and what it is; none for a blank.
type Taken<'a> = (usize, Option<(Kind, &'a str)>);

/// All pieces, in their order.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let (length, piece) = take(rest, first);
        pieces.extend(piece.map(|(kind, text)| Piece { kind, text, line }));
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    pieces
}

/// The text up to its unit tests.
pub(super) fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]").next().unwrap_or_default()
}

fn take(rest: &str, first: char) -> Taken<'_> {
    if first.is_whitespace() {
        return (first.len_utf8(), None);
    }
    if rest.starts_with("//") {
        return line_comment(rest);
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if let Some(taken) = raw_literal(rest).or_else(|| literal(rest)) {
        return taken;
    }
    let is_of_word = |character: char| character.is_alphanumeric() || character == '_';
    let (kind, length) = if first == '\'' {
        (Kind::Other, quoted_character(rest))
    } else if is_of_word(first) {
        let kind = if first.is_numeric() { Kind::Other } else { Kind::Name };
        (kind, rest.find(|character| !is_of_word(character)).unwrap_or(rest.len()))
    } else {
        (Kind::Other, first.len_utf8())
    };
    (length, Some((kind, &rest[..length])))
}

fn line_comment(rest: &str) -> Taken<'_> {
    let length = rest.find('\n').unwrap_or(rest.len());
    let text = rest[..length].trim_start_matches('/');
    (length, Some((Kind::Comment, text.strip_prefix('!').unwrap_or(text))))
}

/// One may be within another.
fn block_comment(rest: &str) -> Taken<'_> {
    let (mut at, mut depth) = (2, 1);
    while depth > 0 && at < rest.len() {
        let step = rest[at..].chars().next().map_or(1, char::len_utf8);
        match rest.get(at..at + 2) {
            Some("/*") => (at, depth) = (at + 2, depth + 1),
            Some("*/") => (at, depth) = (at + 2, depth - 1),
            _ => at += step,
        }
    }
    (at, Some((Kind::Comment, rest[..at].trim_matches(['/', '*', '!']))))
}

/// `r"…"`, `r#"…"#`, `br"…"`
fn raw_literal(rest: &str) -> Option<Taken<'_>> {
    let after = ["br", "cr", "r"].into_iter().find_map(|prefix| rest.strip_prefix(prefix))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let inner = after[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let length = inner.find(&close)?;
    let begin = rest.len() - inner.len();
    Some((begin + length + close.len(), Some((Kind::RawLiteral, &inner[..length]))))
}

/// `"…"`, `b"…"`
fn literal(rest: &str) -> Option<Taken<'_>> {
    let inner = ["b\"", "c\"", "\""].into_iter().find_map(|open| rest.strip_prefix(open))?;
    let mut is_escaped = false;
    let (length, _) = inner.char_indices().find(|(_, character)| {
        let closes = *character == '"' && !is_escaped;
        is_escaped = *character == '\\' && !is_escaped;
        closes
    })?;
    let begin = rest.len() - inner.len();
    Some((begin + length + 1, Some((Kind::Literal, &inner[..length]))))
}

/// The length of `'x'`; of a lifetime only that of its quote.
fn quoted_character(rest: &str) -> usize {
    let inner = &rest[1..];
    let (escape, character) = match inner.strip_prefix('\\') {
        Some(escaped) => (1, escaped),
        None => (0, inner),
    };
    let length = escape + character.chars().next().map_or(0, char::len_utf8);
    let close = match escape {
        0 => inner[length..].starts_with('\'').then_some(length),
        // `'\u{1f}'`
        _ => inner[length..].find('\'').map(|at| length + at),
    };
    close.map_or(1, |at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::{Kind, pieces};

    fn of(text: &str, kind: Kind) -> Vec<(&str, usize)> {
        let pieces = pieces(text);
        pieces
            .iter()
            .filter(|piece| piece.kind == kind)
            .map(|piece| (piece.text, piece.line))
            .collect()
    }

    #[test]
    fn comments_literals_and_names_are_kept_apart() {
        let text = "//! Top\nfn a<'b>() { // in \"it\"\n  \
                    f(\"x // \\\" y\", 'c', '\\'', '\"'); /* 1 /* 2 */\n*/ }\nlet z;";
        assert_eq!(of(text, Kind::Comment), [(" Top", 1), (" in \"it\"", 2), (" 1 /* 2 */\n", 3)]);
        assert_eq!(of(text, Kind::Literal), [("x // \\\" y", 3)]);
        assert_eq!(
            of(text, Kind::Name),
            [("fn", 2), ("a", 2), ("b", 2), ("f", 3), ("let", 5), ("z", 5)]
        );
    }

    #[test]
    fn raw_literals_end_with_their_hashes() {
        let text = "r#\"a \"b\" \\\"# r\"c\\\" br#\"d\"# r#type 'é' b'\\n' \"e\\\n f\" g";
        assert_eq!(of(text, Kind::RawLiteral), [("a \"b\" \\", 1), ("c\\", 1), ("d", 1)]);
        assert_eq!(of(text, Kind::Literal), [("e\\\n f", 1)]);
        assert_eq!(of(text, Kind::Name).last(), Some(&("g", 2)));
    }
}
