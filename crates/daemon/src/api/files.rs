//! Files of containers: `cp` both ways, `export`, `diff`.

use super::error::ApiError;
use super::query::{Parameters, Parts, id_of, is_true, text};
use super::state::State;
use super::stream::{readable, written};
use crate::blocking::blocking;
use crate::image::layer::decompress;
use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use corral_engine::archive::pack::{Packed, pack};
use corral_engine::archive::root::{open_in, open_root};
use corral_engine::archive::unpack::{Whiteouts, unpack};
use corral_engine::error::EngineError;
use corral_engine::image::lookup;
use corral_engine::image::metadata::Image;
use corral_engine::paths;
use corral_engine::runtime::overlay;
use corral_engine::spec::Snapshot;
use rustix::fs::{AtFlags, FileType, OFlags, Stat, readlinkat, statat};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The root of a container: as its processes see it, or as its next ones will.
fn root_of(container: &Snapshot) -> Result<OwnedFd, EngineError> {
    if let Some(pid) = container.status.pid {
        return Ok(open_root(Path::new(&format!("/proc/{pid}/root")))?);
    }
    let image = image_of(container)?;
    overlay::mount(&container.id, &container.spec.keep, &image)?;
    Ok(open_root(&paths::rootfs(&container.id))?)
}

fn image_of(container: &Snapshot) -> Result<Image, EngineError> {
    lookup::find(if container.spec.image_id.is_empty() {
        &container.spec.image
    } else {
        &container.spec.image_id
    })
}

/// A path as the client gave it: absolute, and whether it named what is inside (`/.`).
fn path_of(parameters: &Parameters) -> Result<PathBuf, EngineError> {
    match text(parameters, "path") {
        "" => Err(EngineError::BadRequest("bad parameter: the 'path' is missing".to_owned())),
        path => Ok(PathBuf::from(path.trim_start_matches('/'))),
    }
}

fn not_found(container: &Snapshot, path: &Path) -> EngineError {
    EngineError::NotFound(format!(
        "could not find the file /{} in container {}",
        path.display(),
        container.spec.name
    ))
}

/// What a path is, as Docker reports it in a header.
fn stat(container: &Snapshot, root: &OwnedFd, path: &Path) -> Result<(Stat, String), EngineError> {
    let clean: PathBuf =
        path.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect();
    let parent =
        open_in(root, clean.parent().unwrap_or(Path::new("")), OFlags::PATH | OFlags::DIRECTORY)
            .map_err(|_| not_found(container, path))?;
    let name = clean.file_name().unwrap_or(OsStr::new("."));
    let data =
        statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| not_found(container, path))?;
    let is_link = FileType::from_raw_mode(data.st_mode) == FileType::Symlink;
    let target = if is_link { readlinkat(&parent, name, Vec::new()).ok() } else { None };
    let target = target.map(|target| target.to_string_lossy().into_owned()).unwrap_or_default();
    let shown = if name == "." { "/".to_owned() } else { name.to_string_lossy().into_owned() };
    let stat = json!({
        "name": shown, "size": data.st_size, "mode": go_mode(data.st_mode), "linkTarget": target,
        "mtime": corral_engine::time::rfc3339(std::time::Duration::from_secs(u64::try_from(data.st_mtime).unwrap_or(0))),
    });
    Ok((data, STANDARD.encode(stat.to_string())))
}

/// A mode as Go's os.FileMode has it. <https://pkg.go.dev/io/fs#FileMode>
fn go_mode(mode: u32) -> u32 {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => 1 << 31,
        FileType::Symlink => 1 << 27,
        FileType::BlockDevice => 1 << 26,
        FileType::Fifo => 1 << 25,
        FileType::Socket => 1 << 24,
        FileType::CharacterDevice => (1 << 26) | (1 << 21),
        _ => 0,
    };
    let special = [(0o4000, 23), (0o2000, 22), (0o1000, 20)];
    let special: u32 =
        special.iter().filter(|(bit, _)| mode & bit != 0).map(|(_, shift)| 1 << shift).sum();
    kind | special | (mode & 0o777)
}

fn stat_header(stat: &str) -> HeaderValue {
    HeaderValue::from_str(stat).unwrap_or_else(|_| HeaderValue::from_static(""))
}

pub(super) async fn head(
    state: State,
    parts: Parts,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let container = state.find(id_of(&parts))?;
    let path = path_of(&parameters)?;
    let (_, stat) = blocking(move || stat(&container, &root_of(&container)?, &path)).await?;
    Ok(([("X-Docker-Container-Path-Stat", stat_header(&stat))], StatusCode::OK).into_response())
}

pub(super) async fn get(
    state: State,
    parts: Parts,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let container = state.find(id_of(&parts))?;
    let path = path_of(&parameters)?;
    let wanted = path.clone();
    let (root, stat) = blocking(move || {
        let root = root_of(&container)?;
        let (_, stat) = stat(&container, &root, &wanted)?;
        Ok((root, stat))
    })
    .await?;
    let clean: PathBuf =
        path.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect();
    let name = clean.file_name().unwrap_or(OsStr::new("/")).to_owned();
    let mut response = written(move |writer| Ok(pack(&root, &clean, Packed::As(name), writer)?));
    response.headers_mut().insert("X-Docker-Container-Path-Stat", stat_header(&stat));
    Ok(response)
}

pub(super) async fn put(
    state: State,
    parts: Parts,
    parameters: Parameters,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let container = state.find(id_of(&parts))?;
    let path = path_of(&parameters)?;
    if container.spec.read_only {
        return Err(
            EngineError::Forbidden("container rootfs is marked read-only".to_owned()).into()
        );
    }
    let keep_kind = is_true(&parameters, "noOverwriteDirNonDir");
    let reader = readable(body);
    Ok(blocking(move || {
        let root = root_of(&container)?;
        let folder =
            open_in(&root, &path, OFlags::PATH | OFlags::DIRECTORY).map_err(
                |error| match error {
                    rustix::io::Errno::NOTDIR => {
                        EngineError::BadRequest(format!("/{} is not a directory", path.display()))
                    }
                    _ => not_found(&container, &path),
                },
            )?;
        let reader = decompress(reader)?;
        let unpacked = unpack(reader, &folder, Whiteouts::Keep);
        match unpacked {
            Ok(_) => Ok(StatusCode::OK),
            Err(error) if keep_kind => Err(EngineError::BadRequest(format!("{error:#}"))),
            Err(error) => Err(error.into()),
        }
    })
    .await?)
}

pub(super) async fn export(state: State, parts: Parts) -> Result<Response, ApiError> {
    let container = state.find(id_of(&parts))?;
    let root = blocking(move || {
        // Its own files only: not what is mounted into it.
        overlay::mount(&container.id, &container.spec.keep, &image_of(&container)?)?;
        Ok(open_root(&paths::rootfs(&container.id))?)
    })
    .await?;
    Ok(written(move |writer| Ok(pack(&root, Path::new(""), Packed::Inside, writer)?)))
}

/// What a container changed of its image: 0 modified, 1 added, 2 deleted.
pub(super) async fn changes(state: State, parts: Parts) -> Result<Json<Vec<Value>>, ApiError> {
    let container = state.find(id_of(&parts))?;
    Ok(blocking(move || {
        let image = image_of(&container)?;
        let upper = paths::overlay(&container.id).join("diff");
        let mut found = Vec::new();
        compare(&upper, Path::new(""), &Arc::new(image), &mut found);
        Ok(Json(found))
    })
    .await?)
}

fn compare(upper: &Path, inside: &Path, image: &Arc<Image>, found: &mut Vec<Value>) {
    let Ok(items) = fs::read_dir(upper.join(inside)) else { return };
    let mut items: Vec<_> = items.flatten().collect();
    items.sort_by_key(fs::DirEntry::file_name);
    for item in items {
        let path = inside.join(item.file_name());
        let Ok(data) = fs::symlink_metadata(item.path()) else { continue };
        let below = image.lower.iter().any(|layer| fs::symlink_metadata(layer.join(&path)).is_ok());
        let is_whiteout = data.file_type().is_char_device() && data.rdev() == 0;
        let kind = if is_whiteout { 2 } else { i32::from(!below) };
        found.push(json!({"Path": format!("/{}", path.display()), "Kind": kind}));
        if data.is_dir() {
            compare(upper, &path, image, found);
        }
    }
}
