//! `ros licenses`: which parts the system has, under which licences, and their texts. `xtask` packs
//! them into the system image: each text once, for all parts that have it.

use anyhow::{Context, Result, bail};
use corral_terminal::output::{Output, table};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Write};

/// `xtask/src/licences/packed.rs` writes it.
const FILE: &str = "/usr/share/ros/licenses/licenses.json.zst";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print the texts of the parts with this name
    name: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// The file: parts refer to texts by their places in the list.
#[derive(Debug, Deserialize)]
struct Packed {
    parts: Vec<Part>,
    texts: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Part {
    name: String,
    version: String,
    /// `corral`, `debian`, `docker`, `linked` or `crate`.
    kind: String,
    /// An SPDX expression; of Debian's packages, the licences that its `copyright` file names.
    license: String,
    /// Names, and places in the list of texts.
    texts: Vec<(String, usize)>,
}

/// A part as it is shown.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    version: &'a str,
    kind: &'a str,
    license: &'a str,
    /// Only of parts that are requested by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    texts: Vec<Text<'a>>,
}

#[derive(Debug, Serialize)]
struct Text<'a> {
    name: &'a str,
    text: &'a str,
}

/// Prints the list, or the texts of some parts.
pub(crate) fn run(options: &Options) -> Result<()> {
    let file = File::open(FILE).with_context(|| format!("opening {FILE}"))?;
    let packed = parse(file).with_context(|| format!("reading {FILE}"))?;
    let rows = packed.rows(options.name.as_deref())?;
    let mut text = String::new();
    options.output.print(&rows, |rows| text = shown(rows, options.name.is_some()))?;
    std::io::stdout().lock().write_all(text.as_bytes()).context("printing")
}

fn parse(packed: impl Read) -> Result<Packed> {
    let decoder = zstd::Decoder::new(packed).context("unpacking it")?;
    serde_json::from_reader(decoder).context("it is damaged")
}

impl Packed {
    /// All parts without their texts, or those of this name with their texts.
    fn rows(&self, name: Option<&str>) -> Result<Vec<Row<'_>>> {
        let is_wanted = |part: &&Part| name.is_none_or(|name| part.name == name);
        let parts = self.parts.iter().filter(is_wanted);
        let rows = parts.map(|part| self.row(part, name.is_some())).collect::<Result<Vec<_>>>()?;
        match name {
            Some(name) if rows.is_empty() => {
                bail!("no part of the system is named {name}; `ros licenses` lists them")
            }
            _ => Ok(rows),
        }
    }

    fn row<'a>(&'a self, part: &'a Part, with_texts: bool) -> Result<Row<'a>> {
        let text = |(name, place): &'a (String, usize)| {
            let text = self.texts.get(*place).context("it lacks a text")?;
            Ok(Text { name, text })
        };
        let texts = part.texts.iter().filter(|_| with_texts).map(text);
        Ok(Row {
            name: &part.name,
            version: &part.version,
            kind: &part.kind,
            license: &part.license,
            texts: texts.collect::<Result<_>>()?,
        })
    }
}

fn shown(rows: &[Row<'_>], with_texts: bool) -> String {
    if !with_texts {
        let rows: Vec<[String; 4]> = rows
            .iter()
            .map(|row| [row.name, row.version, row.kind, row.license].map(str::to_owned))
            .collect();
        let titles = ["NAME", "VERSION", "KIND", "LICENSE"].map(str::to_owned);
        return table(&[vec![titles], rows].concat());
    }
    rows.iter().fold(String::new(), |mut shown, row| {
        let Row { name, version, kind, license, texts } = row;
        shown.push_str(&format!("{name} {version} ({kind}): {license}\n"));
        for Text { name, text } in texts {
            shown.push_str(&format!("\n---- {name} ----\n\n{}\n", text.trim_end()));
        }
        shown.push('\n');
        shown
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(json: &str) -> Result<Packed> {
        parse(zstd::encode_all(json.as_bytes(), 1)?.as_slice())
    }

    const PARTS: &str = r#"{"parts": [
        {"name": "a", "version": "1", "kind": "crate", "license": "MIT",
         "texts": [["LICENSE", 1]]},
        {"name": "a", "version": "2", "kind": "crate", "license": "MIT",
         "texts": [["LICENSE", 1]]},
        {"name": "busybox", "version": "1:1.37", "kind": "debian", "license": "GPL-2",
         "texts": [["GPL-2", 0], ["copyright", 2]]}
    ], "texts": ["the GPL\n", "same\n", "busybox is free\n"]}"#;

    #[test]
    fn the_list_has_a_line_for_each_part() {
        let packed = packed(PARTS).unwrap();
        assert_eq!(
            shown(&packed.rows(None).unwrap(), false),
            "NAME     VERSION  KIND    LICENSE\n\
             a        1        crate   MIT\n\
             a        2        crate   MIT\n\
             busybox  1:1.37   debian  GPL-2\n"
        );
    }

    #[test]
    fn texts_are_those_of_the_name_and_no_others() {
        let packed = packed(PARTS).unwrap();
        let text = shown(&packed.rows(Some("busybox")).unwrap(), true);
        assert_eq!(
            text,
            "busybox 1:1.37 (debian): GPL-2\n\n---- GPL-2 ----\n\nthe GPL\n\n\
             ---- copyright ----\n\nbusybox is free\n\n"
        );
        assert_eq!(packed.rows(Some("a")).unwrap().len(), 2);
        let error = packed.rows(Some("bash")).unwrap_err().to_string();
        assert!(error.contains("`ros licenses` lists them"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let cut = PARTS.replace("\"busybox is free", "\"").replace(", \"same\\n\"", "");
        assert!(packed(&cut).unwrap().rows(Some("busybox")).is_err());
        assert!(packed("{}").is_err());
        assert!(parse(&b"no zstd"[..]).is_err());
    }
}
