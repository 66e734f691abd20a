//! User data as a provider hands it over: plain, gzip'ed, or several parts in one MIME message.
//! Also which kind each part is.

use crate::encoding;
use mailparse::ParsedMail;

/// How deep messages may stand in messages, and gzip in gzip.
const DEPTH: usize = 4;

/// A part of user data, by its first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// `#cloud-config`: YAML.
    CloudConfig(Vec<u8>),
    /// `#compose`: services in compose form; without that line.
    Compose(Vec<u8>),
    /// `#!`: a program, run by the console at each boot.
    Script(Vec<u8>),
    /// `#include`: user data that is elsewhere.
    Include(Vec<String>),
    /// Anything else; with what it begins with.
    Unknown(String),
}

/// Takes user data apart. What cannot be read is reported, and the rest takes effect.
pub fn split(bytes: &[u8]) -> (Vec<Part>, Vec<String>) {
    let mut splitter = Splitter::default();
    splitter.take(bytes, DEPTH);
    (splitter.parts, splitter.problems)
}

/// The kind of a document by its first line; None if it is blank.
pub fn classify(bytes: &[u8]) -> Option<Part> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut halves = bytes.splitn(2, |byte| *byte == b'\n');
    let first = halves.next().unwrap_or_default().trim_ascii();
    let rest = halves.next().unwrap_or_default();
    if first.starts_with(b"#!") {
        Some(Part::Script(bytes.to_vec()))
    } else if first == b"#cloud-config" {
        Some(Part::CloudConfig(bytes.to_vec()))
    } else if first == b"#compose" {
        Some(Part::Compose(rest.to_vec()))
    } else if first == b"#include" || first == b"#include-once" {
        Some(Part::Include(urls(rest)))
    } else if bytes.trim_ascii().is_empty() {
        None
    } else {
        Some(Part::Unknown(String::from_utf8_lossy(&first[..first.len().min(40)]).into_owned()))
    }
}

fn urls(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[derive(Default)]
struct Splitter {
    parts: Vec<Part>,
    problems: Vec<String>,
}

impl Splitter {
    fn take(&mut self, bytes: &[u8], depth: usize) {
        if depth == 0 {
            self.problems.push("user-data: nested too deeply".to_owned());
        } else if encoding::is_gzip(bytes) {
            match encoding::gunzip(bytes) {
                Ok(inner) => self.take(&inner, depth - 1),
                Err(error) => self.problems.push(format!("user-data: {error}")),
            }
        } else if is_mime(bytes) {
            match mailparse::parse_mail(bytes) {
                Ok(mail) => self.take_mail(&mail, depth),
                Err(error) => {
                    self.problems.push(format!("user-data: the MIME message is broken: {error}"))
                }
            }
        } else {
            self.parts.extend(classify(bytes));
        }
    }

    fn take_mail(&mut self, mail: &ParsedMail<'_>, depth: usize) {
        if !mail.subparts.is_empty() {
            mail.subparts
                .iter()
                .for_each(|part| self.take_mail(part, depth.saturating_sub(1).max(1)));
            return;
        }
        let body = match mail.get_body_raw() {
            Ok(body) => body,
            Err(error) => {
                self.problems
                    .push(format!("user-data: a part of the MIME message cannot be read: {error}"));
                return;
            }
        };
        match mail.ctype.mimetype.as_str() {
            // Some tools leave the first line out where the type already says what it is.
            "text/cloud-config" if !body.starts_with(b"#cloud-config") => {
                self.parts.push(Part::CloudConfig([b"#cloud-config\n", body.as_slice()].concat()));
            }
            "text/x-include-url" | "text/x-include-once-url" if !body.starts_with(b"#include") => {
                self.parts.push(Part::Include(urls(&body)));
            }
            _ => self.take(&body, depth.saturating_sub(1)),
        }
    }
}

/// Does it begin with the headers of a MIME message?
fn is_mime(bytes: &[u8]) -> bool {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]).to_ascii_lowercase();
    let start = start.trim_start();
    start.starts_with("content-type:")
        || start.starts_with("mime-version:")
        || start.starts_with("from ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_decides() {
        assert!(matches!(classify(b"#cloud-config  \nhostname: x\n"), Some(Part::CloudConfig(_))));
        assert!(matches!(classify(b"\xef\xbb\xbf#cloud-config\n"), Some(Part::CloudConfig(_))));
        assert!(matches!(classify(b"#!/bin/sh\n"), Some(Part::Script(_))));
        assert_eq!(classify(b"#compose\na: b\n"), Some(Part::Compose(b"a: b\n".to_vec())));
        assert_eq!(
            classify(b"#include\nhttp://a/b\n# no\n"),
            Some(Part::Include(vec!["http://a/b".to_owned()]))
        );
        assert_eq!(classify(b" \n"), None);
        assert_eq!(classify(b"<html>\n"), Some(Part::Unknown("<html>".to_owned())));
    }

    #[test]
    fn a_mime_message_is_taken_apart() {
        let text = b"Content-Type: multipart/mixed; boundary=\"==X\"\nMIME-Version: 1.0\n\n\
            --==X\nContent-Type: text/cloud-config\n\nhostname: a\n\
            --==X\nContent-Type: text/x-shellscript\nContent-Transfer-Encoding: base64\n\n\
            IyEvYmluL3NoCg==\n\
            --==X\nContent-Type: text/plain\n\njust a letter\n--==X--\n";
        let (parts, problems) = split(text);
        assert_eq!(problems, Vec::<String>::new());
        let start = b"#cloud-config\nhostname: a";
        assert!(matches!(&parts[0], Part::CloudConfig(text) if text.starts_with(start)));
        assert_eq!(parts[1], Part::Script(b"#!/bin/sh\n".to_vec()));
        assert_eq!(parts[2], Part::Unknown("just a letter".to_owned()));
    }

    #[test]
    fn junk_is_reported_not_taken() {
        let (parts, problems) = split(&[0x1f, 0x8b, 1, 2, 3]);
        assert!(parts.is_empty() && problems.len() == 1, "{problems:?}");
    }
}
