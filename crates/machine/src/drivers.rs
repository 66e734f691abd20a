//! The second tier of drivers: `drivers.erofs` with the modules that the system image leaves out,
//! and firmware. Stage 0 mounts it. The system image has a list of the devices that only it serves.

use crate::modules::{Index, matches, parse_alias};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Where stage 0 mounts it.
pub const MOUNT: &str = "/run/corral/drivers";
/// In the system image: the list of devices, and what both images must have in common.
pub const LIST: &str = "/usr/share/ros/drivers/modules.alias";
pub const ID: &str = "/usr/share/ros/drivers/id";
/// The names of the image, and of what is unpacked over the initrd, beside `system.erofs`.
pub const FILES: [&str; 2] = ["drivers.erofs", "drivers.initrd"];

/// A device of this machine, as the kernel lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Device {
    /// `0000:00:05.0`
    name: String,
    modalias: String,
    /// The module that drives it.
    module: Option<String>,
    has_driver: bool,
}

/// A device whose driver is in `drivers.erofs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concerned {
    /// In words, with its numbers and its address.
    pub device: String,
    /// One driver, rarely several.
    pub drivers: Vec<String>,
}

impl fmt::Display for Concerned {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} needs the driver {}", self.device, self.drivers.join(" or "))
    }
}

/// Devices without a driver that would have one with `drivers.erofs`. `known` are the modules that
/// this system has.
pub fn load_wanted(known: &Index) -> Result<Vec<Concerned>> {
    Ok(wanted(&load_list()?, &load_devices(Path::new("/sys/devices")), |name| known.has(name)))
}

/// Devices whose driver is one of those that only `drivers.erofs` has.
pub fn load_used() -> Result<Vec<Concerned>> {
    Ok(used(&load_list()?, &load_devices(Path::new("/sys/devices"))))
}

/// Does this system have the second tier? `known` are the modules that it has.
pub fn are_here(known: &Index) -> Result<bool> {
    Ok(has_all(&load_list()?, |name| known.has(name)))
}

fn has_all(list: &[(String, String)], is_here: impl Fn(&str) -> bool) -> bool {
    !list.is_empty() && list.iter().all(|(_, module)| is_here(module))
}

fn load_list() -> Result<Vec<(String, String)>> {
    let text = fs::read_to_string(LIST).with_context(|| format!("reading {LIST}"))?;
    Ok(text.lines().filter_map(parse_alias).collect())
}

fn wanted(
    list: &[(String, String)],
    devices: &[Device],
    is_here: impl Fn(&str) -> bool,
) -> Vec<Concerned> {
    let concerned = |device: &Device| {
        let drivers: BTreeSet<&String> = list
            .iter()
            .filter(|(pattern, module)| matches(pattern, &device.modalias) && !is_here(module))
            .map(|(_, module)| module)
            .collect();
        let drivers: Vec<String> = drivers.into_iter().cloned().collect();
        (!drivers.is_empty()).then(|| Concerned { device: device.describe(), drivers })
    };
    devices.iter().filter(|device| !device.has_driver).filter_map(concerned).collect()
}

fn used(list: &[(String, String)], devices: &[Device]) -> Vec<Concerned> {
    let modules: BTreeSet<&String> = list.iter().map(|(_, module)| module).collect();
    let concerned = |device: &Device| {
        let module = device.module.as_ref().filter(|module| modules.contains(module))?;
        Some(Concerned { device: device.describe(), drivers: vec![module.clone()] })
    };
    devices.iter().filter_map(concerned).collect()
}

impl Device {
    /// `the network card 8086:1229 at 0000:00:05.0 (pci)`
    fn describe(&self) -> String {
        let (bus, rest) = self.modalias.split_once(':').unwrap_or(("", ""));
        let kind = match bus {
            "pci" if rest.contains("bc01") => "the disk controller",
            "pci" if rest.contains("bc02") => "the network card",
            _ => "the device",
        };
        let (vendor, product) = match bus {
            "pci" => (number(rest, "v", 8), number(rest, "d", 8)),
            "usb" => (number(rest, "v", 4), number(rest, "p", 4)),
            _ => (None, None),
        };
        let numbers = match (vendor, product) {
            (Some(vendor), Some(product)) => format!("{vendor}:{product} "),
            _ => String::new(),
        };
        format!("{kind} {numbers}at {} ({bus})", self.name)
    }
}

/// The last four digits of the number of `digits` digits behind `key`.
fn number(modalias: &str, key: &str, digits: usize) -> Option<String> {
    let (_, rest) = modalias.split_once(key)?;
    let text = rest.get(..digits)?;
    Some(text.get(digits.checked_sub(4)?..)?.to_ascii_lowercase())
}

/// All devices below `folder` that have an alias.
fn load_devices(folder: &Path) -> Vec<Device> {
    let mut devices = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(current) = open.pop() {
        let Ok(items) = fs::read_dir(&current) else { continue };
        for item in items.flatten() {
            if item.file_name() == "modalias" {
                devices.extend(load_device(&current));
            } else if item.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(item.path());
            }
        }
    }
    devices.sort_by(|a, b| a.name.cmp(&b.name));
    devices
}

fn load_device(folder: &Path) -> Option<Device> {
    let modalias = fs::read_to_string(folder.join("modalias")).ok()?.trim().to_owned();
    let module = fs::read_link(folder.join("driver/module")).ok();
    let last = |path: PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
    Some(Device {
        name: last(folder.to_path_buf())?,
        modalias,
        module: module.and_then(last),
        has_driver: folder.join("driver").exists(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: &str = "pci:v00008086d00001229sv00001AF4sd00001100bc02sc00i00";
    const CONTROLLER: &str = "pci:v00001000d00000054sv00001000sd00008000bc01sc00i00";

    fn list() -> Vec<(String, String)> {
        let lines = "alias pci:v00008086d00001229sv*sd*bc02sc00i* e100\n\
                     alias pci:v00001000d00000054sv*sd*bc*sc*i* mptsas\n";
        lines.lines().filter_map(parse_alias).collect()
    }

    fn device(name: &str, modalias: &str, module: Option<&str>) -> Device {
        Device {
            name: name.to_owned(),
            modalias: modalias.to_owned(),
            module: module.map(str::to_owned),
            has_driver: module.is_some(),
        }
    }

    #[test]
    fn a_device_without_a_driver_is_named_with_the_driver_that_it_needs() {
        let devices = [
            device("0000:00:03.0", CARD, None),
            device("0000:00:04.0", CONTROLLER, Some("vfio_pci")),
            device("0000:00:05.0", "pci:v00001AF4d00001000sv*sd*bc02sc00i00", None),
        ];
        let named = wanted(&list(), &devices, |_| false);
        let texts: Vec<String> = named.iter().map(ToString::to_string).collect();
        let expected = "the network card 8086:1229 at 0000:00:03.0 (pci) needs the driver e100";
        assert_eq!(texts, [expected]);
        assert_eq!(wanted(&list(), &devices, |name| name == "e100"), []);
    }

    #[test]
    fn a_device_that_runs_with_a_driver_of_the_second_tier_is_known() {
        let devices = [
            device("0000:00:03.0", CARD, Some("e100")),
            device("0000:00:04.0", CONTROLLER, None),
            device("0000:00:06.0", "pci:v00008086d000010D3", Some("e1000e")),
        ];
        let named = used(&list(), &devices);
        assert_eq!(named.len(), 1);
        assert_eq!(named[0].drivers, ["e100"]);
    }

    #[test]
    fn the_second_tier_is_here_with_all_of_its_drivers() {
        assert!(has_all(&list(), |_| true));
        assert!(!has_all(&list(), |name| name == "e100"));
        assert!(!has_all(&[], |_| true), "an image without a second tier");
    }

    #[test]
    fn a_device_is_described_by_its_numbers() {
        for (modalias, expected) in [
            (CONTROLLER, "the disk controller 1000:0054 at x (pci)"),
            ("usb:v0B95p1790d0100dc00", "the device 0b95:1790 at x (usb)"),
            ("usb:v", "the device at x (usb)"),
            ("pci:vé", "the device at x (pci)"),
            ("", "the device at x ()"),
        ] {
            assert_eq!(device("x", modalias, None).describe(), expected);
        }
    }
}
