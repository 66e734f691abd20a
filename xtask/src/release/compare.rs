//! Two folders that should have the same bytes: which files differ, and where. Archives, ISOs,
//! system images and disks are unpacked, as deep as it takes to name the first member that differs.

use crate::packages::Package;
use crate::sum::{self, Sum};
use crate::tree::{self, Kind};
use crate::{erofs, sh};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

/// How deep members are unpacked: a disk in a box in a release has three levels.
const DEPTH: u32 = 5;
/// The longest part of a line that is shown.
const SHOWN: usize = 120;

/// Compares files.
#[derive(Debug)]
pub(super) struct Comparison<'a> {
    /// For what is unpacked; emptied.
    pub(super) work: &'a Path,
    /// With the program that unpacks EROFS.
    pub(super) packages: &'a [Package],
}

/// The files of a folder, by their paths in it.
pub(super) fn sums(folder: &Path) -> Result<BTreeMap<String, Sum>> {
    files(folder)?
        .into_iter()
        .map(|name| {
            let sum = Sum::of(&folder.join(&name))?;
            Ok((name, sum))
        })
        .collect()
}

fn files(folder: &Path) -> Result<BTreeSet<String>> {
    let all = tree::read_folder(folder)?;
    let files = all.into_iter().filter(|(_, entry)| !matches!(entry.kind, Kind::Directory));
    Ok(files.map(|(name, _)| name).collect())
}

impl Comparison<'_> {
    /// Where two files of the same name differ.
    pub(super) fn explain(&self, one: &Path, other: &Path) -> Result<String> {
        let _ = fs::remove_dir_all(self.work);
        let explained = self.explain_in(one, other, self.work, DEPTH);
        let _ = fs::remove_dir_all(self.work);
        explained
    }

    fn explain_in(&self, one: &Path, other: &Path, work: &Path, depth: u32) -> Result<String> {
        let folders = [work.join("1"), work.join("2")];
        for (file, folder) in [one, other].into_iter().zip(&folders) {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
            if depth == 0 || !self.unpack(file, folder)? {
                return first_difference(one, other);
            }
        }
        let [left, right] = folders;
        let (names, others) = (files(&left)?, files(&right)?);
        if let Some(name) = names.symmetric_difference(&others).next() {
            let which = if names.contains(name) { "first" } else { "second" };
            return Ok(format!("member {name} is in the {which} one only"));
        }
        for name in names {
            let (one, other) = (left.join(&name), right.join(&name));
            if content(&one)? != content(&other)? {
                let inner = self.explain_in(&one, &other, &work.join("inner"), depth - 1)?;
                return Ok(format!("{name}: {inner}"));
            }
        }
        let place = first_difference(one, other)?;
        Ok(format!("all members are the same, but not their order, times or owners: {place}"))
    }

    /// Unpacks a file; false if it has no members.
    fn unpack(&self, file: &Path, folder: &Path) -> Result<bool> {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let has = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        let mut command = if has(&[".iso"]) {
            let mut xorriso = Command::new("xorriso");
            xorriso.args(["-osirrox", "on", "-indev"]).arg(file).args(["-extract", "/"]);
            xorriso.arg(folder);
            xorriso
        } else if has(&[".erofs"]) {
            erofs::extract(file, folder, self.packages)?;
            return Ok(true);
        } else if has(&[".tar", ".ova", ".tar.gz", ".box"]) {
            let mut tar = Command::new("tar");
            tar.arg("-xf").arg(file).arg("-C").arg(folder);
            tar
        } else if has(&[".gz"]) {
            let unpacked = File::create(folder.join("content.raw"))?;
            let mut gzip = Command::new("gzip");
            gzip.arg("-dc").arg(file).stdin(Stdio::null()).stdout(unpacked);
            sh::run(&mut gzip)?;
            return Ok(true);
        } else if has(&[".qcow2", ".vmdk", ".vhd", ".vhdx", "box.img"]) {
            let mut convert = Command::new("qemu-img");
            if has(&[".vhd"]) {
                convert.args(["convert", "-f", "vpc"]);
            } else {
                convert.arg("convert");
            }
            convert.args(["-O", "raw"]).arg(file).arg(folder.join("disk.raw"));
            convert
        } else {
            return Ok(false);
        };
        sh::output(&mut command).with_context(|| format!("unpacking {}", file.display()))?;
        let mut chmod = Command::new("chmod");
        sh::output(chmod.args(["-R", "u+rwX"]).arg(folder)).map(|_| true)
    }
}

/// A link is compared by where it leads to.
fn content(path: &Path) -> Result<String> {
    match fs::read_link(path) {
        Ok(target) => Ok(format!("→ {}", target.display())),
        Err(_) => sum::digest(path),
    }
}

/// The first line that differs, of texts; else the first byte.
fn first_difference(one: &Path, other: &Path) -> Result<String> {
    let at = first_byte(one, other)?;
    if let (Ok(one), Ok(other)) = (fs::read_to_string(one), fs::read_to_string(other)) {
        let lines = one.lines().zip(other.lines()).enumerate();
        if let Some((number, (old, new))) = lines.into_iter().find(|(_, (old, new))| old != new) {
            let shown = |line: &str| line.chars().take(SHOWN).collect::<String>();
            return Ok(format!("line {}: {:?} and {:?}", number + 1, shown(old), shown(new)));
        }
    }
    let sizes = [fs::metadata(one)?.len(), fs::metadata(other)?.len()];
    Ok(format!("byte {at}; the files have {} and {} bytes", sizes[0], sizes[1]))
}

fn first_byte(one: &Path, other: &Path) -> Result<u64> {
    let open = |path: &Path| {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()));
        file.map(BufReader::new)
    };
    let (mut one, mut other) = (open(one)?, open(other)?);
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    loop {
        let (a, b) = (fill(&mut one, &mut left)?, fill(&mut other, &mut right)?);
        if left[..a] != right[..b] {
            let same = left[..a].iter().zip(&right[..b]).take_while(|(a, b)| a == b).count();
            return Ok(at + same as u64);
        }
        at += a as u64;
        if a == 0 {
            return Ok(at);
        }
    }
}

/// Reads until the buffer is full, or to the end.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]).context("reading")? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(make: impl Fn(&Path, &str)) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, word) in [("one", "old"), ("other", "new")] {
            fs::create_dir(folder.path().join(name)).unwrap();
            make(&folder.path().join(name), word);
        }
        let work = folder.path().join("work");
        let comparison = Comparison { work: &work, packages: &[] };
        let file = |name: &str| {
            let files = files(&folder.path().join(name)).unwrap();
            folder.path().join(name).join(files.last().unwrap())
        };
        let text = comparison.explain(&file("one"), &file("other")).unwrap();
        assert!(!work.exists());
        text
    }

    fn pack(folder: &Path, archive: &str, files: &[(&str, &[u8])], time: u32) {
        for (name, bytes) in files {
            fs::write(folder.join(name), bytes).unwrap();
        }
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(folder).arg("-cf").arg(folder.join(archive));
        tar.arg(format!("--mtime=@{time}")).args(files.iter().map(|(name, _)| name));
        sh::output(&mut tar).unwrap();
    }

    #[test]
    fn the_first_line_and_the_first_byte_are_named() {
        let text = explained(|folder, word| {
            fs::write(folder.join("a.json"), format!("same\n{word}\n")).unwrap();
        });
        assert_eq!(text, "line 2: \"old\" and \"new\"");
        let text = explained(|folder, word| {
            let bytes = [&[0xff; 2_000_000][..], word.as_bytes()].concat();
            fs::write(folder.join("a.bin"), bytes).unwrap();
        });
        assert_eq!(text, "byte 2000000; the files have 2000003 and 2000003 bytes");
    }

    #[test]
    fn a_member_of_a_member_is_named() {
        let text = explained(|folder, word| {
            let inner = [("a", &b"same"[..]), ("b", word.as_bytes())];
            pack(folder, "c.tar", &inner, 1);
            let bytes = fs::read(folder.join("c.tar")).unwrap();
            pack(folder, "d.ova", &[("c.tar", &bytes), ("a", b"same")], 1);
        });
        assert_eq!(text, "c.tar: b: line 1: \"old\" and \"new\"");
    }

    #[test]
    fn times_and_missing_members_are_named() {
        let text = explained(|folder, word| {
            pack(folder, "d.tar", &[("a", b"same")], word.as_bytes()[0].into());
        });
        assert!(text.starts_with("all members are the same, but not their order"), "{text}");
        let text = explained(|folder, word| pack(folder, "z.tar", &[(word, b"same")], 1));
        assert_eq!(text, "member new is in the second one only");
    }
}
