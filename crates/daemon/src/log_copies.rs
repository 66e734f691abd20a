//! Text copies of the logs of built-in services, where RancherOS had them: `/var/log/boot` and
//! `/var/log/docker.log`. The lines come from the streams that the daemon reads anyway, so no
//! program writes a second log. They are limited in size as all logs are.

use crate::logs::Log;
use corral_engine::spec::LogCopy;
use corral_engine::time;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

const FILES: u32 = 2;

/// The copies that are open. Several streams may go to one file.
#[derive(Debug, Clone, Default)]
pub(super) struct LogCopies(Arc<Mutex<HashMap<PathBuf, Weak<Mutex<Log>>>>>);

/// A copy for one stream.
#[derive(Debug)]
pub(super) struct TextLog {
    path: PathBuf,
    log: Arc<Mutex<Log>>,
    with_time: bool,
}

impl LogCopies {
    /// Opens a copy. One that cannot be opened is reported and left out: the log itself is kept.
    pub(super) fn open(&self, copy: &LogCopy) -> Option<TextLog> {
        let LogCopy { path, max_bytes, with_time } = copy;
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let log = match open.get(path).and_then(Weak::upgrade) {
            Some(log) => log,
            None => match Log::open(path, *max_bytes, FILES) {
                Ok(log) => Arc::new(Mutex::new(log)),
                Err(error) => {
                    eprintln!("opening {}: {error}", path.display());
                    return None;
                }
            },
        };
        open.insert(path.clone(), Arc::downgrade(&log));
        Some(TextLog { path: path.clone(), log, with_time: *with_time })
    }
}

impl TextLog {
    /// Appends lines. None if that fails: a full disk is reported once for each stream.
    pub(super) fn append(self, lines: &[String]) -> Option<TextLog> {
        let now =
            if self.with_time { format!("{} ", time::rfc3339(time::now())) } else { String::new() };
        let text = |line: &String| format!("{now}{}\n", line.trim_end()).into_bytes();
        let lines: Vec<Vec<u8>> = lines.iter().map(text).collect();
        let appended = self.log.lock().unwrap_or_else(PoisonError::into_inner).append_lines(&lines);
        if let Err(error) = appended {
            eprintln!("writing {}: {error}; the rest is only in the log", self.path.display());
            return None;
        }
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn two_streams_share_a_file_that_is_limited_and_private() {
        let folder = std::env::temp_dir().join(format!("corral-copy-{}", std::process::id()));
        let path = folder.join("boot/x.log");
        let copies = LogCopies::default();
        let wanted = LogCopy { path: path.clone(), max_bytes: 30, with_time: false };
        let (mut one, mut two) = (copies.open(&wanted).unwrap(), copies.open(&wanted).unwrap());
        for number in 0..9 {
            one = one.append(&[format!("line {number}\r\n")]).unwrap();
            two = two.append(&["other\n".to_owned()]).unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.join("boot").join(name)).unwrap();
        let (new, old) = (read("x.log"), read("x.log.1"));
        assert!(format!("{old}{new}").ends_with("line 7\nother\nline 8\nother\n"), "{old}{new}");
        assert!(old.len() <= 30 && new.len() <= 30);
        assert_eq!(fs::read_dir(folder.join("boot")).unwrap().count(), 2);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn lines_begin_with_the_time_where_their_program_has_none() {
        let folder = std::env::temp_dir().join(format!("corral-copy-t-{}", std::process::id()));
        let path = folder.join("x.log");
        let wanted = LogCopy { path: path.clone(), max_bytes: 1000, with_time: true };
        LogCopies::default().open(&wanted).unwrap().append(&["up\n".to_owned()]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let time = text.strip_suffix(" up\n").unwrap();
        assert!(time::parse_rfc3339(time).is_some(), "{text}");
        fs::remove_dir_all(folder).unwrap();
    }
}
