//! What User-Mode Linux machines boot: the system image, with the modules of the test kernel
//! instead of the product's.

use crate::erofs::{self, Density, Packing};
use crate::image::{self, Ingredients, Trees};
use crate::kernel_build::BuiltKernel;
use crate::modules::Kernel;
use crate::tree::Tree;
use crate::{initrd, paths, progress};
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The folder of the modules in both images: they may differ only there.
const MODULES: &str = "usr/lib/modules";

/// Is there a complete image?
pub(crate) fn is_complete() -> bool {
    paths::cache("uml").join("stamp").exists()
}

/// Makes `target/corral/uml`, unless it is already that of this image and this kernel.
pub(crate) fn prepare(ingredients: &Ingredients, kernel: &BuiltKernel) -> Result<()> {
    let folder = paths::cache("uml");
    let stamp = format!("{} {}", ingredients.stamp, kernel.key);
    let stamp_file = folder.join("stamp");
    let is_complete =
        ["linux", "initrd", "system.erofs"].iter().all(|name| folder.join(name).exists());
    if is_complete && fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp) {
        return Ok(());
    }
    ingredients.building.replace()?;
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    progress::step("writing the image for User-Mode Linux", || {
        write(ingredients, ingredients.trees()?, kernel, &folder)
    })?;
    fs::write(stamp_file, stamp)?;
    Ok(())
}

fn write(
    ingredients: &Ingredients,
    trees: &Trees,
    built: &BuiltKernel,
    folder: &Path,
) -> Result<()> {
    let kernel = Kernel::built(built)?;
    let modules = kernel.select(&["**".to_owned()], &[], "uml")?;
    let epoch = image::epoch()?;
    let mut system = without_modules(&trees.system);
    system.graft("", &modules);
    let written = folder.join("system.erofs");
    let packing = Packing { label: erofs::SYSTEM, density: Density::None, epoch };
    erofs::write(&system, &written, packing, &ingredients.packages)?;
    let mut early = without_modules(&trees.early);
    // The drivers of disks are built in: the initrd has an index without modules.
    early.graft("", &kernel.select(&[], &[], "uml-initrd")?);
    early.insert("etc/kernel-release", crate::modules::release_file(&kernel));
    initrd::write(&early, &folder.join("initrd"), epoch, 3)?;
    fs::copy(&built.image, folder.join("linux")).context("copying the test kernel").map(drop)
}

fn without_modules(tree: &Tree) -> Tree {
    let mut rest = tree.clone();
    rest.entries.retain(|path, _| path != MODULES && !path.starts_with(&format!("{MODULES}/")));
    rest
}

/// Are both images, as written, the same system except for the modules of their kernels?
pub(crate) fn check(ingredients: &Ingredients) -> Result<()> {
    let (product, uml) = (image::image_paths()?.system, paths::cache("uml").join("system.erofs"));
    let [product, uml] = [("product", product), ("uml", uml)].map(|(name, file)| -> Result<_> {
        let folder = paths::cache("compare").join(name);
        erofs::extract(&file, &folder, &ingredients.packages)?;
        let listed = list(&folder)?;
        fs::remove_dir_all(&folder)?;
        Ok(listed)
    });
    let (product, uml) = (product?, uml?);
    let differing: Vec<&String> = product
        .keys()
        .chain(uml.keys())
        .filter(|path| product.get(*path) != uml.get(*path))
        .filter(|path| *path != MODULES && !path.starts_with(&format!("{MODULES}/")))
        .collect();
    ensure!(product.len() > 1000, "the product's image has only {} files", product.len());
    ensure!(
        differing.is_empty(),
        "the images for User-Mode Linux and QEMU differ in {differing:?}"
    );
    Ok(())
}

/// What stands at a path.
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    /// Kind and permissions, as `st_mode`.
    mode: u32,
    owner: (u32, u32),
    /// A hash of the content, or the target of a link.
    content: Vec<u8>,
}

fn list(folder: &Path) -> Result<BTreeMap<String, Listed>> {
    let mut listed = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(current) = open.pop() {
        for item in fs::read_dir(&current)? {
            let path = item?.path();
            let data = path.symlink_metadata()?;
            let content = match data.file_type() {
                kind if kind.is_dir() => Vec::new(),
                kind if kind.is_symlink() => {
                    fs::read_link(&path)?.into_os_string().into_encoded_bytes()
                }
                _ => Sha256::digest(fs::read(&path)?).to_vec(),
            };
            let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
            let owner = (data.uid(), data.gid());
            listed.insert(name, Listed { mode: data.mode(), owner, content });
            if data.is_dir() {
                open.push(path);
            }
        }
    }
    Ok(listed)
}
