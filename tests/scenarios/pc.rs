//! What only a PC has, all in one machine: User-Mode Linux has none of it, and each boot of a PC
//! takes long.

use super::STATE;
use super::power::check_clean;
use anyhow::Result;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use vmtest::{Machine, Network, Options, drive, folder, shell};

const HOST_NAME: &str = "rancher-dev";

#[test]
fn a_pc_has_a_shared_folder_a_keyboard_and_a_power_button() -> Result<()> {
    let folder = folder("pc")?;
    let disk = folder.join("state.img");
    drive::blank(&disk, 1024)?;
    let options = Options {
        append: STATE.to_owned(),
        disks: vec![disk.clone()],
        network: Network::HostName(HOST_NAME.to_owned()),
        extra: shared_folder_as_config_drive(&folder)?,
        ..Options::default()
    };
    let mut machine = Machine::start(&folder, options)?;
    // The shared folder alone has the key.
    machine.expect_login()?;
    the_host_name_comes_from_dhcp(&mut machine)?;
    a_keymap_is_loaded(&machine)?;
    a_device_node_loads_its_module(&mut machine)?;
    machine.expect("sudo system-docker logs acpid 2>&1 | grep -q 'waiting for events'")?;
    machine.press_power_button()?;
    machine.expect_end()?;
    check_clean(&disk)
}

/// As RancherOS's own runner shared a folder with its machines.
fn shared_folder_as_config_drive(folder: &Path) -> Result<Vec<OsString>> {
    let shared = folder.join("shared");
    let key = shell::make_key(folder)?;
    fs::create_dir_all(shared.join("openstack/latest"))?;
    fs::write(
        shared.join("openstack/latest/user_data"),
        format!("#cloud-config\nkeyboard: {{layout: de}}\nssh_authorized_keys: [{key}]\n"),
    )?;
    let share = format!("local,path={},mount_tag=config-2,security_model=none", shared.display());
    Ok(["-virtfs", &share].map(OsString::from).to_vec())
}

/// No source of the configuration has a host name.
fn the_host_name_comes_from_dhcp(machine: &mut Machine) -> Result<()> {
    machine.expect(&format!(
        "[ $(hostname) = {HOST_NAME} ] && grep -q '127.0.1.1 {HOST_NAME}' /etc/hosts"
    ))
}

/// The key beside T is a Z on a German keyboard: key 21 of the plain map.
fn a_keymap_is_loaded(machine: &Machine) -> Result<()> {
    let key = "sudo sh -c 'dumpkmap < /dev/tty1' | od -An -tx1 -j$((7 + 256 + 21 * 2)) -N1";
    assert_eq!(machine.run(key)?.trim(), "7a");
    Ok(())
}

/// Only the product's own kernel has `tun` as a module. No program can open a node without its
/// driver.
fn a_device_node_loads_its_module(machine: &mut Machine) -> Result<()> {
    machine.run("test -c /dev/net/tun && ! lsmod | grep -q '^tun '")?;
    machine.expect("[ $(stat -c %a /dev/net/tun) = 666 ]")?;
    machine.run("(exec 3<>/dev/net/tun) && lsmod | grep '^tun '")?;
    machine.run("test -c /dev/fuse && sudo sh -c 'exec 3<>/dev/fuse'").map(drop)
}
