//! The version of a release: semantic, with the build id that the machine shows as `BUILD_ID`.

use crate::image::{Record, VERSION};
use crate::sh;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the release, below a target folder.
pub(super) fn folder(target: &Path) -> PathBuf {
    target.join(format!("release-{VERSION}"))
}

/// A version, and what it was built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    /// Seconds since 1970: of the last commit.
    pub(super) epoch: u64,
    /// That time in RFC 3339, in UTC.
    pub(super) created: String,
    commit: String,
}

impl Version {
    /// Of an image.
    pub(super) fn of(record: &Record) -> Result<Version> {
        let epoch = record.epoch;
        let checkout = record.checkout.as_ref();
        let checkout = checkout.context("the image was built from no commit of git")?;
        let mut date = Command::new("date");
        date.args(["-u", "-d", &format!("@{epoch}"), "+%Y-%m-%dT%H:%M:%SZ"]);
        Ok(Version {
            epoch,
            created: sh::output(&mut date).context("formatting a time")?.trim().to_owned(),
            commit: checkout.commit.clone(),
        })
    }

    /// `1.2.3+1760000000`
    pub(super) fn full(&self) -> String {
        format!("{VERSION}+{}", self.epoch)
    }

    /// `version.json`, for programs.
    pub(super) fn to_json(&self, kernel: &str) -> Value {
        json!({
            "version": VERSION,
            "build": self.epoch.to_string(),
            "full": self.full(),
            "created": self.created,
            "commit": self.commit,
            "kernel": kernel,
            "architecture": "amd64",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_semantic_and_has_a_build_id() {
        let version =
            Version { epoch: 1_760_000_000, created: String::new(), commit: String::new() };
        let full = version.full();
        let (number, build) = full.split_once('+').unwrap();
        let numbers: Vec<&str> = number.split('-').next().unwrap().split('.').collect();
        assert_eq!(numbers.len(), 3);
        let is_number = |text: &&str| text.parse::<u32>().is_ok_and(|n| n.to_string() == **text);
        assert!(numbers.iter().all(is_number), "{full}");
        assert!(build.bytes().all(|byte| byte.is_ascii_digit()), "{full}");
        assert_eq!(version.to_json("6.12")["full"], full);
    }
}
