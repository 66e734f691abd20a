//! Finding an image by its name or id, in either tier.

use super::digest::hex;
use super::layout::{self, References, all_stored};
use super::metadata::Image;
use super::{embedded, reference};
use crate::error::EngineError;
use crate::identity;

/// Every image, by name.
pub fn load_all() -> Vec<Image> {
    let mut images = embedded::load_all();
    let stored = layout::load_all();
    for (name, id) in References::load().names {
        // A name that was given to an embedded image.
        if let Some(image) =
            images.iter_mut().find(|image| image.id == id && !image.references.contains(&name))
        {
            image.references.push(name);
        }
    }
    images.extend(stored);
    images
}

/// Is the image of that name part of the system image?
pub fn is_embedded(name: &str) -> bool {
    embedded::find(name).is_some()
}

/// The image of that name, id or unique beginning of an id.
pub fn find(name: &str) -> Result<Image, EngineError> {
    if let Some(image) = embedded::find(name) {
        return Ok(image);
    }
    let id = resolve(name)?;
    match layout::load(&id) {
        Some(image) => Ok(image),
        None => embedded::find(&id).ok_or_else(|| EngineError::NoSuchImage(name.to_owned())),
    }
}

/// The id that a name, an id or the beginning of one stands for.
fn resolve(name: &str) -> Result<String, EngineError> {
    // A complete id needs no look at names, which takes a helper longer than all the rest of its
    // work.
    if name.strip_prefix("sha256:").is_some_and(|digits| digits.len() == 64 && is_hex(digits)) {
        return Ok(name.to_owned());
    }
    let unknown = || EngineError::NoSuchImage(name.to_owned());
    let references = References::load();
    if let Some(id) = references.names.get(name) {
        return Ok(id.clone());
    }
    if let Ok(full) = reference::familiar(name)
        && let Some(id) = references.names.get(&full).or_else(|| references.digests.get(&full))
    {
        return Ok(id.clone());
    }
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    if digits.is_empty() || !is_hex(digits) {
        return Err(unknown());
    }
    let stored = all_stored().into_iter().map(|kept| kept.id);
    let ids = stored.chain(embedded::load_all().into_iter().map(|image| image.id));
    identity::find(ids, digits, |id| (hex(id), ""), |_| unknown())
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
