//! Programs that run in a console of any image, ours and those of a replacement engine: each starts
//! with a loader of its own, which looks for libraries in a folder of its own first, and reads no
//! list of the image's.
//! See docs/decisions/0017-a-console-needs-a-shell-from-its-image.md.
//!
//! A text in a file of Debian's is replaced by one that is no longer, and NULs fill the rest. So no
//! byte of a program moves, and libraries stay as they are.

use crate::elf;
use anyhow::{Result, ensure};

/// Where programs find their loader, and the loader their libraries.
#[derive(Debug)]
pub(crate) struct PrivateLoader {
    /// The path of the loader, with its NUL.
    path: &'static [u8],
    /// What it has instead of `DEBIANS_FOLDERS`: two paths of the same lengths.
    folders: &'static [u8],
}

/// The folder of the programs, of their libraries and of the loader, in every console.
pub(crate) const FOLDER: &str = "usr/lib/corral";
pub(crate) const OF_CONSOLES: PrivateLoader = PrivateLoader {
    path: b"/usr/lib/corral/ld.so\0",
    folders: b"/usr/lib/corral/lib64/\0/usr/lib/corral/lib64/////\0",
};
/// Of a replacement engine, below the path at which `ros user-docker` mounts it.
pub(crate) const OF_ENGINES: PrivateLoader = PrivateLoader {
    path: b"/run/corral/engine/so/ld\0",
    folders: b"/run/corral/engine/so/\0/run/corral/engine/so/////\0",
};

/// Where Debian's loader looks for libraries, in its order.
const DEBIANS_FOLDERS: &[u8] = b"/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0";
/// What it reads of the image in which it runs: a list of libraries, and a library for every
/// program. Both paths lead nowhere now.
const OF_IMAGE: [(&[u8], &[u8]); 2] = [
    (b"/etc/ld.so.cache\0", b"/dev/null/cache\0"),
    (b"/etc/ld.so.preload\0", b"/dev/null/preload\0"),
];
/// sudo's configuration, and the folder of its library: an image may have its own sudo.
const OF_SUDO: [(&[u8], &[u8]); 2] = [
    (b"/etc/sudo.conf\0", b"/run/sudo.conf\0"),
    (b"\0/usr/libexec/sudo\0", b"\0/usr/lib/corral/s\0"),
];

/// Files of sudo are smaller than this, in bytes. Others are not searched: dockerd alone has 70 MB.
const SEARCHED: usize = 1 << 20;

/// Is it a program, or a library that is changed like one?
pub(crate) fn concerns(bytes: &[u8]) -> bool {
    elf::interpreter(bytes).is_some()
        || (bytes.starts_with(b"\x7fELF")
            && bytes.len() < SEARCHED
            && OF_SUDO.iter().any(|(old, _)| contains(bytes, old)))
}

/// The program with the loader of consoles, and with our sudo's files.
pub(crate) fn program(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    OF_CONSOLES.start(&mut bytes)?;
    if bytes.len() < SEARCHED {
        for (old, new) in OF_SUDO {
            replace(&mut bytes, old, new);
        }
    }
    Ok(bytes)
}

impl PrivateLoader {
    /// Makes it the loader that starts a program. What has no loader stays as it is.
    pub(crate) fn start(&self, program: &mut [u8]) -> Result<()> {
        let Some(place) = elf::interpreter(program) else { return Ok(()) };
        let path = &mut program[place];
        ensure!(path.len() >= self.path.len(), "a program with too short a path of its loader");
        path.fill(0);
        path[..self.path.len()].copy_from_slice(self.path);
        Ok(())
    }

    /// Debian's loader as this one.
    pub(crate) fn of_debians(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>> {
        for (old, new) in std::iter::once((DEBIANS_FOLDERS, self.folders)).chain(OF_IMAGE) {
            let count = replace(&mut bytes, old, new);
            ensure!(count > 0, "Debian's loader has no {:?}", String::from_utf8_lossy(old));
        }
        Ok(bytes)
    }
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    find(bytes, text, 0).is_some()
}

fn find(bytes: &[u8], text: &[u8], from: usize) -> Option<usize> {
    let first = *text.first()?;
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == first)?;
        if bytes.get(at..at + text.len())? == text {
            return Some(at);
        }
        at += 1;
    }
}

/// Replaces every occurrence, and returns how many there were.
fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) -> usize {
    let (mut count, mut from) = (0, 0);
    while let Some(at) = find(bytes, old, from) {
        let place = &mut bytes[at..at + old.len()];
        place.fill(0);
        place[..new.len()].copy_from_slice(new);
        count += 1;
        from = at + old.len();
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_grows_and_no_byte_moves() {
        for (old, new) in OF_IMAGE.iter().chain(&OF_SUDO) {
            assert!(new.len() <= old.len(), "{}", String::from_utf8_lossy(new));
        }
        // The lengths of these folders are numbers in the loader's code.
        let lengths = |list: &[u8]| -> Vec<usize> {
            list.split(|byte| *byte == 0).map(<[u8]>::len).collect()
        };
        for loader in [OF_CONSOLES, OF_ENGINES] {
            assert_eq!(lengths(loader.folders), lengths(DEBIANS_FOLDERS));
            assert!(loader.path.len() <= b"/lib64/ld-linux-x86-64.so.2\0".len());
        }
    }

    #[test]
    fn a_loader_of_an_engine_reads_nothing_of_the_image() {
        let debians =
            [DEBIANS_FOLDERS, b"/lib/\0".as_slice(), OF_IMAGE[0].0, OF_IMAGE[1].0].concat();
        let ours = OF_ENGINES.of_debians(debians.clone()).unwrap();
        assert_eq!(ours.len(), debians.len());
        assert!(ours.starts_with(b"/run/corral/engine/so/\0/run/corral/engine/so/////\0/lib/\0"));
        assert!(contains(&ours, b"/dev/null/cache\0") && contains(&ours, b"/dev/null/preload\0"));
        let error = OF_ENGINES.of_debians(DEBIANS_FOLDERS.to_vec()).unwrap_err().to_string();
        assert!(error.contains("/etc/ld.so.cache"), "{error}");
    }

    #[test]
    fn every_occurrence_is_replaced_and_the_rest_stays() {
        let mut bytes = b"a/etc/sudo.confb\0/etc/sudo.conf\0c/etc/sudo.conf\0".to_vec();
        assert_eq!(replace(&mut bytes, OF_SUDO[0].0, OF_SUDO[0].1), 2);
        assert_eq!(bytes, b"a/etc/sudo.confb\0/run/sudo.conf\0c/run/sudo.conf\0");
        assert_eq!(replace(&mut bytes, b"c/run/sudo.conf\0", b"d\0"), 1);
        assert!(bytes.ends_with(b"\0d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), "{bytes:?}");
        assert_eq!(find(b"ab", b"abc", 0), None);
        assert!(!concerns(b"#!/bin/sh\0/etc/sudo.conf\0"), "a script is no program of ours");
    }
}
