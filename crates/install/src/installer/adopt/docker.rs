//! What the old Docker has stored, and what of it a current one can use.
//!
//! Docker keeps images and containers by the storage driver that they were made with. A current
//! Docker passes over what another driver has made; it deletes none of it.

use super::difference::Difference;
use super::inside::{self, names};
use corral_machine::files::read_complete;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

const ROOT: &str = "/var/lib/docker";
const DAEMON_FILE: &str = "etc/docker/daemon.json";
const LARGEST: u64 = 4 << 20;
/// Drivers that the Docker of this system has, on ext4.
const CURRENT: [&str; 2] = ["overlay2", "vfs"];
/// Options of `daemon.json` with which a current Docker refuses to start. The first one depends on
/// its value.
const REMOVED: [&str; 6] = [
    "storage-driver",
    "graph",
    "disable-legacy-registry",
    "cluster-store",
    "cluster-advertise",
    "cluster-store-opts",
];

/// What one storage driver has made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Graph {
    pub(super) driver: String,
    pub(super) images: usize,
    pub(super) containers: usize,
    /// The Docker of this system shows them.
    pub(super) usable: bool,
}

impl Graph {
    /// What becomes of images and containers that a current Docker cannot use.
    pub(super) fn difference(&self) -> Option<Difference> {
        let is_empty = self.images == 0 && self.containers == 0;
        (!self.usable && !is_empty).then(|| {
            Difference::of(
                ROOT,
                "",
                format!(
                    "{} images and {} containers of the storage driver {}: Docker has no such \
                     driver any more and does not show them; they stay on the disk, and so do \
                     volumes. Before the adoption, in the old system, `docker commit` what is in a \
                     container and `docker save` the images into \
                     /var/lib/rancher/preload/docker/images.tar: Corral loads that file",
                    self.images, self.containers, self.driver
                ),
            )
        })
    }
}

/// What is below `/var/lib/docker` by driver, and the number of volumes. If Docker's data is
/// elsewhere (`rancher.docker.graph`), it is not on this partition.
pub(super) fn load(base: &Path, graph: &str) -> (Vec<Graph>, usize) {
    if !["", ROOT].contains(&graph.trim_end_matches('/')) {
        return (Vec::new(), 0);
    }
    let root = Path::new(ROOT);
    let mut found: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for driver in names(base, &root.join("image")) {
        let images = root.join("image").join(&driver).join("imagedb/content/sha256");
        found.entry(driver).or_default().0 = names(base, &images).len();
    }
    for id in names(base, &root.join("containers")) {
        let record = root.join("containers").join(id).join("config.v2.json");
        let record = inside::find(base, record).and_then(|record| read_complete(&record, LARGEST));
        let record: Value =
            record.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        // Docker 1.11 and older left it out for aufs.
        if let Some(driver) = record.is_object().then(|| record["Driver"].as_str()) {
            found.entry(driver.unwrap_or("aufs").to_owned()).or_default().1 += 1;
        }
    }
    let graph = |(driver, (images, containers)): (String, (usize, usize))| Graph {
        usable: CURRENT.contains(&driver.as_str()),
        driver,
        images,
        containers,
    };
    let is_volume = |name: &String| {
        inside::find(base, root.join("volumes").join(name)).is_ok_and(|path| path.is_dir())
    };
    let volumes = names(base, &root.join("volumes")).iter().filter(|name| is_volume(name)).count();
    (found.into_iter().map(graph).collect(), volumes)
}

/// Options in the owner's file that keep a current Docker from starting.
pub(super) fn of_daemon_file(base: &Path) -> Vec<Difference> {
    let source = format!("/{DAEMON_FILE}");
    let file = inside::find(base, DAEMON_FILE);
    let Ok(bytes) = file.and_then(|file| read_complete(&file, LARGEST)) else { return Vec::new() };
    let file: Value = match serde_json::from_slice(&bytes) {
        Ok(file) => file,
        Err(error) => {
            let what = format!("Docker will not start: this is not JSON: {error}");
            return vec![Difference::of(&source, "", what)];
        }
    };
    let is_removed = |key: &&str| match file.get(*key) {
        Some(driver) if *key == REMOVED[0] => {
            driver.as_str().is_some_and(|driver| !CURRENT.contains(&driver))
        }
        value => value.is_some(),
    };
    let difference = |key: &str| {
        let what = "Docker will not start: it has no such option any more; remove it after the \
                    adoption, or before";
        Difference::of(&source, key, what.to_owned())
    };
    REMOVED.iter().filter(|key| is_removed(key)).map(|key| difference(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn write(base: &Path, path: &str, text: &str) {
        let file = base.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    #[test]
    fn what_an_old_driver_made_is_counted_and_reported() {
        let base = std::env::temp_dir().join(format!("corral-graph-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        for (driver, image) in [("overlay", "a"), ("overlay", "b"), ("overlay2", "c")] {
            let path = format!("var/lib/docker/image/{driver}/imagedb/content/sha256/{image}");
            write(&base, &path, "{}");
        }
        write(&base, "var/lib/docker/containers/1/config.v2.json", r#"{"Driver":"overlay"}"#);
        write(&base, "var/lib/docker/containers/2/config.v2.json", "{}");
        write(&base, "var/lib/docker/containers/3/config.v2.json", "cut o");
        write(&base, "var/lib/docker/volumes/data/_data/file", "");
        write(&base, "var/lib/docker/volumes/metadata.db", "");
        let (graphs, volumes) = load(&base, ROOT);
        let counts: Vec<(&str, usize, usize, bool)> = graphs
            .iter()
            .map(|graph| (graph.driver.as_str(), graph.images, graph.containers, graph.usable))
            .collect();
        let expected = [("aufs", 0, 1, false), ("overlay", 2, 1, false), ("overlay2", 1, 0, true)];
        assert_eq!((counts.as_slice(), volumes), (&expected[..], 1));
        assert_eq!(graphs.iter().filter_map(Graph::difference).count(), 2);
        assert_eq!(load(&base, "/mnt/docker"), (Vec::new(), 0));
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn options_that_docker_removed_are_reported() {
        let base = std::env::temp_dir().join(format!("corral-daemon-{}", std::process::id()));
        assert_eq!(of_daemon_file(&base), Vec::new());
        for (text, keys) in [
            ("{}", &[][..]),
            (r#"{"storage-driver": "overlay2", "debug": true}"#, &[]),
            (r#"{"storage-driver": "overlay", "graph": "/x"}"#, &["storage-driver", "graph"]),
            ("{", &[""]),
        ] {
            write(&base, DAEMON_FILE, text);
            let found = of_daemon_file(&base);
            let found: Vec<&str> = found.iter().map(|found| found.key.as_str()).collect();
            assert_eq!(found, keys, "{text}");
        }
        fs::remove_dir_all(base).unwrap();
    }
}
