//! Public keys for a new machine, or for this one by `ros keys`: those that are named, and those of
//! the running system.

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use corral_cloud::http::Http;
use corral_config::names::shown_url;
use corral_config::ssh_key::{SshKey, parse_list};
use corral_resolve::effective::load_config;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Files with keys that were added by hand.
const FILES: [&str; 2] =
    ["/home/rancher/.ssh/authorized_keys", "/home/docker/.ssh/authorized_keys"];
/// Origin of keys that open the running system.
pub(super) const THIS_SYSTEM: &str = "this system";
/// Length limit of a user name on GitHub.
const LONGEST_NAME: usize = 39;

/// A key and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub key: SshKey,
    pub(crate) origin: String,
}

/// Keys by one argument of `--ssh-key` or of `ros keys add`: a line, a file, an https URL,
/// `gh:NAME`.
pub fn named(argument: &str) -> Result<Vec<Key>> {
    let argument = argument.trim();
    if let Some(name) = argument.strip_prefix("gh:") {
        return fetch(&github_url(name)?, argument);
    }
    if argument.starts_with("https://") {
        return fetch(argument, &shown_url(argument));
    }
    if argument.starts_with("http://") {
        bail!(
            "{}: keys are fetched by https:// only; download it, and name the file",
            shown_url(argument)
        );
    }
    match SshKey::parse(argument) {
        Ok(key) => Ok(vec![Key { key, origin: "--ssh-key".to_owned() }]),
        Err(_) if Path::new(argument).exists() => {
            let text =
                fs::read_to_string(argument).with_context(|| format!("reading {argument}"))?;
            listed(&text, argument)
        }
        // A path rarely has blanks in it, and a key always has.
        Err(why) if argument.contains([' ', '\t']) => bail!("{why}"),
        Err(_) => bail!("{argument}: not a key, an existing file, https://… or gh:NAME"),
    }
}

/// GitHub serves the keys of a user as a page.
fn github_url(name: &str) -> Result<String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty()
        || name.len() > LONGEST_NAME
        || name.starts_with('-')
        || !name.bytes().all(good)
    {
        bail!("gh:{name}: not the name of a GitHub user");
    }
    Ok(format!("https://github.com/{name}.keys"))
}

fn fetch(url: &str, origin: &str) -> Result<Vec<Key>> {
    println!("fetching {}", shown_url(url));
    let http = Http::secure(Instant::now() + TIMEOUT)?.brief();
    let text = http.get_text(url, &[]).with_context(|| origin.to_owned())?;
    listed(&text.with_context(|| format!("{origin}: {}: not found", shown_url(url)))?, origin)
}

/// The keys of a list. Lines that sshd would reject are reported; it is an error if no key is left.
fn listed(text: &str, origin: &str) -> Result<Vec<Key>> {
    let mut keys = Vec::new();
    let mut problems = Vec::new();
    for line in parse_list(text) {
        match line {
            Ok(key) => keys.push(Key { key: with_comment(key, origin), origin: origin.to_owned() }),
            Err(why) => problems.push(why),
        }
    }
    if keys.is_empty() {
        let why = problems.first().map_or("it is empty", String::as_str);
        bail!("{origin}: no key found: {why}");
    }
    problems.iter().for_each(|why| println!("WARNING: {origin}: {why}; the line is skipped"));
    Ok(keys)
}

/// Keys from GitHub have no comment. One is added, so that the file shows later whose they are.
fn with_comment(mut key: SshKey, origin: &str) -> SshKey {
    if key.comment.is_empty() && origin.starts_with("gh:") {
        key.line = format!("{} {origin}", key.line);
        origin.clone_into(&mut key.comment);
    }
    key
}

/// Keys that open the running system: those of its configuration, and those added by hand.
pub(super) fn of_this_system() -> Result<Vec<Key>> {
    let mut lines = load_config()?.admin_keys();
    for file in FILES {
        let text = fs::read_to_string(file).unwrap_or_default();
        lines.extend(text.lines().map(str::to_owned));
    }
    let found = lines.iter().filter_map(|line| SshKey::parse(line).ok());
    Ok(unique(found.map(|key| Key { key, origin: THIS_SYSTEM.to_owned() })))
}

/// Removes duplicates: keeps the first key of each blob.
pub fn unique(keys: impl IntoIterator<Item = Key>) -> Vec<Key> {
    let mut result: Vec<Key> = Vec::new();
    for key in keys {
        if !result.iter().any(|known| known.key.blob == key.key.blob) {
            result.push(key);
        }
    }
    result
}

/// As `ssh-keygen -l` shows a key.
pub fn fingerprint(key: &SshKey) -> String {
    let digest = STANDARD_NO_PAD.encode(Sha256::digest(&key.blob));
    let comment = if key.comment.is_empty() { "no comment" } else { &key.comment };
    format!("{} SHA256:{digest} {comment} ({})", key.bits, key.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsyjdVi98mjmXXXl0Gwtdy5VQlPfWMr1rl626GfrojO";

    #[test]
    fn a_fingerprint_is_that_of_ssh_keygen() {
        let shown = |line: &str| fingerprint(&SshKey::parse(line).unwrap());
        assert_eq!(
            shown(&format!("{LINE} me@desk top")),
            "256 SHA256:uWUwzekhEhw1N1LAJbKAh4l0S9hAwIzfU0Nd/B0G29c me@desk top (ED25519)"
        );
        assert!(shown(LINE).ends_with(" no comment (ED25519)"));
    }

    #[test]
    fn a_name_on_github_is_a_page_of_keys() {
        assert_eq!(github_url("octo-cat").unwrap(), "https://github.com/octo-cat.keys");
        let long = "a".repeat(LONGEST_NAME + 1);
        for bad in ["", "-a", "a/b", "../a", "a.b", "a b", "a?x", "ä", &long] {
            assert!(github_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_argument_is_a_key_or_a_file_of_keys() {
        assert_eq!(named(LINE).unwrap()[0].origin, "--ssh-key");
        let file = std::env::temp_dir().join(format!("corral-keys-{}", std::process::id()));
        fs::write(&file, format!("# mine\n{LINE} a\nnonsense here\n{LINE} b\n")).unwrap();
        let path = file.to_string_lossy().into_owned();
        let found = named(&path).unwrap();
        assert_eq!((found.len(), found[0].origin.as_str()), (2, path.as_str()));
        assert_eq!(unique(found)[0].key.comment, "a");
        fs::write(&file, "nothing\n").unwrap();
        for (argument, reason) in [
            (path.as_str(), "line 1: \"nothing\" is not a key type"),
            ("ssh-ed25519 AAAA", "damaged"),
            ("/no/such/file", "not a key, an existing file"),
            ("http://host/keys", "https:// only"),
            ("gh:", "not the name of a GitHub user"),
        ] {
            let why = format!("{:#}", named(argument).unwrap_err());
            assert!(why.contains(reason), "{argument}: {why}");
        }
        fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_key_of_github_says_whose_it_is() {
        let found = listed(&format!("{LINE}\n"), "gh:octocat").unwrap();
        assert_eq!(found[0].key.line, format!("{LINE} gh:octocat"));
        assert!(listed("\n", "gh:octocat").unwrap_err().to_string().contains("it is empty"));
    }
}
