//! What is mounted in this process' mount namespace: /proc/self/mountinfo, see proc(5).

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// `major:minor` of the file system.
    pub device: String,
    /// What of the file system is mounted: `/` is all of it.
    pub root: PathBuf,
    pub target: PathBuf,
    /// Such as `ext4`.
    pub kind: String,
    /// A device, or what the file system takes as its source.
    pub source: String,
    /// Nothing can write to the file system, by any mount of it.
    pub is_read_only: bool,
}

impl Mounted {
    /// It is on a disk of this machine, or on something that the kernel shows as one.
    pub fn is_on_disk(&self) -> bool {
        self.source.starts_with("/dev/")
    }
}

/// In the order of mounting; empty if it cannot be read.
pub fn load() -> Vec<Mounted> {
    parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// Lines of another form are left out.
pub fn parse(mountinfo: &str) -> Vec<Mounted> {
    mountinfo.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mounted> {
    // Optional fields are between the two parts.
    let (mount, file_system) = line.split_once(" - ")?;
    let mount: Vec<&str> = mount.split(' ').collect();
    let mut file_system = file_system.split(' ');
    Some(Mounted {
        device: (*mount.get(2)?).to_owned(),
        root: PathBuf::from(unescape(mount.get(3)?)),
        target: PathBuf::from(unescape(mount.get(4)?)),
        kind: file_system.next()?.to_owned(),
        source: unescape(file_system.next()?).to_string_lossy().into_owned(),
        is_read_only: file_system.next()?.split(',').any(|option| option == "ro"),
    })
}

/// The kernel writes a space, a tab, a newline and a backslash as `\` and three octal digits.
pub fn unescape(field: &str) -> OsString {
    let mut rest = field.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let [first, tail @ ..] = rest {
        let code = tail.get(..3).and_then(|code| std::str::from_utf8(code).ok());
        let escaped = code.filter(|_| *first == b'\\');
        let escaped = escaped.and_then(|code| u8::from_str_radix(code, 8).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Mounted, parse};

    #[test]
    fn lines_are_read_with_and_without_optional_fields() {
        let text = "22 1 0:5 / /var rw - tmpfs var rw\n\
            30 22 254:0 /rancher /mnt/my\\040disk\\134 rw,relatime shared:3 - ext4 /dev/vda ro,x\n\
            broken\n";
        let var = Mounted {
            device: "0:5".to_owned(),
            root: "/".into(),
            target: "/var".into(),
            kind: "tmpfs".to_owned(),
            source: "var".to_owned(),
            is_read_only: false,
        };
        let disk = Mounted {
            device: "254:0".to_owned(),
            root: "/rancher".into(),
            target: "/mnt/my disk\\".into(),
            kind: "ext4".to_owned(),
            source: "/dev/vda".to_owned(),
            is_read_only: true,
        };
        assert_eq!(parse(text), [var, disk]);
    }
}
