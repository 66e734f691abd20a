//! A line without what looks like a secret, wherever it comes from. What is hidden without need
//! does no harm.

use super::names::{HIDDEN, has_secret};
use corral_config::names::is_password_hash;
use corral_config::schema::is_secret;
use std::ops::Range;

/// What stands before a command in a log: of sudo, of cron, and of `ros why`.
const COMMANDS: [&str; 5] =
    ["COMMAND=", "(command continued) ", "CMD (", " ENV=", "this one still runs: "];
/// `-p` of iptables has no password.
const PROTOCOLS: [&str; 11] =
    ["ah", "all", "esp", "gre", "icmp", "icmpv6", "ipv6-icmp", "igmp", "sctp", "tcp", "udp"];

/// The line without what looks like a secret.
pub(super) fn redact(line: &str) -> String {
    let line = hide_commands(line);
    let line = hide_settings(&line);
    let line = hide_addresses(&line);
    let line = hide_flags(&line);
    let line = hide_values(&line);
    hide_hashes(&line)
}

/// `COMMAND=/usr/bin/app --key x`, as sudo logs it: of a command only the program is shown.
fn hide_commands(line: &str) -> String {
    let found = COMMANDS.iter().filter_map(|mark| Some((line.find(mark)?, *mark)));
    let Some((at, mark)) = found.min() else { return line.to_owned() };
    let (before, command) = line.split_at(at + mark.len());
    if !["COMMAND=", "CMD ("].contains(&mark) {
        return format!("{before}{HIDDEN}");
    }
    match command.trim_end().split_once(char::is_whitespace) {
        Some((program, _)) => format!("{before}{program} {HIDDEN}"),
        None => line.to_owned(),
    }
}

/// `ros config set rancher.password x`: the value is hidden.
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

/// `scheme://user:password@host/path?query` → `scheme://(hidden)@host/path?…`
fn hide_addresses(line: &str) -> String {
    let is_end = |letter: char| letter.is_whitespace() || letter == '"';
    let mut text = String::new();
    for part in line.split_inclusive(is_end) {
        let token = part.trim_end_matches(is_end);
        text.push_str(&without_query(&without_login(token)));
        text.push_str(&part[token.len()..]);
    }
    text
}

/// Where the user and the password of a URL are; the scheme may be missing. All up to the last `@`
/// is taken, for a password may have any character in it.
pub(super) fn login(token: &str) -> Option<Range<usize>> {
    let is_digest = |at: &usize| token[*at..].starts_with("@sha256:");
    let end = token.match_indices('@').map(|(at, _)| at).rfind(|at| !is_digest(at))?;
    let before = &token[..end];
    let scheme = before.find("://").map(|at| at + 3);
    let start = scheme.filter(|start| !before[..*start].contains('@')).unwrap_or(0);
    (before.contains(':') && start < end).then_some(start..end)
}

fn without_login(token: &str) -> String {
    let Some(Range { start, end }) = login(token) else { return token.to_owned() };
    // An `@` in a query: what follows it is a part of the query.
    let host = if token[start..end].contains(['?', '#']) { "" } else { &token[end..] };
    format!("{}{HIDDEN}{host}", &token[..start])
}

fn without_query(token: &str) -> String {
    let marks: &[char] = if token.contains("://") { &['?', '#'] } else { &['?'] };
    let path = token.find('/').unwrap_or(token.len());
    let query = token[path..].find(marks).map(|at| path + at);
    match query.filter(|at| at + 1 < token.len()) {
        Some(at) => format!("{}?…", &token[..at]),
        None => token.to_owned(),
    }
}

/// The word after `-p`, `-u`, `--password` and their like is hidden, and the rest of `-pWORD`.
fn hide_flags(line: &str) -> String {
    let is_break = |letter: char| letter.is_whitespace() || "\"'`,[]()\\".contains(letter);
    let (mut text, mut rest, mut is_value) = (String::new(), line, false);
    loop {
        let (breaks, after) = rest.split_at(rest.find(|c| !is_break(c)).unwrap_or(rest.len()));
        text.push_str(breaks);
        if after.is_empty() {
            return text;
        }
        let quote = breaks.chars().next_back().filter(|letter| "\"'`".contains(*letter));
        let end = match quote {
            Some(quote) if is_value => after.find(quote),
            _ if is_value => after.find(char::is_whitespace),
            _ => after.find(is_break),
        };
        let (word, next) = after.split_at(end.unwrap_or(after.len()));
        rest = next;
        if is_value && !PROTOCOLS.contains(&word) {
            text.push_str(HIDDEN);
        } else if word.len() > 2 && (word.starts_with("-p") || word.starts_with("-u")) {
            text.push_str(&format!("{}{HIDDEN}", &word[..2]));
        } else {
            text.push_str(word);
        }
        is_value = takes_secret(word);
    }
}

/// Is the next word a secret?
fn takes_secret(word: &str) -> bool {
    let name = word.trim_start_matches('-').to_lowercase();
    let is_named = has_secret(&name) || name.contains("pass") || name.contains("pwd");
    let is_flag = word.starts_with('-') && !word.contains('=');
    let is_user = ["-p", "-u", "--user", "--proxy-user"].contains(&word);
    (is_flag && (is_named || is_user)) || word == "Bearer"
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
        Some(quote) => {
            let is_last = |at: &usize| !text[..*at].ends_with('\\');
            let quotes = text.match_indices(quote).map(|(at, _)| at).skip(1);
            quotes.filter(is_last).map(|at| at + 1).next()
        }
        None => text.find(|letter: char| letter.is_whitespace() || "\"'".contains(letter)),
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

    fn check(all: &[(&str, &str)]) {
        for (line, expected) in all {
            assert_eq!(redact(line), *expected, "{line}");
        }
    }

    #[test]
    fn what_looks_like_a_secret_is_hidden() {
        check(&[
            ("a rancher.password=hush console=ttyS0", "a rancher.password=(hidden) console=ttyS0"),
            ("a password='two words' b", "a password=(hidden) b"),
            (r#"a password="two \" words" b"#, "a password=(hidden) b"),
            ("a password=hush,hush;hush&hush b", "a password=(hidden) b"),
            ("WIFI_PSK=hush", "WIFI_PSK=(hidden)"),
            ("RABBITMQ_DEFAULT_PASS=hush a", "RABBITMQ_DEFAULT_PASS=(hidden) a"),
            ("MYSQL_PWD=hush a", "MYSQL_PWD=(hidden) a"),
            ("psk = hush", "psk =(hidden)"),
            ("  psk: hush now", "  psk: (hidden)"),
            ("\"identity_token\": \"hush\",", "\"identity_token\": (hidden)"),
            ("Authorization: Bearer hush", "Authorization: (hidden)"),
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
        ]);
    }

    #[test]
    fn addresses_have_no_login_and_no_query() {
        check(&[
            ("GET http://joe:hush@host/a?token=hush&b=1", "GET http://(hidden)@host/a?…"),
            ("http_proxy=me:hush@proxy:3128 a", "(hidden)@proxy:3128 a"),
            ("at http://me:hu<s>h,'(hush)@proxy:1", "at http://(hidden)@proxy:1"),
            ("at http://me:hu/sh?hu#sh@proxy:1/", "at http://(hidden)"),
            ("at http://me:hush@hush@proxy:1/", "at http://(hidden)@proxy:1/"),
            ("me:hush@a,http://me:hush@b", "(hidden)@b"),
            ("https://host/a?sig=hush\" 200", "https://host/a?…\" 200"),
            ("https://host/a#hush b", "https://host/a?… b"),
            ("\"GET /a?key=hush HTTP/1.1\"", "\"GET /a?… HTTP/1.1\""),
            ("why? a/b? joe@host git@host:a", "why? a/b? joe@host git@host:a"),
            ("a/b:1@sha256:ab 2: eth0@if4: <UP>", "a/b:1@sha256:ab 2: eth0@if4: <UP>"),
        ]);
    }

    #[test]
    fn of_commands_only_the_program_is_shown() {
        check(&[
            (
                "sudo: a : TTY=p/0 ; USER=root ; COMMAND=/usr/bin/ros config set a.b hush now",
                "sudo: a : TTY=p/0 ; USER=root ; COMMAND=/usr/bin/ros (hidden)",
            ),
            ("COMMAND=/usr/bin/ros", "COMMAND=/usr/bin/ros"),
            ("sudo: a : ENV=A=hush ; COMMAND=/a", "sudo: a : ENV=(hidden)"),
            ("sudo: a : (command continued) hush", "sudo: a : (command continued) (hidden)"),
            ("CRON[7]: (root) CMD (/a hush hush)", "CRON[7]: (root) CMD (/a (hidden)"),
            ("mysql -p hush -u joe a", "mysql -p (hidden) -u (hidden) a"),
            ("mysql -phush -ujoe a", "mysql -p(hidden) -u(hidden) a"),
            ("mysql -p --db-password hush a", "mysql -p (hidden) (hidden) a"),
            (
                "curl --user 'joe hush' --token \"hush\" a",
                "curl --user '(hidden)' --token \"(hidden)\" a",
            ),
            (r#"["a","-p","hush, hush"] b"#, r#"["a","-p","(hidden)"] b"#),
            ("-A INPUT -p tcp -m tcp --dport 22", "-A INPUT -p tcp -m tcp --dport 22"),
        ]);
    }
}
