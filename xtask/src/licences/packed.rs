//! The licences in the image: one file for `ros licenses`, in which each text is once. Many crates
//! share the same one, and what is left packs well together.

use super::standard::TEXTS;
use super::{Kind, Licensed};
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Its path in the image. `crates/ros/src/licenses.rs` reads it.
pub(crate) const PATH: &str = "usr/share/ros/licenses/licenses.json.zst";
/// Where other systems have such texts; a link.
pub(crate) const USUAL_FOLDER: &str = "usr/share/licenses";
/// How a link there leads to the folder of `PATH`.
pub(crate) const LINK: &str = "ros/licenses";
const LEVEL: i32 = 19;
/// For a `copyright` file that is not in the form that programs read.
const ONLY_TEXT: &str = "see its text";

/// The file: parts refer to texts by their places in the list.
#[derive(Debug, Serialize)]
struct Packed {
    parts: Vec<Row>,
    texts: Vec<String>,
}

/// A part.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    version: String,
    kind: &'static str,
    license: String,
    /// Names, and places in the list of texts.
    texts: Vec<(String, usize)>,
}

/// The bytes of the file.
pub(crate) fn pack(parts: &[Licensed]) -> Result<Vec<u8>> {
    let mut texts = Texts::default();
    let rows = parts.iter().map(|part| row(part, &mut texts)).collect::<Result<_>>()?;
    let packed = Packed { parts: rows, texts: texts.list };
    zstd::encode_all(serde_json::to_vec(&packed)?.as_slice(), LEVEL).context("packing licences")
}

/// Each text once.
#[derive(Debug, Default)]
struct Texts {
    list: Vec<String>,
    places: BTreeMap<String, usize>,
}

impl Texts {
    fn place(&mut self, text: String) -> usize {
        let next = self.list.len();
        let place = *self.places.entry(text.clone()).or_insert(next);
        if place == next {
            self.list.push(text);
        }
        place
    }
}

fn row(part: &Licensed, texts: &mut Texts) -> Result<Row> {
    let component = &part.component;
    let reading = || format!("the licence of {} {}", component.name, component.version);
    let mut named = BTreeMap::new();
    for (name, blob) in &part.texts {
        let text = String::from_utf8_lossy(&blob.read().with_context(reading)?).into_owned();
        if part.kind != Kind::Crate {
            for common in referred(&text) {
                let file = Path::new(TEXTS).join(common);
                let text = fs::read_to_string(&file).with_context(|| file.display().to_string());
                named.insert(common.to_owned(), text.with_context(reading)?);
            }
        }
        named.insert(name.clone(), text);
    }
    let license = match &component.licence {
        Some(expression) => expression.clone(),
        None => named.get("copyright").map_or_else(String::new, |text| declared(text)),
    };
    Ok(Row {
        name: component.name.clone(),
        version: component.version.clone(),
        kind: part.kind.name(),
        license,
        texts: named.into_iter().map(|(name, text)| (name, texts.place(text))).collect(),
    })
}

/// The names in `License:` of a machine-readable `copyright` file:
/// <https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>
fn declared(copyright: &str) -> String {
    let is_readable = copyright.lines().take(5).any(|line| line.starts_with("Format"));
    let names = copyright.lines().filter_map(|line| line.strip_prefix("License:"));
    let names: BTreeSet<&str> = names.map(str::trim).filter(|name| !name.is_empty()).collect();
    if !is_readable || names.is_empty() {
        return ONLY_TEXT.to_owned();
    }
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// Debian's copies of licences that a text refers to, as far as this machine has them.
fn referred(copyright: &str) -> BTreeSet<&str> {
    let after = format!("{TEXTS}/");
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-.+".contains(letter);
    let names = copyright.split(after.as_str()).skip(1).map(|rest| {
        let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
        rest[..end].trim_end_matches('.')
    });
    names.filter(|name| !name.is_empty() && Path::new(TEXTS).join(name).is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::Component;
    use crate::tree::Blob;

    fn part(kind: Kind, name: &str, licence: Option<&str>, texts: &[(&str, &str)]) -> Licensed {
        let texts = texts
            .iter()
            .map(|(name, text)| (name.to_string(), Blob::Bytes(text.as_bytes().to_vec())));
        Licensed {
            kind,
            component: Component {
                name: name.to_owned(),
                version: "1".to_owned(),
                purl: String::new(),
                licence: licence.map(str::to_owned),
                sha256: None,
            },
            texts: texts.collect(),
        }
    }

    #[test]
    fn a_text_that_several_parts_have_is_there_once() {
        let copyright = "Format: x\nLicense: GPL-2+\n See /usr/share/common-licenses/GPL-2.\n";
        let parts = [
            part(Kind::Debian, "d", None, &[("copyright", copyright)]),
            part(Kind::Crate, "a", Some("MIT"), &[("LICENSE", "same")]),
            part(Kind::Crate, "b", Some("MIT"), &[("LICENSE-MIT", "same"), ("NOTICE", "own")]),
        ];
        let bytes = zstd::decode_all(pack(&parts).unwrap().as_slice()).unwrap();
        let packed: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(packed["texts"].as_array().unwrap().len(), 4);
        assert_eq!(packed["parts"][0]["license"], "GPL-2+");
        let texts: Vec<&serde_json::Value> =
            packed["parts"][0]["texts"].as_array().unwrap().iter().map(|text| &text[0]).collect();
        assert_eq!(texts, ["GPL-2", "copyright"]);
        assert_eq!(packed["parts"][1]["texts"][0][1], packed["parts"][2]["texts"][0][1]);
        assert_eq!(packed["parts"][2]["kind"], "crate");
    }

    #[test]
    fn what_debian_declares_is_listed_once_and_sorted() {
        let text = "Format: https://x\nFiles: *\nLicense: MIT\n\nFiles: b\nLicense: GPL-2+\n\n\
                    License: MIT\n text\n";
        assert_eq!(declared(text), "GPL-2+, MIT");
        assert_eq!(declared("This is free software.\nLicense: any\n"), ONLY_TEXT);
    }

    #[test]
    fn names_of_common_licences_end_before_their_sentence_does() {
        let text = "see /usr/share/common-licenses/GPL-2, or\n\
                    `/usr/share/common-licenses/LGPL-2.1'.\n\
                    /usr/share/common-licenses/NONE /usr/share/common-licenses/GPL-3.";
        let found: Vec<&str> = referred(text).into_iter().collect();
        assert_eq!(found, ["GPL-2", "GPL-3", "LGPL-2.1"]);
    }
}
