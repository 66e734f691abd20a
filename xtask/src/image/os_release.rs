//! `/etc/os-release` of the system.

use super::record;
use crate::{paths, sh};
use anyhow::{Context, Result};
use std::process::Command;

/// SOURCE_DATE_EPOCH, else the time of the last commit: the same sources give the same bytes.
pub(crate) fn epoch() -> Result<u64> {
    if let Ok(text) = std::env::var("SOURCE_DATE_EPOCH") {
        return text.parse().context("SOURCE_DATE_EPOCH is not a number of seconds");
    }
    let commit = sh::output(Command::new("git").current_dir(paths::root()).args([
        "log",
        "-1",
        "--format=%ct",
    ]));
    Ok(commit.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1_760_000_000))
}

/// os-release(5) of these sources as that version.
pub(crate) fn os_release(version: &str) -> Result<String> {
    Ok(write(version, epoch()?, record::commit().ok().as_deref()))
}

/// os-release(5). Its `ID_LIKE` is what tools for RancherOS look for. There are no addresses of web
/// pages, because the project has none. The commit is left out if there is no git.
fn write(version: &str, epoch: u64, commit: Option<&str>) -> String {
    let lines = [
        "NAME=\"Corral\"".to_owned(),
        format!("PRETTY_NAME=\"Corral v{version}\""),
        "ID=corral".to_owned(),
        "ID_LIKE=rancheros".to_owned(),
        format!("VERSION=\"v{version}\""),
        format!("VERSION_ID=\"{version}\""),
        format!("BUILD_ID=\"{epoch}\""),
        "IMAGE_ID=corral".to_owned(),
        format!("IMAGE_VERSION=\"{version}\""),
        "ANSI_COLOR=\"0;36\"".to_owned(),
    ];
    let commit = commit.map(|commit| format!("CORRAL_COMMIT=\"{commit}\""));
    lines.into_iter().chain(commit).map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::write;

    #[test]
    fn the_commit_is_there_if_it_is_known() {
        let text = write("1.2", 5, Some("0a1b"));
        assert!(text.ends_with("\nCORRAL_COMMIT=\"0a1b\"\n"), "{text}");
        assert!(text.contains("\nBUILD_ID=\"5\"\n"), "{text}");
        assert!(!write("1.2", 5, None).contains("COMMIT"));
    }
}
