//! `ros keys`: who may log in over ssh (`ssh_authorized_keys`), and `ros password`. A change is
//! stored and takes effect at once.

use crate::applets::account_table;
use crate::applets::console::keys::{FOLDER, lines as lines_of};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use corral_config::Config;
use corral_config::model::DEFAULT_USER;
use corral_config::names::is_password_hash;
use corral_config::ssh_key::SshKey;
use corral_engine::client::call;
use corral_engine::protocol::Request;
use corral_install::installer::keys::{Key, fingerprint, named, unique};
use corral_install::installer::login::{has_key, opens_by_ssh};
use corral_install::installer::password;
use corral_machine::files::read_at_most;
use corral_machine::inotify;
use corral_resolve::{self, store};
use corral_terminal::output::{Output, table};
use serde::Serialize;
use serde_json::{Value, json};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

const KEY: &str = "ssh_authorized_keys";
/// Keys that were added by hand.
const BY_HAND: [&str; 2] =
    ["/home/rancher/.ssh/authorized_keys", "/home/docker/.ssh/authorized_keys"];
/// Size limit of a file of keys.
const LARGEST: u64 = 1 << 20;
/// Who has the keys of `KEY`: names of files in `FOLDER`.
const USERS: [&str; 2] = ["rancher", "docker"];
/// The passwords of the console, in which this runs.
const ACCOUNTS: &str = "/etc/shadow";
/// So long this waits for the console to apply a change.
const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the keys that may log in as rancher or docker
    #[command(after_help = "Examples:
  ros keys list
  ros keys list --format json")]
    List(Output),
    /// Add keys: a key, a file of keys, https://…, or gh:NAME for those of a user on GitHub
    #[command(
        visible_alias = "fetch",
        after_help = "Examples:
  ros keys add ~/.ssh/id_ed25519.pub
  ros keys add gh:octocat https://example.com/team.keys"
    )]
    Add {
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// Remove keys
    #[command(after_help = "Examples:
  ros keys remove me@laptop
  ros keys remove SHA256:…               a fingerprint, as `ros keys list` shows it")]
    Remove {
        /// Allow to remove the last way to log in over ssh
        #[arg(short, long, visible_alias = "yes", visible_short_alias = 'y')]
        force: bool,
        /// Fingerprints, comments or complete lines, as `list` shows them
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
    change(|_| Ok(Some(json!({"rancher": {"password": hash}}))))?;
    if corral_resolve::stored_config().rancher.password != hash {
        bail!(
            "the password is stored, but another source overrides it, so it does not take effect; \
             `ros config explain rancher.password` shows which"
        );
    }
    let is_applied = || {
        let accounts = fs::read_to_string(ACCOUNTS).unwrap_or_default();
        account_table::field(&accounts, "rancher", 1) == Some(&hash)
    };
    let folder = Path::new(ACCOUNTS).parent().context("no folder")?;
    if !inotify::wait_for(folder, Instant::now() + TIMEOUT, is_applied)? {
        bail!(
            "the password is stored, but the console does not use it yet. It takes effect when the \
             console applies the configuration, at the latest at the next boot; `ros logs console` \
             shows why it did not"
        );
    }
    println!(
        "the password of rancher takes effect on the console; ssh takes it only with ssh_pwauth"
    );
    Ok(())
}

/// A key of the list.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    /// Empty if the line cannot be read, as kind and comment are.
    fingerprint: String,
    /// `ED25519`.
    kind: String,
    comment: String,
    key: String,
    /// `ssh_authorized_keys`, or the file to which it was added by hand.
    origin: String,
    /// Why the line cannot be read. sshd may still accept it.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

fn list(output: Output) -> Result<()> {
    let configured = lines(&corral_resolve::stored_config().ssh_authorized_keys);
    let mut rows: Vec<Row> = configured.iter().map(|line| row(line, KEY)).collect();
    for file in BY_HAND {
        rows.extend(lines(&[text_of(file)]).iter().map(|line| row(line, file)));
    }
    output.print(&rows, |rows| print!("{}", table(&as_table(rows))))
}

fn as_table(rows: &[Row]) -> Vec<[String; 4]> {
    let mut lines = vec![["FINGERPRINT", "TYPE", "COMMENT", "ORIGIN"].map(str::to_owned)];
    lines.extend(rows.iter().map(|row| match &row.problem {
        None => [&row.fingerprint, &row.kind, &row.comment, &row.origin].map(String::clone),
        Some(why) => {
            let shown = format!("{:?}: {why}", row.key);
            ["not a key?".to_owned(), "-".to_owned(), shown, row.origin.clone()]
        }
    }));
    lines
}

fn row(line: &str, origin: &str) -> Row {
    let (key, origin) = (line.to_owned(), origin.to_owned());
    match SshKey::parse(line) {
        Ok(parsed) => Row {
            fingerprint: short_fingerprint(&parsed),
            kind: parsed.kind.to_owned(),
            comment: parsed.comment,
            key,
            origin,
            problem: None,
        },
        Err(why) => {
            let (fingerprint, kind, comment) = Default::default();
            Row { fingerprint, kind, comment, key, origin, problem: Some(why) }
        }
    }
}

/// `SHA256:…`, of `256 SHA256:… comment (ED25519)`.
fn short_fingerprint(key: &SshKey) -> String {
    fingerprint(key).split(' ').nth(1).unwrap_or_default().to_owned()
}

/// As `added:` and `removed:` show a line.
fn shown(line: &str) -> String {
    SshKey::parse(line).map_or_else(|_| format!("{line:?}"), |key| fingerprint(&key))
}

/// The lines of these items that sshd reads.
fn lines(items: &[String]) -> Vec<String> {
    lines_of(items).into_iter().filter(|line| !line.starts_with('#')).collect()
}

fn parsed(items: &[String]) -> Vec<SshKey> {
    lines(items).iter().filter_map(|line| SshKey::parse(line).ok()).collect()
}

/// Empty if there is no such file. Its owner may have put a fifo in its place.
fn text_of(file: &str) -> String {
    let bytes = read_at_most(Path::new(file), LARGEST).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn add(arguments: &[String]) -> Result<()> {
    let mut found: Vec<Key> = Vec::new();
    for argument in arguments {
        found.extend(named(argument)?);
    }
    let found = unique(found);
    let mut added: Vec<String> = Vec::new();
    let stored = change_keys(|config| {
        let known = parsed(&config.ssh_authorized_keys);
        let (old, new): (Vec<&Key>, Vec<&Key>) =
            found.iter().partition(|found| known.iter().any(|known| known.blob == found.key.blob));
        old.iter().for_each(|key| println!("is there already: {}", fingerprint(&key.key)));
        added.extend(new.iter().map(|key| key.key.line.clone()));
        let all = config.ssh_authorized_keys.iter().chain(&added).cloned().collect();
        Ok(Some(all).filter(|_| !added.is_empty()))
    })?;
    finish("added", &added, stored.as_deref(), |line, accepted| {
        accepted.iter().any(|other| other == line)
    })
}

fn remove(wanted: &[String], force: bool) -> Result<()> {
    let mut removed = Vec::new();
    let stored = change_keys(|config| {
        let (kept, named) = split(&config.ssh_authorized_keys, wanted)?;
        if !force && !has_way_in(config, &kept) {
            bail!(
                "without these keys no user can log in over ssh; -f removes them anyway. Nothing \
                 was changed"
            );
        }
        removed = named;
        Ok(Some(kept))
    })?;
    finish("removed", &removed, stored.as_deref(), |line, accepted| {
        accepted.iter().all(|other| other != line)
    })
}

/// The items that stay, and the lines that are removed. Lines that are not named stay.
fn split(items: &[String], wanted: &[String]) -> Result<(Vec<String>, Vec<String>)> {
    if wanted.iter().any(|text| text.trim().is_empty()) {
        bail!(
            "an empty word names no key; `ros keys list` shows fingerprints and comments. Nothing \
             was changed"
        );
    }
    let all = lines(items);
    let is_known = |text: &&String| all.iter().any(|line| is_named(line, text));
    if let Some(unknown) = wanted.iter().find(|text| !is_known(text)) {
        bail!("no key has the fingerprint or the comment {unknown:?}; `ros keys list` shows them");
    }
    let is_removed = |line: &str| wanted.iter().any(|text| is_named(line.trim(), text));
    let kept = items.iter().filter_map(|item| without(item, &is_removed)).collect();
    Ok((kept, all.into_iter().filter(|line| is_removed(line)).collect()))
}

fn is_named(line: &str, text: &str) -> bool {
    let is_it = |key: SshKey| short_fingerprint(&key) == text || key.comment == text;
    line == text.trim() || SshKey::parse(line).is_ok_and(is_it)
}

/// The rest of an item; None if no line is left.
fn without(item: &str, is_removed: &impl Fn(&str) -> bool) -> Option<String> {
    if !item.lines().any(is_removed) {
        return Some(item.to_owned());
    }
    let rest: Vec<&str> = item.lines().filter(|line| !is_removed(line)).collect();
    rest.iter().any(|line| !line.trim().is_empty()).then(|| rest.join("\n"))
}

/// Can a user log in over ssh with these keys of the configuration, or in another way?
fn has_way_in(config: &Config, keys: &[String]) -> bool {
    let by_password = config.ssh_pwauth && config.passwords().contains_key(DEFAULT_USER);
    let by_hand = || BY_HAND.iter().any(|file| has_key(&text_of(file)));
    let of_users = || without_keys(config).accounts().iter().any(|user| opens_by_ssh(user, config));
    keys.iter().any(|text| has_key(text)) || by_password || by_hand() || of_users()
}

/// Without the keys of rancher, which `user` has as well.
fn without_keys(config: &Config) -> Config {
    Config { ssh_authorized_keys: Vec::new(), ..config.clone() }
}

/// Changes the list of keys. The stored list, if it was changed.
fn change_keys(
    decide: impl FnOnce(&Config) -> Result<Option<Vec<String>>>,
) -> Result<Option<Vec<String>>> {
    let mut stored = None;
    change(|config| {
        stored = decide(config)?;
        Ok(stored.as_ref().map(|keys| json!({ KEY: keys })))
    })?;
    Ok(stored)
}

/// Stores a change and applies it. It is decided under the lock of the store.
fn change(decide: impl FnOnce(&Config) -> Result<Option<Value>>) -> Result<()> {
    if store::change(|| decide(&corral_resolve::stored_config()))? {
        call(Request::Reload).context(
            "it is stored, and could not be applied now; it takes effect at the next boot",
        )?;
    }
    Ok(())
}

/// Reports these lines once sshd uses the stored list.
fn finish(
    done: &str,
    changed: &[String],
    stored: Option<&[String]>,
    is_applied: impl Fn(&str, &[String]) -> bool,
) -> Result<()> {
    let Some(stored) = stored else { return Ok(()) };
    let names = changed.iter().map(|line| shown(line)).collect::<Vec<_>>().join(", ");
    if corral_resolve::stored_config().ssh_authorized_keys != stored {
        bail!(
            "{done} in the stored configuration: {names}; but another source overrides {KEY}, so \
             this does not take effect; `ros config explain {KEY}` shows which"
        );
    }
    let is_done = || {
        let is_done = |keys: &Vec<String>| changed.iter().all(|line| is_applied(line, keys));
        accepted(Path::new(FOLDER)).is_some_and(|all| all.iter().all(is_done))
    };
    let in_time = inotify::wait_for(Path::new(FOLDER), Instant::now() + TIMEOUT, is_done)
        .with_context(|| {
            format!("{done} in the stored configuration: {names}; whether sshd uses it is unknown")
        })?;
    if !in_time {
        bail!(
            "{done} in the stored configuration: {names}; but sshd still uses the keys of before \
             ({FOLDER}). It takes effect when the console applies the configuration, at the latest \
             at the next boot; `ros logs console` shows why it did not",
        );
    }
    changed.iter().for_each(|line| println!("{done}: {}", shown(line)));
    Ok(())
}

/// The lines that sshd reads for each user. None if that cannot be known now.
fn accepted(folder: &Path) -> Option<Vec<Vec<String>>> {
    let of_user = |user: &str| {
        let file = folder.join(user);
        match fs::symlink_metadata(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => Some(Vec::new()),
            _ => {
                let bytes = read_at_most(&file, LARGEST).ok()?;
                Some(lines_of(&[String::from_utf8_lossy(&bytes).into_owned()]))
            }
        }
    };
    folder.is_dir().then(|| USERS.into_iter().map(of_user).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_config::model::User;

    const BLOB: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIHsyjdVi98mjmXXXl0Gwtdy5VQlPfWMr1rl626GfrojO";

    fn keys(comments: &[&str]) -> Vec<String> {
        comments.iter().map(|comment| format!("ssh-ed25519 {BLOB} {comment}")).collect()
    }

    #[test]
    fn a_key_is_removed_by_fingerprint_comment_or_line() {
        let mut all = keys(&["me@desk top"]);
        all.push("nonsense".to_owned());
        let line = format!(" {} ", all[0]);
        for name in ["me@desk top", "SHA256:uWUwzekhEhw1N1LAJbKAh4l0S9hAwIzfU0Nd/B0G29c", &line] {
            let (kept, removed) = split(&all, &[name.to_owned()]).unwrap();
            assert_eq!((kept, removed.len()), (vec!["nonsense".to_owned()], 1), "{name}");
        }
        let (kept, removed) = split(&all, &["nonsense".to_owned()]).unwrap();
        assert_eq!((kept, removed), (keys(&["me@desk top"]), vec!["nonsense".to_owned()]));
        let why = split(&all, &["you".to_owned()]).unwrap_err().to_string();
        assert!(why.contains("\"you\"") && why.contains("ros keys list"), "{why}");
        let nameless = [format!("ssh-ed25519 {BLOB}")];
        for empty in ["", " "] {
            let why = split(&nameless, &[empty.to_owned()]).unwrap_err().to_string();
            assert!(why.contains("an empty word"), "{why}");
        }
    }

    #[test]
    fn an_item_of_several_lines_is_listed_and_removed_by_lines() {
        let item = format!("# ours\n{}\n  {}\n", keys(&["a"])[0], keys(&["b"])[0]);
        let items = [item, keys(&["a"])[0].clone()];
        let comments: Vec<String> =
            lines(&items).iter().map(|line| row(line, KEY).comment).collect();
        assert_eq!(comments, ["a", "b", "a"]);
        let (kept, removed) = split(&items, &["a".to_owned()]).unwrap();
        assert_eq!(kept, [format!("# ours\n  {}", keys(&["b"])[0])]);
        assert_eq!(removed, keys(&["a", "a"]));
        assert_eq!(parsed(&kept).len(), 1);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_listed() {
        let unread = row("nonsense here", BY_HAND[0]);
        assert_eq!((unread.key.as_str(), unread.origin.as_str()), ("nonsense here", BY_HAND[0]));
        let table = as_table(&[row(&keys(&["a"])[0], KEY), unread]);
        assert_eq!((table[1][2].as_str(), table[1][3].as_str()), ("a", KEY));
        assert!(table[2][2].starts_with("\"nonsense here\": "), "{table:?}");
    }

    #[test]
    fn the_last_way_in_is_a_key_a_password_or_a_user_that_sshd_admits() {
        let config = Config::default();
        assert!(has_way_in(&config, &keys(&["a"])));
        let with_password = |ssh_pwauth| {
            let mut config = Config { ssh_pwauth, ..Config::default() };
            "$6$a$b".clone_into(&mut config.rancher.password);
            config
        };
        assert!(has_way_in(&with_password(true), &[]));
        assert!(!has_way_in(&with_password(false), &[]));
        let of_user = |name: &str, group: &str| {
            let (name, groups) = (name.to_owned(), vec![group.to_owned()]);
            let user = User { name, groups, ssh_authorized_keys: keys(&["x"]), ..User::default() };
            has_way_in(&Config { users: vec![user], ..Config::default() }, &[])
        };
        assert!(of_user("ann", "docker"));
        for (name, group) in
            [("ann", "sudo"), ("default", "docker"), ("", "docker"), ("root", "docker")]
        {
            assert!(!of_user(name, group), "{name} {group}");
        }
        assert!(!has_way_in(&config, &["nonsense".to_owned()]));
        assert!(!has_way_in(&config, &[format!("command=\"date\" ssh-ed25519 {BLOB} a")]));
    }

    #[test]
    fn what_sshd_accepts_is_known_once_its_folder_is_there() {
        let folder = std::env::temp_dir().join(format!("corral-accepted-{}", std::process::id()));
        assert_eq!(accepted(&folder), None);
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(accepted(&folder), Some(vec![Vec::new(), Vec::new()]));
        fs::write(folder.join("rancher"), "a\nb\n").unwrap();
        assert_eq!(accepted(&folder).unwrap()[0], ["a", "b"]);
        fs::create_dir_all(folder.join("docker")).unwrap();
        assert_eq!(accepted(&folder), None, "a folder cannot be read");
        fs::remove_dir_all(folder).unwrap();
    }
}
