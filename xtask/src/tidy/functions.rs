//! Functions and how long they are: from `fn` to the brace that ends them.

use super::source::{Kind, Piece, Text, pieces};

/// Lines.
pub(super) const LONGEST: usize = 60;

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// Where it begins.
    pub(super) line: usize,
    /// How many lines it has.
    pub(super) lines: usize,
}

/// All functions of a text, also those within others.
pub(super) fn functions(text: &str) -> Vec<Function> {
    let pieces: Vec<Piece> =
        pieces(text).into_iter().filter(|piece| piece.kind != Kind::Comment).collect();
    let named = pieces.windows(2).enumerate().filter_map(|(at, pair)| match pair {
        [keyword, name] if is(keyword, "fn") && name.kind == Kind::Name => {
            Some((at, *keyword, *name))
        }
        _ => None,
    });
    let function = |(at, keyword, name): (usize, Piece, Piece)| {
        let last = last_line(&pieces[at..])?;
        Some(Function {
            name: name.text.to_owned(),
            line: keyword.line,
            lines: last - keyword.line + 1,
        })
    };
    named.filter_map(function).collect()
}

/// What is wrong: functions that are too long.
pub(super) fn check(code: &[Text]) -> Vec<String> {
    let too_long = |file: &Text| {
        let long = functions(&file.text).into_iter().filter(|function| function.lines > LONGEST);
        let wrong = long.map(|Function { name, line, lines }| {
            format!("{}:{line}: {name} has {lines} lines; split it (at most {LONGEST})", file.name)
        });
        wrong.collect::<Vec<String>>()
    };
    code.iter().flat_map(too_long).collect()
}

fn is(piece: &Piece, keyword: &str) -> bool {
    piece.kind == Kind::Name && piece.text == keyword
}

/// The line of the brace that ends what begins here; none of a function without a body.
fn last_line(pieces: &[Piece]) -> Option<usize> {
    let (mut brackets, mut braces) = (0_usize, 0_usize);
    for piece in pieces.iter().filter(|piece| piece.kind == Kind::Other) {
        match piece.text {
            "{" => braces += 1,
            "}" => {
                braces = braces.checked_sub(1)?;
                if braces == 0 && brackets == 0 {
                    return Some(piece.line);
                }
            }
            "(" | "[" if braces == 0 => brackets += 1,
            ")" | "]" if braces == 0 => brackets = brackets.checked_sub(1)?,
            ";" if braces == 0 && brackets == 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, Text, check, functions};

    #[test]
    fn a_function_ends_with_its_brace() {
        let text = "trait T { fn none(&self) -> [u8; 4]; }\n\
                    fn outer(a: fn(u8) -> [u8; 2]) -> X\n{\n    let b = \"}\"; // }\n    \
                    let c = '}';\n    fn inner() {}\n    match c { '}' => {} }\n}\n";
        let found: Vec<(String, usize, usize)> =
            functions(text).into_iter().map(|each| (each.name, each.line, each.lines)).collect();
        let expected =
            [("outer", 2, 7), ("inner", 6, 1)].map(|(name, a, b)| (name.to_owned(), a, b));
        assert_eq!(found, expected);
    }

    #[test]
    fn one_line_too_many_is_found() {
        let of = |lines: usize| {
            let text = format!("fn a() {{{}}}\n", "\n".repeat(lines - 1));
            check(&[Text { name: "a.rs".to_owned(), text }])
        };
        assert!(of(LONGEST).is_empty());
        let wrong = of(LONGEST + 1);
        assert_eq!(
            wrong,
            [format!("a.rs:1: a has {} lines; split it (at most {LONGEST})", LONGEST + 1)]
        );
    }
}
