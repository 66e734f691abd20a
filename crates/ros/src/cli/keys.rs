//! `ros keys`: who may log in over ssh (`ssh_authorized_keys`), and `ros password`. A change is
//! stored and takes effect at once.

use crate::install::keys::{Key, fingerprint, named, unique};
use crate::install::password;
use crate::output::{Output, table};
use crate::resolve::{self, store};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use corral_config::Config;
use corral_config::names::is_password_hash;
use corral_config::ssh_key::SshKey;
use corral_engine::client::call;
use corral_engine::protocol::Request;
use serde::Serialize;
use serde_json::{Value, json};
use std::fs;

const KEY: &str = "ssh_authorized_keys";
/// Keys that were added by hand.
const BY_HAND: [&str; 2] =
    ["/home/rancher/.ssh/authorized_keys", "/home/docker/.ssh/authorized_keys"];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the keys that may log in as rancher or docker
    List(Output),
    /// Add keys: a key, a file of keys, https://…, or gh:NAME for those of a user on GitHub
    #[command(visible_alias = "fetch")]
    Add {
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// Remove keys
    Remove {
        /// Allow to remove the last way to log in over ssh
        #[arg(short, long, visible_alias = "yes", visible_short_alias = 'y')]
        force: bool,
        /// Fingerprints or comments, as `list` shows them
        #[arg(required = true)]
        keys: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Password {
    /// Read the password from the first line of standard input
    #[arg(long, conflicts_with = "hash")]
    stdin: bool,
    /// A hash as crypt(5) has it, for example of `openssl passwd -6`
    #[arg(long)]
    hash: Option<String>,
}

/// `ros keys`.
pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::List(output) => list(*output),
        Command::Add { keys } => add(keys),
        Command::Remove { force, keys } => remove(keys, *force),
    }
}

/// `ros password`: sets `rancher.password`, always as a hash.
pub(crate) fn set_password(options: &Password) -> Result<()> {
    let hash = match &options.hash {
        Some(hash) if !is_password_hash(hash) => bail!(
            "--hash: not a hash of crypt(5); `openssl passwd -6` makes one. Nothing was changed"
        ),
        Some(hash) => hash.clone(),
        None if options.stdin => password::read_stdin()?,
        None => password::prompt("New password of rancher: ")?
            .context("the password is empty; nothing was changed")?,
    };
    change(&json!({"rancher": {"password": hash}}))?;
    if resolve::stored_config().rancher.password != hash {
        bail!("another source overrides this password; `ros config explain rancher.password`");
    }
    println!("the password of rancher is changed; ssh takes it only with ssh_pwauth");
    Ok(())
}

/// A key of the list.
#[derive(Debug, Serialize)]
struct Row {
    fingerprint: String,
    /// `ED25519`.
    kind: String,
    comment: String,
    key: String,
}

fn list(output: Output) -> Result<()> {
    let config = resolve::stored_config();
    let rows: Vec<Row> = parsed(&config.ssh_authorized_keys).iter().map(row).collect();
    output.print(&rows, |rows| {
        let mut lines = vec![["FINGERPRINT", "TYPE", "COMMENT"].map(str::to_owned)];
        lines.extend(
            rows.iter().map(|row| [&row.fingerprint, &row.kind, &row.comment].map(String::clone)),
        );
        print!("{}", table(&lines));
        for file in BY_HAND {
            let count = parsed_file(file).len();
            if count > 0 {
                println!("and {count} in {file}, which were added by hand");
            }
        }
    })
}

fn row(key: &SshKey) -> Row {
    // `256 SHA256:… comment (ED25519)`
    let shown = fingerprint(key);
    Row {
        fingerprint: shown.split(' ').nth(1).unwrap_or_default().to_owned(),
        kind: key.kind.to_owned(),
        comment: key.comment.clone(),
        key: key.line.clone(),
    }
}

fn parsed(lines: &[String]) -> Vec<SshKey> {
    lines.iter().filter_map(|line| SshKey::parse(line).ok()).collect()
}

fn parsed_file(file: &str) -> Vec<SshKey> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| SshKey::parse(line).ok()).collect()
}

fn add(arguments: &[String]) -> Result<()> {
    let mut lines = resolve::stored_config().ssh_authorized_keys;
    let known = parsed(&lines);
    let mut found: Vec<Key> = Vec::new();
    for argument in arguments {
        found.extend(named(argument)?);
    }
    let (old, new): (Vec<Key>, Vec<Key>) = unique(found)
        .into_iter()
        .partition(|found| known.iter().any(|known| known.blob == found.key.blob));
    old.iter().for_each(|key| println!("is there already: {}", fingerprint(&key.key)));
    if new.is_empty() {
        return Ok(());
    }
    lines.extend(new.iter().map(|key| key.key.line.clone()));
    store_keys(&lines)?;
    new.iter().for_each(|key| println!("added: {}", fingerprint(&key.key)));
    Ok(())
}

fn remove(wanted: &[String], force: bool) -> Result<()> {
    let config = resolve::stored_config();
    let (kept, removed) = split(&config.ssh_authorized_keys, wanted)?;
    if !force && !has_way_in(&config, &kept) {
        bail!(
            "without these keys no user can log in over ssh; -f removes them anyway. Nothing was \
             changed"
        );
    }
    store_keys(&kept)?;
    removed.iter().for_each(|key| println!("removed: {}", fingerprint(key)));
    Ok(())
}

/// The lines that stay, and the keys that are removed. Lines that are no keys stay.
fn split(lines: &[String], wanted: &[String]) -> Result<(Vec<String>, Vec<SshKey>)> {
    let matches = |key: &SshKey, text: &String| {
        row(key).fingerprint == *text || key.comment == *text || key.line == *text
    };
    let keys = parsed(lines);
    if let Some(unknown) = wanted.iter().find(|text| !keys.iter().any(|key| matches(key, text))) {
        bail!("no key has the fingerprint or the comment {unknown:?}; `ros keys list` shows them");
    }
    let is_removed = |key: &SshKey| wanted.iter().any(|text| matches(key, text));
    let stays = |line: &&String| SshKey::parse(line).map_or(true, |key| !is_removed(&key));
    let kept = lines.iter().filter(stays).cloned().collect();
    Ok((kept, keys.into_iter().filter(is_removed).collect()))
}

/// Can a user log in over ssh with these keys of the configuration, or in another way?
fn has_way_in(config: &Config, keys: &[String]) -> bool {
    let by_password = config.ssh_pwauth && !config.rancher.password.is_empty();
    let by_hand = || BY_HAND.iter().any(|file| !parsed_file(file).is_empty());
    let of_users = || config.users.iter().any(|user| !parsed(&user.ssh_authorized_keys).is_empty());
    !parsed(keys).is_empty() || by_password || by_hand() || of_users()
}

fn store_keys(lines: &[String]) -> Result<()> {
    change(&json!({ KEY: lines }))?;
    if resolve::stored_config().ssh_authorized_keys != lines {
        bail!("another source overrides these keys; `ros config explain {KEY}`");
    }
    Ok(())
}

/// Stores a change and applies it.
fn change(value: &Value) -> Result<()> {
    store::merge(value)?;
    call(Request::Reload).map(drop).context("it is stored, and could not be applied now")
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_config::model::User;

    const BLOB: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIHsyjdVi98mjmXXXl0Gwtdy5VQlPfWMr1rl626GfrojO";

    fn lines(comments: &[&str]) -> Vec<String> {
        comments.iter().map(|comment| format!("ssh-ed25519 {BLOB} {comment}")).collect()
    }

    #[test]
    fn a_key_is_removed_by_fingerprint_or_comment() {
        let mut all = lines(&["me@desk top"]);
        all.push("nonsense".to_owned());
        for name in ["me@desk top", "SHA256:uWUwzekhEhw1N1LAJbKAh4l0S9hAwIzfU0Nd/B0G29c"] {
            let (kept, removed) = split(&all, &[name.to_owned()]).unwrap();
            assert_eq!((kept, removed.len()), (vec!["nonsense".to_owned()], 1), "{name}");
        }
        let why = split(&all, &["you".to_owned()]).unwrap_err().to_string();
        assert!(why.contains("\"you\"") && why.contains("ros keys list"), "{why}");
    }

    #[test]
    fn the_last_way_in_is_a_key_a_password_or_another_user() {
        let config = Config::default();
        assert!(has_way_in(&config, &lines(&["a"])));
        let with_password = |ssh_pwauth| {
            let mut config = Config { ssh_pwauth, ..Config::default() };
            "$6$a$b".clone_into(&mut config.rancher.password);
            config
        };
        assert!(has_way_in(&with_password(true), &[]));
        assert!(!has_way_in(&with_password(false), &[]));
        let ann = User { ssh_authorized_keys: lines(&["ann"]), ..User::default() };
        assert!(has_way_in(&Config { users: vec![ann], ..Config::default() }, &[]));
        assert!(!has_way_in(&config, &["nonsense".to_owned()]));
    }
}
