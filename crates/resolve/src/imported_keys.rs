//! `ssh_import_id`: the public keys of accounts at GitHub and Launchpad. The network stage of
//! cloud-init fetches them, and the console lets them in. They are kept on the state disk: without
//! a network, the keys that were fetched last still open the machine.

use anyhow::{Result, anyhow, bail};
use corral_cloud::http::{Http, is_of_clock};
use corral_config::Config;
use corral_config::names::KeyId;
use corral_config::ssh_key::parse_list;
use corral_init::boot::state::CONF;
use corral_machine::deadline;
use corral_machine::files::{read_at_most, write_atomic};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

/// By account, as the configuration names it: lines of `authorized_keys`.
pub type Imported = BTreeMap<String, Vec<String>>;

/// Size limit of the answer of a service.
const LARGEST: usize = 256 << 10;
/// Size limit of the file: one account cannot push out the keys of the others.
const LARGEST_FILE: u64 = 64 << 20;
/// Most keys of one account.
const MOST: usize = 100;
/// Timeout for all accounts together.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// What is wrong while the clock is.
pub const LATE: &str = "ssh_import_id: the certificates of the server are not valid at the time of \
    this machine's clock; the keys are fetched again when the clock is set";

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    pub problems: Vec<String>,
    /// A server was refused because the clock is wrong. That is not among the problems.
    pub clock_is_wrong: bool,
}

fn file() -> PathBuf {
    Path::new(CONF).join("imported-keys.json")
}

/// The keys that were fetched last.
pub fn load() -> Imported {
    let text = read_at_most(&file(), LARGEST_FILE).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// The accounts that the configuration names.
pub fn wanted(config: &Config) -> Vec<String> {
    let of_users = config.accounts().into_iter().flat_map(|user| user.ssh_import_id);
    let mut ids: Vec<String> = config.admin_ids().into_iter().chain(of_users).collect();
    ids.sort();
    ids.dedup();
    ids
}

/// Fetches the keys of all accounts. What cannot be fetched keeps what it had, and is reported. An
/// account that is gone, or has no keys, has none here either. An account without keys is waited
/// for, because the network may have no address yet.
pub fn fetch(config: &Config) -> Outcome {
    let ids = wanted(config);
    let known = load();
    let (mut problems, mut clock_is_wrong) = (Vec::new(), false);
    let mut all = Imported::new();
    let answers = fetch_all(&ids, &known);
    for (id, answer) in ids.into_iter().zip(answers) {
        match answer {
            Ok(keys) => {
                if keys.is_empty() {
                    problems.push(format!("ssh_import_id: {id}: there is no key of this account"));
                }
                all.insert(id, keys);
            }
            Err(error) => {
                if is_of_clock(&error) {
                    clock_is_wrong = true;
                } else {
                    problems.push(format!("ssh_import_id: {id}: {error:#}"));
                }
                all.extend(known.get(&id).map(|keys| (id.clone(), keys.clone())));
            }
        }
    }
    if all != known
        && let Err(error) = store(&all)
    {
        problems.push(format!("ssh_import_id: {error:#}"));
    }
    Outcome { problems, clock_is_wrong }
}

fn store(all: &Imported) -> Result<()> {
    write_atomic(&file(), &serde_json::to_vec(all)?, 0o600)
}

/// All at the same time: one that does not answer takes no time from the others.
fn fetch_all(ids: &[String], known: &Imported) -> Vec<Result<Vec<String>>> {
    let deadline = Instant::now() + TIMEOUT;
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for id in ids {
            let is_known = known.contains_key(id);
            running.push(scope.spawn(move || fetch_one(id, is_known, deadline)));
        }
        let end = |thread: ScopedJoinHandle<'_, Result<Vec<String>>>| {
            thread.join().unwrap_or_else(|_| Err(anyhow!("the request was not finished")))
        };
        running.into_iter().map(end).collect()
    })
}

fn fetch_one(id: &str, is_known: bool, deadline: Instant) -> Result<Vec<String>> {
    let url = id.parse::<KeyId>()?.url();
    let http = Http::secure(deadline)?.brief();
    loop {
        match http.get_text(&url, &[]) {
            Ok(text) => return keys_in(&text.unwrap_or_default(), id),
            Err(error) if is_known || is_of_clock(&error) => return Err(error),
            Err(error) if Instant::now() + PAUSE > deadline => return Err(error),
            // Nothing reports that the network has a way to the server.
            Err(_) => deadline::pause(PAUSE),
        }
    }
}

/// The keys of an answer. Lines that are no keys are left out, and so are options: an account is
/// not to say what its keys may do.
fn keys_in(text: &str, id: &str) -> Result<Vec<String>> {
    if text.len() > LARGEST {
        bail!("the answer has more than {} KiB", LARGEST >> 10);
    }
    let keys = parse_list(text).into_iter().filter_map(Result::ok);
    let keys = keys.filter(|key| key.options.is_empty()).take(MOST);
    let with_origin = |line: String| format!("{line} # {id}");
    Ok(keys.map(|key| with_origin(key.line)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 \
        AAAAC3NzaC1lZDI1NTE5AAAAIBFEMcvpCmwCo8TmHT0Y3uVtbCTgPWHG0XaLCiSwGvc4";

    #[test]
    fn only_lines_with_keys_are_taken() {
        let text = format!("<html>\n{KEY}\ncommand=\"rm\" {KEY}\n\nssh-ed25519 AAAA\n");
        assert_eq!(keys_in(&text, "gh:me").unwrap(), [format!("{KEY} # gh:me")]);
        assert_eq!(keys_in("Not Found", "gh:me").unwrap(), [""; 0], "an account without keys");
        assert!(keys_in(&format!("{KEY}\n").repeat(5000), "gh:me").is_err());
        assert_eq!(keys_in(&format!("{KEY}\n").repeat(200), "gh:me").unwrap().len(), MOST);
    }

    #[test]
    fn each_account_is_fetched_once() {
        let config = Config {
            ssh_import_id: vec!["gh:b".to_owned(), "gh:a".to_owned(), "gh:b".to_owned()],
            ..Config::default()
        };
        assert_eq!(wanted(&config), ["gh:a", "gh:b"]);
    }
}
