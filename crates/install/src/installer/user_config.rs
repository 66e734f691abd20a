//! The configuration that a new machine starts with: the owner's document as it is, and above it
//! the flags. It is checked before the disk is written: without a way to log in to the new machine
//! nothing is installed.

use super::access::{Access, Resolved};
use super::document::{Document, Form};
use super::keys::{self, Key};
use super::login::{self, Known, Ways};
use anyhow::{Context, Result, bail};
use corral_cloud::url_on_command_line;
use corral_config::{Layer, Source};
use corral_config::{merge, yaml};
use corral_machine::files::write_atomic;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const CONF: &str = "var/lib/rancher/conf";
/// The owner's cloud-config.
const DOCUMENT: &str = "cloud-config.d/user_config.yml";
/// What the flags set. Its name sorts last, so it overrides the document and user data.
const FLAGS: &str = "cloud-config.d/zz-install.yml";
/// User data for cloud-init to split, and the layer that names it as a source. That layer sorts
/// first, so the document itself can name more sources.
const USER_DATA: &str = "user-data";
const USER_DATA_SOURCE: &str = "cloud-config.d/00-user-data.yml";
const SOURCES: &str = "/rancher/cloud_init/datasources";

/// Files of an earlier installation on a state that is not formatted. All of them would override
/// what is written here, or replace it.
const EARLIER: [&str; 5] =
    ["cloud-config.yml", "cloud-config.d", USER_DATA, "confirm", "last-good"];

/// A file below the folder of the configuration; None if there is none.
type File = (&'static str, Option<Vec<u8>>);

/// What is written to the new machine.
#[derive(Debug)]
pub(super) struct UserConfig {
    files: Vec<File>,
    /// Lines for the owner to confirm.
    pub(super) lines: Vec<String>,
}

/// What is known before the flags are applied.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    document: Option<&'a Document>,
    append: Layer,
    /// URLs of user data, and who named them.
    fetched: Vec<(String, String)>,
    terminals: Vec<String>,
}

/// What neither the document nor a flag sets.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) key: bool,
    pub(super) password: bool,
    pub(super) hostname: bool,
    pub(super) address: bool,
}

impl Draft<'_> {
    pub(super) fn new<'a>(document: Option<&'a Document>, append: &str) -> Draft<'a> {
        let includes = document.into_iter().flat_map(|document| {
            document.includes.iter().map(|url| (url.clone(), document.name.clone()))
        });
        let mut fetched: Vec<(String, String)> = includes.collect();
        fetched.extend(url_on_command_line(append).map(|url| (url, "--append".to_owned())));
        Draft {
            document,
            append: Layer::from_command_line(append),
            fetched,
            terminals: login::terminals(append),
        }
    }

    /// What the dialogue has to ask for.
    pub(super) fn missing(&self, access: &Access) -> Result<Missing> {
        let ways = self.judge(&Resolved::default());
        let merged =
            merge::merge(self.layers(&Resolved::default()).iter().map(|layer| &layer.value));
        let key = access.ssh_key.is_empty() && !ways.has_ssh() && !ways.expects_keys();
        Ok(Missing {
            key: key && keys::of_this_system()?.is_empty(),
            password: !access.password && !ways.has_password(),
            hostname: access.hostname.is_none() && merged.get("hostname").is_none(),
            address: access.address.is_none()
                && merged.pointer("/rancher/network/interfaces").is_none(),
        })
    }

    fn layers(&self, resolved: &Resolved) -> Vec<Layer> {
        let source = Source::File("the flags of this command".to_owned());
        let flags = Layer::from_value(source, &resolved.to_value(&self.keys_of_document()));
        self.document
            .map(|document| document.layer.clone())
            .into_iter()
            .chain([flags, self.append.clone()])
            .collect()
    }

    fn keys_of_document(&self) -> Vec<String> {
        let keys =
            self.document.and_then(|document| document.layer.value.get("ssh_authorized_keys"));
        let keys = keys.and_then(Value::as_array).into_iter().flatten();
        keys.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn judge(&self, resolved: &Resolved) -> Ways {
        let layers = self.layers(resolved);
        Known {
            layers: &layers,
            keys: &resolved.keys,
            fetched: &self.fetched,
            terminals: &self.terminals,
        }
        .judge()
    }

    /// What was checked, what looked like a way to log in, and how to add one.
    fn refusal(&self, ways: &Ways) -> String {
        let name = self.document.map_or("the flags", |document| &document.name);
        let mut lines = vec![
            "there is no way to log in to the new machine; nothing was changed".to_owned(),
            format!(
                "checked: ssh_authorized_keys, users, rancher.password, autologin and data sources \
                 of {name} and of --append; ssh keys of this system"
            ),
        ];
        let unknown = self.document.into_iter().flat_map(Document::unknown_keys);
        lines.extend(unknown.map(ToString::to_string));
        lines.extend(ways.blockers.iter().cloned());
        if let Some(document) = self.document.filter(|document| document.form == Form::UserData) {
            lines.push(format!(
                "{}: logins that its scripts or services add are not known",
                document.name
            ));
        }
        lines.push(
            "--ssh-key KEY|FILE|gh:NAME adds a key, --password a password for the console; \
             --no-login installs anyway"
                .to_owned(),
        );
        lines.join("\n  ")
    }

    fn files(&self, resolved: &Resolved) -> Result<Vec<File>> {
        let value = resolved.to_value(&self.keys_of_document());
        let has_flags = value.as_object().is_some_and(|value| !value.is_empty());
        let flags = has_flags.then(|| cloud_config(&value)).transpose()?;
        let of_form = |form| self.document.filter(|document| document.form == form);
        let plain = of_form(Form::CloudConfig).map(|document| document.bytes.clone());
        let user_data = of_form(Form::UserData).map(|document| document.bytes.clone());
        let source = user_data.is_some().then(|| self.user_data_source()).transpose()?;
        Ok(vec![
            (DOCUMENT, plain),
            (FLAGS, flags),
            (USER_DATA, user_data),
            (USER_DATA_SOURCE, source),
        ])
    }

    /// The new machine's cloud-init reads the document like one on a drive.
    fn user_data_source(&self) -> Result<Vec<u8>> {
        if self.append.value.pointer(SOURCES).is_some() {
            bail!(
                "rancher.cloud_init.datasources in --append: {} would not be read, because it is \
                 user data, not a cloud-config",
                self.document.map_or("the document", |document| &document.name)
            );
        }
        let mut sources = vec![format!("file:/{CONF}/{USER_DATA}")];
        sources.extend(
            corral_config::resolve(&[corral_config::defaults()]).rancher.cloud_init.datasources,
        );
        cloud_config(&json!({"rancher": {"cloud_init": {"datasources": sources}}}))
    }
}

impl UserConfig {
    /// Reads what the flags name, and checks the result.
    pub(super) fn prepare(access: &Access, draft: &Draft<'_>) -> Result<UserConfig> {
        UserConfig::judge(access.resolve()?, draft, access.no_login, keys::of_this_system)
    }

    /// Adds the keys of this system if there are no others. It is an error if no way to log in
    /// remains.
    fn judge(
        mut resolved: Resolved,
        draft: &Draft<'_>,
        no_login: bool,
        keys_here: impl FnOnce() -> Result<Vec<Key>>,
    ) -> Result<UserConfig> {
        let mut lines = resolved.describe();
        let mut ways = draft.judge(&resolved);
        if resolved.keys.is_empty() && !ways.has_ssh() && !ways.expects_keys() {
            resolved.keys = keys_here()?;
            ways = draft.judge(&resolved);
            if !ways.has_ssh() {
                resolved.keys.clear();
            } else {
                lines.push(format!(
                    "ssh keys   {} from {}",
                    resolved.keys.len(),
                    keys::THIS_SYSTEM
                ));
            }
        }
        if ways.ways.is_empty() && !no_login {
            bail!(draft.refusal(&ways));
        }
        ways.blockers.iter().for_each(|blocker| println!("WARNING: {blocker}"));
        lines.extend(ways.describe());
        Ok(UserConfig { files: draft.files(&resolved)?, lines })
    }

    /// Writes everything where the first boot reads it, readable only by root. Files of an earlier
    /// installation are renamed.
    pub(super) fn write(&self, root: &Path) -> Result<()> {
        let conf = root.join(CONF);
        EARLIER.iter().try_for_each(|name| set_aside(&conf, name))?;
        let folder = conf.join("cloud-config.d");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        for (name, content) in &self.files {
            if let Some(bytes) = content {
                write_atomic(&conf.join(name), bytes, 0o600)?;
            }
        }
        for folder in [folder, conf] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))
                .with_context(|| format!("protecting {}", folder.display()))?;
        }
        Ok(())
    }
}

/// Renames a file. A backup of the previous installation is replaced.
fn set_aside(conf: &Path, name: &str) -> Result<()> {
    let (from, to) = (conf.join(name), conf.join(format!("{name}.before-install")));
    if fs::symlink_metadata(&from).is_err() {
        return Ok(());
    }
    match fs::symlink_metadata(&to) {
        Ok(data) if data.is_dir() => fs::remove_dir_all(&to),
        Ok(_) => fs::remove_file(&to),
        Err(_) => Ok(()),
    }
    .with_context(|| format!("removing {}", to.display()))?;
    fs::rename(&from, &to)
        .with_context(|| format!("renaming {} to {}", from.display(), to.display()))
}

fn cloud_config(value: &Value) -> Result<Vec<u8>> {
    let text = yaml::to_string(value).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(format!("#cloud-config\n# written by ros install\n{text}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_config::ssh_key::SshKey;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsyjdVi98mjmXXXl0Gwtdy5VQlPfWMr1rl626GfrojO me";

    fn document(text: &str) -> Document {
        Document::parse("my.yml".to_owned(), text.as_bytes().to_vec()).unwrap()
    }

    fn key_here() -> Result<Vec<Key>> {
        let key = SshKey::parse(KEY).unwrap();
        Ok(vec![Key { key, origin: keys::THIS_SYSTEM.to_owned() }])
    }

    fn judge(
        text: &str,
        append: &str,
        no_login: bool,
        here: fn() -> Result<Vec<Key>>,
    ) -> Result<UserConfig> {
        let document = document(text);
        UserConfig::judge(Resolved::default(), &Draft::new(Some(&document), append), no_login, here)
    }

    fn nothing_here() -> Result<Vec<Key>> {
        Ok(Vec::new())
    }

    fn file(config: &UserConfig, name: &str) -> Option<String> {
        let (_, content) = config.files.iter().find(|(known, _)| *known == name).unwrap();
        content.clone().map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn an_installation_that_locks_its_owner_out_is_refused_with_what_was_overlooked() {
        let text = "#cloud-config\nssh_authorised_keys: [a]\nusers: [{name: joe}]\n";
        let why = judge(text, "", false, nothing_here).unwrap_err().to_string();
        for part in [
            "there is no way to log in",
            "my.yml:2:22: ssh_authorised_keys: ",
            "my.yml: users: joe: it has neither",
            "--ssh-key KEY|FILE|gh:NAME adds",
            "--no-login",
        ] {
            assert!(why.contains(part), "{part}: {why}");
        }
        assert!(
            judge("#!/bin/sh\n", "", false, nothing_here)
                .unwrap_err()
                .to_string()
                .contains("scripts")
        );
        let none =
            UserConfig::judge(Resolved::default(), &Draft::new(None, ""), false, nothing_here);
        assert!(none.unwrap_err().to_string().contains("no way to log in"));
        let config = judge(text, "", true, nothing_here).unwrap();
        assert_eq!(config.lines, ["log in     NO WAY IS KNOWN (--no-login)"]);
        assert_eq!(file(&config, DOCUMENT).as_deref(), Some(text));
    }

    #[test]
    fn keys_of_this_system_are_taken_along_where_no_others_are_known() {
        let along = "ssh keys   1 from this system";
        for (text, append, expected) in [
            ("hostname: a", "", true),
            ("#!/bin/sh\n", "", true),
            ("ssh_authorized_keys: [ssh-ed25519 AAAA... me]", "", true),
            ("rancher: {password: secret}", "", true),
            (KEY_DOCUMENT, "", false),
            ("#include\nhttps://host/more\n", "", false),
            ("rancher: {cloud_init: {datasources: [ec2]}}", "", false),
            ("hostname: a", "cloud-config-url=http://host/x", false),
            ("rancher: {password: secret, ssh: {daemon: false}}", "", false),
        ] {
            let config =
                judge(text, append, false, key_here).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(
                config.lines.iter().any(|line| line == along),
                expected,
                "{text}: {:?}",
                config.lines
            );
            assert_eq!(
                file(&config, FLAGS).is_some_and(|text| text.contains(KEY)),
                expected,
                "{text}"
            );
        }
    }

    const KEY_DOCUMENT: &str = "ssh_authorized_keys: [ssh-ed25519 \
        AAAAC3NzaC1lZDI1NTE5AAAAIHsyjdVi98mjmXXXl0Gwtdy5VQlPfWMr1rl626GfrojO other]";

    #[test]
    fn keys_by_flags_stand_beside_those_of_the_document() {
        let other =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB two";
        let resolved = Resolved {
            keys: vec![Key { key: SshKey::parse(other).unwrap(), origin: "--ssh-key".to_owned() }],
            ..Resolved::default()
        };
        let document = document(KEY_DOCUMENT);
        let config =
            UserConfig::judge(resolved, &Draft::new(Some(&document), ""), false, nothing_here)
                .unwrap();
        assert_eq!(config.lines.len(), 2);
        assert!(config.lines[0].ends_with("other (ED25519), from my.yml"), "{:?}", config.lines);
        assert!(config.lines[1].ends_with("two (ED25519), from --ssh-key"), "{:?}", config.lines);
        let written = Layer::parse(Source::Defaults, &file(&config, FLAGS).unwrap());
        assert_eq!(written.problems, Vec::new());
        assert_eq!(written.value["ssh_authorized_keys"].as_array().map(Vec::len), Some(2));
        assert_eq!(file(&config, DOCUMENT).as_deref(), Some(KEY_DOCUMENT));
    }

    #[test]
    fn user_data_is_read_by_the_new_machine_itself() {
        let config = judge("#!/bin/sh\n", "", true, nothing_here).unwrap();
        assert_eq!((file(&config, DOCUMENT), file(&config, FLAGS)), (None, None));
        assert_eq!(file(&config, USER_DATA).as_deref(), Some("#!/bin/sh\n"));
        let source = Layer::parse(Source::Defaults, &file(&config, USER_DATA_SOURCE).unwrap());
        assert_eq!(source.problems, Vec::new());
        let sources = json!(["file:/var/lib/rancher/conf/user-data", "configdrive", "nocloud"]);
        assert_eq!(source.value.pointer(SOURCES), Some(&sources));
        let append = "rancher.cloud_init.datasources=[ec2]";
        let why = judge("#!/bin/sh\n", append, true, nothing_here).unwrap_err().to_string();
        assert!(why.contains("my.yml would not be read"), "{why}");
    }

    #[test]
    fn the_files_sort_in_the_order_in_which_they_win() {
        let boot = "cloud-config.d/boot.yml";
        assert!(USER_DATA_SOURCE < boot && boot < DOCUMENT && DOCUMENT < FLAGS);
    }

    #[test]
    fn what_an_earlier_installation_left_goes() {
        let root = std::env::temp_dir().join(format!("corral-user-config-{}", std::process::id()));
        judge("hostname: a", "", false, key_here).unwrap().write(&root).unwrap();
        let there = |name: &str| root.join(CONF).join(name).exists();
        assert!(there(DOCUMENT) && there(FLAGS) && !there(USER_DATA));
        judge("#!/bin/sh\n", "", true, nothing_here).unwrap().write(&root).unwrap();
        assert!(!there(DOCUMENT) && !there(FLAGS) && there(USER_DATA) && there(USER_DATA_SOURCE));
        let mode = fs::metadata(root.join(CONF).join(USER_DATA)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn an_old_configuration_that_would_win_is_set_aside() {
        let root = std::env::temp_dir().join(format!("corral-aside-{}", std::process::id()));
        let conf = root.join(CONF);
        for _ in 0..2 {
            fs::create_dir_all(conf.join("last-good")).unwrap();
            fs::write(conf.join("last-good/way-in.json"), "{}").unwrap();
            fs::write(conf.join("cloud-config.yml"), "ssh_authorized_keys: []").unwrap();
            fs::write(conf.join("docker"), "DOCKER_OPTS=").unwrap();
            judge("hostname: a", "", false, key_here).unwrap().write(&root).unwrap();
            let there = |name: &str| conf.join(name).exists();
            assert!(
                !there("cloud-config.yml")
                    && !there("last-good")
                    && there(FLAGS)
                    && there("docker")
            );
            assert!(there("cloud-config.yml.before-install"));
            assert!(there("last-good.before-install/way-in.json"));
        }
        fs::remove_dir_all(root).unwrap();
    }
}
