//! The boots of this machine: `/var/log/boots`, a line each, the oldest first. `ros logs --boot`
//! finds in it which lines of a log belong to which boot.

use anyhow::Result;
use corral_machine::files::{read_tail, write_atomic};
use std::fs;
use std::path::Path;
use std::time::Duration;

const FILE: &str = "/var/log/boots";
/// So many boots are recorded.
const MOST: usize = 100;
/// So many bytes of the file are read: more than all of its lines have.
const LARGEST: u64 = 64 << 10;

/// A boot.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Boot {
    /// `/proc/sys/kernel/random/boot_id`.
    id: String,
    /// Start of the kernel, in seconds since 1970 by the clock of that time.
    start: u64,
}

/// The time of a boot, since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) since: Duration,
    /// The start of the boot after it; None for the current boot.
    pub(crate) until: Option<Duration>,
}

/// Records this boot, once.
pub(crate) fn record() -> Result<()> {
    let now = current();
    let mut boots = load(Path::new(FILE));
    if boots.iter().any(|boot| boot.id == now.id) {
        return Ok(());
    }
    boots.push(now);
    let boots = &boots[boots.len().saturating_sub(MOST)..];
    let lines = boots.iter().map(|boot| format!("{} {}\n", boot.id, boot.start));
    write_atomic(Path::new(FILE), lines.collect::<String>().as_bytes(), 0o644)
}

/// The time of a boot: 0 is the current one, -1 the one before it. None if it is not recorded.
pub(crate) fn window(number: i32) -> Option<Window> {
    let now = current();
    let mut boots = load(Path::new(FILE));
    boots.retain(|boot| boot.id != now.id);
    boots.push(now);
    find(&boots, number)
}

fn find(boots: &[Boot], number: i32) -> Option<Window> {
    let back = usize::try_from(number.checked_neg()?).ok()?;
    let index = boots.len().checked_sub(1)?.checked_sub(back)?;
    // The kernel computes its start from the clock, which is adjusted: a second later, its first
    // lines may lie before it.
    let time = |boot: &Boot| Duration::from_secs(boot.start.saturating_sub(1));
    Some(Window { since: time(boots.get(index)?), until: boots.get(index + 1).map(time) })
}

fn current() -> Boot {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let stat = read("/proc/stat");
    let start = stat.lines().find_map(|line| line.strip_prefix("btime ")?.parse().ok());
    Boot {
        id: read("/proc/sys/kernel/random/boot_id").trim().to_owned(),
        start: start.unwrap_or_default(),
    }
}

/// What is no regular file has no boots, and is not waited for.
fn load(file: &Path) -> Vec<Boot> {
    parse(&String::from_utf8_lossy(&read_tail(file, LARGEST).unwrap_or_default()))
}

/// Lines that are damaged are left out.
fn parse(text: &str) -> Vec<Boot> {
    let boot = |line: &str| {
        let (id, start) = line.split_once(' ')?;
        Some(Boot { id: id.to_owned(), start: start.parse().ok()? })
    };
    text.lines().filter_map(boot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_lasts_until_the_next_one_starts() {
        let boots = parse("a 100\nnonsense\nb 200\nc 300\n");
        let window = |since, until: Option<u64>| {
            let until = until.map(Duration::from_secs);
            Some(Window { since: Duration::from_secs(since), until })
        };
        assert_eq!(find(&boots, 0), window(299, None));
        assert_eq!(find(&boots, -1), window(199, Some(299)));
        assert_eq!(find(&boots, -2), window(99, Some(199)));
        for number in [1, -3, i32::MIN] {
            assert_eq!(find(&boots, number), None, "{number}");
        }
    }

    #[test]
    fn a_fifo_or_a_huge_file_delays_no_boot() {
        let folder = std::env::temp_dir().join(format!("corral-boots-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (fifo, huge) = (folder.join("fifo"), folder.join("huge"));
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        assert_eq!(load(&fifo), []);
        let file = fs::File::create(&huge).unwrap();
        file.set_len(1 << 40).unwrap();
        assert_eq!(load(&huge), []);
        file.set_len(0).unwrap();
        fs::write(&huge, "x 1\n".repeat(100_000) + "last 7\n").unwrap();
        let boots = load(&huge);
        assert_eq!(boots.last().map(|boot| boot.start), Some(7));
        assert!(boots.len() < 20_000, "{}", boots.len());
        fs::remove_dir_all(folder).unwrap();
    }
}
