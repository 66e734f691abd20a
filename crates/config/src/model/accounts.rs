//! The users of a machine, their keys and passwords, as all keys of logins mean them together.

use super::Config;
use super::logins::{DEFAULT_USER, PasswordOf, Secret, Sudo, User, add};
use std::collections::BTreeMap;

/// The groups that make an administrator: ssh and Docker, and sudo without a password.
const GROUPS: [&str; 2] = ["docker", "sudo"];

impl Config {
    /// The users to create, each once: those of `users`, and the one of `user`. The latter has the
    /// keys and the rights of rancher; if `sudo` is false there, not those of sudo.
    pub fn accounts(&self) -> Vec<User> {
        let users = self.users.iter().filter(|user| !is_there(&user.name));
        let mut all: Vec<User> =
            users.map(|user| User { groups: user.all_groups(), ..user.clone() }).collect();
        let name = self.user.name.as_str();
        if is_there(name) {
            return all;
        }
        let mut user = User { groups: self.user.all_groups(), ..self.user.clone() };
        if let Some(at) = all.iter().position(|other| other.name == name) {
            user = both(all.remove(at), user);
        }
        let refused = Some(Sudo::Bool(false));
        let has_sudo = user.sudo != refused && self.user.sudo != refused;
        let groups = GROUPS.iter().filter(|group| has_sudo || **group != "sudo");
        groups.for_each(|group| add(&mut user.groups, group));
        user.ssh_authorized_keys.extend(self.admin_keys());
        user.ssh_import_id.extend(self.admin_ids());
        all.push(user);
        all
    }

    /// The keys that let in rancher and docker. Those of the default user are among them, and those
    /// of root: root never logs in over ssh, and its keys are not to keep their owner out.
    pub fn admin_keys(&self) -> Vec<String> {
        let of_admins = self.admins().flat_map(|user| &user.ssh_authorized_keys);
        self.ssh_authorized_keys.iter().chain(of_admins).cloned().collect()
    }

    /// The accounts whose keys let in rancher and docker.
    pub fn admin_ids(&self) -> Vec<String> {
        let of_admins = self.admins().flat_map(|user| &user.ssh_import_id);
        self.ssh_import_id.iter().chain(of_admins).cloned().collect()
    }

    /// Root and the default user. The latter is `user` too, if it has no name.
    fn admins(&self) -> impl Iterator<Item = &User> {
        let is_admin = |user: &&User| ["default", "root"].contains(&user.name.as_str());
        let named = Some(&self.user).filter(|user| user.name.is_empty() || is_admin(user));
        self.users.iter().filter(is_admin).chain(named)
    }

    /// The user that `password` belongs to.
    fn default_user(&self) -> &str {
        match self.user.name.as_str() {
            "" | "default" => DEFAULT_USER,
            name => name,
        }
    }

    /// The password of each user that has one. A user with a line break or a colon in its name is
    /// none.
    pub fn passwords(&self) -> BTreeMap<String, Secret> {
        let mut all = Vec::new();
        let listed = self.users.iter().map(|user| match user.name.as_str() {
            "default" => (DEFAULT_USER, user),
            name => (name, user),
        });
        for (name, user) in listed.chain([(self.default_user(), &self.user)]) {
            all.extend(user.secret().map(|secret| (name.to_owned(), secret)));
        }
        all.push((self.default_user().to_owned(), Secret::of(&self.password)));
        let lines = self.chpasswd.list.iter().flat_map(|item| item.lines()).map(str::trim);
        let pairs = lines.filter_map(|line| line.split_once(':'));
        let pairs = pairs.filter(|(_, secret)| !["R", "RANDOM"].contains(secret));
        all.extend(pairs.map(|(name, secret)| (name.to_owned(), Secret::of(secret))));
        all.extend(self.chpasswd.users.iter().filter_map(PasswordOf::secret));
        all.push((DEFAULT_USER.to_owned(), Secret::of(&self.rancher.password)));
        all.retain(|(name, secret)| {
            !name.is_empty() && !name.contains([':', '\n', '/']) && secret.is_line()
        });
        all.into_iter().collect()
    }

    /// Does it let any user log in over the network? A terminal is out of reach of many owners.
    pub fn has_remote_login(&self) -> bool {
        let has_keys = |keys: &[String], ids: &[String]| !keys.is_empty() || !ids.is_empty();
        let is_let_in = |user: &User| has_keys(&user.ssh_authorized_keys, &user.ssh_import_id);
        has_keys(&self.admin_keys(), &self.admin_ids())
            || self.accounts().iter().any(is_let_in)
            || self.ssh_pwauth && !self.passwords().is_empty()
    }

    /// The private host keys, by kind.
    pub fn host_key(&self, kind: &str) -> Option<&str> {
        let keys = &self.ssh_keys;
        let other = match kind {
            "rsa" => keys.rsa_private.as_str(),
            "ecdsa" => keys.ecdsa_private.as_str(),
            "ed25519" => keys.ed25519_private.as_str(),
            _ => "",
        };
        let own = self.rancher.ssh.keys.get(kind).map(String::as_str);
        own.or(Some(other)).filter(|key| !key.is_empty())
    }
}

/// `default` is rancher.
fn is_there(name: &str) -> bool {
    ["", "default", "root"].contains(&name)
}

/// A user of `users` that `user` names as well.
fn both(listed: User, named: User) -> User {
    User {
        groups: [listed.groups, named.groups].concat(),
        ssh_authorized_keys: [listed.ssh_authorized_keys, named.ssh_authorized_keys].concat(),
        ssh_import_id: [listed.ssh_import_id, named.ssh_import_id].concat(),
        sudo: listed.sudo.or(named.sudo),
        ..listed
    }
}

#[cfg(test)]
mod tests {
    use super::super::logins::{Chpasswd, Sudo};
    use super::*;

    fn user(name: &str) -> User {
        User { name: name.to_owned(), ..User::default() }
    }

    #[test]
    fn the_named_user_has_keys_and_rights_of_rancher() {
        let config = Config {
            ssh_authorized_keys: vec!["k".to_owned()],
            user: user("ann"),
            users: vec![user("default"), User { groups: vec!["a, b".to_owned()], ..user("joe") }],
            password: "$6$salt$hash".to_owned(),
            ..Config::default()
        };
        let accounts = config.accounts();
        let shown: Vec<String> = accounts
            .iter()
            .map(|user| format!("{} {:?} {:?}", user.name, user.groups, user.ssh_authorized_keys))
            .collect();
        assert_eq!(shown, [r#"joe ["a", "b"] []"#, r#"ann ["docker", "sudo"] ["k"]"#]);
        assert_eq!(Secret::of("$6$salt$hash"), Secret::Hash("$6$salt$hash".to_owned()));
        let expected = BTreeMap::from([("ann".to_owned(), Secret::of("$6$salt$hash"))]);
        assert_eq!(config.passwords(), expected);
    }

    #[test]
    fn who_is_root_by_sudo_and_has_keys_gets_in() {
        let of = |line: &str| Some(Sudo::Lines(vec![line.to_owned()]));
        let lines = of("ALL=(ALL) NOPASSWD:ALL");
        let keys = vec!["k".to_owned()];
        let admin =
            User { sudo: lines.clone(), ssh_authorized_keys: keys.clone(), ..user("admin") };
        assert_eq!(admin.all_groups(), ["docker"]);
        assert!(User { sudo: lines, ..user("a") }.all_groups().is_empty());
        let with_keys = User { ssh_authorized_keys: keys, ..user("b") };
        assert!(with_keys.all_groups().is_empty());
        for line in ["ALL=(root) /usr/bin/reboot", "ALL=(ALL) ALL"] {
            let limited = User { sudo: of(line), ..with_keys.clone() };
            assert!(limited.all_groups().is_empty(), "{line}");
        }
    }

    #[test]
    fn the_named_user_has_no_sudo_if_it_is_refused() {
        let refused = User { sudo: Some(Sudo::Bool(false)), ..user("ann") };
        let groups = |users: Vec<User>, user: User| {
            let all = Config { users, user, ..Config::default() }.accounts();
            all.into_iter().map(|user| user.groups).collect::<Vec<_>>()
        };
        assert_eq!(groups(vec![], refused.clone()), [["docker"]]);
        assert_eq!(groups(vec![refused.clone()], user("ann")), [["docker"]]);
        assert_eq!(groups(vec![user("ann")], refused), [["docker"]]);
        assert_eq!(groups(vec![], user("ann")), [["docker", "sudo"]]);
    }

    #[test]
    fn the_default_user_is_rancher() {
        let of = |name: &str, text: &str| User {
            ssh_authorized_keys: vec![format!("k{text}")],
            ssh_import_id: vec![format!("gh:{text}")],
            passwd: format!("$6$salt${text}"),
            ..user(name)
        };
        let listed = Config { users: vec![of("default", "a"), of("", "b")], ..Config::default() };
        let nameless = Config { user: of("", "a"), ..Config::default() };
        let named = Config { user: of("default", "a"), ..Config::default() };
        for config in [listed, nameless, named] {
            assert!(config.accounts().is_empty());
            assert_eq!(config.admin_keys(), ["ka"]);
            assert_eq!(config.admin_ids(), ["gh:a"]);
            let secret = Secret::Hash("$6$salt$a".to_owned());
            assert_eq!(config.passwords(), BTreeMap::from([(DEFAULT_USER.to_owned(), secret)]));
        }
    }

    #[test]
    fn a_later_way_to_say_a_password_wins_and_wrong_lines_say_nothing() {
        let list = vec!["rancher:one\nann:R\n nonsense\nroot:a:b".to_owned()];
        let users = vec![PasswordOf {
            name: "rancher".to_owned(),
            password: "two".to_owned(),
            ..PasswordOf::default()
        }];
        let config = Config {
            password: "zero".to_owned(),
            chpasswd: Chpasswd { list, users, expire: true },
            ..Config::default()
        };
        let pair = |name: &str, secret: &str| (name.to_owned(), Secret::Clear(secret.to_owned()));
        let expected = BTreeMap::from([pair("rancher", "two"), pair("root", "a:b")]);
        assert_eq!(config.passwords(), expected);
    }

    #[test]
    fn keys_of_root_let_in_as_rancher() {
        let root = User { ssh_authorized_keys: vec!["r".to_owned()], ..user("root") };
        let config = Config {
            ssh_authorized_keys: vec!["k".to_owned()],
            users: vec![root],
            ..Config::default()
        };
        assert_eq!(config.admin_keys(), ["k", "r"]);
        assert!(config.accounts().is_empty());
    }

    #[test]
    fn over_the_network_a_login_is_a_key_or_a_password_that_sshd_takes() {
        let with_key = User { ssh_authorized_keys: vec!["k".to_owned()], ..user("joe") };
        let mut password = Config::default();
        password.rancher.password = "secret".to_owned();
        let mut terminal = Config::default();
        terminal.rancher.autologin.push("tty1".to_owned());
        let without_key = Config { users: vec![user("joe")], ..Config::default() };
        for config in [Config::default(), without_key, terminal, password.clone()] {
            assert!(!config.has_remote_login(), "{config:?}");
        }
        for config in [
            Config { ssh_authorized_keys: vec!["k".to_owned()], ..Config::default() },
            Config { ssh_import_id: vec!["gh:ann".to_owned()], ..Config::default() },
            Config { users: vec![with_key], ..Config::default() },
            Config { ssh_pwauth: true, ..password },
        ] {
            assert!(config.has_remote_login(), "{config:?}");
        }
    }

    #[test]
    fn a_locked_user_has_no_password() {
        let joe = User { plain_text_passwd: "p".to_owned(), ..user("joe") };
        let locked = User { lock_passwd: Some(true), ..joe.clone() };
        let passwords = |user| Config { users: vec![user], ..Config::default() }.passwords();
        assert!(passwords(locked).is_empty());
        assert_eq!(passwords(joe).len(), 1);
    }
}
