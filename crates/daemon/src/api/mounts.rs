//! The mounts that a client requests for a container: binds, volumes, tmpfs.

use crate::shared::Shared;
use crate::volume::{self, Volume};
use bollard_stubs::models::{HostConfig, Mount, MountType};
use corral_engine::error::EngineError;
use corral_engine::id::new_id;
use corral_engine::image::metadata::Image;
use corral_engine::spec::{Bind, ContainerSpec};
use std::collections::{BTreeMap, BTreeSet};

/// Binds and tmpfs as a client writes them. A volume has its name and no source yet; one without a
/// name is new.
pub fn parse(host: &HostConfig) -> Result<(Vec<Bind>, Vec<String>), EngineError> {
    let (mut binds, mut tmpfs) = (Vec::new(), Vec::new());
    for text in host.binds.iter().flatten() {
        binds.push(parse_bind(text)?);
    }
    for mount in host.mounts.iter().flatten() {
        match mount.typ {
            Some(MountType::TMPFS) => tmpfs.push(tmpfs_of(mount)),
            _ => binds.push(parse_mount(mount)?),
        }
    }
    tmpfs
        .extend(host.tmpfs.iter().flatten().map(|(target, options)| format!("{target}:{options}")));
    Ok((binds, tmpfs))
}

/// Adds the binds of the containers that a client names, before its own.
pub(super) fn of_others(
    shared: &Shared,
    host: &HostConfig,
    spec: &mut ContainerSpec,
) -> Result<(), EngineError> {
    let mut all = Vec::new();
    for text in host.volumes_from.iter().flatten() {
        let (name, mode) = text.split_once(':').unwrap_or((text, ""));
        let other = shared.find(name)?;
        all.extend(other.spec.binds.iter().cloned().map(|mut bind| {
            bind.read_only |= mode == "ro";
            bind
        }));
    }
    all.append(&mut spec.binds);
    spec.binds = all;
    Ok(())
}

/// Makes the volumes that are not there, also those without a name that the client (`-v /data`) and
/// the image want.
pub(super) fn make_volumes(
    spec: &mut ContainerSpec,
    unnamed: &[String],
    image: &Image,
) -> Result<(), EngineError> {
    let taken: BTreeSet<String> = spec
        .binds
        .iter()
        .map(|bind| bind.target.clone())
        .chain(spec.tmpfs.iter().filter_map(|text| Some(text.split(':').next()?.to_owned())))
        .collect();
    if let Some(target) = unnamed.iter().find(|target| !target.starts_with('/')) {
        return Err(EngineError::BadRequest(format!(
            "invalid mount path: '{target}' mount path must be absolute"
        )));
    }
    let wanted: BTreeSet<&String> = image.config.volumes.keys().chain(unnamed).collect();
    let wanted = wanted.into_iter().filter(|target| !taken.contains(*target));
    spec.binds.extend(wanted.map(|target| volume_bind("", target)));
    for bind in spec.binds.iter_mut().filter(|bind| bind.source.is_empty()) {
        let Some(name) = &mut bind.volume else { continue };
        let volume = make_volume(name)?;
        bind.source = volume.data().display().to_string();
        *name = volume.name;
    }
    Ok(())
}

/// `source:target[:options]`. A source that is no path names a volume; without a source it is a new
/// one.
fn parse_bind(text: &str) -> Result<Bind, EngineError> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => {
            return Err(EngineError::BadRequest(format!("invalid volume specification: {text:?}")));
        }
    };
    if !target.starts_with('/') {
        return Err(EngineError::BadRequest(format!(
            "invalid volume specification: {text:?}: {target:?} is not an absolute path"
        )));
    }
    let has = |wanted: &str| options.split(',').any(|option| option == wanted);
    let mut bind = if source.starts_with('/') {
        Bind { source: source.to_owned(), target: target.to_owned(), ..Bind::default() }
    } else {
        check_volume(source)?;
        volume_bind(source, target)
    };
    bind.read_only = has("ro");
    bind.shared = has("shared") || has("rshared");
    Ok(bind)
}

fn parse_mount(mount: &Mount) -> Result<Bind, EngineError> {
    let target = mount.target.clone().unwrap_or_default();
    let source = mount.source.clone().unwrap_or_default();
    if !target.starts_with('/') {
        return Err(EngineError::BadRequest(format!(
            "invalid mount: {target:?} is not an absolute path"
        )));
    }
    let mut bind = match mount.typ {
        Some(MountType::BIND) => {
            let options = mount.bind_options.clone().unwrap_or_default();
            let shared =
                options.propagation.is_some_and(|word| word.to_string().contains("shared"));
            let must_exist = options.create_mountpoint != Some(true);
            Bind { source, target, shared, must_exist, ..Bind::default() }
        }
        Some(MountType::VOLUME) | None => {
            let options = mount.volume_options.as_ref();
            let subpath = options.and_then(|options| options.subpath.as_deref());
            if subpath.is_some_and(|path| !path.is_empty()) {
                return Err(EngineError::NotImplemented(
                    "the system engine mounts complete volumes, not a subpath of one".to_owned(),
                ));
            }
            check_volume(&source)?;
            volume_bind(&source, &target)
        }
        Some(other) => {
            return Err(EngineError::NotImplemented(format!(
                "the system engine does not support mounts of type {other}"
            )));
        }
    };
    bind.read_only = mount.read_only.unwrap_or(false);
    Ok(bind)
}

fn tmpfs_of(mount: &Mount) -> String {
    let options = mount.tmpfs_options.clone().unwrap_or_default();
    let mut words = Vec::new();
    words.extend(options.size_bytes.map(|size| format!("size={size}")));
    words.extend(options.mode.map(|mode| format!("mode={mode:o}")));
    format!("{}:{}", mount.target.clone().unwrap_or_default(), words.join(","))
}

/// A bind of a volume that is not made yet.
fn volume_bind(name: &str, target: &str) -> Bind {
    Bind { target: target.to_owned(), volume: Some(name.to_owned()), ..Bind::default() }
}

/// Its name is one, or it has none.
fn check_volume(name: &str) -> Result<(), EngineError> {
    if name.is_empty() { Ok(()) } else { volume::check(name) }
}

/// Makes a volume if it is not there; without a name it is a new one of its own.
fn make_volume(name: &str) -> Result<Volume, EngineError> {
    match name {
        "" => {
            let labels = [(volume::ANONYMOUS.to_owned(), String::new())];
            volume::create(&new_id(), labels.into())
        }
        name => volume::create(name, BTreeMap::new()),
    }
}
