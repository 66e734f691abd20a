//! The keys of a box of Vagrant's, which are public: the first `vagrant up` replaces them by a new
//! one. The configuration is that of the boxes, with keys of the story.
//! <https://github.com/hashicorp/vagrant/blob/main/plugins/guests/linux/cap/public_key.rb>

use super::STATE;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;
use vmtest::shell::{self, Login};
use vmtest::vagrant::{MARK, USER, document};
use vmtest::{Machine, Options, drive, folder};

/// Where Vagrant puts a file with keys for a moment.
const UPLOADED: &str = "/tmp/vagrant-pubkey";
/// Vagrant's scripts: the new key is added, and the public ones are removed.
const INSERT: &str = "
    mkdir -p ~/.ssh
    chmod 0700 ~/.ssh
    cat 'FILE' >> ~/.ssh/authorized_keys && chmod 0600 ~/.ssh/authorized_keys
    result=$?
    rm -f 'FILE'
    exit $result";
const REMOVE: &str = "
    if test -f ~/.ssh/authorized_keys; then
      grep -v -x -f 'FILE' ~/.ssh/authorized_keys > ~/.ssh/authorized_keys.tmp
      mv ~/.ssh/authorized_keys.tmp ~/.ssh/authorized_keys && chmod 0600 ~/.ssh/authorized_keys
      result=$?
    fi
    rm -f 'FILE'
    exit $result";

#[test]
fn both_public_keys_are_replaced_and_do_not_come_back() -> Result<()> {
    let folder = folder("vagrant")?;
    let [other, new] = ["other", "new"].map(|name| folder.join(name));
    for path in [&other, &new] {
        fs::create_dir_all(path)?;
    }
    let public = [shell::make_key(&folder)?, shell::make_key(&other)?];
    let mut machine = start(&folder, &public)?;
    let logins = [machine.login.clone(), Login { folder: other, ..machine.login.clone() }];
    for login in &logins {
        assert_eq!(login.run("id -un")?, USER);
    }

    let key = shell::make_key(&new)?;
    run_with_file(&logins[0], &key, INSERT)?;
    run_with_file(&logins[0], &public.join("\n"), REMOVE)?;
    machine.login.folder = new;
    assert_eq!(machine.run("cat ~/.ssh/authorized_keys")?, key);
    // What is connected would stay connected.
    logins.iter().for_each(Login::hang_up);
    machine.restart()?;
    // Docker starts after the command that had written the keys.
    machine.expect_docker()?;
    let shown = machine.run("cat ~/.ssh/authorized_keys && docker ps -q && sudo -n id -u")?;
    assert_eq!(shown, format!("{key}\n0"));
    for login in &logins {
        is_refused(login)?;
    }
    machine.run(&format!("which rsync && sudo rsync --version && sudo test -e {MARK}"))?;
    machine.check_alarms()
}

/// A machine with the configuration of a box, and these keys as the public ones. The first of them
/// has logged in.
fn start(folder: &Path, keys: &[String; 2]) -> Result<Machine> {
    let disk = folder.join("state.img");
    drive::blank(&disk, 2048)?;
    let text = document(&keys.each_ref().map(String::as_str));
    let config_drive = Some(drive::make(folder, drive::Kind::ConfigDriveIso, text.as_bytes())?);
    let (append, disks) = (STATE.to_owned(), vec![disk]);
    let options = Options { append, disks, config_drive, ..Options::default() };
    let mut machine = Machine::start(folder, options)?;
    USER.clone_into(&mut machine.login.user);
    // The command that writes the keys has run. Until then each login would fail, and sshd refuses
    // an address with too many of them.
    machine.expect_console("corral: started")?;
    machine.expect_login()?;
    Ok(machine)
}

/// Uploads a file as Vagrant does, by the old protocol of scp, and runs a script of Vagrant's that
/// reads it.
fn run_with_file(login: &Login, text: &str, script: &str) -> Result<()> {
    let file = login.folder.join("upload");
    fs::write(&file, format!("{text}\n"))?;
    let mut scp = Command::new("scp");
    scp.args(["-O", "-q", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
    scp.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]);
    scp.args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]);
    scp.args(["-P", &login.port.to_string(), "-i"]).arg(login.folder.join("key")).arg(&file);
    scp.arg(format!("{}@127.0.0.1:{UPLOADED}", login.user));
    let output = scp.output().context("starting scp")?;
    ensure!(output.status.success(), "scp: {}", String::from_utf8_lossy(&output.stderr));
    login.run(&script.replace("FILE", UPLOADED)).map(drop)
}

fn is_refused(login: &Login) -> Result<()> {
    let said = login.run("true").err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(
        said.contains("Permission denied (publickey)"),
        "the key in {} still lets in, or does not get so far: {said}",
        login.folder.display()
    );
    Ok(())
}
