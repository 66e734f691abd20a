//! Releases that are older than what runs: refused unless an older one is requested. Versions are
//! compared as <https://semver.org> orders them: a build id makes no difference.
//!
//! If RancherOS's System Docker is or was on the state disk, a release must declare that it leaves
//! it alone. That is no question of versions, and no flag accepts another one.

use crate::manifest::Release;
use crate::system_docker;
use anyhow::{Result, bail};
use corral_machine::os_release::running_version;
use semver::Version;
use std::cmp::Ordering;

/// What is to be said about a release before it is installed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is newer, or the same.
    Fits,
    /// It is installed, and this is printed.
    Warn(String),
    /// It is not installed, for this reason.
    Refuse(String),
}

/// Judges a release on this machine. `accepted`: an older one was requested.
pub(super) fn judge(release: &Release, accepted: bool) -> Result<Verdict> {
    if !release.keeps_system_docker
        && system_docker::is_beside()?
        && let Err(error) = system_docker::ensure_kept(release, "the state disk of this machine")
    {
        let text = format!("{error}; --downgrade does not accept such a release");
        return Ok(Verdict::Refuse(text));
    }
    Ok(judge_version(&release.version, &running_version(), accepted))
}

impl Verdict {
    /// Ends an upgrade that is refused.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Verdict::Refuse(text) => bail!("{text}; nothing was changed"),
            _ => Ok(()),
        }
    }

    /// What is to be printed.
    pub(super) fn line(&self) -> Option<&str> {
        match self {
            Verdict::Fits => None,
            Verdict::Warn(text) | Verdict::Refuse(text) => Some(text),
        }
    }
}

fn judge_version(release: &str, running: &str, accepted: bool) -> Verdict {
    if release == running {
        return Verdict::Fits;
    }
    let (new, old) = match (parse(release), parse(running)) {
        (Some(new), Some(old)) => (new, old),
        (new, _) => {
            let unknown = if new.is_none() { release } else { running };
            return Verdict::Warn(format!(
                "{unknown:?} is no version like 1.2.3, so it is not known whether {release} is \
                 older than {running}, which is running"
            ));
        }
    };
    match (new.cmp_precedence(&old), accepted) {
        (Ordering::Less, false) => Verdict::Refuse(format!(
            "version {release} is older than {running}, which is running; --downgrade accepts it, \
             and `ros os rollback` starts a version that is still on this machine"
        )),
        (Ordering::Less, true) => {
            Verdict::Warn(format!("version {release} is older than {running} (--downgrade)"))
        }
        _ => Verdict::Fits,
    }
}

/// RancherOS wrote a `v` before its versions.
fn parse(text: &str) -> Option<Version> {
    Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_version_is_refused_unless_it_is_requested() {
        for (release, running, is_older) in [
            ("0.1.0", "0.9.0", true),
            ("0.9.0", "0.10.0", true),
            ("0.10.0", "0.9.0", false),
            ("1.0.0-rc.1", "1.0.0", true),
            ("1.0.0-rc.2", "1.0.0-rc.10", true),
            ("1.0.0", "1.0.0-rc.1", false),
            ("1.0.0+build.1", "1.0.0+build.2", false),
            ("0.9.0+2", "1.0.0+1", true),
            ("v1.0.0", "1.5.8", true),
            ("v1.5.8", "v1.5.7", false),
            ("1.0.0", "1.0.0", false),
        ] {
            let refused = judge_version(release, running, false);
            assert_eq!(matches!(refused, Verdict::Refuse(_)), is_older, "{release} {running}");
            let requested = judge_version(release, running, true);
            assert_eq!(matches!(requested, Verdict::Warn(_)), is_older, "{release} {running}");
            assert_eq!(refused.line().is_some(), is_older);
        }
        let error = judge_version("0.1.0", "0.9.0", false).check().unwrap_err().to_string();
        for part in ["0.1.0", "0.9.0", "--downgrade", "nothing was changed"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn versions_that_cannot_be_compared_are_named_and_accepted() {
        for (release, running, named) in [
            ("nightly", "1.0.0", "\"nightly\""),
            ("1.0.0", "nightly", "\"nightly\""),
            ("v1.2", "1.0.0", "\"v1.2\""),
            ("1.0.0", "2026.11", "\"2026.11\""),
        ] {
            match judge_version(release, running, false) {
                Verdict::Warn(text) => assert!(text.contains(named), "{text}"),
                other => panic!("{release} {running}: {other:?}"),
            }
        }
        assert_eq!(judge_version("nightly", "nightly", false), Verdict::Fits);
    }
}
