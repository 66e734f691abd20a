//! Where a part of the configuration comes from.

use std::fmt;

/// Where a layer comes from. The order of merging is `machine`'s and `ros`'s business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `defaults.yml`, inside this program.
    Defaults,
    /// A file, by its path.
    File(String),
    /// The kernel's command line.
    CommandLine,
    /// The metadata of the machine's provider: host name and keys.
    Metadata,
    /// The provider's own configuration, by its path. Its author does not read our warnings.
    Vendor(String),
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Defaults => formatter.write_str("defaults"),
            Source::File(path) | Source::Vendor(path) => formatter.write_str(path),
            Source::CommandLine => formatter.write_str("kernel command line"),
            Source::Metadata => formatter.write_str("metadata"),
        }
    }
}
