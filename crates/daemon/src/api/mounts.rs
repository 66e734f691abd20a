//! The mounts that a client requests for a container: binds, volumes, tmpfs.

use crate::shared::Shared;
use crate::volume;
use bollard_stubs::models::{HostConfig, Mount, MountType};
use corral_engine::error::EngineError;
use corral_engine::id::new_id;
use corral_engine::image::metadata::Image;
use corral_engine::spec::{Bind, ContainerSpec};
use std::collections::{BTreeMap, BTreeSet};

/// Binds, volumes by name, volumes that the image declares, and those of other containers. Tmpfs
/// mounts go to the spec.
pub(super) fn binds(
    shared: &Shared,
    host: &HostConfig,
    image: &Image,
    spec: &mut ContainerSpec,
) -> Result<Vec<Bind>, EngineError> {
    let mut all = Vec::new();
    for text in host.volumes_from.iter().flatten() {
        let (name, mode) = text.split_once(':').unwrap_or((text, ""));
        let other = shared.find(name)?;
        all.extend(other.spec.binds.iter().cloned().map(|mut bind| {
            bind.read_only |= mode == "ro";
            bind
        }));
    }
    for text in host.binds.iter().flatten() {
        all.push(parse_bind(text)?);
    }
    for mount in host.mounts.iter().flatten() {
        match mount.typ {
            Some(MountType::TMPFS) => spec.tmpfs.push(tmpfs(mount)),
            _ => all.push(parse_mount(mount)?),
        }
    }
    spec.tmpfs.extend(host.tmpfs.iter().flatten().map(|(target, options)| format!("{target}:{options}")));
    let taken: BTreeSet<String> = all
        .iter()
        .map(|bind| bind.target.clone())
        .chain(spec.tmpfs.iter().filter_map(|text| Some(text.split(':').next()?.to_owned())))
        .collect();
    for target in image.config.volumes.keys().filter(|target| !taken.contains(*target)) {
        all.push(volume_bind("", target)?);
    }
    Ok(all)
}

/// `source:target[:options]`. A source that is no path names a volume; without a source it is a new
/// one.
fn parse_bind(text: &str) -> Result<Bind, EngineError> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err(EngineError::BadRequest(format!("invalid volume specification: {text:?}"))),
    };
    if !target.starts_with('/') {
        return Err(EngineError::BadRequest(format!(
            "invalid volume specification: {text:?}: {target:?} is no absolute path"
        )));
    }
    let has = |wanted: &str| options.split(',').any(|option| option == wanted);
    let mut bind = if source.starts_with('/') {
        Bind { source: source.to_owned(), target: target.to_owned(), ..Bind::default() }
    } else {
        volume_bind(source, target)?
    };
    bind.read_only = has("ro");
    bind.shared = has("shared") || has("rshared");
    Ok(bind)
}

fn parse_mount(mount: &Mount) -> Result<Bind, EngineError> {
    let target = mount.target.clone().unwrap_or_default();
    let source = mount.source.clone().unwrap_or_default();
    if !target.starts_with('/') {
        return Err(EngineError::BadRequest(format!("invalid mount: {target:?} is no absolute path")));
    }
    let mut bind = match mount.typ {
        Some(MountType::BIND) => {
            let options = mount.bind_options.clone().unwrap_or_default();
            let shared = options.propagation.is_some_and(|word| word.to_string().contains("shared"));
            let must_exist = options.create_mountpoint != Some(true);
            Bind { source, target, shared, must_exist, ..Bind::default() }
        }
        Some(MountType::VOLUME) | None => volume_bind(&source, &target)?,
        Some(other) => {
            return Err(EngineError::NotImplemented(format!(
                "the system engine has no mounts of type {other}"
            )));
        }
    };
    bind.read_only = mount.read_only.unwrap_or(false);
    Ok(bind)
}

fn tmpfs(mount: &Mount) -> String {
    let options = mount.tmpfs_options.clone().unwrap_or_default();
    let mut words = Vec::new();
    words.extend(options.size_bytes.map(|size| format!("size={size}")));
    words.extend(options.mode.map(|mode| format!("mode={mode:o}")));
    format!("{}:{}", mount.target.clone().unwrap_or_default(), words.join(","))
}

/// A bind of a volume, which is made if it is not there; without a name it is a new one of its own.
fn volume_bind(name: &str, target: &str) -> Result<Bind, EngineError> {
    let volume = match name {
        "" => {
            let labels = [(volume::ANONYMOUS.to_owned(), String::new())];
            volume::create(&new_id(), labels.into())?
        }
        name => volume::create(name, BTreeMap::new())?,
    };
    let source = volume.data().display().to_string();
    Ok(Bind { source, target: target.to_owned(), volume: Some(volume.name), ..Bind::default() })
}
