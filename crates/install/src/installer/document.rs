//! The document of the new machine (`-c`): a cloud-config, or any other form of user data. It is
//! checked before the disk is written, and copied to the new machine byte for byte.

use crate::release::drivers;
use anyhow::{Context, Result, bail};
use corral_cloud::http::Http;
use corral_config::names::shown_url;
use corral_config::user_data::{self, Part};
use corral_config::{Layer, Source};
use corral_config::{Problem, merge};
use std::fs;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(60);

/// A document without errors.
#[derive(Debug)]
pub(super) struct Document {
    /// The file, or the URL without secrets.
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) form: Form,
    /// Its cloud-configs, merged.
    pub(super) layer: Layer,
    /// URLs of more user data, which the new machine fetches.
    pub(super) includes: Vec<String>,
}

/// How the new machine reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As a file of the configuration.
    CloudConfig,
    /// Split by cloud-init: a script, compose, includes, gzip, several parts.
    UserData,
}

impl Document {
    /// Reads a document from a file or a URL and reports what is wrong with it.
    pub(super) fn load(from: &str) -> Result<Document> {
        let (name, bytes) = if from.starts_with("http://") || from.starts_with("https://") {
            let name = shown_url(from);
            let http = Http::new(Instant::now() + TIMEOUT)?;
            let bytes = http
                .get(from)?
                .with_context(|| format!("{name}: not found; check the address of -c"))?;
            (name, bytes)
        } else {
            (from.to_owned(), fs::read(from).with_context(|| format!("reading {from}"))?)
        };
        let document = Document::parse(name, bytes)?;
        document.layer.problems.iter().for_each(|problem| eprintln!("{problem}"));
        if document.layer.has_errors() {
            bail!(
                "{} has errors; nothing was changed; repair the lines above and install again",
                document.name
            );
        }
        Ok(document)
    }

    pub(super) fn parse(name: String, bytes: Vec<u8>) -> Result<Document> {
        let source = || Source::File(name.clone());
        let (parts, problems) = user_data::split(&bytes);
        if let Some(problem) = problems.first() {
            bail!("{name}: {problem}; nothing was changed");
        }
        let is_plain = matches!(parts.as_slice(), [] | [Part::CloudConfig(_) | Part::Unknown(_)]);
        if is_plain && parts.first() == user_data::classify(&bytes).as_ref() {
            let layer = Layer::parse_bytes(source(), &bytes);
            return Ok(Document {
                name,
                bytes,
                form: Form::CloudConfig,
                layer,
                includes: Vec::new(),
            });
        }
        let mut layer = Layer::empty(source());
        let mut includes = Vec::new();
        for part in parts {
            match part {
                Part::CloudConfig(text) => add(&mut layer, Layer::parse_bytes(source(), &text)),
                Part::Include(urls) => includes.extend(urls),
                // They run on the new machine; who can log in afterwards is not known.
                Part::Compose(_) | Part::Script(_) => {}
                Part::Unknown(start) => bail!(
                    "{name}: a part begins with {start:?}; expected #cloud-config, #compose, \
                     #include or #!; nothing was changed"
                ),
            }
        }
        Ok(Document { name, bytes, form: Form::UserData, layer, includes })
    }

    /// Does it enable `kernel-extras`?
    pub(super) fn enables_extras(&self) -> bool {
        drivers::are_enabled(&corral_config::resolve(std::slice::from_ref(&self.layer)))
    }

    /// Unknown keys: they have no effect.
    pub(super) fn unknown_keys(&self) -> impl Iterator<Item = &Problem> {
        self.layer.problems.iter().filter(|problem| problem.message.starts_with("unknown key"))
    }
}

fn add(layer: &mut Layer, part: Layer) {
    merge::merge_into(&mut layer.value, &part.value);
    layer.problems.extend(part.problems);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(text: &str) -> Result<Document> {
        Document::parse("my.yml".to_owned(), text.as_bytes().to_vec())
    }

    #[test]
    fn the_form_decides_who_reads_it() {
        for (text, form, hostname) in [
            ("#cloud-config\nhostname: a\n", Form::CloudConfig, json!("a")),
            ("hostname: a\n", Form::CloudConfig, json!("a")),
            ("", Form::CloudConfig, json!(null)),
            ("#!/bin/sh\nhostname: a\n", Form::UserData, json!(null)),
            ("#compose\nweb: {image: nginx}\n", Form::UserData, json!(null)),
            (
                "Content-Type: multipart/mixed; boundary=\"X\"\n\n\
                 --X\nContent-Type: text/cloud-config\n\nhostname: a\n\
                 --X\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n--X--\n",
                Form::UserData,
                json!("a"),
            ),
        ] {
            let document = parse(text).unwrap_or_else(|error| panic!("{text}: {error:#}"));
            assert_eq!(document.form, form, "{text}");
            assert_eq!(
                document.layer.value.get("hostname").cloned().unwrap_or_default(),
                hostname,
                "{text}"
            );
        }
        assert_eq!(parse("#include\nhttps://host/more\n").unwrap().includes, ["https://host/more"]);
    }

    #[test]
    fn a_part_that_is_nothing_is_an_error_and_an_unknown_key_is_remembered() {
        let mime = "Content-Type: multipart/mixed; boundary=\"X\"\n\n--X\n\na letter\n--X--\n";
        assert!(parse(mime).unwrap_err().to_string().contains("a letter"));
        let document = parse("#cloud-config\nssh_authorised_keys: [a]\n").unwrap();
        let unknown: Vec<String> = document.unknown_keys().map(ToString::to_string).collect();
        assert_eq!(
            unknown,
            ["my.yml:2:22: ssh_authorised_keys: warning: unknown key; did you mean \
                 ssh_authorized_keys?"]
        );
    }
}
