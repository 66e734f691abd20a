//! What a console of another image has before its owner logs in: accounts, `sudo`, a `PATH` with
//! our programs. The image has a shell; what it has besides is kept.
//! See docs/decisions/0017-a-console-needs-a-shell-from-its-image.md.

use super::accounts;
use crate::applets::{account_table, failures};
use anyhow::{Context, Result, bail};
use corral_machine::files::write_atomic;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;
use std::process::Command;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
const SUDO_GROUP: &str = "sudo";
/// Exists: no password of the image is left.
const CLEARED: &str = "/etc/.corral-passwords-cleared";
/// The user of sshd's processes that have no rights.
const SSHD: &str = "sshd";
/// Read by our sudo. In memory: our own console must not read it after a switch.
const SUDO_CONF: &str = "/run/sudo.conf";

/// Files that our programs and the image's shell read: path, mode, content.
const FILES: [(&str, u32, &str); 4] = [
    (
        SUDO_CONF,
        0o644,
        "Plugin sudoers_policy /usr/lib/corral/s/sudoers.so \
         sudoers_file=/usr/lib/corral/etc/sudoers\n",
    ),
    (
        "/etc/pam.d/corral-sudo",
        0o644,
        "auth     sufficient /usr/lib/corral/lib64/security/pam_permit.so\n\
         account  required   /usr/lib/corral/lib64/security/pam_permit.so\n\
         session  required   /usr/lib/corral/lib64/security/pam_permit.so\n",
    ),
    // For a sudo of the image's own too.
    ("/etc/sudoers.d/80-corral", 0o440, "%sudo ALL=(ALL:ALL) NOPASSWD: ALL\n"),
    ("/etc/profile.d/corral.sh", 0o644, include_str!("other_profile.sh")),
];
/// Where an image has no `/etc/profile` of its own.
const PROFILE: &str = "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
                       for script in /etc/profile.d/*.sh; do\n    \
                       [ -r \"$script\" ] && . \"$script\"\ndone\nunset script\n";

/// Fails if the image cannot be a console. Changes nothing.
pub(crate) fn check() -> Result<()> {
    let ended = Command::new("/bin/sh").args(["-c", "exit 0"]).output();
    match ended {
        Ok(ended) if ended.status.success() => {}
        Ok(ended) => bail!("its /bin/sh fails: {}", ended.status),
        Err(error) => bail!("{}", why_no_shell(&error)),
    }
    match collision(&fs::read_to_string(PASSWD).unwrap_or_default()) {
        Some(text) => bail!("{text}"),
        None => Ok(()),
    }
}

/// In words, why the shell does not start.
fn why_no_shell(error: &std::io::Error) -> String {
    let exists = fs::symlink_metadata("/bin/sh").is_ok();
    let is_foreign = error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error());
    match (exists, is_foreign) {
        (false, _) => "it has no /bin/sh; a console needs a shell".to_owned(),
        (true, true) => "its /bin/sh is not for this processor (amd64)".to_owned(),
        (true, false) => format!("its /bin/sh does not start: {error}"),
    }
}

/// Logins need these users with these numbers: the homes belong to them.
fn collision(passwd: &str) -> Option<String> {
    let rows: Vec<Vec<&str>> = passwd.lines().map(|line| line.split(':').collect()).collect();
    accounts::OURS.iter().find_map(|(name, uid)| {
        let text = uid.to_string();
        rows.iter().find_map(|row| {
            let (user, number) = (*row.first()?, *row.get(2)?);
            match (user == *name, number == text) {
                (true, false) => Some(format!("its user {name} has uid {number} instead of {uid}")),
                (false, true) => Some(format!("its user {user} has uid {uid}, which is {name}'s")),
                _ => None,
            }
        })
    })
}

/// Makes what is missing. A failed step does not keep the next from being tried.
pub(crate) fn prepare() -> Result<()> {
    let mut failures = Vec::new();
    let steps = [
        ("/var/run", link_run as fn() -> Result<()>),
        ("tables of users", make_tables),
        ("users", make_users),
        ("group sudo", join_sudo),
        ("passwords", clear_passwords),
        ("files", write_files),
    ];
    for (what, step) in steps {
        if let Err(error) = step() {
            failures.push(format!("{what}: {error:#}"));
        }
    }
    failures::as_error(&failures)
}

/// After a switch to our own console: its sudo has its own configuration.
pub(super) fn leave() {
    let _ = fs::remove_file(SUDO_CONF);
}

/// Docker has its socket and the state of containers at /var/run, which is /run of the host. What
/// an image has there is kept beside it.
fn link_run() -> Result<()> {
    let path = Path::new("/var/run");
    if fs::canonicalize(path).is_ok_and(|real| real == Path::new("/run")) {
        return Ok(());
    }
    if fs::symlink_metadata(path).is_ok() {
        move_all(path, Path::new("/var/run.of-image")).context("moving the image's /var/run")?;
    }
    fs::create_dir_all("/var")?;
    symlink("/run", path).context("linking /var/run to /run")
}

/// Moves a file or a folder within a file system. An overlay refuses to rename a folder of its
/// lower layers (EXDEV): its content is moved instead. An earlier attempt that was cut short is
/// completed.
fn move_all(from: &Path, to: &Path) -> Result<()> {
    let act = || format!("moving {} to {}", from.display(), to.display());
    let data = fs::symlink_metadata(from).with_context(act)?;
    match fs::rename(from, to) {
        Err(error) if data.is_dir() && needs_parts(error.kind()) => {}
        result => return result.with_context(act),
    }
    fs::create_dir_all(to).with_context(act)?;
    chown(to, Some(data.uid()), Some(data.gid())).with_context(act)?;
    fs::set_permissions(to, data.permissions()).with_context(act)?;
    let items: Vec<_> =
        fs::read_dir(from).with_context(act)?.collect::<Result<_, _>>().with_context(act)?;
    for item in items {
        move_all(&item.path(), &to.join(item.file_name()))?;
    }
    fs::remove_dir(from).with_context(act)
}

fn needs_parts(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::CrossesDevices | ErrorKind::DirectoryNotEmpty)
}

fn make_tables() -> Result<()> {
    for (path, line) in [(PASSWD, "root:x:0:0:root:/root:/bin/sh\n"), (GROUP, "root:x:0:\n")] {
        if !Path::new(path).exists() {
            write_atomic(Path::new(path), line.as_bytes(), 0o644)?;
        }
    }
    Ok(())
}

fn make_users() -> Result<()> {
    for (name, id) in accounts::OURS {
        accounts::make_group(name, Some(id))?;
        if accounts::lookup(PASSWD, name).is_none() {
            let (uid, home) = (id.to_string(), format!("/home/{name}"));
            let whose = ["-M", "-d", &home, "-g", name, "-u", &uid, "-p", "*"];
            useradd(&[whose.as_slice(), &["-s", accounts::shell(), name]].concat())?;
        } else if !has_shell(name) {
            accounts::usermod(&["-s", accounts::shell()], name)?;
        }
    }
    if accounts::lookup(PASSWD, SSHD).is_none() {
        accounts::run("/usr/sbin/groupadd", &["-r", "-f", SSHD])?;
        useradd(&["-r", "-M", "-d", "/run/sshd", "-s", "/bin/false", "-g", SSHD, SSHD])?;
    }
    Ok(())
}

fn useradd(arguments: &[&str]) -> Result<()> {
    accounts::run("/usr/sbin/useradd", arguments)
}

/// True if the shell of that user is on this image.
fn has_shell(user: &str) -> bool {
    let table = fs::read_to_string(PASSWD).unwrap_or_default();
    let shell = account_table::field(&table, user, 6).unwrap_or_default();
    !shell.ends_with("nologin") && !shell.ends_with("false") && Path::new(shell).exists()
}

fn join_sudo() -> Result<()> {
    accounts::make_group(SUDO_GROUP, None)?;
    let join = |(name, _): &(&str, u32)| accounts::usermod(&["-a", "-G", SUDO_GROUP], name);
    accounts::OURS.iter().try_for_each(join)
}

/// The first start in a file system: its passwords are those of the image's author.
fn clear_passwords() -> Result<()> {
    if Path::new(CLEARED).exists() {
        return Ok(());
    }
    let ours = accounts::OURS.iter().map(|(name, _)| *name);
    for name in ours.chain(["root"]) {
        accounts::usermod(&["-p", "*"], name)?;
    }
    write_atomic(Path::new(CLEARED), b"", 0o600)
}

fn write_files() -> Result<()> {
    for (path, mode, text) in FILES {
        write(Path::new(path), mode, text)?;
    }
    let profile = Path::new("/etc/profile");
    if profile.exists() { Ok(()) } else { write(profile, 0o644, PROFILE) }
}

fn write(path: &Path, mode: u32, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    write_atomic(path, text.as_bytes(), mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_that_cannot_be_renamed_is_moved_file_by_file() {
        let folder = std::env::temp_dir().join(format!("corral-move-{}", std::process::id()));
        let (from, to) = (folder.join("run"), folder.join("run.of-image"));
        fs::create_dir_all(from.join("lock/deep")).unwrap();
        fs::write(from.join("lock/deep/file"), "new").unwrap();
        symlink("lock", from.join("link")).unwrap();
        fs::set_permissions(from.join("lock"), fs::Permissions::from_mode(0o1777)).unwrap();
        // Not empty, so that neither folder can be renamed.
        fs::create_dir_all(to.join("lock")).unwrap();
        fs::write(to.join("lock/old"), "old").unwrap();
        move_all(&from, &to).unwrap();
        assert!(fs::symlink_metadata(&from).is_err());
        assert_eq!(fs::read_to_string(to.join("lock/deep/file")).unwrap(), "new");
        assert_eq!(fs::read_to_string(to.join("link/old")).unwrap(), "old");
        assert_eq!(fs::metadata(to.join("lock")).unwrap().permissions().mode() & 0o7777, 0o1777);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn users_with_our_numbers_or_our_names_are_refused() {
        let stock = "root:x:0:0:root:/root:/bin/bash\n_apt:x:42:65534::/nonexistent:/bin/false\n";
        let ours = "rancher:x:1100:1100::/home/rancher:/bin/sh\ndocker:x:1101:1101::/:/bin/sh\n";
        assert_eq!(collision(stock), None);
        assert_eq!(collision(&format!("{stock}{ours}")), None);
        assert_eq!(collision(""), None);
        let cases = [
            ("joe:x:1100:1::/:/bin/sh", "its user joe has uid 1100, which is rancher's"),
            ("docker:x:998:1::/:/bin/sh", "its user docker has uid 998 instead of 1101"),
        ];
        for (line, expected) in cases {
            assert_eq!(collision(&format!("{stock}{line}\n")).as_deref(), Some(expected));
        }
    }
}
