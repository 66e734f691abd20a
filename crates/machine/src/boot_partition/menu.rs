//! What the two boot loaders read: one menu, written twice.

use super::versions::{BOOT_PARAMETER, VERSION_PARAMETER, Versions};
use crate::drivers;
use anyhow::{Result, bail};
use std::fmt::Write;

/// Kernel parameters for every entry: those of the installation, and the owner's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    /// In the syntax of the kernel's command line.
    pub line: String,
}

/// The lines that the menu has for a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    Plain,
    Autologin,
    Debug,
    DebugAutologin,
    Recovery,
}

impl Variant {
    /// In the order of the menu.
    pub const ALL: [Variant; 5] = [
        Variant::Plain,
        Variant::Autologin,
        Variant::Debug,
        Variant::DebugAutologin,
        Variant::Recovery,
    ];

    /// What is appended to names of entries.
    fn suffix(self) -> &'static str {
        match self {
            Variant::Plain => "",
            Variant::Autologin => "-autologin",
            Variant::Debug => "-debug",
            Variant::DebugAutologin => "-debug-autologin",
            Variant::Recovery => "-recovery",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Variant::Plain => "",
            Variant::Autologin => ", autologin on tty1 and ttyS0",
            Variant::Debug => ", debug logging",
            Variant::DebugAutologin => ", autologin and debug logging",
            Variant::Recovery => ", recovery console",
        }
    }

    /// Kernel parameters besides the usual ones.
    fn parameters(self) -> &'static str {
        const AUTOLOGIN: &str = " rancher.autologin=tty1 rancher.autologin=ttyS0";
        match self {
            Variant::Plain => "",
            Variant::Autologin => AUTOLOGIN,
            Variant::Debug => " rancher.debug=true loglevel=7",
            Variant::DebugAutologin => {
                " rancher.debug=true loglevel=7 rancher.autologin=tty1 rancher.autologin=ttyS0"
            }
            Variant::Recovery => " rancher.recovery=true",
        }
    }
}

impl Arguments {
    /// Reads `global.cfg`: the line `APPEND …`, as in RancherOS.
    pub fn parse(text: &str) -> Arguments {
        let line = text.lines().map(str::trim).find_map(|line| line.strip_prefix("APPEND"));
        Arguments { line: line.unwrap_or_default().trim().to_owned() }
    }

    /// The file for the owner's editor.
    pub fn to_file(&self) -> String {
        format!(
            "# Kernel parameters of every entry of the boot menu, kept over upgrades. Edit with \
             `ros config syslinux`.\nAPPEND {}\n",
            self.line
        )
    }

    /// The command line of a version.
    pub fn command_line(&self, version: &str) -> String {
        format!("{} {VERSION_PARAMETER}={version}", self.line).trim_start().to_owned()
    }

    /// The reference to the boot partition that is part of them.
    pub fn boot_reference(&self) -> Option<&str> {
        self.line
            .split_whitespace()
            .find_map(|word| word.strip_prefix(BOOT_PARAMETER)?.strip_prefix('='))
    }
}

/// The name of an entry of systemd-boot, which is its file.
pub(super) fn entry_name(version: &str, variant: Variant) -> String {
    format!("corral-{version}{}.conf", variant.suffix())
}

/// The archives that the kernel may unpack, in their order.
pub(super) const INITRDS: [&str; 2] = ["initrd", drivers::FILES[1]];

/// The lines that name the archives. Empty lines take the room of those that are left out: so all
/// other lines stay where they are when drivers come and go, which changes one sector of an entry.
fn initrd_lines(initrds: &[&str], lines: impl Fn(&[&str]) -> String) -> String {
    let longest = lines(&INITRDS).len();
    let mut text = lines(initrds);
    text.extend(std::iter::repeat_n('\n', longest.saturating_sub(text.len())));
    text
}

/// A version's part of the menu of syslinux, an entry each. The archives are unpacked in their
/// order.
pub(super) fn syslinux_entries(
    version: &str,
    initrds: &[&str],
    arguments: &Arguments,
) -> Vec<String> {
    let initrds = initrd_lines(initrds, |names| {
        let paths: Vec<String> =
            names.iter().map(|name| format!("/boot/{version}/{name}")).collect();
        format!("  INITRD {}\n", paths.join(","))
    });
    let entry = |variant: Variant| {
        format!(
            "LABEL {version}{}\n  MENU LABEL {}Corral {version}{}\n  \
             KERNEL /boot/{version}/vmlinuz\n{initrds}  APPEND {}{}\n",
            variant.suffix(),
            if variant == Variant::Plain { "" } else { "  " },
            variant.title(),
            arguments.command_line(version),
            variant.parameters(),
        )
    };
    Variant::ALL.into_iter().map(entry).collect()
}

/// A version's entries of systemd-boot.
pub(super) fn loader_entries(
    version: &str,
    initrds: &[&str],
    arguments: &Arguments,
) -> Vec<(Variant, String)> {
    let initrds = initrd_lines(initrds, |names| {
        names.iter().map(|name| format!("initrd /boot/{version}/{name}\n")).collect()
    });
    let entry = |(number, variant): (usize, Variant)| {
        let text = format!(
            "title Corral {version}{}\nversion {version}\nsort-key corral-{number}\n\
             linux /boot/{version}/vmlinuz\n{initrds}options {}{}\n",
            variant.title(),
            arguments.command_line(version),
            variant.parameters(),
        );
        (variant, text)
    };
    Variant::ALL.into_iter().enumerate().map(entry).collect()
}

/// `current.cfg`, included by `syslinux.cfg`.
pub(super) fn current(versions: &Versions) -> Result<String> {
    let mut text = format!("DEFAULT {}\n", versions.default);
    for version in versions.all() {
        let _ = writeln!(text, "INCLUDE /boot/{version}/menu.cfg");
    }
    if text.len() > 512 {
        bail!(
            "too many versions for the boot menu: {}",
            versions.all().collect::<Vec<_>>().join(", ")
        );
    }
    Ok(text)
}

pub(super) fn parse_current(text: &str) -> Versions {
    let mut versions = Versions::default();
    for line in text.lines() {
        if let Some(version) = line.strip_prefix("DEFAULT ") {
            versions.default = version.trim().to_owned();
        } else if let Some(version) =
            line.strip_prefix("INCLUDE /boot/").and_then(|rest| rest.strip_suffix("/menu.cfg"))
            && version != versions.default
        {
            versions.others.push(version.to_owned());
        }
    }
    versions
}

/// `loader.conf` of systemd-boot.
pub(super) fn loader_conf(versions: &Versions) -> String {
    format!("default {}\ntimeout 3\neditor yes\n", entry_name(&versions.default, Variant::Plain))
}

pub(super) fn parse_loader(text: &str) -> Option<String> {
    let entry = text.lines().find_map(|line| line.strip_prefix("default corral-"))?;
    Some(entry.trim().trim_end_matches(".conf").to_owned())
}
