//! Docker Machine: what `docker-machine create` does to a machine of RancherOS, command by command,
//! and the disks that its driver for VirtualBox makes.
//! <https://github.com/docker/machine/blob/master/libmachine/provision/rancheros.go>
//! <https://github.com/rancher/machine/blob/master/libmachine/provision/rancheros.go>

use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};
use vmtest::{Image, Machine, Options, drive, folder, servers, shell};

const NAME: &str = "machine-1";
/// Docker's port for TLS.
const PORT: u16 = 2376;
const CONF: &str = "/var/lib/rancher/conf";

/// As Docker Machine and `docker-machine create` make them: an authority, the server's pair for the
/// machine's address, and the client's pair.
const CERTIFICATES: &str = "
make() {
    openssl genrsa -traditional -out $1-key.pem 2048
    openssl req -new -key $1-key.pem -subj /O=story.machine-1 -out request
    printf '%s\\n' keyUsage=digitalSignature,keyEncipherment \"$2\" > extensions
    openssl x509 -req -in request -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 1080 \
        -extfile extensions -out $1.pem
}
set -e
openssl genrsa -traditional -out ca-key.pem 2048
openssl req -new -x509 -key ca-key.pem -subj /O=story -days 1080 \
    -addext keyUsage=keyCertSign,keyEncipherment -out ca.pem
make server \"$(printf 'extendedKeyUsage=serverAuth\\nsubjectAltName=IP:127.0.0.1,DNS:localhost')\"
make client extendedKeyUsage=clientAuth
mkdir certs
cp ca.pem certs/ca.pem; cp client.pem certs/cert.pem; cp client-key.pem certs/key.pem";

/// A service that the image has, so that nothing is pulled.
const PACKAGE: &str = "volume-nfs";
/// What `--engine-install-url` names. It is run without sudo, and uses sudo where it needs to.
const ENGINE: &str = "#!/bin/sh
set -e
sudo ros engine list > /dev/null
echo \"engine chosen by $(id -un)\"
";

/// The file of options. It is in double quotes of a shell command.
const OPTIONS: &str = r#"
DOCKER_OPTS='
-H tcp://0.0.0.0:2376
-H unix:///var/run/docker.sock
--storage-driver overlay
--tlsverify
--tlscacert /var/lib/rancher/conf/ca.pem
--tlscert /var/lib/rancher/conf/server.pem
--tlskey /var/lib/rancher/conf/server-key.pem
--label size=small
--label provider=generic


'
export \""STORY_VARIABLE=of-machine-1"\"

"#;

#[test]
fn docker_machine_makes_a_machine_its_own_by_the_commands_for_rancheros() -> Result<()> {
    let folder = folder("docker-machine")?;
    make_certificates(&folder)?;
    let port = servers::free_port()?;
    let options = Options { forwards: vec![(port, PORT)], ..Options::default() };
    let mut machine =
        super::with_config(&folder, "rancher: {os_release_id: rancheros}\n", options)?;
    machine.expect_login()?;
    // It begins as soon as it can log in.
    let detected = machine.run("cat /etc/os-release")?;
    ensure!(detected.lines().any(|line| line == "ID=rancheros"), "{detected}");
    set_host_name(&machine)?;
    install_more(&folder, &machine)?;
    configure_tls(&folder, &machine)?;
    machine.expect(
        "{ if ! type netstat 1>/dev/null; then ss -tln; else netstat -tln; fi; } | \
         grep -E ':2376\\s+.*:.*'",
    )?;

    // dockerd has its labels in any order.
    let info = "{{.Name}} {{.Driver}}{{range .Labels}}\n{{.}}{{end}}";
    let answer = client(&folder, port, &["info", "--format", info])?;
    ensure!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let shown = String::from_utf8_lossy(&answer.stdout);
    let mut lines: Vec<&str> = shown.trim().lines().collect();
    lines.sort_unstable();
    let of_machine = format!("{NAME} overlay2");
    assert_eq!(lines, [of_machine.as_str(), "provider=generic", "size=small"]);
    fs::remove_file(folder.join("certs/key.pem"))?;
    fs::remove_file(folder.join("certs/cert.pem"))?;
    let refused = client(&folder, port, &["version"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        !refused.status.success() && said.contains("certificate"),
        "a client without a certificate: {said}"
    );
    // Its own clients have their socket as before.
    assert_eq!(machine.run("docker info --format '{{.Name}}'")?, NAME);
    machine.run(
        "sudo cat /proc/$(pidof dockerd)/environ | tr '\\0' '\\n' | \
                 grep -qx 'STORY_VARIABLE=of-machine-1'",
    )?;
    assert_eq!(machine.run("sudo ros config get hostname")?, NAME);
    machine.run(&format!("sudo ros service list | grep -q '^enabled *{PACKAGE} '"))?;
    machine.check_alarms()
}

fn make_certificates(folder: &Path) -> Result<()> {
    let made = Command::new("sh").args(["-c", CERTIFICATES]).current_dir(folder).output()?;
    ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

/// The first three commands.
fn set_host_name(machine: &Machine) -> Result<()> {
    machine
        .run("sed /127.0.1.1/d /etc/hosts > /tmp/hosts && cat /tmp/hosts | sudo tee /etc/hosts")?;
    machine.run(&format!("sudo hostname {NAME} && echo \"{NAME}\" | sudo tee /etc/hostname"))?;
    machine.run(&format!(
        "
        if ! grep -xq '.*\\s{NAME}' /etc/hosts; then
            if grep -xq '127.0.1.1\\s.*' /etc/hosts; then
                sudo sed -i 's/^127.0.1.1\\s.*/127.0.1.1 {NAME}/g' /etc/hosts;
            else
                echo '127.0.1.1 {NAME}' | sudo tee -a /etc/hosts;
            fi
        fi"
    ))?;
    machine.run(&format!(
        "sudo mkdir -p {CONF}/cloud-config.d/\n\
         sudo tee {CONF}/cloud-config.d/machine-hostname.yml << EOF\n\
         #cloud-config\n\nhostname: {NAME}\nEOF\n"
    ))?;
    assert_eq!(machine.run("hostname")?, NAME);
    machine.run(&format!("grep -qx '127.0.1.1 {NAME}' /etc/hosts"))?;
    Ok(())
}

/// What is left out unless its user names packages, or the URL of a script that chooses the engine.
/// Rancher's provisioner looks for Docker first, and runs no script if there is one.
fn install_more(folder: &Path, machine: &Machine) -> Result<()> {
    machine.run(&format!("sudo ros service enable {PACKAGE}"))?;
    machine.run("docker --version | grep 'Docker version'")?;
    let content = folder.join("www");
    fs::create_dir_all(&content)?;
    fs::write(content.join("engine.sh"), ENGINE)?;
    let web = servers::web(folder, &content)?;
    let said = machine.run(&format!("wget -O- http://10.0.2.2:{}/engine.sh | sh -", web.port))?;
    assert_eq!(said, "engine chosen by rancher");
    Ok(())
}

/// From the stop of Docker to its start.
fn configure_tls(folder: &Path, machine: &Machine) -> Result<()> {
    machine.run("sudo system-docker stop docker")?;
    machine.run("if [ ! -z \"$(ip link show docker0)\" ]; then sudo ip link delete docker0; fi")?;
    for (file, name) in
        [("ca.pem", "ca.pem"), ("server.pem", "server.pem"), ("server-key.pem", "server-key.pem")]
    {
        let pem =
            fs::read_to_string(folder.join(file)).with_context(|| format!("reading {file}"))?;
        machine.run(&format!("printf '%s' '{pem}' | sudo tee {CONF}/{name}"))?;
    }
    machine.run(&format!(
        "sudo mkdir -p {CONF} && printf %s \"{OPTIONS}\" | sudo tee {CONF}/docker"
    ))?;
    machine.run("sudo system-docker start docker").map(drop)
}

/// Docker's own client on this machine, with the variables of `docker-machine env`.
fn client(folder: &Path, port: u16, arguments: &[&str]) -> Result<Output> {
    let mut docker = Command::new(Image::find()?.tools.join("docker"));
    docker.env("DOCKER_HOST", format!("tcp://127.0.0.1:{port}"));
    docker.env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", folder.join("certs"));
    docker.env("DOCKER_MACHINE_NAME", NAME).env("DOCKER_CONFIG", folder.join("client"));
    docker.args(arguments).output().context("starting docker")
}

/// The driver for VirtualBox starts the ISO without any configuration, and logs in as `docker` with
/// the key that it put on the disk. The parameter is one of the ISO.
#[test]
fn a_disk_that_docker_machine_made_becomes_the_state_and_no_other_does() -> Result<()> {
    let folder = folder("docker-machine-disk")?;
    let key = shell::make_key(&folder)?;
    let disks = ["its", "used", "blank"].map(|name| folder.join(format!("{name}.img")));
    let [its, used, blank] = &disks;
    drive::make_boot2docker(its, 512, &key)?;
    // The same archive on a disk that has something else as well.
    drive::make_boot2docker(used, 64, &key)?;
    write_at(used, 512 << 10, b"mine")?;
    drive::blank(blank, 64)?;
    let append = "rancher.state.docker_machine=true".to_owned();
    let options = Options { append, disks: disks.to_vec(), ..Options::default() };
    let mut machine = Machine::start(&folder, options)?;
    machine.expect_login()?;
    let docker = machine.login_as("docker");
    assert_eq!(docker.run("sudo blkid -o value -s LABEL /dev/vdb")?, "B2D_STATE");
    docker
        .run("! sudo blkid /dev/vdd && sudo dd if=/dev/vdc bs=1 skip=524288 count=4 | grep mine")?;
    docker
        .run("grep -qx ID=rancheros /etc/os-release && grep ' /home ' /proc/mounts | grep ext4")?;
    docker.run("touch kept && sudo ros config set rancher.environment.A kept")?;
    machine.restart()?;
    machine.run("sudo test -e /home/docker/kept && grep -qx ID=rancheros /etc/os-release")?;
    assert_eq!(machine.run("sudo ros config get rancher.environment.A")?, "kept");
    machine.check_alarms()
}

/// It would let in with the other machine's keys.
#[test]
fn beside_a_new_disk_that_of_another_machine_is_not_taken() -> Result<()> {
    let folder = folder("docker-machine-two-disks")?;
    let [new, other] = ["new.img", "other.img"].map(|name| folder.join(name));
    drive::make_boot2docker(&new, 512, &shell::make_key(&folder)?)?;
    drive::make_ext4(&other, "B2D_STATE", ("mine", "untouched"))?;
    let append = "rancher.state.docker_machine=true".to_owned();
    let options = Options { append, disks: vec![new, other], ..Options::default() };
    let mut machine = super::with_config(&folder, "", options)?;
    machine.expect_login()?;
    let why = machine.run("sudo ros why; true")?;
    let parts = ["ambiguous", "/dev/vdb", "/dev/vdc"];
    ensure!(parts.iter().all(|part| why.contains(part)), "{why}");
    machine.run("sudo head -c 29 /dev/vdb | grep -qx 'boot2docker, please format-me'")?;
    machine.run("! grep -q '^/dev/vd[bc] ' /proc/mounts")?;
    machine.check_alarms()
}

fn write_at(file: &Path, offset: u64, bytes: &[u8]) -> Result<()> {
    let opened = File::options().write(true).open(file);
    let opened = opened.with_context(|| format!("opening {}", file.display()))?;
    opened.write_all_at(bytes, offset).with_context(|| format!("writing {}", file.display()))
}
