//! Replacement engines for the user's Docker, from the archives that `cargo xtask engines` makes.

use super::says_all;
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use vmtest::folder::Folder;
use vmtest::report::skipped;
use vmtest::{Image, Machine, Options, drive, folder, servers};

/// A busybox that the user's Docker runs.
pub(super) const BUSYBOX: &str = "mkdir -p /tmp/r/bin && cp /usr/bin/busybox /tmp/r/bin/ &&
    tar -C /tmp/r -cf - . | docker import - busybox:1 > /dev/null";
pub(super) const RUN: &str = "docker run --rm busybox:1 /bin/busybox echo it runs";
pub(super) const SWITCH: &str = "sudo ros engine switch -y";
/// What image checks and trials found.
const FINDINGS: &str = "/var/lib/rancher/cache";

/// A machine with a state disk, this archive as a further disk, and an image for Docker. Its disk
/// is there as long as its folder.
pub(super) fn start(name: &str, archive: Option<&Path>) -> Result<(Machine, Folder)> {
    let folder = folder(name)?;
    let disk = folder.join("state.img");
    drive::blank(&disk, 6144)?;
    let options = Options {
        disks: vec![disk],
        sticks: archive.map(Path::to_path_buf).into_iter().collect(),
        append: super::STATE.to_owned(),
        memory: 1536,
        ..Options::default()
    };
    let mut machine = super::with_config(&folder, "", options)?;
    machine.expect_login()?;
    machine.expect_docker()?;
    machine.run(BUSYBOX)?;
    Ok((machine, folder))
}

pub(super) fn version(machine: &Machine) -> Result<String> {
    machine.run("docker version --format '{{.Server.Version}}'")
}

/// The name of the engine in the image: `docker-26.1`, or what a release has.
pub(super) fn built_in(machine: &Machine) -> Result<String> {
    let version = version(machine)?;
    let numbers: Vec<&str> = version.split('.').take(2).collect();
    Ok(format!("docker-{}", numbers.join(".")))
}

/// The archive of an engine. None if it was not built: then the story is skipped.
fn archive(name: &str) -> Result<Option<PathBuf>> {
    let file = Image::find()?.engines.join(format!("{name}.tar"));
    if file.exists() {
        return Ok(Some(file));
    }
    skipped(&format!(
        "{} is not there. `cargo xtask test --all` builds it, and so does `cargo xtask engines`",
        file.display()
    ));
    Ok(None)
}

/// The archive is the third disk: the first is the image of the system, the second the state disk.
fn copy_archive(machine: &Machine, archive: &Path, target: &str) -> Result<()> {
    let size = std::fs::metadata(archive)?.len();
    machine.run(&format!("sudo head -c {size} /dev/vdc | sudo tee {target} > /dev/null"))?;
    Ok(())
}

#[test]
fn an_engine_of_an_archive_runs_containers_and_the_way_back_too() -> Result<()> {
    let Some(archive) = archive("docker-28.5")? else { return Ok(()) };
    let (mut machine, _folder) = start("engines", Some(&archive))?;
    let own = built_in(&machine)?;
    if own == "docker-28.5" {
        skipped("the engine of this image is docker-28.5 itself: there is no newer one");
        return Ok(());
    }
    let own_version = version(&machine)?;
    let number = own_version.split('+').next().unwrap_or(&own_version);
    let list = machine.run("sudo ros engine list")?;
    says_all(&list, &[&format!("current   {own}"), number, "docker-20.10", "podman", "no "]);
    machine.run("docker run -d --name kept busybox:1 /bin/busybox sleep 100000")?;
    copy_archive(&machine, &archive, "/opt/docker-28.5.tar")?;
    let said = machine.run(&format!("{SWITCH} /opt/docker-28.5.tar 2>&1"))?;
    let warning = format!("may write data that {own} ({number}) does not read");
    says_all(&said, &[&warning, "28.5 runs"]);
    ensure!(version(&machine)?.starts_with("28.5"));
    assert_eq!(machine.run(RUN)?, "it runs");
    assert_eq!(machine.run("docker inspect -f '{{.State.Running}}' kept")?, "true");
    says_all(&machine.run("sudo ros engine list")?, &["current   docker-28.5"]);
    let over_ssh = over_ssh(&machine)?;
    ensure!(over_ssh.starts_with("28.5"), "{over_ssh}");

    machine.restart()?;
    machine.expect_docker()?;
    ensure!(version(&machine)?.starts_with("28.5"));

    let said = machine.run(&format!("{SWITCH} default 2>&1"))?;
    says_all(&said, &[&format!("{own} ({number}) is older than docker-28.5")]);
    assert_eq!(version(&machine)?, own_version);
    assert_eq!(machine.run(RUN)?, "it runs");
    machine.check_alarms()
}

#[test]
fn podman_answers_as_docker() -> Result<()> {
    let Some(archive) = archive("podman")? else { return Ok(()) };
    let (machine, _folder) = start("engines-podman", Some(&archive))?;
    let own = version(&machine)?;
    copy_archive(&machine, &archive, "/opt/podman.tar")?;
    let said = machine.run(&format!("{SWITCH} /opt/podman.tar 2>&1"))?;
    says_all(&said, &["Podman has a storage of its own", "podman runs"]);
    says_all(&machine.run("docker version")?, &["Podman Engine"]);
    machine.run(BUSYBOX)?;
    assert_eq!(machine.run(RUN)?, "it runs");
    machine.run(&format!("{SWITCH} default"))?;
    assert_eq!(version(&machine)?, own);
    assert_eq!(machine.run(RUN)?, "it runs");
    machine.check_alarms()
}

/// It is beside the releases, and pulled once its signature is there. A registry of the owner's
/// needs none.
#[test]
fn an_older_engine_comes_from_a_registry_by_its_name() -> Result<()> {
    let Some(archive) = archive("docker-20.10")? else { return Ok(()) };
    let work = folder("engines-registry")?;
    let registry = servers::registry(&work)?;
    let (mut machine, _folder) = start("engines-old", None)?;
    let own = version(&machine)?;
    let host = format!("10.0.2.2:{}", registry.port);
    machine.run(&format!(
        "echo 'rancher: {{system_docker: {{insecure_registry: [\"{host}\"]}}, \
         upgrade: {{image: \"{host}/corral:1\"}}}}' > /tmp/r.yml && \
         sudo ros config apply /tmp/r.yml"
    ))?;
    let refused = format!("! {SWITCH} docker-20.10 2>&1");
    let said = machine.run(&refused)?;
    says_all(
        &said,
        &["nothing was changed", &format!("looking for {host}/corral-engine:docker-20.10")],
    );
    servers::push_layout(&registry, &archive, "corral-engine", &work.join("unsigned"))?;
    says_all(&machine.run(&refused)?, &["nothing was changed", "the image has no signature"]);
    let signed = archive.with_extension("registry.oci.tar");
    servers::push_layout(&registry, &signed, "corral-engine", &work.join("signed"))?;
    let said = machine.run(&format!("{SWITCH} docker-20.10 2>&1"))?;
    says_all(&said, &["20.10 runs"]);
    ensure!(version(&machine)?.starts_with("20.10"));
    assert_eq!(machine.run(RUN)?, "it runs");
    machine.run(&format!("{SWITCH} default"))?;
    assert_eq!(version(&machine)?, own);
    assert_eq!(machine.run(RUN)?, "it runs");

    machine.run("sudo system-docker rmi -f $(sudo system-docker images -q corral/engine)")?;
    servers::push_layout(&registry, &archive, "engines", &work.join("engines"))?;
    machine.run(&format!("sudo ros config set rancher.docker.engine_images {host}/engines"))?;
    let listed = machine.run("sudo ros engine list")?;
    says_all(&listed, &[&format!("{host}/engines:docker-20.10")]);
    machine.run("sudo ros engine enable docker-20.10")?;
    says_all(&machine.run("sudo ros engine list")?, &["enabled   docker-20.10"]);
    // The engine that runs: its image does not change, but what it waits for was set meanwhile.
    let said = machine.run(&format!("{SWITCH} default 2>&1"))?;
    says_all(&said, &["is the current one already", "runs"]);
    assert_eq!(version(&machine)?, own);
    a_cloud_config_names_it(&mut machine, &host)?;
    machine.check_alarms()
}

/// On a machine that has neither the image nor what was found out about it, as a new one.
fn a_cloud_config_names_it(machine: &mut Machine, host: &str) -> Result<()> {
    machine.run("sudo system-docker rmi -f $(sudo system-docker images -q corral/engine)")?;
    machine.run("! sudo system-docker images | grep docker-20.10")?;
    machine.run(&format!(
        "sudo find {FINDINGS}/engines {FINDINGS}/images -type f -exec rm {{}} + && \
         ! sudo ls {FINDINGS}/engines | grep works"
    ))?;
    machine.run(&format!(
        "echo 'rancher: {{docker: {{engine: docker-20.10, engine_images: {host}/engines}}}}' \
         > /tmp/e.yml && sudo ros config apply /tmp/e.yml"
    ))?;
    machine.expect_of_boot("docker version --format '{{.Server.Version}}' | grep '^20\\.10'")?;
    machine.expect(&format!("sudo ls {FINDINGS}/engines | grep works"))?;
    let list = machine.run("sudo ros engine list | grep docker-20.10")?;
    ensure!(list.starts_with("current") && list.contains(" yes "), "{list}");
    assert_eq!(machine.run(RUN)?, "it runs");
    it_stays_until_the_next_one_is_checked(machine, host)
}

/// The other registry does not have it.
fn it_stays_until_the_next_one_is_checked(machine: &Machine, host: &str) -> Result<()> {
    let started = "sudo system-docker inspect -f '{{.State.StartedAt}}' docker";
    let before = machine.run(started)?;
    machine.run("sed s,/engines,/elsewhere, /tmp/e.yml > /tmp/f.yml")?;
    machine.run("sudo ros config apply /tmp/f.yml")?;
    let status = machine.run("sudo ros config status 2>&1; true")?;
    says_all(
        &status,
        &[
            &format!("the image {host}/elsewhere:docker-20.10 is not on this machine yet"),
            &format!("{host}/engines:docker-20.10 is used until then"),
        ],
    );
    assert_eq!(machine.run(started)?, before);
    let list = machine.run("sudo ros engine list")?;
    says_all(&list, &[&format!("current   {host}/engines:docker-20.10"), "enabled   docker-20.10"]);
    // A name that nothing has.
    machine.run(
        "echo 'rancher: {docker: {engine: dokcer, engine_images: \"\"}}' > /tmp/g.yml && \
         sudo ros config apply /tmp/g.yml",
    )?;
    let status = machine.run("sudo ros config status 2>&1; true")?;
    let used = format!("the engine {host}/engines:docker-20.10 is used");
    says_all(&status, &["rancher.docker.engine: warning: dokcer", &used]);
    assert_eq!(machine.run(started)?, before);
    ensure!(version(machine)?.starts_with("20.10"));
    Ok(())
}

/// The version that a client on another machine sees.
fn over_ssh(machine: &Machine) -> Result<String> {
    let (folder, port) = (&machine.login.folder, machine.login.port);
    let programs = folder.join("bin");
    std::fs::create_dir_all(&programs)?;
    let script = format!(
        "#!/bin/sh\nexec /usr/bin/ssh -F none -i {} -o IdentitiesOnly=yes -o IdentityAgent=none \
         -o LogLevel=ERROR -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \"$@\"\n",
        folder.join("key").display()
    );
    write_program(&programs.join("ssh"), &script)?;
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(Image::find()?.tools.join("docker"))
        .args(["-H", &format!("ssh://rancher@127.0.0.1:{port}")])
        .args(["version", "--format", "{{.Server.Version}}"])
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("DOCKER_CONFIG", folder.join("client"))
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn write_program(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}
