//! Text without secrets: the values of this machine's configuration that are secret, and what looks
//! like a secret wherever it comes from. What is hidden without need does no harm.

use corral_config::names::is_password_hash;
use corral_config::schema::is_secret;
use serde_json::Value;
use std::collections::BTreeSet;

const HIDDEN: &str = "(hidden)";
/// Shorter values are parts of ordinary words: only their keys hide them.
const SHORTEST: usize = 4;
/// A key whose name has one of these has a secret as its value.
const WORDS: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "psk",
    "apikey",
    "api_key",
    "api-key",
    "authorization",
    "credential",
];
/// The same, for keys that have exactly this name.
const NAMES: [&str; 3] = ["auth", "pass", "pwd"];
/// Keys of the configuration whose values the owner wrote freely: they may have any secret in them.
const FREE: [&str; 7] =
    ["environment", "content", "runcmd", "bootcmd", "pre_cmds", "post_cmds", "labels"];

/// Knows the secrets of this machine.
#[derive(Debug)]
pub(super) struct Redactor {
    /// The longest first: one may be a part of another.
    secrets: Vec<String>,
}

impl Redactor {
    /// With the secrets of a configuration: of keys that are secret, and of texts that are free.
    pub(super) fn new(config: &Value) -> Redactor {
        let mut secrets = BTreeSet::new();
        collect(config, &mut Vec::new(), false, &mut secrets);
        let mut secrets: Vec<String> = secrets.into_iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Redactor { secrets }
    }

    /// The same text without them.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), HIDDEN);
            }
        }
        let mut in_key = false;
        let lines = text.lines().map(|line| format!("{}\n", redact_line(line, &mut in_key)));
        lines.collect()
    }
}

/// Every line of each secret, and the secret parts of structured ones.
fn collect(value: &Value, path: &mut Vec<String>, free: bool, secrets: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                path.push(key.clone());
                let is_free = FREE.contains(&key.as_str());
                collect(value, path, free || is_free, secrets);
                path.pop();
            }
        }
        Value::Array(items) => {
            path.push("[]".to_owned());
            items.iter().for_each(|item| collect(item, path, free, secrets));
            path.pop();
        }
        Value::String(text) if is_secret(path) => add(text, SHORTEST, secrets),
        // Short lines of free text are words such as `fi`, and `true`.
        Value::String(text) if free => add(text, 2 * SHORTEST, secrets),
        _ => {}
    }
}

fn add(text: &str, shortest: usize, secrets: &mut BTreeSet<String>) {
    let lines = text.lines().map(str::trim).filter(|line| line.len() >= shortest);
    for line in lines {
        secrets.insert(line.to_owned());
        // `NAME=value` of an environment, and `user:password` of a registry in base64.
        let parts = line.split_once('=').map(|(_, value)| value.to_owned());
        secrets
            .extend(parts.into_iter().chain(decoded(line)).filter(|part| part.len() >= shortest));
    }
}

/// The password of `user:password` in base64.
fn decoded(text: &str) -> Option<String> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

/// A line without what looks like a secret. `in_key`: it is within a private key.
fn redact_line(line: &str, in_key: &mut bool) -> String {
    let begin = line.find("-----BEGIN ").filter(|at| line[*at..].contains("PRIVATE KEY-----"));
    let end = line.find("-----END ").filter(|at| line[*at..].contains("PRIVATE KEY-----"));
    let was_in_key = *in_key;
    *in_key = (was_in_key || begin.is_some()) && end.is_none();
    if was_in_key {
        return HIDDEN.to_owned();
    }
    if let Some(begin) = begin {
        return format!("{}{HIDDEN}", &line[..begin]);
    }
    let line = hide_logins(line);
    let line = hide_settings(&line);
    let line = hide_values(&line);
    hide_hashes(&line)
}

/// `ros config set rancher.password x`, as sudo logs it: the value is hidden, also an earlier one.
fn hide_settings(line: &str) -> String {
    const COMMAND: &str = "config set ";
    let Some(start) = line.find(COMMAND).map(|at| at + COMMAND.len()) else {
        return line.to_owned();
    };
    let words = &line[start..];
    let mut keys = words.split_whitespace().skip_while(|word| word.starts_with('-'));
    let is_hidden = |key: &str| is_secret(&corral_config::path::parse(key)) || has_secret(key);
    match keys.find(|word| word.contains('.')).filter(|key| is_hidden(key)) {
        Some(key) => format!("{}{key} {HIDDEN}", &line[..start]),
        None => line.to_owned(),
    }
}

/// Has a key of that name a secret as its value?
fn has_secret(name: &str) -> bool {
    let name = name.rsplit('.').next().unwrap_or_default().to_lowercase();
    NAMES.contains(&name.as_str()) || WORDS.iter().any(|word| name.contains(word))
}

/// `scheme://user:password@host` → `scheme://(hidden)@host`
fn hide_logins(line: &str) -> String {
    let mut parts = line.split("://");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let ends = |letter: char| letter.is_whitespace() || "/\"'<>,)".contains(letter);
        let authority = &part[..part.find(ends).unwrap_or(part.len())];
        let rest = match authority.rfind('@') {
            Some(at) => format!("{HIDDEN}{}", &part[at..]),
            None => part.to_owned(),
        };
        text.push_str(&format!("://{rest}"));
    }
    text
}

/// `password=x` → `password=(hidden)`; after a colon the rest of the line is hidden.
fn hide_values(line: &str) -> String {
    let (mut text, mut rest) = (String::new(), line);
    while let Some(at) = rest.find(['=', ':']) {
        let (before, after) = rest.split_at(at + 1);
        text.push_str(before);
        rest = after;
        let name = before[..at].trim_end_matches([' ', '"', '\'', '\\']);
        let starts = |letter: char| !(letter.is_ascii_alphanumeric() || "_-".contains(letter));
        let name = name.rsplit(starts).next().unwrap_or_default();
        if !has_secret(name) || rest.trim().is_empty() {
            continue;
        }
        if before.ends_with(':') {
            // `"a": {` and `a: |` have no value on this line.
            let has_value = !["{", "[", "|", ">", "{}", "[]"].contains(&rest.trim());
            text.push_str(if has_value { " (hidden)" } else { rest });
            return text;
        }
        text.push_str(HIDDEN);
        rest = after_value(rest.trim_start());
    }
    text + rest
}

/// What follows a value, which ends at a blank, or with its quote.
fn after_value(text: &str) -> &str {
    let quote = text.chars().next().filter(|letter| "\"'".contains(*letter));
    let end = match quote {
        Some(quote) => text[1..].find(quote).map(|at| at + 2),
        None => text.find(|letter: char| letter.is_whitespace() || "\"',;&".contains(letter)),
    };
    &text[end.unwrap_or(text.len())..]
}

/// Hashes of passwords, as in shadow(5).
fn hide_hashes(line: &str) -> String {
    let is_end = |letter: char| letter.is_whitespace() || "\"',:[]".contains(letter);
    let mut text = String::new();
    for part in line.split_inclusive(is_end) {
        let word = part.trim_end_matches(is_end);
        let hidden = if is_password_hash(word) { HIDDEN } else { word };
        text.push_str(hidden);
        text.push_str(&part[word.len()..]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_of_the_configuration_are_in_no_text() {
        let redactor = Redactor::new(&json!({
            "hostname": "web-1",
            "write_files": [{"path": "/etc/app", "content": "first line\nMY_KEY = abcdefgh\n"}],
            "users": [{"name": "ann", "passwd": "$6$salt$hash"}],
            "rancher": {
                "password": "hunter22",
                "environment": {"DB": "db-pass-word"},
                "registry_auths": {"r.example": {"auth": "am9lOnJlZ2lzdHJ5cGFzcw=="}},
                "ssh": {"keys": {"rsa": "line-one-of-key\nline-two-of-key\n"}},
                "services": {"web": {"environment": ["TOKEN_X=service-token"]}},
            },
        }));
        let text = redactor.redact(
            "web-1 hunter22 registrypass am9lOnJlZ2lzdHJ5cGFzcw== line-two-of-key\n\
             MY_KEY = abcdefgh db-pass-word service-token /etc/app ann\n",
        );
        for secret in
            ["hunter22", "registrypass", "am9l", "line-two", "abcdefgh", "db-pass", "service-token"]
        {
            assert!(!text.contains(secret), "{secret} is in:\n{text}");
        }
        assert!(text.contains("web-1") && text.contains("/etc/app ann"), "{text}");
    }

    #[test]
    fn what_looks_like_a_secret_is_hidden() {
        let all = [
            ("a rancher.password=hush console=ttyS0", "a rancher.password=(hidden) console=ttyS0"),
            ("a password='two words' b", "a password=(hidden) b"),
            ("WIFI_PSK=hush", "WIFI_PSK=(hidden)"),
            ("psk = hush", "psk =(hidden)"),
            ("  psk: hush now", "  psk: (hidden)"),
            ("\"identity_token\": \"hush\",", "\"identity_token\": (hidden)"),
            ("Authorization: Bearer hush", "Authorization: (hidden)"),
            (
                "GET http://joe:hush@host/a?token=hush&b=1",
                "GET http://(hidden)@host/a?token=(hidden)&b=1",
            ),
            (
                "COMMAND=/usr/bin/ros config set rancher.password hush now",
                "COMMAND=/usr/bin/ros config set rancher.password (hidden)",
            ),
            (
                "ros config set --confirm 2m rancher.ssh.keys.rsa hush",
                "ros config set rancher.ssh.keys.rsa (hidden)",
            ),
            ("ros config set rancher.debug true", "ros config set rancher.debug true"),
            ("root:$6$salt$hush:1", "root:(hidden):1"),
            ("passwords:", "passwords:"),
            (
                "sshd: Failed password for joe from ::1 port 7",
                "sshd: Failed password for joe from ::1 port 7",
            ),
            ("from https://host/path: key=1", "from https://host/path: key=1"),
            ("ssh_authorized_keys: [a]", "ssh_authorized_keys: [a]"),
        ];
        for (line, expected) in all {
            assert_eq!(redact_line(line, &mut false), expected);
        }
    }

    #[test]
    fn private_keys_are_hidden_in_one_line_and_in_many() {
        let redactor = Redactor::new(&Value::Null);
        let pem = "a: |\n  -----BEGIN RSA PRIVATE KEY-----\n  MIIE\n  \
                   -----END RSA PRIVATE KEY-----\nb: 1\n";
        assert_eq!(redactor.redact(pem), "a: |\n  (hidden)\n(hidden)\n(hidden)\nb: 1\n");
        let line =
            "k: \"-----BEGIN PRIVATE KEY-----\\nMIIE\\n-----END PRIVATE KEY-----\\n\"\nb: 1\n";
        assert_eq!(redactor.redact(line), "k: \"(hidden)\nb: 1\n");
        let public = "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n";
        assert_eq!(redactor.redact(public), public);
    }
}
