//! Words of our own, for which readers of Docker, systemd, Talos or cloud-init would not search,
//! and what to write instead: in documents, in comments, in literals and in names. Words that have
//! a usual sense too are not here.

use super::hits::Hit;
use super::source::{Kind, Piece, Text, pieces};
use std::collections::HashMap;

/// Phrases, and what to write instead. `a|b c` is `a c` and `b c`, `.` is what ends a clause, and a
/// name is taken as the words that it is made of.
const PHRASES: [(&str, &str); 25] = [
    ("what|it|one|rest|value|still|nothing|file|configuration counts", EFFECT),
    ("that counts .", EFFECT),
    ("do|does not count", EFFECT),
    ("in|into force", EFFECT),
    ("anew", "again, recreated"),
    ("mend|mends|mended|mending", "repair, fix"),
    ("told|tells", "reported, reports, warns"),
    ("say|says|said of", "reports, warns"),
    ("whole", "complete, intact"),
    ("nobody|somebody|whoever|whatever", "who it is: the owner, a client, any user, no process"),
    ("end|ends of the|a machine", "shutdown"),
    ("end|ends the machine", "shutdown"),
    ("machine is ending", "shutdown"),
    ("wish|wishes|wished", "request"),
    ("happen|happens|happened|happening", "event"),
    ("news", "event"),
    ("take|takes|took|taken|taking back", ROLLED_BACK),
    ("go|goes|going|gone|went back", ROLLED_BACK),
    ("maker's", "OEM"),
    ("owner's user-data", "user data"),
    ("a|the look into", "image check"),
    ("looks into the image", "image check"),
    ("laid ready", "preloaded"),
    ("storm|storms|tricks", "load, malicious input"),
    ("obstacle|obstacles", "blocker"),
];
const EFFECT: &str = "takes effect, is active, is applied";
const ROLLED_BACK: &str = "rolled back, reverted";

/// Parts of names. In prose they have their usual sense.
const PARTS: [(&str, &str); 1] = [("ending", "shutdown; of a file: extension")];

/// Complete names.
const NAMES: [(&str, &str); 4] = [
    ("Foundation", "BootContext"),
    ("Kept", "Persisted"),
    ("Found", "what it is, such as Metadata"),
    ("Wanted", "Request"),
];

/// A file, a word as it is found there (all if it is empty), and why it may stay.
const EXCEPTIONS: [(&str, &str, &str); 3] = [
    ("xtask/src/tidy/words.rs", "", "the list itself"),
    ("crates/ros/src/cli/engine.rs", "mend", "the old name of --repair"),
    ("crates/daemon/src/api/fsck.rs", "mend", "the old name of the parameter repair"),
];

/// All such words in documents and in code, but for the exceptions.
pub(super) fn hits(documents: &[Text], code: &[Text]) -> Vec<Hit> {
    let rules = Rules::new();
    let mut hits = Vec::new();
    for document in documents {
        rules.find(&words(&document.text, 1, false), &document.name, &mut hits);
    }
    for file in code {
        let pieces = pieces(&file.text);
        for (line, text, has_escapes) in prose(&pieces) {
            rules.find(&words(&text, line, has_escapes), &file.name, &mut hits);
        }
        for piece in pieces.iter().filter(|piece| piece.kind == Kind::Name) {
            rules.check_name(piece, &file.name, &mut hits);
        }
    }
    hits.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    hits
}

/// A word in lower case; `.` stands for what ends a clause.
#[derive(Debug, PartialEq, Eq)]
struct Word {
    line: usize,
    text: String,
}

/// A phrase: the alternatives of each of its words but the first.
type Rest = Vec<Vec<&'static str>>;

/// The phrases, by their first words.
struct Rules(HashMap<&'static str, Vec<(Rest, &'static str)>>);

impl Rules {
    fn new() -> Rules {
        let mut rules: HashMap<&str, Vec<(Rest, &str)>> = HashMap::new();
        for (phrase, instead) in PHRASES {
            let mut words = phrase.split(' ').map(|word| word.split('|').collect::<Vec<&str>>());
            let firsts = words.next().unwrap_or_default();
            let rest: Rest = words.collect();
            for first in firsts {
                rules.entry(first).or_default().push((rest.clone(), instead));
            }
        }
        Rules(rules)
    }

    fn find(&self, words: &[Word], file: &str, hits: &mut Vec<Hit>) {
        for (at, first) in words.iter().enumerate() {
            let rules = self.0.get(first.text.as_str()).into_iter().flatten();
            let mut fitting = rules.filter(|(rest, _)| is_next(&words[at + 1..], rest));
            if let Some((rest, instead)) = fitting.next() {
                let found: Vec<&str> =
                    words[at..=at + rest.len()].iter().map(|word| word.text.as_str()).collect();
                let found = found.join(" ");
                add(hits, file, first.line, found.trim_end_matches(" ."), instead);
            }
        }
    }

    fn check_name(&self, piece: &Piece, file: &str, hits: &mut Vec<Hit>) {
        let parts: Vec<Word> =
            parts(piece.text).into_iter().map(|text| Word { line: piece.line, text }).collect();
        self.find(&parts, file, hits);
        let in_parts =
            PARTS.into_iter().filter(|(part, _)| parts.iter().any(|word| word.text == *part));
        let in_names = NAMES.into_iter().filter(|(name, _)| piece.text == *name);
        for (word, instead) in in_parts.chain(in_names) {
            add(hits, file, piece.line, word, instead);
        }
    }
}

fn is_next(words: &[Word], rest: &Rest) -> bool {
    words.len() >= rest.len()
        && words.iter().zip(rest).all(|(word, forms)| forms.contains(&word.text.as_str()))
}

fn add(hits: &mut Vec<Hit>, file: &str, line: usize, word: &str, instead: &str) {
    let is_excepted = EXCEPTIONS
        .iter()
        .any(|(excepted, words, _)| *excepted == file && (words.is_empty() || *words == word));
    if !is_excepted {
        hits.push(Hit { file: file.to_owned(), line, what: format!("{word:?}: write {instead}") });
    }
}

/// Comments and literals: the line, the text, and whether a backslash is an escape in it. Comments
/// that follow each other are one text, for a phrase may go on in the next line.
fn prose(pieces: &[Piece]) -> Vec<(usize, String, bool)> {
    let mut texts: Vec<(usize, String, bool)> = Vec::new();
    let mut last = None;
    for piece in pieces {
        match (piece.kind, texts.last_mut()) {
            (Kind::Comment, Some((_, text, _))) if last == Some(piece.line) => {
                text.push('\n');
                text.push_str(piece.text);
            }
            (Kind::Comment | Kind::Literal | Kind::RawLiteral, _) => {
                texts.push((piece.line, piece.text.to_owned(), piece.kind == Kind::Literal));
            }
            (Kind::Name | Kind::Other, _) => {}
        }
        last = (piece.kind == Kind::Comment).then_some(piece.line + 1);
    }
    texts
}

fn words(text: &str, first_line: usize, has_escapes: bool) -> Vec<Word> {
    let (mut words, mut word, mut line) = (Vec::new(), String::new(), first_line);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let joins = matches!(character, '\'' | '-') && !word.is_empty();
        if character.is_alphanumeric() {
            word.extend(character.to_lowercase());
            continue;
        }
        if joins && characters.peek().is_some_and(|next| next.is_alphanumeric()) {
            word.push(character);
            continue;
        }
        if !word.is_empty() {
            words.push(Word { line, text: std::mem::take(&mut word) });
        }
        match character {
            '\n' => line += 1,
            '\\' if has_escapes => line += usize::from(characters.next() == Some('\n')),
            '.' | ',' | ';' | ':' | '!' | '?' | '(' | ')' | '|' => {
                words.push(Word { line, text: ".".to_owned() });
            }
            _ => {}
        }
    }
    if !word.is_empty() {
        words.push(Word { line, text: word });
    }
    words
}

/// `tell_all` and `TellAll` → `tell`, `all`
fn parts(name: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for word in name.split('_').filter(|word| !word.is_empty()) {
        let mut part = String::new();
        for character in word.chars() {
            let begins_next = character.is_uppercase() && part.ends_with(char::is_lowercase);
            if begins_next {
                parts.push(std::mem::take(&mut part).to_lowercase());
            }
            part.push(character);
        }
        parts.push(part.to_lowercase());
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::{Text, hits, parts};

    fn found(name: &str, text: &str) -> Vec<(usize, String)> {
        let text = [Text { name: name.to_owned(), text: text.to_owned() }];
        let found = if name.ends_with(".md") { hits(&text, &[]) } else { hits(&[], &text) };
        let word = |what: &str| what.split('"').nth(1).unwrap_or_default().to_owned();
        found.iter().map(|hit| (hit.line, word(&hit.what))).collect()
    }

    #[test]
    fn documents_are_read_over_the_ends_of_their_lines() {
        let text =
            "It comes in\nforce, and *nobody*\nis told. That counts; the maker's\n`user-data`.";
        let words: Vec<(usize, String)> = found("a.md", text);
        let words: Vec<(usize, &str)> =
            words.iter().map(|(line, word)| (*line, word.as_str())).collect();
        assert_eq!(
            words,
            [(1, "in force"), (2, "nobody"), (3, "told"), (3, "that counts"), (3, "maker's")]
        );
    }

    #[test]
    fn usual_senses_are_left_alone() {
        let text = "Reading ends at the end of a file. The counts are in. Forced; a line that \
                    counts lines, in (force).\nAppend, amend, recommended; no body, some body; a \
                    place in the table; ask for it; others; wholesale; a brainstorm; looked into; \
                    an ending; kept, found and wanted; comes-into-force.md";
        assert_eq!(found("a.md", text), []);
    }

    #[test]
    fn code_is_read_in_comments_literals_and_names() {
        let text = "/// It is\n/// told.\nfn obstacle_of(a: &Kept) -> NewsOf {\n    say(\"made\
                    \\nanew \\\n  whatever\")\n}\n// Taken\n\n// back.\n\
                    let is_ending = Found::News(r\"\\told\");";
        let words = found("a.rs", text);
        let words: Vec<(usize, &str)> =
            words.iter().map(|(line, word)| (*line, word.as_str())).collect();
        let expected = [
            (2, "told"),
            (3, "obstacle"),
            (3, "Kept"),
            (3, "news"),
            (4, "anew"),
            (5, "whatever"),
            (10, "told"),
            (10, "ending"),
            (10, "Found"),
            (10, "news"),
        ];
        assert_eq!(words, expected);
        assert_eq!(found("a.rs", "let kept = found(wanted).append(\"mend\\ning\");").len(), 1);
    }

    #[test]
    fn the_list_itself_is_excepted() {
        assert_eq!(found("xtask/src/tidy/words.rs", "// anew"), []);
    }

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(parts("_tell_allOf_UTF8"), ["tell", "all", "of", "utf8"]);
    }
}
