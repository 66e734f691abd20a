//! The secrets of this machine: values of secret keys, and free text with its words, of every
//! source of the configuration, also where another source has overridden it. They are found in a
//! text as they are, and as JSON, YAML and Rust escape them.

use super::line::login;
use super::names::{HIDDEN, has_secret, is_free};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use corral_config::model::WriteFile;
use corral_config::schema::is_secret;
use corral_config::yaml::Kind;
use corral_config::{Layer, Source, cmdline};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// Bytes of the shortest secret. Shorter ones are parts of ordinary words: only keys hide them.
const SHORTEST: usize = 4;
/// From this length on, a word of free text is also found within a longer word.
const LONG: usize = 8;
/// Words of scripts and settings that are in every log.
const PLAIN: [&str; 34] = [
    "/bin/bash",
    "/bin/sh",
    "/dev/null",
    "bash",
    "break",
    "console",
    "docker",
    "done",
    "echo",
    "elif",
    "else",
    "esac",
    "eval",
    "exec",
    "exit",
    "export",
    "false",
    "grep",
    "http",
    "https",
    "kernel",
    "local",
    "network",
    "none",
    "null",
    "return",
    "sleep",
    "sudo",
    "system",
    "test",
    "then",
    "true",
    "wait",
    "while",
];

/// Texts to hide, and whether they are also found within a longer word.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    all: BTreeMap<String, bool>,
}

impl Secrets {
    /// What one source says, also where it is not accepted.
    pub(super) fn add_layer(&mut self, layer: &Layer) {
        if layer.source != Source::Defaults {
            self.add_tree(&layer.value, &mut Vec::new(), false);
            self.add_tree(&layer.tree.to_value(), &mut Vec::new(), false);
        }
    }

    /// A file of the configuration. One that is no mapping has any secret.
    pub(super) fn add_document(&mut self, bytes: &[u8]) {
        let layer = Layer::parse_bytes(Source::File(String::new()), bytes);
        if matches!(layer.tree.kind, Kind::Mapping(_)) {
            return self.add_layer(&layer);
        }
        for line in String::from_utf8_lossy(bytes).lines().map(str::trim) {
            self.add(line, true);
            let value = line.split_once([':', '=']).map_or(line, |(_, value)| value);
            self.add(value.trim().trim_matches(['"', '\'']), true);
        }
    }

    /// Every parameter by itself: a later one may have overridden it.
    pub(super) fn add_command_line(&mut self, text: &str) {
        for word in cmdline::words(text) {
            self.add_layer(&Layer::from_command_line(&format!("\"{word}\"")));
        }
    }

    fn add_tree(&mut self, value: &Value, path: &mut Vec<String>, is_in_free: bool) {
        // Ours, such as `io.rancher.os.scope: system`.
        if path.last().is_some_and(|key| key.starts_with("io.rancher.os.")) {
            return;
        }
        let is_in_free = is_in_free || is_free(path, value);
        match value {
            Value::Object(map) => {
                self.add_decoded_file(value);
                for (key, value) in map {
                    self.add_parts(key);
                    path.push(key.clone());
                    self.add_tree(value, path, is_in_free);
                    path.pop();
                }
            }
            Value::Array(items) => {
                path.push("[]".to_owned());
                items.iter().for_each(|item| self.add_tree(item, path, is_in_free));
                path.pop();
            }
            Value::String(text) => self.add_text(text, path, is_in_free),
            Value::Number(number) => self.add_text(&number.to_string(), path, is_in_free),
            Value::Bool(_) | Value::Null => {}
        }
    }

    fn add_text(&mut self, text: &str, path: &[String], is_in_free: bool) {
        // The element of a list has the name of the list.
        let key = path.iter().rev().find(|part| *part != "[]").map_or("", String::as_str);
        if is_secret(path) || has_secret(key) {
            self.add_secret(text);
        } else if is_in_free {
            self.add_free(text);
        }
        let key = key.to_lowercase();
        if key.ends_with("_proxy") && key != "no_proxy" {
            let (address, _) = text.rsplit_once('@').unwrap_or_default();
            self.add_login(address.split_once("://").map_or(address, |(_, login)| login));
        }
        self.add_parts(text);
    }

    /// `content` of `write_files` as it will be written.
    fn add_decoded_file(&mut self, value: &Value) {
        if !value.get("encoding").is_some_and(|encoding| encoding != "") {
            return;
        }
        let file = serde_json::from_value::<WriteFile>(value.clone()).ok();
        if let Some(bytes) = file.and_then(|file| file.bytes().ok()) {
            self.add_free(&String::from_utf8_lossy(&bytes));
        }
    }

    /// Each line, and the password of `user:password` in base64.
    fn add_secret(&mut self, text: &str) {
        for line in lines(text) {
            self.add(line, true);
            if let Some(account) = decoded(line) {
                self.add_login(&account);
            }
        }
    }

    /// Each line, the value of `NAME=value`, each word, and each part of a word.
    fn add_free(&mut self, text: &str) {
        for line in lines(text).filter(|line| !line.starts_with("io.rancher.os.")) {
            self.add_word(line);
            self.add_word(line.split_once('=').map_or("", |(_, value)| value.trim()));
            for word in line.split_whitespace() {
                self.add_word(word);
                // `-pWORD`
                self.add_word(word.strip_prefix('-').and_then(|flag| flag.get(1..)).unwrap_or(""));
                word.split(|letter: char| "\"'`=,;|&()<>[]{}:@".contains(letter))
                    .for_each(|part| self.add_word(part));
                if let Some(account) = decoded(word.trim_matches(['"', '\''])) {
                    self.add_login(&account);
                }
            }
        }
    }

    /// What any text may have: a login of a URL, and `password=value`.
    fn add_parts(&mut self, text: &str) {
        for token in text.split(|letter: char| letter.is_whitespace() || letter == '"') {
            if let Some(range) = login(token) {
                self.add_login(token.get(range).unwrap_or_default());
            }
            for part in token.split([',', ';', '&', '?']) {
                if let Some((_, value)) = part.split_once('=').filter(|(name, _)| has_secret(name))
                {
                    self.add(value, true);
                }
            }
        }
    }

    fn add_login(&mut self, login: &str) {
        self.add(login, true);
        self.add(login.split_once(':').map_or("", |(_, password)| password), true);
    }

    fn add_word(&mut self, word: &str) {
        if !PLAIN.contains(&word) {
            self.add(word, word.len() >= LONG);
        }
    }

    fn add(&mut self, text: &str, is_anywhere: bool) {
        if text.len() >= SHORTEST && text != HIDDEN {
            *self.all.entry(text.to_owned()).or_default() |= is_anywhere;
        }
    }
}

/// Without the first and last line of a PEM file, which are no secret.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.starts_with("-----"))
}

/// `user:password`, from base64.
fn decoded(text: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    text.contains(':').then_some(text)
}

/// A text as it is, and as it may be printed.
fn forms(text: &str) -> Vec<String> {
    let json = |text: &str| {
        let quoted = Value::from(text).to_string();
        quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
    };
    let once = json(text);
    // As Go writes JSON.
    let of_go = once.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let debug = format!("{text:?}");
    let debug = debug.get(1..debug.len() - 1).unwrap_or_default().to_owned();
    vec![text.to_owned(), json(&once), once, of_go, debug, text.replace('\'', "''")]
}

/// Finds all of them in one pass over a text.
#[derive(Debug)]
pub(super) struct Finder {
    /// By their first bytes, the longest first.
    by_start: HashMap<[u8; SHORTEST], Vec<(String, bool)>>,
}

impl Finder {
    pub(super) fn new(secrets: &Secrets) -> Finder {
        let mut all: BTreeMap<String, bool> = BTreeMap::new();
        for (text, is_anywhere) in &secrets.all {
            for form in forms(text) {
                *all.entry(form).or_default() |= is_anywhere;
            }
        }
        let mut by_start: HashMap<_, Vec<(String, bool)>> = HashMap::new();
        for (text, is_anywhere) in all {
            if let Some(start) = text.as_bytes().first_chunk::<SHORTEST>() {
                by_start.entry(*start).or_default().push((text, is_anywhere));
            }
        }
        for all in by_start.values_mut() {
            all.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        }
        Finder { by_start }
    }

    /// The text without them. Where they overlap, all of them are hidden.
    pub(super) fn hide(&self, text: &str) -> String {
        let (mut result, mut shown, mut hidden) = (String::new(), 0, None::<usize>);
        for at in 0..text.len() {
            if hidden == Some(at) {
                (shown, hidden) = (at, None);
            }
            let Some(end) = self.longest(text, at).map(|length| at + length) else { continue };
            if hidden.is_none() {
                result.push_str(text.get(shown..at).unwrap_or_default());
                result.push_str(HIDDEN);
            }
            hidden = hidden.max(Some(end));
        }
        result.push_str(text.get(hidden.unwrap_or(shown)..).unwrap_or_default());
        result
    }

    /// Bytes of the longest that begins here.
    fn longest(&self, text: &str, at: usize) -> Option<usize> {
        let bytes = text.as_bytes();
        let rest = bytes.get(at..)?;
        let all = self.by_start.get(rest.first_chunk::<SHORTEST>()?)?;
        let is_letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let is_word = |length: usize| {
            !is_letter(at.checked_sub(1).and_then(|before| bytes.get(before)))
                && !is_letter(rest.get(length))
        };
        let found = all.iter().find(|(secret, is_anywhere)| {
            rest.starts_with(secret.as_bytes()) && (*is_anywhere || is_word(secret.len()))
        });
        found.map(|(secret, _)| secret.len())
    }
}
