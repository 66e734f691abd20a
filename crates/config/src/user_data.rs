//! Which kind of user-data a machine was given.

/// What user-data is, by its first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserData<'a> {
    /// `#cloud-config`: YAML.
    CloudConfig(&'a [u8]),
    /// `#!`: a program, run by the console at each boot.
    Script(&'a [u8]),
    /// Nothing, or only blanks.
    Empty,
    /// Anything else; with what it begins with.
    Unknown(&'a [u8]),
}

/// Looks at the first line.
pub fn classify(bytes: &[u8]) -> UserData<'_> {
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let first = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first).trim_ascii();
    if first.starts_with(b"#!") {
        UserData::Script(bytes)
    } else if first == b"#cloud-config" {
        UserData::CloudConfig(bytes)
    } else if bytes.trim_ascii().is_empty() {
        UserData::Empty
    } else {
        UserData::Unknown(&first[..first.len().min(40)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_decides() {
        assert!(matches!(classify(b"#cloud-config  \nhostname: x\n"), UserData::CloudConfig(_)));
        assert!(matches!(classify(b"#!/bin/sh\n"), UserData::Script(_)));
        assert_eq!(classify(b" \n"), UserData::Empty);
        assert_eq!(classify(b"hostname: x\n"), UserData::Unknown(b"hostname: x"));
    }
}
