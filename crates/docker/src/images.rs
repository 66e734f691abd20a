//! What is requested of an engine's images.

use super::client::{Client, LONG, encoded, segment};
use super::error::Error;
use super::model::{Damage, Image, Loading, Pruned};
use hyper::Method;
use std::fs::File;

/// Characters of image names besides letters and digits.
const UNENCODED: &str = "/:@";

impl Client {
    /// The digest of an image; None if it is not here.
    pub fn image_id(&self, name: &str) -> Result<Option<String>, Error> {
        Ok(self.image(name)?.map(|image| image.id))
    }

    /// An image; None if it is not here.
    pub fn image(&self, name: &str) -> Result<Option<Image>, Error> {
        Error::absence(self.get(&format!("/images/{}/json", encoded(name, UNENCODED))))
    }

    /// Every image.
    pub fn images(&self) -> Result<Vec<Image>, Error> {
        self.get("/images/json")
    }

    /// Gives an image one more name.
    pub fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<(), Error> {
        let (repository, tag) = (segment(repository), segment(tag));
        let path = format!("/images/{}/tag?repo={repository}&tag={tag}", encoded(image, UNENCODED));
        self.act(Method::POST, &path, None, LONG)
    }

    /// Loads the images of an archive without the names that they have there, so that no name moves
    /// to another image. Returns their digests. Only the system engine can.
    pub fn load_unnamed(&self, archive: File) -> Result<Vec<String>, Error> {
        let messages: Vec<Loading> = self.upload("/images/load?names=false", archive)?;
        let mut loaded = Vec::new();
        for Loading { stream, error } in messages {
            if !error.is_empty() {
                return Err(Error::Failed(error));
            }
            loaded.extend(stream.trim().strip_prefix("Loaded image ID: ").map(str::to_owned));
        }
        Ok(loaded)
    }

    /// Removes a name of an image. The image is removed with its last name, unless a container uses
    /// it. It is no error if the name is already gone.
    pub fn untag(&self, name: &str) -> Result<(), Error> {
        let path = format!("/images/{}?force=1", encoded(name, UNENCODED));
        Error::absence(self.act(Method::DELETE, &path, None, LONG)).map(drop)
    }

    /// Removes images that no container uses: those without a name, or all.
    pub fn prune_images(&self, all: bool) -> Result<Pruned, Error> {
        let filters = segment(&format!(r#"{{"dangling":["{}"]}}"#, !all));
        self.post(&format!("/images/prune?filters={filters}"))
    }

    /// Compares images with their digests; only the system engine can.
    pub fn check_images(&self, repair: bool) -> Result<Vec<Damage>, Error> {
        self.post(&format!("/images/fsck?repair={repair}"))
    }
}
