//! An archive of images, taken apart: Docker's own form (`manifest.json`) or an OCI layout
//! (`index.json`). Nothing of it is believed: its names are compared and never opened, and digests
//! are computed.

use super::layer::Hashing;
use anyhow::{Context, Result, bail, ensure};
use corral_engine::archive::entries;
use corral_engine::image::digest::{digest_text, hex};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

const LARGEST_JSON: u64 = 8 << 20;
/// Files in one archive; an image has some dozens.
const MOST_FILES: u32 = 100_000;
/// Indexes that an index leads to.
const MOST_NESTED: usize = 4;

/// One image of Docker's manifest.json.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    /// Its configuration, by the name of the file.
    pub config: String,
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    /// The lowest first.
    pub layers: Vec<String>,
}

/// An archive taken apart: its files lie in a folder of their own, under numbers, not under the
/// archive's names.
#[derive(Debug)]
pub struct Spooled {
    folder: PathBuf,
    files: HashMap<String, Part>,
    /// Names that stand for another one.
    links: HashMap<String, String>,
}

/// A file of the archive.
#[derive(Debug)]
pub struct Part {
    /// Where it lies now.
    pub path: PathBuf,
    /// Computed from it.
    pub digest: String,
    pub size: u64,
}

/// Writes a stream to a file and hashes it.
pub(super) fn spool(reader: impl Read, path: &Path) -> Result<(String, u64)> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut reader = Hashing::new(reader);
    let mut file = File::create(path).with_context(|| format!("making {}", path.display()))?;
    io::copy(&mut reader, &mut file).with_context(|| format!("writing {}", path.display()))?;
    Ok((digest_text(reader.hasher), reader.count))
}

impl Spooled {
    /// Takes an archive apart into a folder that is made for it, and removed with this.
    pub fn read(reader: impl Read, folder: PathBuf) -> Result<Spooled> {
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let mut spooled = Spooled { folder, files: HashMap::new(), links: HashMap::new() };
        let mut number = 0;
        entries::each(reader, |entry| {
            number += 1;
            ensure!(number <= MOST_FILES, "the archive has more than {MOST_FILES} files");
            let name = plain(&entry.path().context("a name in the archive")?);
            let kind = entry.header().entry_type();
            if kind.is_file() {
                let path = spooled.folder.join(number.to_string());
                let (digest, size) =
                    spool(entry, &path).with_context(|| format!("unpacking {name}"))?;
                spooled.files.insert(name, Part { path, digest, size });
            } else if (kind.is_symlink() || kind.is_hard_link())
                && let Some(target) = entry.link_name()?
            {
                // Older versions of `docker save` write a layer that is there twice as a link.
                let base = if kind.is_symlink() {
                    Path::new(&name).parent().unwrap_or(Path::new(""))
                } else {
                    Path::new("")
                };
                let target = plain(&base.join(target));
                spooled.links.insert(name, target);
            }
            Ok(())
        })?;
        Ok(spooled)
    }

    /// The file of a name.
    pub fn get(&self, name: &str) -> Result<&Part> {
        let name = plain(Path::new(name));
        let target = self.links.get(&name).unwrap_or(&name);
        self.files.get(target).with_context(|| format!("the archive has no {name}"))
    }

    /// A file that is text, if it is there.
    pub fn text(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Ok(file) = self.get(name) else { return Ok(None) };
        if file.size > LARGEST_JSON {
            bail!("{name} is too large: {} bytes", file.size);
        }
        fs::read(&file.path).map(Some).with_context(|| format!("reading {name}"))
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).with_context(|| format!("reading {name}"))
    }

    /// The images that the archive lists.
    pub fn images(&self) -> Result<Vec<Listed>> {
        if let Some(listed) = self.json("manifest.json")? {
            return Ok(listed);
        }
        let Some(index) = self.json::<Value>("index.json")? else {
            bail!(
                "this is not an image archive: it has neither manifest.json nor index.json \
                 (for an archive of files use docker import)"
            );
        };
        index["manifests"].as_array().into_iter().flatten().map(|entry| self.image(entry)).collect()
    }

    /// One image of an OCI layout. Its entry may lead to an index, of which the image for this
    /// machine is taken.
    fn image(&self, entry: &Value) -> Result<Listed> {
        let mut entry = entry.clone();
        for _ in 0..=MOST_NESTED {
            let manifest: Value = self
                .json(&path_of(&entry))?
                .with_context(|| format!("the archive has no {}", path_of(&entry)))?;
            let Some(inner) = manifest["manifests"].as_array() else {
                return Ok(listed(&entry, &manifest));
            };
            let fits = |entry: &&Value| {
                entry["platform"]["architecture"] == "amd64" && self.get(&path_of(entry)).is_ok()
            };
            entry = inner.iter().find(fits).context("the archive has no image for amd64")?.clone();
        }
        bail!("the image indexes of the archive are nested too deeply")
    }
}

/// The file of what a descriptor names.
fn path_of(descriptor: &Value) -> String {
    format!("blobs/sha256/{}", hex(descriptor["digest"].as_str().unwrap_or_default()))
}

/// What a manifest says, with the name that its entry in the index has.
fn listed(entry: &Value, manifest: &Value) -> Listed {
    let name = ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
        .iter()
        .find_map(|key| entry["annotations"][*key].as_str())
        .filter(|name| name.contains(['/', ':']));
    Listed {
        config: path_of(&manifest["config"]),
        repo_tags: name.map(|name| vec![name.to_owned()]),
        layers: manifest["layers"].as_array().into_iter().flatten().map(path_of).collect(),
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A name of an archive without what means nothing. It is only ever compared, never opened.
fn plain(path: &Path) -> String {
    let mut parts: Vec<&OsStr> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name),
            Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    parts.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn archive(files: &[(String, Value)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, value) in files {
            let bytes = value.to_string().into_bytes();
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn read(name: &str, files: &[(String, Value)]) -> Result<Vec<Listed>> {
        let folder =
            std::env::temp_dir().join(format!("corral-spooled-{name}-{}", std::process::id()));
        Spooled::read(archive(files).as_slice(), folder)?.images()
    }

    #[test]
    fn an_index_leads_to_the_image_and_not_in_circles() {
        let digest = |letter: &str| format!("sha256:{}", letter.repeat(64));
        let blob = |letter: &str| format!("blobs/sha256/{}", letter.repeat(64));
        let to = |letter: &str| {
            json!({"manifests": [
                {"digest": digest(letter), "platform": {"architecture": "amd64"}},
            ]})
        };
        let image = json!({"config": {"digest": digest("c")}, "layers": [{"digest": digest("d")}]});
        let good = [("index.json".to_owned(), to("a")), (blob("a"), to("b")), (blob("b"), image)];
        let expected = Listed { config: blob("c"), repo_tags: None, layers: vec![blob("d")] };
        assert_eq!(read("good", &good).unwrap(), [expected]);
        let loops = [("index.json".to_owned(), to("a")), (blob("a"), to("a"))];
        let error = read("loops", &loops).unwrap_err().to_string();
        assert!(error.contains("nested too deeply"), "{error}");
    }
}
