//! Corral's own kernel, which only the small ISO may have (`images/kernel`). A release brings
//! nothing more for it, neither drivers nor headers: its archive and its registry have Debian's.

use anyhow::{Result, bail};

/// What the versions of this kernel end with: its `CONFIG_LOCALVERSION`.
const SUFFIX: &str = "-corral";

/// The version of the kernel that runs, as `uname -r` prints it.
pub fn running_kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// An error if it runs: `service` is not there for it.
pub fn refuse(service: &str) -> Result<()> {
    match why_not(service, &running_kernel()) {
        Some(why) => bail!("{why}. Nothing was changed"),
        None => Ok(()),
    }
}

/// Why a release has no such service for this kernel; None if it may have.
pub fn why_not(service: &str, kernel: &str) -> Option<String> {
    kernel.ends_with(SUFFIX).then(|| {
        format!(
            "the kernel {kernel} runs, the small ISO's own, and this release brings no {service} \
             for it. The next version (`ros os upgrade`) and the full ISO have Debian's kernel; \
             enable {service} there"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn our_own_kernel_is_known_by_its_version() {
        let kernel = "6.12.57-corral";
        let why = why_not("kernel-headers", kernel).unwrap_or_default();
        assert!(why.contains(kernel) && why.contains("no kernel-headers for it"), "{why}");
        for debians in ["6.12.57+deb13-amd64", "6.12.57-corral+deb13-amd64", ""] {
            assert_eq!(why_not("kernel-headers", debians), None, "{debians}");
        }
    }

    #[test]
    fn the_recipe_of_the_kernel_gives_it_that_version() {
        let fragment = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images/kernel/fragment");
        let fragment = std::fs::read_to_string(fragment).unwrap();
        let line = format!("CONFIG_LOCALVERSION=\"{SUFFIX}\"");
        assert!(fragment.lines().any(|found| found == line), "{line}");
    }
}
