//! `cargo xtask bench size`: what each part of the image weighs, beside the last release.

use crate::image::{self, VERSION};
use crate::{durable, paths, progress};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What the last release weighs.
const LAST: &str = "tests/sizes.json";
/// Differences below this are noise of the packer.
const NOISE: i64 = 1000;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Compare with this file, which an earlier `--keep` wrote
    #[arg(long, value_name = "FILE", default_value = LAST)]
    with: PathBuf,
    /// Write the sizes to that file: they are the last release's from now on
    #[arg(long)]
    keep: bool,
}

/// What a release weighs.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sizes {
    version: String,
    /// Bytes by the name of the file or of the part.
    files: BTreeMap<String, u64>,
    parts: BTreeMap<String, u64>,
}

/// Builds the image that is released, unless it is there, and prints the comparison.
pub(super) fn run(options: &Options) -> Result<()> {
    let file = paths::root().join(&options.with);
    let last = load(options, &file)?;
    let what = image::Options { release: true, full: true, ..image::Options::default() };
    let now = weigh(&image::build(&what)?)?;
    for line in compare(&now, last.as_ref()) {
        progress::say(&line)?;
    }
    if options.keep {
        durable::write(&file, &[&serde_json::to_vec_pretty(&now)?[..], b"\n"].concat())?;
    }
    Ok(())
}

fn weigh(built: &image::Image) -> Result<Sizes> {
    let full = built.full.as_ref().context("the image was built without its drivers")?;
    let named = [
        ("ISO", &built.iso),
        ("full ISO", &full.iso),
        ("kernel", &built.kernel),
        ("initrd", &built.initrd),
        ("system.erofs", &built.system),
        ("drivers.erofs", &full.drivers.image),
        ("drivers.initrd", &full.drivers.initrd),
    ];
    let size = |(name, path): (&str, &PathBuf)| {
        let data = fs::metadata(path).with_context(|| format!("reading {}", path.display()))?;
        Ok((name.to_owned(), data.len()))
    };
    Ok(Sizes {
        version: VERSION.to_owned(),
        files: named.into_iter().map(size).collect::<Result<_>>()?,
        parts: packed(&paths::image().join("manifest.json"))?,
    })
}

/// What the last release weighs. Before the first one there is no such file; but one that was named
/// is there, unless it is to be written.
fn load(options: &Options, file: &Path) -> Result<Option<Sizes>> {
    if !file.exists() && (options.keep || options.with == Path::new(LAST)) {
        return Ok(None);
    }
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("reading {}", file.display())).map(Some)
}

fn packed(manifest: &Path) -> Result<BTreeMap<String, u64>> {
    #[derive(Deserialize)]
    struct Manifest {
        #[serde(default)]
        packed: BTreeMap<String, u64>,
    }
    let bytes = fs::read(manifest).with_context(|| format!("reading {}", manifest.display()))?;
    let Manifest { packed } = serde_json::from_slice(&bytes)
        .with_context(|| format!("reading {}", manifest.display()))?;
    ensure!(!packed.is_empty(), "{}: no part was weighed", manifest.display());
    Ok(packed)
}

/// A line for each file and each part, the heaviest first, and which of them grew.
fn compare(now: &Sizes, last: Option<&Sizes>) -> Vec<String> {
    let title = last.map_or("no earlier release to compare with".to_owned(), |last| {
        format!("since {}", last.version)
    });
    let mut lines = vec![format!("{:>11} {:>10}  {title}", "bytes", "")];
    let mut grew = Vec::new();
    let none = BTreeMap::new();
    for (sizes, old) in [
        (&now.files, last.map_or(&none, |last| &last.files)),
        (&now.parts, last.map_or(&none, |last| &last.parts)),
    ] {
        let names = sizes.keys().chain(old.keys().filter(|name| !sizes.contains_key(*name)));
        let mut rows: Vec<(u64, Option<i64>, &String)> = names
            .map(|name| {
                let bytes = sizes.get(name).copied().unwrap_or_default();
                let before = old.get(name).copied().unwrap_or_default();
                (bytes, last.map(|_| bytes.cast_signed() - before.cast_signed()), name)
            })
            .collect();
        rows.sort_by(|a, b| b.cmp(a));
        for (bytes, difference, name) in rows {
            let shown = difference.map(|bytes| format!("{bytes:+}")).unwrap_or_default();
            lines.push(format!("{bytes:>11} {shown:>10}  {name}"));
            if difference.is_some_and(|bytes| bytes > NOISE) {
                grew.push(name.as_str());
            }
        }
    }
    if !grew.is_empty() {
        lines.push(format!("grew: {}", grew.join(", ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{LAST, Options, Sizes, compare, load};
    use std::path::{Path, PathBuf};

    fn sizes(iso: u64, parts: &[(&str, u64)]) -> Sizes {
        Sizes {
            version: "1.0.0".to_owned(),
            files: [("ISO".to_owned(), iso)].into(),
            parts: parts.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect(),
        }
    }

    #[test]
    fn what_grew_is_named() {
        let last = sizes(59_000_000, &[("ros", 4_000_000), ("gone", 10)]);
        let now = sizes(59_500_000, &[("ros", 3_900_000), ("new", 600_000)]);
        let lines = compare(&now, Some(&last));
        assert_eq!(
            lines,
            [
                "      bytes             since 1.0.0",
                "   59500000    +500000  ISO",
                "    3900000    -100000  ros",
                "     600000    +600000  new",
                "          0        -10  gone",
                "grew: ISO, new",
            ]
        );
        let alone = compare(&now, None);
        assert!(alone[0].ends_with("no earlier release to compare with"), "{}", alone[0]);
        assert!(alone.iter().all(|line| !line.contains('+')));
    }

    #[test]
    fn a_mistyped_file_is_an_error() {
        let loaded = |with: &str, keep: bool| {
            let options = Options { with: PathBuf::from(with), keep };
            load(&options, Path::new("/nonexistent/sizes.json"))
        };
        assert_eq!(loaded(LAST, false).unwrap(), None);
        assert_eq!(loaded("new.json", true).unwrap(), None);
        let error = loaded("mistyped.json", false).unwrap_err().to_string();
        assert_eq!(error, "reading /nonexistent/sizes.json");
    }
}
