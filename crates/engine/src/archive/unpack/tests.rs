//! Archives that come to be unpacked, with what they must not do to the folders beside theirs.

use super::*;
use crate::archive::pack::{Packed, pack};
use crate::archive::root::open_root;
use std::os::unix::fs::MetadataExt;

/// A folder of a test, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path =
            std::env::temp_dir().join(format!("corral-archive-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entry(kind: EntryType, name: &str, link: &str, text: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    // As an attacker would: past the checks of the library that writes.
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
    header.set_mtime(1_000_000_000);
    header.set_size(text.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn take(folder: &Path, entries: &[Vec<u8>], whiteouts: Whiteouts) -> Result<Unpacked> {
    unpack(entries.concat().as_slice(), &open_root(folder).unwrap(), whiteouts)
}

#[test]
fn malicious_input_does_not_lead_out() {
    let base = Folder::new("malicious");
    let root = base.0.join("root");
    let secret = base.0.join("secret");
    fs::write(&secret, "as it was").unwrap();
    let file = EntryType::Regular;
    let cases: [(&str, Vec<Vec<u8>>); 6] = [
        ("..", vec![entry(file, "../secret", "", "x")]),
        ("a .. inside", vec![entry(file, "a/../../secret", "", "x")]),
        (
            "link, then through it",
            vec![entry(EntryType::Symlink, "out", "..", ""), entry(file, "out/secret", "", "x")],
        ),
        (
            "absolute link, then through it",
            vec![
                entry(EntryType::Symlink, "abs", base.0.to_str().unwrap(), ""),
                entry(file, "abs/secret", "", "x"),
            ],
        ),
        (
            "link as the file",
            vec![entry(EntryType::Symlink, "file", "../secret", ""), entry(file, "file", "", "x")],
        ),
        (
            "hard link",
            vec![entry(EntryType::Link, "hard", "../secret", ""), entry(file, "hard", "", "x")],
        ),
    ];
    for (name, entries) in cases {
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        let _ = take(&root, &entries, Whiteouts::Convert);
        assert_eq!(fs::read_to_string(&secret).unwrap(), "as it was", "{name}");
        assert_eq!(fs::read_dir(&base.0).unwrap().count(), 2, "{name}: something was made outside");
    }
}

#[test]
fn whiteouts_do_not_lead_out() {
    let base = Folder::new("whiteouts-out");
    let (middle, root) = (base.0.join("middle"), base.0.join("middle/root"));
    let secrets = [base.0.join("secret"), middle.join("secret"), middle.join("folder/secret")];
    fs::create_dir_all(middle.join("folder")).unwrap();
    secrets.iter().for_each(|secret| fs::write(secret, "as it was").unwrap());
    let file = EntryType::Regular;
    let own = entry(file, "a/b/own", "", "as it was");
    // Each with the error it is refused with; an empty text: no error.
    let cases = [
        (".wh...", "points outside"),
        (".wh..", "points outside"),
        ("a/.wh...", "points outside"),
        ("a/b/.wh...", "points outside"),
        ("a/b/.wh.../", "points outside"),
        ("./.wh..", "points outside"),
        (".wh.", ""),
        ("a/b/.wh.", ""),
        (".wh..wh.plnk", ""),
        (".wh..wh...", ""),
        (".wh.a/../../secret", "points outside"),
    ];
    for (name, expected) in cases {
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        let taken = take(&root, &[own.clone(), entry(file, name, "", "")], Whiteouts::Convert);
        let error = taken.err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert_eq!(error.is_empty(), expected.is_empty(), "{name}: {error}");
        assert!(error.contains(expected), "{name}: {error}");
        for path in secrets.iter().chain([&root.join("a/b/own")]) {
            let text = fs::read_to_string(path).unwrap_or_default();
            assert_eq!(text, "as it was", "{name}: {}", path.display());
        }
    }
}

#[test]
fn what_a_whiteout_hides_goes_and_nothing_that_its_links_lead_to() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: making a whiteout takes root");
        return;
    }
    let base = Folder::new("hidden-links");
    let (root, outside) = (base.0.join("root"), base.0.join("outside"));
    fs::create_dir_all(&root).unwrap();
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("secret"), "as it was").unwrap();
    let (file, link) = (EntryType::Regular, EntryType::Symlink);
    let entries = [
        entry(file, "gone/deep/er/file", "", "x"),
        entry(link, "gone/absolute", outside.to_str().unwrap(), ""),
        entry(link, "gone/deep/relative", "../../../outside", ""),
        entry(link, "gone/up", "..", ""),
        entry(file, "kept", "", "x"),
        entry(file, ".wh.gone", "", ""),
        entry(link, "link", "../outside", ""),
        entry(file, ".wh.link", "", ""),
    ];
    take(&root, &entries, Whiteouts::Convert).unwrap();
    for name in ["gone", "link"] {
        let data = fs::symlink_metadata(root.join(name)).unwrap();
        assert_eq!((data.rdev(), data.mode() & 0o170_000), (0, 0o020_000), "{name}");
    }
    assert!(root.join("kept").exists());
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "as it was");
}

/// A sparse file of `size` bytes, of which the last are `text`.
fn sparse(name: &str, size: u64, text: &str) -> Vec<u8> {
    let mut bytes = entry(EntryType::GNUSparse, name, "", text);
    let mut header = tar::Header::from_byte_slice(&bytes[..512]).clone();
    let gnu = header.as_gnu_mut().unwrap();
    let octal =
        |number: u64| -> [u8; 12] { format!("{number:012o}").into_bytes().try_into().unwrap() };
    gnu.sparse[0].offset = octal(size - text.len() as u64);
    gnu.sparse[0].numbytes = octal(text.len() as u64);
    gnu.realsize = octal(size);
    header.set_cksum();
    bytes[..512].copy_from_slice(header.as_bytes());
    bytes
}

#[test]
fn holes_stay_holes_and_have_an_end() {
    let base = Folder::new("sparse");
    take(&base.0, &[sparse("file", 1 << 28, "end")], Whiteouts::Convert).unwrap();
    let data = fs::metadata(base.0.join("file")).unwrap();
    assert_eq!(data.len(), 1 << 28);
    assert!(data.blocks() < 2048, "{} blocks", data.blocks());
    for name in ["file", ".wh.file"] {
        let error = take(&base.0, &[sparse(name, 1 << 35, "end")], Whiteouts::Convert).unwrap_err();
        assert!(format!("{error:#}").contains("sparse files"), "{name}: {error:#}");
    }
}

#[test]
fn names_have_an_end() {
    let base = Folder::new("names");
    let name = |length: usize| {
        let long = entry(EntryType::GNULongName, "long", "", &"n/".repeat(length / 2));
        take(&base.0, &[long, entry(EntryType::Regular, "short", "", "")], Whiteouts::Convert)
    };
    let error = format!("{:#}", name(5 << 20).unwrap_err());
    assert!(error.contains("headers of an entry are too large"), "{error}");
    // One that fits into memory and into no path is the kernel's to refuse.
    assert!(format!("{:#}", name(1 << 20).unwrap_err()).contains("name too long"));
    // What a folder has as its content is no header.
    let content = "x".repeat(5 << 20);
    let entries = [
        entry(EntryType::Directory, "folder", "", &content),
        entry(EntryType::Regular, "f", "", ""),
    ];
    take(&base.0, &entries, Whiteouts::Convert).unwrap();
    assert!(base.0.join("f").exists());
}

#[test]
fn device_nodes_and_overlays_own_attributes_are_refused() {
    let base = Folder::new("nodes");
    let found =
        take(&base.0, &[entry(EntryType::Char, "tty", "", "")], Whiteouts::Convert).unwrap();
    assert_eq!(found.refused, ["tty: a device node"]);
    assert!(!base.0.join("tty").exists());
}

#[test]
fn whiteouts_become_overlayfs_own() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: making a whiteout takes root");
        return;
    }
    let base = Folder::new("whiteouts");
    let entries = [
        entry(EntryType::Regular, "etc/.wh.gone", "", ""),
        entry(EntryType::Regular, "var/.wh..wh..opq", "", ""),
        entry(EntryType::Regular, "var/kept", "", "x"),
    ];
    take(&base.0, &entries, Whiteouts::Convert).unwrap();
    let data = fs::symlink_metadata(base.0.join("etc/gone")).unwrap();
    assert_eq!((data.rdev(), data.mode() & 0o170_000), (0, 0o020_000));
    let mut value = [0_u8; 8];
    let count = rustix::fs::lgetxattr(base.0.join("var"), "trusted.overlay.opaque", &mut value[..])
        .unwrap();
    assert_eq!(&value[..count], b"y");
    assert!(base.0.join("var/kept").exists());
    // The same the other way, as docker commit needs it.
    let mut bytes = Vec::new();
    pack(&open_root(&base.0).unwrap(), Path::new(""), Packed::Layer, &mut bytes).unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["etc/", "etc/.wh.gone", "var/", "var/.wh..wh..opq", "var/kept"]);
}

#[test]
fn what_is_packed_comes_out_the_same() {
    let base = Folder::new("round");
    let (from, to) = (base.0.join("from"), base.0.join("to"));
    let long = "n".repeat(180);
    fs::create_dir_all(from.join("a/b")).unwrap();
    fs::create_dir_all(&to).unwrap();
    fs::write(from.join("a/file"), "text").unwrap();
    fs::write(from.join("a").join(&long), "long").unwrap();
    fs::hard_link(from.join("a/file"), from.join("a/second")).unwrap();
    std::os::unix::fs::symlink("/nowhere", from.join("a/link")).unwrap();
    rustix::fs::lsetxattr(from.join("a/file"), "user.note", b"kept", XattrFlags::empty()).unwrap();
    let mut bytes = Vec::new();
    pack(&open_root(&from).unwrap(), Path::new(""), Packed::Inside, &mut bytes).unwrap();
    unpack(bytes.as_slice(), &open_root(&to).unwrap(), Whiteouts::Keep).unwrap();
    assert_eq!(fs::read_to_string(to.join("a").join(&long)).unwrap(), "long");
    assert_eq!(fs::read_link(to.join("a/link")).unwrap(), Path::new("/nowhere"));
    assert_eq!(
        fs::metadata(to.join("a/file")).unwrap().ino(),
        fs::metadata(to.join("a/second")).unwrap().ino(),
        "two names of one file"
    );
    let mut value = [0_u8; 8];
    let count = rustix::fs::lgetxattr(to.join("a/file"), "user.note", &mut value[..]).unwrap();
    assert_eq!(&value[..count], b"kept");
}

/// Packs so many folders within each other; returns how many entries the archive has.
fn pack_folders(name: &str, depth: usize) -> Result<usize> {
    let base = Folder::new(name);
    fs::create_dir_all(base.0.join("d/".repeat(depth))).unwrap();
    let root = open_root(&base.0)?;
    let mut bytes = Vec::new();
    pack(&root, Path::new(""), Packed::Inside, &mut bytes)?;
    Ok(tar::Archive::new(bytes.as_slice()).entries()?.count())
}

#[test]
fn deep_folders_need_no_stack_and_folders_that_are_too_deep_are_an_error_with_their_path() {
    let small = std::thread::Builder::new().stack_size(256 << 10);
    let packed = small.spawn(|| pack_folders("deep", 500)).unwrap().join().unwrap();
    assert_eq!(packed.unwrap(), 500);
    let error = pack_folders("too-deep", 600).unwrap_err().to_string();
    assert!(error.starts_with("packing d/d/d/") && error.len() < 300, "{error}");
    assert!(error.contains("…: more than 512 folders are within each other; remove them"));
}
