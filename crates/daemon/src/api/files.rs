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
use corral_engine::archive::root::{make_folders, open_in, open_root};
use corral_engine::archive::unpack::{Whiteouts, unpack};
use corral_engine::error::EngineError;
use corral_engine::image::lookup;
use corral_engine::image::metadata::Image;
use corral_engine::paths;
use corral_engine::runtime::overlay;
use corral_engine::spec::{Bind, Snapshot};
use rustix::fs::{AtFlags, FileType, OFlags, Stat, readlinkat, statat};
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// A path of a container: a folder of the host, and the path below it. Links below it may not lead
/// out of the folder.
struct Located {
    root: OwnedFd,
    inside: PathBuf,
    /// Its last part, as the client wrote it.
    name: OsString,
    /// What the path is in is a bind that is mounted read-only.
    is_in_bind: Option<bool>,
}

/// As the container's processes see the path, or as its next ones will: volumes and binds of one
/// that does not run are not mounted.
fn locate(container: &Snapshot, path: &Path) -> Result<Located, EngineError> {
    let inside: PathBuf =
        path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let name = inside.file_name().unwrap_or(OsStr::new("/")).to_owned();
    let lexical = covering(&container.spec.binds, &inside);
    if let Some(pid) = container.status.pid {
        let root = open_root(Path::new(&format!("/proc/{pid}/root")))?;
        let is_in_bind = lexical.map(|(bind, _)| bind.read_only);
        return Ok(Located { root, inside, name, is_in_bind });
    }
    overlay::mount(&container.id, &container.spec.keep, &image_of(container)?)?;
    let rootfs = paths::rootfs(&container.id);
    let root = open_root(&rootfs)?;
    let resolved = || {
        make_targets(&root, &container.spec.binds)?;
        resolve(&rootfs, &root, &inside)
    };
    let resolved = if lexical.is_some() { None } else { resolved() };
    let found = lexical.or_else(|| covering(&container.spec.binds, resolved.as_deref()?));
    let Some((bind, rest)) = found else {
        return Ok(Located { root, inside, name, is_in_bind: None });
    };
    overlay::fill_volume(&container.id, bind)?;
    let source = Path::new(&bind.source);
    let (root, inside) = match (source.is_dir(), source.parent(), source.file_name()) {
        (false, Some(parent), Some(file)) => (open_root(parent)?, PathBuf::from(file)),
        _ => (open_root(source)?, rest),
    };
    Ok(Located { root, inside, name, is_in_bind: Some(bind.read_only) })
}

/// Makes the folders that binds will be mounted on, as the start does: links may lead to them.
fn make_targets(root: &OwnedFd, binds: &[Bind]) -> Option<()> {
    for bind in binds.iter().filter(|bind| Path::new(&bind.source).is_dir()) {
        make_folders(root, Path::new(bind.target.trim_start_matches('/'))).ok()?;
    }
    Some(())
}

/// The innermost bind that a path without links is in, and the path below it.
fn covering<'a>(binds: &'a [Bind], path: &Path) -> Option<(&'a Bind, PathBuf)> {
    let below = |bind: &'a Bind| {
        let target = Path::new(bind.target.trim_start_matches('/'));
        Some((bind, path.strip_prefix(target).ok()?.to_path_buf()))
    };
    binds.iter().filter_map(below).min_by_key(|(_, rest)| rest.components().count())
}

/// The same path without links: the folder that holds it is looked up in the container's root.
fn resolve(rootfs: &Path, root: &OwnedFd, path: &Path) -> Option<PathBuf> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let folder = open_in(root, path.parent().unwrap_or(Path::new("")), flags).ok()?;
    let real = fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).ok()?;
    Some(real.strip_prefix(rootfs).ok()?.join(path.file_name().unwrap_or_default()))
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
        "Could not find the file /{} in container {}",
        path.display(),
        container.spec.name
    ))
}

/// What a path is, as Docker reports it in a header.
fn stat(
    container: &Snapshot,
    located: &Located,
    path: &Path,
) -> Result<(Stat, String), EngineError> {
    let inside = &located.inside;
    let folder = inside.parent().unwrap_or(Path::new(""));
    let parent = open_in(&located.root, folder, OFlags::PATH | OFlags::DIRECTORY)
        .map_err(|_| not_found(container, path))?;
    let name = inside.file_name().unwrap_or(OsStr::new("."));
    let data =
        statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| not_found(container, path))?;
    let is_link = FileType::from_raw_mode(data.st_mode) == FileType::Symlink;
    let target = if is_link { readlinkat(&parent, name, Vec::new()).ok() } else { None };
    let target = target.map(|target| target.to_string_lossy().into_owned()).unwrap_or_default();
    let changed = std::time::Duration::from_secs(u64::try_from(data.st_mtime).unwrap_or(0));
    let stat = json!({
        "name": located.name.to_string_lossy(), "size": data.st_size,
        "mode": go_mode(data.st_mode), "linkTarget": target,
        "mtime": corral_engine::time::rfc3339(changed),
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
    let (_, stat) = blocking(move || stat(&container, &locate(&container, &path)?, &path)).await?;
    Ok(([("X-Docker-Container-Path-Stat", stat_header(&stat))], StatusCode::OK).into_response())
}

pub(super) async fn get(
    state: State,
    parts: Parts,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let container = state.find(id_of(&parts))?;
    let path = path_of(&parameters)?;
    let (located, stat) = blocking(move || {
        let located = locate(&container, &path)?;
        let (_, stat) = stat(&container, &located, &path)?;
        Ok((located, stat))
    })
    .await?;
    let Located { root, inside, name, .. } = located;
    let mut response = written(move |writer| Ok(pack(&root, &inside, Packed::As(name), writer)?));
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
    let keep_kind = is_true(&parameters, "noOverwriteDirNonDir");
    let reader = readable(body);
    Ok(blocking(move || {
        let located = locate(&container, &path)?;
        check_writable(&container, &located)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let folder =
            open_in(&located.root, &located.inside, flags).map_err(|error| match error {
                rustix::io::Errno::NOTDIR => {
                    EngineError::BadRequest(format!("/{} is not a directory", path.display()))
                }
                _ => not_found(&container, &path),
            })?;
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

fn check_writable(container: &Snapshot, located: &Located) -> Result<(), EngineError> {
    let read_only = match located.is_in_bind {
        Some(true) => "mounted volume is marked read-only",
        None if container.spec.read_only => "container rootfs is marked read-only",
        _ => return Ok(()),
    };
    Err(EngineError::Forbidden(read_only.to_owned()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_in_the_innermost_bind() {
        let bind = |target: &str| Bind { target: target.to_owned(), ..Bind::default() };
        let binds = [bind("/a"), bind("/a/b"), bind("/c.txt")];
        for (path, expected) in [
            ("a/x", Some(("/a", "x"))),
            ("a/b/x/y", Some(("/a/b", "x/y"))),
            ("a/bc", Some(("/a", "bc"))),
            ("c.txt", Some(("/c.txt", ""))),
            ("d", None),
            ("", None),
        ] {
            let found = covering(&binds, Path::new(path));
            let found = found.map(|(bind, rest)| (bind.target.as_str(), rest));
            let expected = expected.map(|(target, rest)| (target, PathBuf::from(rest)));
            assert_eq!(found, expected, "{path}");
        }
    }
}
