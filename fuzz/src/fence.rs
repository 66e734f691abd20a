//! A folder to unpack into, with a second folder beside it: a test fails if an archive changes the
//! second one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// What there is to know of a file without reading it, and its content.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    path: PathBuf,
    numbers: [u64; 6],
    times: [i64; 4],
    content: Vec<u8>,
}

/// The folder of this process, and all that is in it but the folders to work in.
struct Ground {
    base: PathBuf,
    known: Vec<Known>,
}

static GROUND: LazyLock<Ground> = LazyLock::new(Ground::new);
static NEXT: AtomicU32 = AtomicU32::new(0);
/// What the names of such folders begin with, before the id of their process.
const PREFIX: &str = "corral-fuzz-";

impl Ground {
    fn new() -> Ground {
        // An archive may have more folders within folders than a process usually has descriptors.
        let maximum = getrlimit(Resource::Nofile).maximum;
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        remove_old(&parent);
        let base = parent.join(format!("{PREFIX}{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        fs::create_dir_all(base.join("work")).unwrap();
        fs::create_dir_all(base.join("canary/folder")).unwrap();
        fs::write(base.join("canary/secret"), "as it was").unwrap();
        fs::write(base.join("canary/folder/secret"), "as it was").unwrap();
        std::os::unix::fs::symlink("secret", base.join("canary/link")).unwrap();
        let known = look(&base);
        Ground { base, known }
    }
}

/// What processes left behind that are gone.
fn remove_old(parent: &Path) {
    for item in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = item.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|process| process.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            let _ = fs::remove_dir_all(item.path());
        }
    }
}

/// A folder to work in. It goes with this value, which then checks what is beside it.
pub(crate) struct Fence {
    pub(crate) root: PathBuf,
}

impl Fence {
    pub(crate) fn new() -> Fence {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // `../../../canary` leads to the other folder.
        let root = GROUND.base.join(format!("work/{number}/root"));
        fs::create_dir_all(&root).unwrap();
        Fence { root }
    }

    /// Nothing beside the folder is another than before, and nothing in it is a file from beside
    /// it.
    pub(crate) fn check(self) {
        let parent = self.root.parent().unwrap().to_path_buf();
        let beside: Vec<_> =
            fs::read_dir(&parent).unwrap().map(|item| item.unwrap().path()).collect();
        assert_eq!(beside, [self.root], "something was made beside the folder");
        assert_eq!(look(&GROUND.base), GROUND.known, "something outside the folder was changed");
        let _ = fs::remove_dir_all(&parent);
    }
}

/// Number of links and time of change are among what is compared: no hard link, no new owner goes
/// unseen.
fn look(base: &Path) -> Vec<Known> {
    let paths =
        ["", "canary", "canary/secret", "canary/folder", "canary/folder/secret", "canary/link"];
    let found: Vec<Known> = paths.iter().map(|path| know(&base.join(path))).collect();
    for folder in ["", "canary", "canary/folder"] {
        let mut items = fs::read_dir(base.join(folder)).unwrap().map(|item| item.unwrap().path());
        let is_known =
            |item: PathBuf| item.ends_with("work") || found.iter().any(|each| each.path == item);
        assert!(items.all(is_known), "something was made beside the folder");
    }
    found
}

fn know(path: &Path) -> Known {
    let data = fs::symlink_metadata(path).unwrap();
    let (mode, uid, gid) = (data.mode(), data.uid(), data.gid());
    Known {
        numbers: [data.ino(), data.nlink(), data.size(), mode.into(), uid.into(), gid.into()],
        times: [data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec()],
        content: if data.is_file() { fs::read(path).unwrap() } else { Vec::new() },
        path: path.to_path_buf(),
    }
}
