//! A machine without a disk and a CD: the ROM of its card, which is iPXE, loads the files of a
//! release over HTTP, by the script of the manual.

use super::user_data;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use vmtest::{Image, Machine, Medium, Network, Options, folder, manual, netboot, servers, shell};

const MANUAL: &str = "docs/platforms.md";
/// The script of the manual, which DHCP names, and the cloud-config that it names.
const FIRST: &str = "boot.ipxe";
const CONFIG: &str = "my.yml";

/// By BIOS: the ROM that Debian has for UEFI is only a driver of the card.
#[test]
fn ipxe_in_the_rom_of_a_card_starts_a_machine_without_a_disk() -> Result<()> {
    let folder = folder("platform-ipxe")?;
    let content = folder.join(netboot::FOLDER);
    publish(&content)?;
    let web = servers::web(&folder, &content)?;
    let server = format!("10.0.2.2:{}", web.port);
    fs::write(content.join(FIRST), of_the_manual()?.replace("SERVER", &server))?;
    let key = shell::make_key(&folder)?;
    let config = format!("{}hostname: diskless\nssh_authorized_keys: [{key}]\n", user_data("ipxe"));
    fs::write(content.join(CONFIG), config)?;
    let options = Options {
        medium: Medium::Disk,
        network: Network::Boot(format!("http://{server}/{FIRST}")),
        // What the firmware and iPXE show is on the serial line too.
        extra: ["-machine", "graphics=off"].map(OsString::from).to_vec(),
        ..Options::default()
    };
    let mut machine = Machine::start(&folder, options)?;
    let requests = || fs::read_to_string(folder.join("web.log")).unwrap_or_default();
    // Until then all of the system has been transferred.
    let begins = machine.expect_console("PID 1 of Corral");
    begins.with_context(|| format!("the requests of iPXE:\n{}", requests()))?;
    machine.expect_console("corral: started")?;
    machine.expect_login()?;
    machine.expect("[ $(hostname) = diskless ] && [ \"$(cat /etc/of-the-story)\" = ipxe ]")?;
    machine.run("sudo grep -q ' - erofs /in-memory/system.erofs ' /proc/1/mountinfo")?;
    machine.expect_docker()?;
    all_are_loaded(&requests());
    machine.check_alarms()
}

/// The folder of a release with the scripts that `cargo xtask release` writes.
fn publish(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let image = Image::find()?;
    let files = [&image.kernel, &image.initrd, &image.system];
    for (name, file) in netboot::FILES.into_iter().zip(files) {
        symlink(file, folder.join(name)).with_context(|| format!("linking to {name}"))?;
    }
    let text = netboot::script(netboot::SCRIPT, env!("CARGO_PKG_VERSION"));
    fs::write(folder.join(netboot::SCRIPT), text).context("writing a script of iPXE")
}

fn of_the_manual() -> Result<String> {
    let mut blocks = manual::read()?.into_iter();
    let script = blocks.find(|block| block.file == MANUAL && block.text.starts_with("#!ipxe\n"));
    Ok(script.with_context(|| format!("{MANUAL} has no script of iPXE"))?.text)
}

/// As the web server notes it.
fn all_are_loaded(requests: &str) {
    for name in [FIRST, netboot::SCRIPT, CONFIG].into_iter().chain(netboot::FILES) {
        let loaded = format!("\"GET /{name} HTTP/1.1\" 200 ");
        assert!(requests.contains(&loaded), "{name} was not loaded:\n{requests}");
    }
}
