//! The power is cut while an upgrade is written: at sixty points, from its first write to its last.
//! At each of them the machine boots the old version or the new one. Points that leave the same
//! boot sectors and boot files are booted once.

use super::install::installed;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use vmtest::folder;
use vmtest::write_log::{Write, WriteLog};
use vmtest::{Image, Machine, Medium, Options, drive};

/// Spread over the complete upgrade.
const SPREAD: usize = 20;
/// The last writes, which switch the menu and arm the trial.
const LAST: usize = 40;
/// The new version.
const NEXT: &str = "0.9.0";

#[test]
fn a_cut_of_power_at_any_moment_of_an_upgrade_leaves_what_boots() -> Result<()> {
    let folder = folder("power-cuts")?;
    let disk = installed(&folder)?;
    let before = folder.join("before.img");
    drive::copy(&disk, &before)?;
    let (log, first) = upgrade(&folder, &disk)?;
    let writes = &log.writes;
    println!("{} writes, {} of them by the upgrade", writes.len(), writes.len() - first);
    let mut versions: Vec<String> = Vec::new();
    let mut booted: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    let mut done = 0;
    for point in points(first, writes) {
        log.replay(&writes[done..point], &before)?;
        done = point;
        let left = what_a_boot_reads(&folder, &before)
            .with_context(|| format!("cut after write {point}"))?;
        let version = match booted.get(&left) {
            Some(version) => version.clone(),
            None => boot(&folder, &before).with_context(|| format!("cut after write {point}"))?,
        };
        booted.insert(left, version.clone());
        versions.push(version);
    }
    println!("{} moments, {} of them booted: {}", versions.len(), booted.len(), versions.join(" "));
    // The first cut is before all writes, the last one after them.
    assert_eq!(versions.first().map(String::as_str), Some("0.1.0"));
    assert_eq!(versions.last().map(String::as_str), Some("0.9.0"));
    Ok(())
}

/// Upgrades a machine and records its writes. Returns them, and how many there were before the
/// upgrade.
fn upgrade(folder: &Path, disk: &Path) -> Result<(WriteLog, usize)> {
    let log = folder.join("writes.log");
    fs::write(&log, "")?;
    let options = Options {
        medium: Medium::Disk,
        disks: vec![disk.to_path_buf()],
        sticks: vec![Image::find()?.releases.join("next.oci.tar")],
        write_log: Some(log.clone()),
        ..Options::default()
    };
    let mut machine = Machine::start(folder, options)?;
    machine.expect_login()?;
    machine.expect_docker()?;
    machine.run("sync")?;
    let first = WriteLog::open(&log)?.writes.len();
    machine.run("sudo ros os upgrade -i /dev/vdb --force --no-reboot")?;
    machine.check_alarms()?;
    // The usual power cut: in the middle of the running machine.
    machine.cut_power()?;
    Ok((WriteLog::open(&log)?, first))
}

fn points(first: usize, writes: &[Write]) -> Vec<usize> {
    let all = writes.len();
    let last = all.saturating_sub(LAST - 1).max(first);
    let spread = (0..SPREAD).map(|number| first + (last - first) * number / SPREAD);
    spread.chain(last..=all).collect()
}

/// A hash of everything that decides how the disk boots: boot sectors, and the files of the boot
/// partition. Files of the new version are hashed only once another file names them: until then no
/// boot can find them.
fn what_a_boot_reads(folder: &Path, disk: &Path) -> Result<Vec<u8>> {
    let files = folder.join("boot-files");
    let _ = fs::remove_dir_all(&files);
    fs::create_dir(&files)?;
    let partition = format!("{}@@1M", disk.display());
    let all = |what: &str, to: &Path| {
        let mut mcopy = Command::new("mcopy");
        mcopy
            .env("MTOOLS_SKIP_CHECK", "1")
            .args(["-s", "-n", "-Q", "-i", &partition, what])
            .arg(to);
        mcopy.output()
    };
    // Files that cannot be read are missing in the hash.
    all("::", &files)?;
    let script = format!(
        "cd \"$0\" && \
         if ! grep -rqIF {NEXT} --exclude-dir={NEXT} .; then rm -rf boot/{NEXT}; fi && \
         head -c 65536 \"$1\" && head -c 1049088 \"$1\" | tail -c 512 && \
         find . | sort && find . -type f -print0 | sort -z | xargs -0 cat"
    );
    let mut sum = Command::new("bash");
    sum.args(["-c", &format!("set -o pipefail; ({script}) | sha256sum")]).arg(&files).arg(disk);
    let output = sum.output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// Boots the disk without changing it. Returns the version that started.
fn boot(folder: &Path, disk: &Path) -> Result<String> {
    let options = Options {
        medium: Medium::Disk,
        disks: vec![disk.to_path_buf()],
        extra: vec!["-snapshot".into()],
        ..Options::default()
    };
    let mut machine = Machine::start(folder, options)?;
    machine.expect_console(" begins")?;
    let console = machine.console();
    let version = console.split("PID 1 of Corral v").nth(1).context("no PID 1 of ours")?;
    Ok(version.split(' ').next().unwrap_or_default().to_owned())
}
