//! Who can log in to the new machine: its layers → ways to log in, and what looks like one but is
//! none. Pure: keys are read before, and no user is asked.

use super::keys::{Key, fingerprint};
use corral_config::layer::Layer;
use corral_config::model::{DEFAULT_USER, User};
use corral_config::names::is_password_hash;
use corral_config::names::{DataSource, shown_url};
use corral_config::ssh_key::{SshKey, parse_list};
use corral_config::{Config, cmdline, merge};
use serde_json::Value;

/// The users of every machine: they are in the group docker.
const BUILT_IN_USERS: [&str; 2] = ["rancher", "docker"];
/// sshd lets in members of this group only (`AllowGroups` in its configuration).
const SSH_GROUP: &str = "docker";

/// The shells of the built-in console. A replacement console may have more.
const SHELLS: [&str; 4] = ["/bin/sh", "/bin/bash", "/usr/bin/bash", "/bin/ash"];
/// Options of keys that allow no login, or not a permanent one.
const NO_LOGIN: [(&str, &str); 3] = [
    ("command", "runs one command only"),
    ("cert-authority", "signs certificates, and does not log in itself"),
    ("expiry-time", "is valid for a limited time only"),
];

/// A way to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    Ssh {
        user: String,
        key: SshKey,
        /// Where the key was found.
        origin: String,
    },
    /// On the screen or a serial line.
    Console { user: String, how: String, origin: String },
    /// Keys that the machine fetches when it boots.
    Expected { from: String, origin: String },
}

/// All ways to log in, and blockers of others.
#[derive(Debug, Default)]
pub(super) struct Ways {
    pub(super) ways: Vec<Way>,
    /// What looks like a way to log in, and why it is none.
    pub(super) blockers: Vec<String>,
}

/// What is known of the new machine, besides the defaults.
#[derive(Debug)]
pub(super) struct Known<'a> {
    /// Later ones win.
    pub(super) layers: &'a [Layer],
    /// Keys whose origin is known more exactly than by their layer.
    pub(super) keys: &'a [Key],
    /// URLs from which the machine fetches more configuration, and who named them.
    pub(super) fetched: &'a [(String, String)],
    /// The terminals that have a getty.
    pub(super) terminals: &'a [String],
}

/// The terminals of a machine with these kernel parameters.
pub(super) fn terminals(parameters: &str) -> Vec<String> {
    let words = cmdline::words(parameters);
    let named = cmdline::values(&words, "console").into_iter();
    let named = named.map(|console| console.split(',').next().unwrap_or_default().to_owned());
    let screens = (1..=6).map(|number| format!("tty{number}"));
    screens.chain(["ttyS0".to_owned()]).chain(named).collect()
}

/// Can this user log in by ssh with one of its keys, on a machine with this configuration?
pub fn opens_by_ssh(user: &User, config: &Config) -> bool {
    let known = Known { layers: &[], keys: &[], fetched: &[], terminals: &[] };
    let mut ways = Ways::default();
    known.add_user(user, has_our_console(config), &mut ways);
    ways.has_ssh()
}

/// Does a text of one or more lines have a key that allows a login?
pub fn has_key(text: &str) -> bool {
    parse_lines(text).iter().any(Result::is_ok)
}

fn password_of(user: &User) -> &str {
    let all = [&user.passwd, &user.hashed_passwd, &user.plain_text_passwd];
    all.into_iter().find(|text| !text.is_empty()).map_or("", String::as_str)
}

fn has_our_console(config: &Config) -> bool {
    ["", "default"].contains(&config.rancher.console.as_str())
}

impl Known<'_> {
    /// Finds the ways to log in.
    pub(super) fn judge(&self) -> Ways {
        let mut layers = vec![corral_config::defaults()];
        layers.extend(self.layers.iter().cloned());
        let config = corral_config::resolve(&layers);
        let mut ways = Ways::default();
        self.add_keys(&config, &mut ways);
        let is_ours = has_our_console(&config);
        // Names that no user is created for: what is wrong with them is reported too.
        let no_user = |user: &&User| ["", "default", "root"].contains(&user.name.as_str());
        let accounts = config.accounts();
        let users = config.users.iter().filter(no_user).chain(&accounts);
        users.for_each(|user| self.add_user(user, is_ours, &mut ways));
        self.add_console(&config, &mut ways);
        self.add_sources(&mut ways);
        if !config.rancher.ssh.daemon {
            drop_ssh(&mut ways);
        }
        ways
    }

    fn add_keys(&self, config: &Config, ways: &mut Ways) {
        for (number, line) in config.admin_keys().iter().enumerate() {
            let origin = self.origin_of_key(line);
            for found in parse_lines(line) {
                match found {
                    Ok(key) => ways.ways.push(self.ssh("rancher", key, &origin)),
                    Err(why) => {
                        ways.blockers
                            .push(format!("{origin}: ssh_authorized_keys[{number}]: {why}"));
                    }
                }
            }
        }
    }

    fn add_user(&self, user: &User, is_ours: bool, ways: &mut Ways) {
        let (name, origin) = (user.name.as_str(), self.origin("/users"));
        let mut blocker = |why: &str| ways.blockers.push(format!("{origin}: users: {name}: {why}"));
        if name.is_empty() {
            return blocker("it has no name, and is not created");
        }
        if name == "default" {
            if user.ssh_authorized_keys.is_empty() && password_of(user).is_empty() {
                blocker("it stands for rancher, and has neither ssh_authorized_keys nor passwd");
            }
            return;
        }
        if user.shell.ends_with("/nologin") || user.shell.ends_with("/false") {
            return blocker("its shell allows no login");
        }
        if is_ours && !user.shell.is_empty() && !SHELLS.contains(&user.shell.as_str()) {
            return blocker(&format!("the console does not have its shell, {}", user.shell));
        }
        if user.ssh_authorized_keys.is_empty() && password_of(user).is_empty() {
            return blocker("it has neither ssh_authorized_keys nor passwd");
        }
        let (keys, problems): (Vec<_>, Vec<_>) = user
            .ssh_authorized_keys
            .iter()
            .flat_map(|text| parse_lines(text))
            .partition(Result::is_ok);
        problems.iter().filter_map(|problem| problem.as_ref().err()).for_each(|why| blocker(why));
        if !keys.is_empty() && name == "root" {
            blocker("root cannot log in by ssh");
        } else if !keys.is_empty() && !is_in_ssh_group(user) {
            blocker(
                "it is not in the group docker, and sshd admits its members only: groups: [docker]",
            );
        } else {
            ways.ways.extend(keys.into_iter().flatten().map(|key| self.ssh(name, key, &origin)));
        }
        self.add_password_of(user, &origin, ways);
    }

    fn add_password_of(&self, user: &User, origin: &str, ways: &mut Ways) {
        let name = &user.name;
        let mut blocker = |why: &str| ways.blockers.push(format!("{origin}: users: {name}: {why}"));
        match password_of(user) {
            "" => {}
            _ if user.lock_passwd == Some(true) => {
                blocker("lock_passwd: its password does not take effect")
            }
            hash if !is_password_hash(hash) && user.plain_text_passwd.is_empty() => {
                blocker("passwd is not a hash as in /etc/shadow: $6$…")
            }
            _ => ways.ways.push(Way::Console {
                user: name.clone(),
                how: "password".to_owned(),
                origin: origin.to_owned(),
            }),
        }
    }

    fn add_console(&self, config: &Config, ways: &mut Ways) {
        let mut add = |how: String, pointer: &str| {
            let origin = self.origin(pointer);
            ways.ways.push(Way::Console { user: "rancher".to_owned(), how, origin });
        };
        if config.passwords().contains_key(DEFAULT_USER) {
            add("password".to_owned(), "/rancher/password");
        }
        let autologin = config.rancher.autologin.iter().cloned();
        let (open, absent): (Vec<String>, Vec<String>) =
            autologin.partition(|name| self.terminals.contains(name));
        if !open.is_empty() {
            add(format!("without a password on {}", open.join(", ")), "/rancher/autologin");
        }
        let origin = self.origin("/rancher/autologin");
        ways.blockers.extend(absent.iter().map(|name| {
            format!(
                "{origin}: rancher.autologin: {name} has no login: tty1 to tty6 have one, and \
                 those of console="
            )
        }));
    }

    /// Data sources that this machine's own layers name. Those of the defaults are left out: they
    /// do not mean that keys will come.
    fn add_sources(&self, ways: &mut Ways) {
        const POINTER: &str = "/rancher/cloud_init/datasources";
        let merged = merge::merge(self.layers.iter().map(|layer| &layer.value));
        let names = merged.pointer(POINTER).and_then(Value::as_array).into_iter().flatten();
        for name in names.filter_map(Value::as_str) {
            let from = match name.parse::<DataSource>() {
                // It is a URL on the kernel's command line, which is already in `fetched`.
                Ok(DataSource::CommandLine) => continue,
                Ok(source) => source.to_string(),
                Err(_) if name == "*" => "any data source".to_owned(),
                Err(_) => continue,
            };
            ways.ways.push(Way::Expected { from, origin: self.origin(POINTER) });
        }
        for (url, origin) in self.fetched {
            ways.ways.push(Way::Expected { from: shown_url(url), origin: origin.clone() });
        }
    }

    fn ssh(&self, user: &str, key: SshKey, origin: &str) -> Way {
        let known = self.keys.iter().find(|known| known.key.blob == key.blob);
        let origin = known.map_or(origin, |known| &known.origin).to_owned();
        Way::Ssh { user: user.to_owned(), key, origin }
    }

    /// The origin of a key: the first layer that has it. Later layers repeat it, as a list replaces
    /// the earlier one.
    fn origin_of_key(&self, line: &str) -> String {
        let has_line = |layer: &&Layer| {
            let keys = layer.value.get("ssh_authorized_keys").and_then(Value::as_array);
            keys.is_some_and(|keys| keys.iter().any(|key| key == line))
        };
        self.layers.iter().find(has_line).map(|layer| layer.source.to_string()).unwrap_or_default()
    }

    /// The last layer that sets this value.
    fn origin(&self, pointer: &str) -> String {
        let layer = self.layers.iter().rev().find(|layer| layer.value.pointer(pointer).is_some());
        layer.map(|layer| layer.source.to_string()).unwrap_or_default()
    }
}

/// Without sshd, neither keys nor sources of keys allow a login.
fn drop_ssh(ways: &mut Ways) {
    let before = ways.ways.len();
    ways.ways.retain(|way| matches!(way, Way::Console { .. }));
    let dropped = before - ways.ways.len();
    if dropped > 0 {
        ways.blockers.push(format!(
            "rancher.ssh.daemon is false: {dropped} ssh key(s) or sources of keys have no effect"
        ));
    }
}

/// The keys of a text, which may have several lines, as the console reads them. Keys that allow no
/// login are errors.
fn parse_lines(text: &str) -> Vec<Result<SshKey, String>> {
    let plain = |key: SshKey| match NO_LOGIN.iter().find(|(name, _)| key.has_option(name)) {
        Some((name, why)) => Err(format!("a key with {name} {why}")),
        None => Ok(key),
    };
    match text.trim() {
        "" => vec![SshKey::parse("")],
        text if !text.contains('\n') => vec![SshKey::parse(text).and_then(plain)],
        text => parse_list(text).into_iter().map(|found| found.and_then(plain)).collect(),
    }
}

fn is_in_ssh_group(user: &User) -> bool {
    BUILT_IN_USERS.contains(&user.name.as_str())
        || user.primary_group == SSH_GROUP
        || user.groups.iter().any(|group| group == SSH_GROUP)
}

impl Ways {
    /// True if ssh can use any key.
    pub(super) fn has_ssh(&self) -> bool {
        self.ways.iter().any(|way| matches!(way, Way::Ssh { .. }))
    }

    /// True if only the new machine will fetch some keys.
    pub(super) fn expects_keys(&self) -> bool {
        self.ways.iter().any(|way| matches!(way, Way::Expected { .. }))
    }

    pub(super) fn has_password(&self) -> bool {
        self.ways.iter().any(|way| matches!(way, Way::Console { .. }))
    }

    /// Lines for the owner to confirm.
    pub(super) fn describe(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.ways.iter().map(describe).collect();
        if self.has_password() && !self.has_ssh() && !self.expects_keys() {
            lines.push("on the console only: there is no key for ssh".to_owned());
        }
        if lines.is_empty() {
            lines.push("NO WAY IS KNOWN (--no-login)".to_owned());
        }
        lines.iter().map(|line| format!("log in     {line}")).collect()
    }
}

fn describe(way: &Way) -> String {
    match way {
        Way::Ssh { user, key, origin } => {
            format!("{user} by ssh: {}, from {origin}", fingerprint(key))
        }
        Way::Console { user, how, origin } => {
            format!("{user} on the console: {how}, from {origin}")
        }
        Way::Expected { from, origin } => {
            format!("keys are expected from {from}, named by {origin}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_config::Source;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsyjdVi98mjmXXXl0Gwtdy5VQlPfWMr1rl626GfrojO me@desk";

    fn judge(document: &str, append: &str) -> Ways {
        let document = document.replace("KEY", KEY);
        let layers = [
            Layer::parse(Source::File("my.yml".to_owned()), &document),
            Layer::from_command_line(append),
        ];
        Known { layers: &layers, keys: &[], fetched: &[], terminals: &terminals(append) }.judge()
    }

    /// Document, kernel parameters, a part of each way to log in, and a part of the blocker.
    const CASES: [(&str, &str, &[&str], &str); 37] = [
        ("", "", &[], ""),
        ("hostname: a", "", &[], ""),
        ("ssh_authorised_keys: [KEY]", "", &[], ""),
        ("ssh_authorized_keys: [KEY]", "", &["rancher by ssh: 256 SHA256:uWUwzekh"], ""),
        (
            "ssh_authorized_keys: [ssh-ed25519 AAAA... me]",
            "",
            &[],
            "my.yml: ssh_authorized_keys[0]: ",
        ),
        ("ssh_authorized_keys: [KEY]", "rancher.ssh.daemon=false", &[], "1 ssh key(s)"),
        (
            "ssh_authorized_keys: [KEY]\nrancher: {ssh: {daemon: false}}",
            "",
            &[],
            "ssh.daemon is false",
        ),
        ("ssh_authorized_keys: [KEY]", "cc.ssh_authorized_keys=[]", &[], ""),
        ("", "cc.ssh_authorized_keys=\"[KEY]\"", &[], "not a key type"),
        ("users: [{name: joe}]", "", &[], "users: joe: it has neither"),
        ("users: [joe]", "", &[], "users: joe: it has neither"),
        ("users: [{name: joe, ssh_authorized_keys: [KEY]}]", "", &[], "not in the group docker"),
        (
            "users: [{name: joe, groups: [docker], ssh_authorized_keys: [KEY]}]",
            "",
            &["joe by ssh"],
            "",
        ),
        (
            "users: [{name: joe, primary_group: docker, ssh_authorized_keys: [KEY]}]",
            "",
            &["joe by ssh"],
            "",
        ),
        ("users: [{name: docker, ssh_authorized_keys: [KEY]}]", "", &["docker by ssh"], ""),
        ("users: [default]", "", &[], "stands for rancher"),
        ("users: [{name: default, ssh_authorized_keys: [KEY]}]", "", &["rancher by ssh"], ""),
        (
            "users: [{name: joe, groups: [docker], shell: /usr/sbin/nologin, \
             ssh_authorized_keys: [KEY]}]",
            "",
            &[],
            "its shell",
        ),
        (
            "users: [{name: joe, passwd: $6$s$h}]",
            "",
            &["joe on the console: password", "console only"],
            "",
        ),
        ("users: [{name: joe, passwd: $6$s$h, lock_passwd: true}]", "", &[], "lock_passwd"),
        ("users: [{name: joe, passwd: secret}]", "", &[], "it has neither"),
        ("users: [{name: joe, shell: /bin/fish, passwd: $6$s$h}]", "", &[], "its shell, /bin/fish"),
        (
            "users: [{name: joe, shell: /bin/sh, passwd: $6$s$h}]",
            "",
            &["joe on the console", "only"],
            "",
        ),
        (
            "users: [{name: joe, shell: /bin/fish, passwd: $6$s$h}]\nrancher: {console: debian}",
            "",
            &["joe on the console", "only"],
            "",
        ),
        ("", "rancher.autologin=ttyS1", &[], "ttyS1 has no login"),
        ("", "rancher.autologin=ttyS1 console=ttyS1,115200", &["on ttyS1, from", "only"], ""),
        ("", "rancher.autologin=ttyS0", &["on ttyS0, from", "only"], ""),
        (
            "rancher: {ssh: {daemon: false}, cloud_init: {datasources: [ec2]}}",
            "",
            &[],
            "sources of keys",
        ),
        ("ssh_authorized_keys: [\"# mine\\nKEY\\n\\nKEY\\n\"]", "", &["rancher", "rancher"], ""),
        ("ssh_authorized_keys: ['command=\"date\" KEY']", "", &[], "command runs one"),
        ("ssh_authorized_keys: ['cert-authority KEY']", "", &[], "signs certificates"),
        ("ssh_authorized_keys: ['expiry-time=\"20200101\" KEY']", "", &[], "limited time only"),
        (
            "users: [{name: joe, groups: [docker], ssh_authorized_keys: ['command=\"date\" KEY']}]",
            "",
            &[],
            "command runs one",
        ),
        (
            "rancher: {password: secret}",
            "",
            &["rancher on the console: password, from my.yml", "only"],
            "",
        ),
        ("", "rancher.autologin=tty1", &["without a password on tty1, from kernel", "only"], ""),
        (
            "rancher: {cloud_init: {datasources: [ec2]}}",
            "",
            &["expected from ec2, named by my.yml"],
            "",
        ),
        (
            "",
            "rancher.cloud_init.datasources=[url:http://u:p@h/x]",
            &["expected from url:http://h/x"],
            "",
        ),
    ];

    #[test]
    fn only_what_opens_the_machine_is_a_way_in() {
        for (document, append, expected, blocker) in CASES {
            let ways = judge(document, append);
            let lines = if ways.ways.is_empty() { Vec::new() } else { ways.describe() };
            assert_eq!(lines.len(), expected.len(), "{document} {append}: {lines:?}");
            for (line, part) in lines.iter().zip(expected) {
                assert!(line.contains(part), "{document} {append}: {line}");
            }
            let is_there = ways.blockers.iter().any(|found| found.contains(blocker));
            assert!(blocker.is_empty() || is_there, "{document} {append}: {:?}", ways.blockers);
        }
    }

    #[test]
    fn data_sources_of_the_defaults_and_an_empty_list_are_no_way_in() {
        assert!(judge("rancher: {cloud_init: {datasources: []}}", "").ways.is_empty());
        assert!(judge("rancher: {cloud_init: {datasources: [cmdline]}}", "").ways.is_empty());
        let fetched = [("https://me:secret@host/more".to_owned(), "my.yml".to_owned())];
        let ways = Known { layers: &[], keys: &[], fetched: &fetched, terminals: &[] }.judge();
        assert_eq!(
            ways.describe(),
            ["log in     keys are expected from https://host/more, named by my.yml"]
        );
    }

    #[test]
    fn a_key_is_named_by_where_it_was_found() {
        let layer = Layer::parse(
            Source::File("flags".to_owned()),
            &format!("ssh_authorized_keys: [{KEY}]"),
        );
        let keys = [Key { key: SshKey::parse(KEY).unwrap(), origin: "gh:octocat".to_owned() }];
        let ways = Known { layers: &[layer], keys: &keys, fetched: &[], terminals: &[] }.judge();
        assert!(
            ways.describe()[0].ends_with("me@desk (ED25519), from gh:octocat"),
            "{:?}",
            ways.describe()
        );
    }
}
