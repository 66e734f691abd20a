//! Nodes of devices whose modules are loaded when a program opens them: `/dev/net/tun`,
//! `/dev/fuse`. The kernel then calls modprobe with the numbers of the device
//! (`char-major-10-200`). depmod(8) lists them in `modules.devname`, as kmod(8) reads it in
//! `kmod static-nodes`. udev sets their permissions.

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::io::Errno;
use std::fs;
use std::path::Path;

/// Only root, until udev has read its rules.
const MODE: Mode = Mode::from_raw_mode(0o600);

/// A node below /dev.
#[derive(Debug, PartialEq, Eq)]
struct Node<'a> {
    name: &'a str,
    kind: FileType,
    major: u32,
    minor: u32,
}

/// Makes the nodes that the modules of the running kernel have below `dev`. Those that are there
/// already are left alone.
pub fn make_all(dev: &Path) -> Result<()> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let list = Path::new("/lib/modules").join(release).join("modules.devname");
    let text = fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
    text.lines().filter_map(parse).try_for_each(|node| make(dev, &node))
}

fn make(dev: &Path, node: &Node<'_>) -> Result<()> {
    let path = dev.join(node.name);
    let act = || format!("making {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(act)?;
    }
    match mknodat(CWD, &path, node.kind, MODE, makedev(node.major, node.minor)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).with_context(act),
    }
}

/// `tun net/tun c10:200`; None for a comment.
fn parse(line: &str) -> Option<Node<'_>> {
    let [_, name, device] = line.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
    let (major, minor) = device.get(1..)?.split_once(':')?;
    let kind = match device.as_bytes().first()? {
        b'c' => FileType::CharacterDevice,
        b'b' => FileType::BlockDevice,
        _ => return None,
    };
    Some(Node { name, kind, major: major.parse().ok()?, minor: minor.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_depmod_is_a_node() {
        let tun = Node { name: "net/tun", kind: FileType::CharacterDevice, major: 10, minor: 200 };
        let cases = [
            ("tun net/tun c10:200", Some(tun)),
            (
                "md_mod md0 b9:0",
                Some(Node { name: "md0", kind: FileType::BlockDevice, major: 9, minor: 0 }),
            ),
            ("# Device nodes to trigger on-demand module loading.", None),
            ("tun net/tun x10:200", None),
            ("tun net/tun c10", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line), expected, "{line}");
        }
    }
}
