//! Which installations have the second tier of drivers: those that need it for a device of this
//! machine, and those whose owner requests it.

use super::Release;
use anyhow::{Result, bail, ensure};
use corral_config::Config;
use corral_machine::boot_partition::booted;
use corral_machine::drivers::{self, Concerned};
use corral_machine::modules::Index;
use corral_machine::os_release::running_version;
use corral_terminal::size::megabytes;

/// The name of all drivers in the catalogue of services.
pub const KERNEL_EXTRAS: &str = "kernel-extras";

/// `--drivers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum When {
    /// If a device of this machine needs one, kernel-extras is enabled, or the running version has
    /// them
    Auto,
    Always,
    Never,
}

/// What is done with the drivers of a release, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    when: When,
    machine: Machine,
}

/// What this machine has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Machine {
    /// Devices that run with such a driver: disks and network cards.
    used: Vec<Concerned>,
    /// Devices that would have a driver.
    wanted: Vec<Concerned>,
    /// Does the running version have the drivers?
    has_drivers: bool,
    /// Does the configuration enable `kernel-extras`?
    is_enabled: bool,
}

/// Does the configuration enable them?
pub(crate) fn are_enabled(config: &Config) -> bool {
    config.rancher.services_include.get(KERNEL_EXTRAS).is_some_and(|enabled| *enabled)
}

impl Choice {
    /// Examines this machine. An older system has no list of devices: then none needs a driver.
    pub(crate) fn load(when: When, is_enabled: bool) -> Choice {
        let version = running_version();
        let is_installed = booted::partition().is_some_and(|boot| boot.has_drivers(&version));
        let machine = Machine {
            used: drivers::load_used().unwrap_or_default(),
            wanted: Index::running()
                .and_then(|index| drivers::load_wanted(&index))
                .unwrap_or_default(),
            has_drivers: is_installed,
            is_enabled,
        };
        Choice { when, machine }
    }

    /// Are drivers to be taken from a release that has them?
    pub(crate) fn is_taken(&self) -> bool {
        let Machine { used, wanted, has_drivers, is_enabled } = &self.machine;
        match self.when {
            When::Always => true,
            When::Never => false,
            When::Auto => *has_drivers || *is_enabled || !used.is_empty() || !wanted.is_empty(),
        }
    }

    /// Leaves the drivers in the release that are to be taken. An error if there are none although
    /// a disk or a network card of this machine runs with one.
    pub(crate) fn apply(&self, release: &mut Release) -> Result<()> {
        if !self.is_taken() {
            release.drivers.clear();
            return Ok(());
        }
        let has_none = release.drivers.is_empty();
        if has_none && self.when == When::Always {
            bail!(
                "version {} comes without drivers.erofs here: use the full ISO, the archive of the \
                 release, or a registry",
                release.version
            );
        }
        let used: Vec<String> = self.machine.used.iter().map(ToString::to_string).collect();
        ensure!(
            !has_none || used.is_empty(),
            "version {} comes without drivers.erofs here, and {}; nothing was changed. Use a full \
             release; --drivers never goes on without the drivers",
            release.version,
            used.join("; ")
        );
        Ok(())
    }

    /// Leaves out drivers that do not fit into `room` bytes if this machine runs without them now,
    /// and returns lines for the owner: an optional service must block no upgrade. A machine that
    /// has them keeps them: also a driver of the first tier may need their firmware.
    pub(crate) fn leave_out(
        &self,
        release: &mut Release,
        room: u64,
        place: &str,
    ) -> Option<Vec<String>> {
        let Machine { used, wanted, has_drivers, .. } = &self.machine;
        let has_none_now = self.when == When::Auto && used.is_empty() && !has_drivers;
        let size = release.size_of_drivers();
        let is_all_that_is_too_much =
            release.size() > room && release.size().saturating_sub(size) <= room;
        if size == 0 || !has_none_now || !is_all_that_is_too_much {
            return None;
        }
        release.drivers.clear();
        let first = format!(
            "WARNING: left out, as {} do not fit on {place}; this machine runs without them now. \
             `sudo ros service enable {KERNEL_EXTRAS}` adds them once there is room",
            megabytes(size)
        );
        let devices = wanted.iter().map(|device| format!("{device}, which is left out"));
        Some(Some(first).into_iter().chain(devices).collect())
    }

    /// What helps if a release with drivers does not fit, for an error; empty if it has none.
    pub(crate) fn hint(&self, release: &Release) -> String {
        if self.when != When::Auto || release.drivers.is_empty() {
            return String::new();
        }
        let used: Vec<String> = self.machine.used.iter().map(ToString::to_string).collect();
        let but = if used.is_empty() { "" } else { ", but " };
        let size = megabytes(release.size_of_drivers());
        format!(
            " ({size} for all drivers: --drivers never goes on without{but}{})",
            used.join("; ")
        )
    }

    /// Lines for the owner, once `apply` has chosen.
    pub(crate) fn describe(&self, release: &Release) -> Vec<String> {
        let Machine { used, wanted, has_drivers, is_enabled } = &self.machine;
        let devices = used.iter().chain(wanted).map(ToString::to_string);
        if !release.drivers.is_empty() {
            let first = format!("all, {}", megabytes(release.size_of_drivers()));
            return Some(first).into_iter().chain(devices).collect();
        }
        let mut lines = Vec::new();
        if self.when == When::Never {
            lines.extend(devices.map(|line| format!("{line}, which is left out")));
        } else {
            lines.extend(devices.map(|line| format!("{line}, which only a full release has")));
            if lines.is_empty() && *has_drivers {
                lines.push("the running version has all; this release comes without".to_owned());
            }
            if *is_enabled {
                lines.push(format!("{KERNEL_EXTRAS} is enabled; this release comes without"));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Part;

    fn concerned() -> Vec<Concerned> {
        let device = "the disk controller 1000:0054 at 0000:00:05.0 (pci)".to_owned();
        vec![Concerned { device, drivers: vec!["mptsas".to_owned()] }]
    }

    fn release(has_drivers: bool) -> Release {
        let part =
            |name: &str| Part { name: name.to_owned(), digest: String::new(), size: 1 << 20 };
        Release {
            version: "2.0".to_owned(),
            files: Vec::new(),
            drivers: if has_drivers { drivers::FILES.map(part).to_vec() } else { Vec::new() },
            contents: part("contents.json"),
            keeps_system_docker: true,
            manifest: Vec::new(),
            signature: String::new(),
        }
    }

    /// What becomes of the drivers: taken, left out, or refused.
    fn outcome(when: When, machine: &Machine, full: bool) -> &'static str {
        let mut release = release(full);
        match (Choice { when, machine: machine.clone() }).apply(&mut release) {
            Err(_) => "refused",
            Ok(()) if release.drivers.is_empty() => "without",
            Ok(()) => "with",
        }
    }

    #[test]
    fn drivers_are_taken_where_they_are_needed_and_their_lack_is_an_error_where_they_are_in_use() {
        let plain = Machine::default();
        let uses = Machine { used: concerned(), ..Machine::default() };
        let wants = Machine { wanted: concerned(), ..Machine::default() };
        let has = Machine { has_drivers: true, ..Machine::default() };
        let enabled = Machine { is_enabled: true, ..Machine::default() };
        for (when, machine, full, bare) in [
            (When::Auto, &plain, "without", "without"),
            (When::Auto, &uses, "with", "refused"),
            (When::Auto, &wants, "with", "without"),
            (When::Auto, &has, "with", "without"),
            (When::Auto, &enabled, "with", "without"),
            (When::Never, &enabled, "without", "without"),
            (When::Always, &plain, "with", "refused"),
            (When::Never, &uses, "without", "without"),
        ] {
            assert_eq!(outcome(when, machine, true), full, "{when:?} {machine:?}");
            assert_eq!(outcome(when, machine, false), bare, "{when:?} {machine:?}");
        }
    }

    #[test]
    fn drivers_that_do_not_fit_are_left_out_where_the_machine_runs_without_them() {
        let enabled = Machine { is_enabled: true, ..Machine::default() };
        let wants = Machine { wanted: concerned(), ..Machine::default() };
        let uses = Machine { used: concerned(), is_enabled: true, ..Machine::default() };
        let has = Machine { has_drivers: true, is_enabled: true, ..Machine::default() };
        // With its drivers the release has three MiB, and without them one.
        for (when, machine, room, expected) in [
            (When::Auto, &enabled, 3, false),
            (When::Auto, &enabled, 2, true),
            (When::Auto, &enabled, 1, true),
            (When::Auto, &enabled, 0, false),
            (When::Auto, &wants, 2, true),
            (When::Auto, &uses, 2, false),
            (When::Auto, &has, 2, false),
            (When::Always, &enabled, 2, false),
        ] {
            let (choice, mut release) = (Choice { when, machine: machine.clone() }, release(true));
            let lines = choice.leave_out(&mut release, room << 20, "the boot partition");
            assert_eq!(lines.is_some(), expected, "{when:?} {machine:?} {room}");
            assert_eq!(release.drivers.is_empty(), expected, "{when:?} {machine:?} {room}");
            for line in lines.iter().flatten() {
                assert!(line.contains("left out"), "{line}");
            }
        }
        let choice = |machine: &Machine| Choice { when: When::Auto, machine: machine.clone() };
        assert!(choice(&has).hint(&release(true)).contains("--drivers never"));
        assert!(choice(&uses).hint(&release(true)).contains("0000:00:05.0"));
        assert_eq!(choice(&has).hint(&release(false)), "");
    }

    #[test]
    fn only_true_enables_them() {
        let mut config = Config::default();
        assert!(!are_enabled(&config));
        for enabled in [true, false] {
            config.rancher.services_include.insert(KERNEL_EXTRAS.to_owned(), enabled);
            assert_eq!(are_enabled(&config), enabled);
        }
    }

    #[test]
    fn what_is_missing_is_said_with_the_device() {
        let machine = Machine { wanted: concerned(), ..Machine::default() };
        let choice = Choice { when: When::Auto, machine };
        let lines = choice.describe(&release(false));
        assert_eq!(
            lines,
            ["the disk controller 1000:0054 at 0000:00:05.0 (pci) needs the driver mptsas, which \
              only a full release has"]
        );
        assert_eq!(choice.describe(&release(true)).len(), 2);
        let machine = Machine { is_enabled: true, ..Machine::default() };
        let choice = Choice { when: When::Auto, machine };
        let lines = choice.describe(&release(false));
        assert_eq!(lines, ["kernel-extras is enabled; this release comes without"]);
    }
}
