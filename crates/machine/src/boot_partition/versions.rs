//! The versions on a boot partition, and the kernel parameters that name the booted one.

/// Its own partition and version, as the system finds them on its command line.
pub const BOOT_PARAMETER: &str = "corral.boot";
pub const VERSION_PARAMETER: &str = "corral.version";

/// The versions that the menu offers, the default first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions {
    pub default: String,
    /// Those that an owner can roll back to, the latest first.
    pub others: Vec<String>,
}

impl Versions {
    /// All of them, the default first.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        Some(self.default.as_str()).into_iter().chain(self.others.iter().map(String::as_str))
    }

    /// The same versions with another default.
    pub fn with_default(&self, version: &str) -> Versions {
        let others =
            self.all().filter(|other| *other != version && !other.is_empty()).map(str::to_owned);
        Versions { others: others.collect(), default: version.to_owned() }
    }

    /// The same without one that is not the default.
    pub fn without(&self, version: &str) -> Versions {
        let others = self.others.iter().filter(|other| *other != version).cloned().collect();
        Versions { default: self.default.clone(), others }
    }
}
