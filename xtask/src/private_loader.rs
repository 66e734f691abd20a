//! Programs that run in a console of any image: each starts with a loader of its own, which looks
//! for libraries in a folder of ours and nowhere else.
//! See docs/decisions/0017-a-console-needs-a-shell-from-its-image.md.
//!
//! A text in a file of Debian's is replaced by one that is no longer, and NULs fill the rest. So no
//! byte of a program moves, and libraries stay as they are.

use crate::elf;
use anyhow::{Result, ensure};

/// The folder of the programs, of their libraries and of the loader, in every console.
pub(crate) const FOLDER: &str = "usr/lib/corral";
const LOADER: &[u8] = b"/usr/lib/corral/ld.so\0";

/// Where Debian's loader looks for libraries, in its order. The second path is as long as Debian's.
const LIBRARY_FOLDERS: (&[u8], &[u8]) = (
    b"/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0",
    b"/usr/lib/corral/lib64/\0/usr/lib/corral/lib64/////\0",
);
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

/// The program with our loader.
pub(crate) fn program(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    if let Some(place) = elf::interpreter(&bytes) {
        let path = &mut bytes[place];
        ensure!(path.len() >= LOADER.len(), "a program with too short a path of its loader");
        path.fill(0);
        path[..LOADER.len()].copy_from_slice(LOADER);
    }
    if bytes.len() < SEARCHED {
        for (old, new) in OF_SUDO {
            replace(&mut bytes, old, new);
        }
    }
    Ok(bytes)
}

/// Debian's loader as ours.
pub(crate) fn loader(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    for (old, new) in std::iter::once(LIBRARY_FOLDERS).chain(OF_IMAGE) {
        let count = replace(&mut bytes, old, new);
        ensure!(count > 0, "Debian's loader has no {:?}", String::from_utf8_lossy(old));
    }
    Ok(bytes)
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
        for (old, new) in std::iter::once(LIBRARY_FOLDERS).chain(OF_IMAGE).chain(OF_SUDO) {
            assert!(new.len() <= old.len(), "{}", String::from_utf8_lossy(new));
        }
        // The lengths of these folders are numbers in the loader's code.
        let lengths = |list: &[u8]| -> Vec<usize> {
            list.split(|byte| *byte == 0).map(<[u8]>::len).collect()
        };
        assert_eq!(lengths(LIBRARY_FOLDERS.0), lengths(LIBRARY_FOLDERS.1));
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
