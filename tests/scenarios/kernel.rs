//! What belongs to the kernel of a release and is not in its small image: headers for those who
//! build modules, and all drivers. Services of the catalogue bring them, by name.

use super::install::installed;
use super::says_all;
use anyhow::{Context, Result};
use std::path::Path;
use vmtest::report::{is_left_out, skipped};
use vmtest::{Image, Machine, Medium, Options, drive, folder, servers};

/// A module that leaves a line in the kernel's log.
const MODULE: &str = r#"set -e
mkdir -p hello
cat > hello/hello.c <<'END'
#include <linux/module.h>
static int __init hello(void) { pr_info("hello, story\n"); return 0; }
static void __exit bye(void) {}
module_init(hello);
module_exit(bye);
MODULE_LICENSE("GPL");
END
echo 'obj-m := hello.o' > hello/Makefile
"#;
/// As in the manual; the image is one of the story.
const BUILD: &str = "docker run --rm -v /var/lib/rancher/kernel-headers:/usr/src:ro \
    -v /lib/modules:/lib/modules:ro -v $PWD/hello:/hello compiler:1 \
    make -C /lib/modules/$(uname -r)/build M=/hello modules";
const HEADERS: &str = "/opt/kernel-headers.tar";
/// A module of the second tier.
const DRIVER: &str = "e100";

#[test]
fn a_module_is_built_in_a_container_with_the_headers_of_the_catalogue() -> Result<()> {
    let image = Image::find()?;
    let headers = image.services.join("kernel-headers.tar");
    let signed = image.services.join("kernel-headers.registry.oci.tar");
    let compiler = image.tools.join("stock/compiler.tar");
    if let Some(missing) = [&headers, &compiler].into_iter().find(|file| !file.exists()) {
        skipped(&format!(
            "{} is not there: `cargo xtask test --all` and `--story kernel` build it",
            missing.display()
        ));
        return Ok(());
    }
    let folder = folder("kernel-headers")?;
    let registry = servers::registry(&folder)?;
    servers::push_layout(&registry, &signed, "corral-kernel-headers", &folder.join("layout"))?;
    let mut machine = start_for_headers(&folder, registry.port, &headers, &compiler)?;
    machine.run(
        "sudo ros service enable kernel-headers && \
         sudo ros service up --foreground kernel-headers",
    )?;
    machine.run(
        "[ $(cat /var/lib/rancher/kernel-headers/linux-headers-$(uname -r)/include/config/\
         kernel.release) = $(uname -r) ]",
    )?;
    machine.run("sudo sh -c 'docker import - compiler:1 < /dev/vdd'")?;
    machine.run(MODULE)?;
    machine.run(BUILD)?;
    machine.run("sudo insmod hello/hello.ko && sudo dmesg | grep -q 'hello, story'")?;
    what_is_no_headers_is_refused(&machine, &headers)?;
    let said = machine.run(&format!("sudo ros service enable kernel-headers --from {HEADERS}"))?;
    says_all(&said, &["loading /opt/kernel-headers.tar"]);
    machine.run("sudo mkdir /var/lib/rancher/kernel-headers/mine-1.0")?;
    machine.restart()?;
    machine.expect("sudo ros service up kernel-headers")?;
    machine.run("! sudo ros why | grep kernel-headers")?;
    machine.run("ls -d /var/lib/rancher/kernel-headers/mine-1.0")?;
    machine.run("ls /usr/src/linux-headers-$(uname -r)/include/config/kernel.release")?;
    machine.check_alarms()
}

/// With a registry of releases, and the files as its third and fourth disk.
fn start_for_headers(folder: &Path, port: u16, headers: &Path, compiler: &Path) -> Result<Machine> {
    let disk = folder.join("state.img");
    drive::blank(&disk, 6144)?;
    let options = Options {
        // The headers are those of the product's own kernel.
        needs_qemu: true,
        disks: vec![disk],
        sticks: vec![headers.to_path_buf(), compiler.to_path_buf()],
        append: super::STATE.to_owned(),
        memory: 1536,
        ..Options::default()
    };
    let config = format!(
        "rancher:\n  upgrade: {{image: \"10.0.2.2:{port}/corral:9.9\"}}\n  \
         system_docker: {{insecure_registry: [\"10.0.2.2:{port}\"]}}\n"
    );
    let mut machine = super::with_config(folder, &config, options)?;
    machine.expect_login()?;
    machine.expect_docker()?;
    Ok(machine)
}

fn what_is_no_headers_is_refused(machine: &Machine, headers: &Path) -> Result<()> {
    let size = std::fs::metadata(headers).context("reading the archive")?.len();
    machine.run(&format!("sudo head -c {size} /dev/vdc | sudo tee {HEADERS} > /dev/null"))?;
    machine.run(
        "mkdir -p empty && tar -C empty -c . | docker import - empty:1 && \
         docker save empty:1 | sudo tee /opt/empty.tar > /dev/null",
    )?;
    let enable = "! sudo ros service enable";
    let said = machine.run(&format!("{enable} kernel-headers --from /opt/empty.tar 2>&1"))?;
    says_all(&said, &["no label dev.corral.kernel", "nothing was changed"]);
    let said = machine.run(&format!("{enable} registry --from {HEADERS} 2>&1"))?;
    says_all(&said, &["registry takes nothing of a release"]);
    let said = machine.run(&format!("{enable} registry zfs --from {HEADERS} 2>&1"))?;
    says_all(&said, &["--from goes with one name"]);
    Ok(())
}

/// The first stick has the release that runs with all drivers, the second one another release
/// without.
#[test]
fn all_drivers_come_with_the_service_kernel_extras() -> Result<()> {
    let image = Image::find()?;
    if image.full_iso.is_none() {
        skipped("there is no full release: `cargo xtask test --all` and `--story kernel` build it");
        return Ok(());
    }
    let folder = folder("kernel-extras")?;
    let options = Options {
        medium: Medium::Disk,
        disks: vec![installed(&folder)?],
        sticks: vec![image.archive.clone(), image.releases.join("next.oci.tar")],
        ..Options::default()
    };
    let mut machine = Machine::start(&folder, options)?;
    machine.expect_login()?;
    machine.run(&format!("! sudo ros modprobe {DRIVER} 2>/dev/null"))?;
    let enable = "sudo ros service enable kernel-extras";
    let said = machine.run(&format!("! {enable} 2>&1"))?;
    says_all(&said, &["no registry with version 0.1.0 is known", "--from FILE"]);
    let said = machine.run(&format!("! {enable} --from /dev/vdc 2>&1"))?;
    says_all(&said, &["version 0.9.0 and 0.1.0 runs"]);
    machine.run("! sudo ros config get rancher.services_include | grep kernel-extras")?;
    let said = machine.run(&format!("{enable} --from /dev/vdb 2>&1"))?;
    says_all(&said, &["version 0.1.0 has all drivers from the next start on"]);
    machine.restart()?;
    machine.run("sudo ros service up kernel-extras")?;
    machine.run("sudo system-docker logs kernel-extras | grep 'all drivers of version 0.1.0'")?;
    machine.run(&format!("sudo ros modprobe {DRIVER} && lsmod | grep ^{DRIVER}"))?;
    machine.run("! sudo ros why | grep -E 'kernel-extras|drivers'")?;
    says_all(&machine.run(enable)?, &["version 0.1.0 has all drivers"]);
    let plan = machine.run("sudo ros os upgrade -i /dev/vdc --plan 2>&1")?;
    says_all(&plan, &["kernel-extras is enabled; this release comes without"]);
    machine.check_alarms()
}

/// Without the files, the service says what is missing, and what to do.
#[test]
fn kernel_extras_of_a_cloud_config_are_missed_until_they_are_added() -> Result<()> {
    if is_left_out("kernel") {
        return Ok(());
    }
    let folder = folder("kernel-extras-missing")?;
    let config = "rancher: {services_include: {kernel-extras: true, kernel-headers: true}}\n";
    let options = Options { needs_qemu: true, ..Options::default() };
    let mut machine = super::with_config(&folder, config, options)?;
    machine.expect_login()?;
    machine.expect("sudo ros why kernel-extras | grep 'ended with exit status 1'")?;
    let log = machine.run("sudo system-docker logs kernel-extras 2>&1")?;
    says_all(&log, &["without drivers.erofs", "`sudo ros service enable kernel-extras` adds it"]);
    machine.expect("sudo ros why kernel-headers | grep 'corral/kernel-headers:'")?;
    let said = machine.run("! sudo ros service enable kernel-extras 2>&1")?;
    says_all(&said, &["not started from an installed disk", "the full ISO"]);
    machine.check_alarms()
}
