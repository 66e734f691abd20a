//! Releases that only stories upgrade to: the next version, five that are broken, each in its own
//! way, and one with an unknown signer.

use crate::erofs::{self, Density, Packing};
use crate::image::{self, Ingredients, Trees};
use crate::signed_release::{Key, Release};
use crate::tree::{Blob, Entry, Tree};
use crate::{initrd, packages, paths, progress};
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};

/// A program of a broken release that does not do what it should.
const FAILS: &str = "#!/bin/sh\nexit 1\n";
/// For the root file system of a release, which has no other shell.
const HANGS: &str = "#!/usr/bin/busybox sh\nwhile :; do sleep 3600; done\n";

/// Makes `target/corral/releases/*.oci.tar`, unless they are already of this image.
pub(crate) fn prepare(ingredients: &Ingredients) -> Result<()> {
    let folder = paths::cache("releases");
    let stamp = folder.join("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|old| old == ingredients.stamp) {
        return Ok(());
    }
    ingredients.building.replace()?;
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let (trees, epoch) = (ingredients.trees()?, image::epoch()?);
    progress::step("writing releases for the stories", || {
        Maker { folder: &folder, ingredients, trees, epoch }.make_all()
    })?;
    fs::write(stamp, &ingredients.stamp)?;
    Ok(())
}

struct Maker<'a> {
    folder: &'a Path,
    ingredients: &'a Ingredients,
    trees: &'a Trees,
    epoch: u64,
}

impl Maker<'_> {
    fn make_all(&self) -> Result<()> {
        self.make("next", "0.9.0", self.system("0.9.0", None)?, None)?;
        self.make("no-docker", "0.9.1", self.system("0.9.1", Some("sbin/dockerd"))?, None)?;
        self.make("no-containers", "0.9.2", self.system("0.9.2", Some("sbin/runc"))?, None)?;
        self.make(
            "exits",
            "0.9.3",
            self.program(FAILS.replace("/bin/sh", "/usr/bin/busybox sh"))?,
            None,
        )?;
        self.make("hangs", "0.9.4", self.program(HANGS.to_owned())?, None)?;
        let mut early = self.trees.early.clone();
        early.entries.remove("init");
        self.make("panics", "0.9.5", self.program(HANGS.to_owned())?, Some(early))
    }

    /// The complete system as another version. If `broken` is given, that program of Docker's
    /// fails.
    fn system(&self, version: &str, broken: Option<&str>) -> Result<Tree> {
        let mut system = self.trees.system.clone();
        system.write("usr/share/ros/os-release", image::os_release(version)?);
        if let Some(path) = broken {
            let program = Entry::file(Blob::Bytes(FAILS.into()), 0o755);
            system.insert(&format!("usr/share/ros/layers/docker/usr/{path}"), program);
        }
        Ok(system)
    }

    /// A system with only this script as PID 1.
    fn program(&self, script: String) -> Result<Tree> {
        let mut tree = Tree::default();
        let busybox = packages::find(&self.ingredients.packages, "usr/bin/busybox")?;
        tree.insert("usr/bin/busybox", Entry::file(Blob::Host(busybox), 0o755));
        tree.insert("usr/bin/ros", Entry::file(Blob::Bytes(script.into_bytes()), 0o755));
        for folder in ["dev", "proc", "sys", "run"] {
            tree.insert(folder, Entry::directory());
        }
        Ok(tree)
    }

    fn make(&self, name: &str, version: &str, system: Tree, early: Option<Tree>) -> Result<()> {
        let work = self.folder.join(name);
        fs::create_dir_all(&work)?;
        let image = image::image_paths()?;
        let file = |name: &str| -> PathBuf { work.join(name) };
        let packing = Packing { label: erofs::SYSTEM, density: Density::Light, epoch: self.epoch };
        erofs::write(&system, &file("system.erofs"), packing, &self.ingredients.packages)?;
        let initrd_file = match &early {
            None => image.initrd,
            Some(tree) => {
                initrd::write(tree, &file("initrd"), self.epoch, 3)?;
                file("initrd")
            }
        };
        let release = Release {
            version: version.to_owned(),
            kernel: image.kernel,
            initrd: initrd_file,
            system: file("system.erofs"),
            drivers: None,
            contents: paths::image().join("manifest.json"),
            folder: work.clone(),
        };
        release.sign(&self.ingredients.key)?;
        release.archive(&self.folder.join(format!("{name}.oci.tar")))?;
        if name == "exits" {
            // The same release, signed by a key that no machine trusts.
            release.sign(&Key::stranger()?)?;
            release.archive(&self.folder.join("stranger.oci.tar"))?;
        }
        fs::remove_dir_all(&work)?;
        Ok(())
    }
}
