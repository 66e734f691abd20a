//! Where packages come from: the mirrors of this machine, or one that was named, and the suites of
//! a release of Debian there. Its security suite is always among them.

use crate::{paths, setup, sh};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The release of Debian that the image is made of.
pub(crate) const SUITE: &str = "trixie";
/// Releases without suites of updates: what is new goes into the release itself.
const ROLLING: [&str; 2] = ["forky", "sid"];
/// The part of Debian's archive with programs, and that with firmware too.
pub(super) const MAIN: &str = "main";
pub(super) const WITH_FIRMWARE: &str = "main non-free-firmware";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const UPDATES: &str = "-updates";
const SECURITY: &str = "-security";

/// A release of Debian, and parts of its archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) suite: &'a str,
    pub(super) areas: &'static str,
}

impl Origin<'_> {
    /// As `packages.lock` names it.
    pub(super) fn text(self) -> String {
        format!("{} {}", self.suite, self.areas)
    }
}

/// A mirror, and a suite of it.
type Source = (String, String);

/// `kind` is `deb` for packages, or `deb-src` for their sources.
pub(super) fn make_root(
    folder: &str,
    kind: &str,
    origin: Origin<'_>,
    mirror: Option<&str>,
) -> Result<PathBuf> {
    let Origin { suite, areas } = origin;
    let root = paths::cache(folder);
    for folder in [
        "etc/apt",
        "var/lib/apt/lists/partial",
        "var/lib/dpkg",
        "var/cache/apt/archives/partial",
        "nowhere/partial",
    ] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::write(root.join("var/lib/dpkg/status"), "")?;
    fs::write(root.join("etc/apt/preferences"), "")?;
    let sources = suites(suite, mirror)?;
    // Only packages that no other suite has come from there, by apt's priority for backports.
    let backports: Vec<_> = sources
        .iter()
        .filter(|(_, of_mirror)| of_mirror == SUITE)
        .map(|(mirror, _)| (mirror.clone(), format!("{SUITE}-backports")))
        .collect();
    let line = |(uri, suite): &Source| {
        format!("{kind} [{}] {uri} {suite} {areas}\n", options(uri, mirror))
    };
    let lines: String = sources.iter().chain(&backports).map(line).collect();
    fs::write(root.join("etc/apt/sources.list"), lines)?;
    Ok(root)
}

/// How apt checks a source. A mirror that was named may keep old versions, whose lists are valid
/// no more. Their signatures are checked as ever.
fn options(uri: &str, mirror: Option<&str>) -> String {
    let is_named = mirror.map(|mirror| mirror.trim_end_matches('/')).is_some_and(|mirror| {
        uri == mirror || of_security(mirror).is_some_and(|beside| uri == beside)
    });
    let expires = if is_named { " check-valid-until=no" } else { "" };
    format!("signed-by={KEYRING}{expires}")
}

/// All suites of a release of Debian, each with its mirror.
fn suites(suite: &str, mirror: Option<&str>) -> Result<BTreeSet<Source>> {
    let sources = match mirror {
        Some(mirror) => {
            let mirror = mirror.trim_end_matches('/');
            let needs_host = !ROLLING.contains(&suite) && dated_security(mirror).is_none();
            let host = if needs_host { load_mirrors(suite)? } else { BTreeSet::new() };
            of_mirror(mirror, suite, &host)
        }
        None => with_security(host_mirrors(suite)?, suite),
    };
    let wanted = format!("{suite}{SECURITY}");
    ensure!(
        ROLLING.contains(&suite) || sources.iter().any(|(_, suite)| *suite == wanted),
        "no mirror with the security updates ({wanted}) is known: name one by --mirror whose \
         address ends with /debian or /debian/TIMESTAMP and that has debian-security beside it, or \
         add its suite to the sources of this machine's apt"
    );
    Ok(sources)
}

/// Those of a mirror that was named; `host` are this machine's own. Its security suite is preferred
/// to one that may be beside the mirror, unless the mirror is as it was at a time.
fn of_mirror(mirror: &str, suite: &str, host: &BTreeSet<Source>) -> BTreeSet<Source> {
    let mut sources = BTreeSet::from([(mirror.to_owned(), suite.to_owned())]);
    if ROLLING.contains(&suite) {
        return sources;
    }
    sources.insert((mirror.to_owned(), format!("{suite}{UPDATES}")));
    let of_host = || host.iter().filter(|(_, suite)| suite.ends_with(SECURITY)).cloned();
    match dated_security(mirror) {
        Some(security) => sources.extend([(security, format!("{suite}{SECURITY}"))]),
        None => sources.extend(of_host()),
    }
    with_security(sources, suite)
}

/// Adds the security suite where it usually is, unless it is there already.
fn with_security(mut sources: BTreeSet<Source>, suite: &str) -> BTreeSet<Source> {
    let wanted = format!("{suite}{SECURITY}");
    if ROLLING.contains(&suite) || sources.iter().any(|(_, suite)| *suite == wanted) {
        return sources;
    }
    let beside = sources.iter().find_map(|(mirror, _)| of_security(mirror));
    sources.extend(beside.map(|mirror| (mirror, wanted)));
    sources
}

/// `http://mirror/debian` has `http://mirror/debian-security` beside it.
fn of_security(mirror: &str) -> Option<String> {
    let beside = || mirror.ends_with("/debian").then(|| format!("{mirror}{SECURITY}"));
    dated_security(mirror).or_else(beside)
}

/// The same of an archive as it was at a time: `http://mirror/debian/20260131T120000Z` has
/// `http://mirror/debian-security/20260131T120000Z`.
fn dated_security(mirror: &str) -> Option<String> {
    let (archive, time) = mirror.rsplit_once('/')?;
    let (day, second) = time.strip_suffix('Z')?.split_once('T')?;
    let is_number =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_dated = archive.ends_with("/debian") && is_number(day, 8) && is_number(second, 6);
    is_dated.then(|| format!("{archive}{SECURITY}/{time}"))
}

/// The host's own Debian mirrors, each with this suite in place of the host's: `bookworm-updates` →
/// `trixie-updates`.
fn host_mirrors(suite: &str) -> Result<BTreeSet<(String, String)>> {
    let mut mirrors = load_mirrors(suite)?;
    if mirrors.is_empty() {
        // apt reports only sources of which it has fetched a list.
        setup::update_lists()?;
        mirrors = load_mirrors(suite)?;
    }
    if mirrors.is_empty() {
        bail!("the host's apt knows no Debian mirror: give one with --mirror URL");
    }
    Ok(mirrors)
}

fn load_mirrors(suite: &str) -> Result<BTreeSet<(String, String)>> {
    let format = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)";
    let targets = sh::output(Command::new("apt-get").args(["indextargets", "--format", format]))
        .context("asking apt for its sources")?;
    Ok(targets.lines().filter_map(|target| debian_mirror(target, suite)).collect())
}

fn debian_mirror(target: &str, suite: &str) -> Option<(String, String)> {
    let fields: Vec<&str> = target.split(' ').collect();
    let [uri, release, "main", "Debian"] = fields.as_slice() else { return None };
    let suffix =
        release.split_once('-').map(|(_, suffix)| format!("-{suffix}")).unwrap_or_default();
    let is_wanted = match suffix.as_str() {
        "" => true,
        "-updates" | "-security" => !ROLLING.contains(&suite),
        _ => false,
    };
    is_wanted.then(|| (uri.trim_end_matches('/').to_owned(), format!("{suite}{suffix}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_of_the_host_has_other_releases_too() {
        let mirror = |release: &str, suite: &str| {
            debian_mirror(&format!("http://m/debian/ {release} main Debian"), suite)
                .map(|(_, suite)| suite)
        };
        assert_eq!(mirror("bookworm", "trixie").as_deref(), Some("trixie"));
        assert_eq!(mirror("bookworm-security", "trixie").as_deref(), Some("trixie-security"));
        assert_eq!(mirror("bookworm-security", "forky"), None, "it has no such suite");
        assert_eq!(mirror("bookworm-backports", "trixie"), None);
        assert_eq!(debian_mirror("http://m/other x main Another", "trixie"), None);
    }

    fn sources(all: &[(&str, &str)]) -> BTreeSet<Source> {
        all.iter().map(|(mirror, suite)| ((*mirror).to_owned(), (*suite).to_owned())).collect()
    }

    #[test]
    fn the_security_suite_is_always_among_them() {
        let found = of_mirror("http://m/debian", "trixie", &BTreeSet::new());
        let expected = [
            ("http://m/debian", "trixie"),
            ("http://m/debian", "trixie-updates"),
            ("http://m/debian-security", "trixie-security"),
        ];
        assert_eq!(found, sources(&expected));
        let host = sources(&[("http://h/debian", "trixie"), ("http://h/s", "trixie-security")]);
        let found = of_mirror("http://m/copy", "trixie", &host);
        assert!(found.contains(&("http://h/s".to_owned(), "trixie-security".to_owned())));
        assert_eq!(found.len(), 3, "{found:?}");
        // A machine whose apt has none: it is beside the others.
        let found = with_security(sources(&[("http://h/debian", "trixie")]), "trixie");
        assert!(found.contains(&("http://h/debian-security".into(), "trixie-security".into())));
        assert_eq!(with_security(host.clone(), "trixie"), host);
        // What is beside a mirror is a guess: that of the host is not.
        let found = of_mirror("http://m/debian", "trixie", &host);
        assert!(found.contains(&("http://h/s".to_owned(), "trixie-security".to_owned())));
        assert_eq!(found.len(), 3, "{found:?}");
        let rolling = of_mirror("http://m/debian", "forky", &host);
        assert_eq!(rolling, sources(&[("http://m/debian", "forky")]));
    }

    #[test]
    fn an_archive_of_a_time_has_the_security_suite_of_that_time() {
        let dated = "http://m/archive/debian/20260131T120000Z";
        let security = "http://m/archive/debian-security/20260131T120000Z";
        let host = sources(&[("http://h/s", "trixie-security")]);
        let expected =
            [(dated, "trixie"), (dated, "trixie-updates"), (security, "trixie-security")];
        assert_eq!(of_mirror(dated, "trixie", &host), sources(&expected));
        for other in ["http://m/debian/2026", "http://m/other/20260131T120000Z", "http://m/debian"]
        {
            assert_eq!(dated_security(other), None, "{other}");
        }
    }

    #[test]
    fn lists_of_a_named_mirror_may_be_old() {
        let dated = "http://m/debian/20260131T120000Z";
        let security = "http://m/debian-security/20260131T120000Z";
        for uri in [dated, security] {
            let options = options(uri, Some(&format!("{dated}/")));
            assert!(options.ends_with(" check-valid-until=no"), "{options}");
        }
        for (uri, mirror) in [(dated, None), ("http://h/s", Some(dated))] {
            assert!(!options(uri, mirror).contains("valid"), "{uri} {mirror:?}");
        }
    }
}
