//! `volumes`, `secrets` and `configs` of a service.

use super::error::ComposeError;
use super::reader::Reader;
use crate::service::{Source, Volume};
use corral_config::yaml::{Kind, Node};

impl Reader<'_> {
    /// What a service sees of the host and of the engine's volumes. What is in memory goes to
    /// `tmpfs`.
    pub(super) fn volumes(
        &mut self,
        service: &str,
        node: &Node,
        tmpfs: &mut Vec<String>,
    ) -> Result<Vec<Volume>, ComposeError> {
        let mut volumes = Vec::new();
        for item in self.items(node)? {
            match &item.kind {
                Kind::Mapping(_) => volumes.extend(self.long_volume(service, item, tmpfs)?),
                _ => volumes.push(self.short_volume(service, item)?),
            }
        }
        Ok(volumes)
    }

    /// `[SOURCE:]TARGET[:OPTIONS]`; options are `ro`, `rw`, `shared`, `rshared` and others, with
    /// commas.
    fn short_volume(&self, service: &str, node: &Node) -> Result<Volume, ComposeError> {
        let text = self.string(node)?;
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match parts.as_slice() {
            [target] => ("", *target, ""),
            [source, target] => (*source, *target, ""),
            [source, target, options] => (*source, *target, *options),
            _ => {
                return Err(self.error(
                    node.at,
                    format!("volume {text:?}: expected [SOURCE:]TARGET[:OPTIONS]"),
                ));
            }
        };
        let has = |wanted: &[&str]| options.split(',').any(|option| wanted.contains(&option));
        Ok(Volume {
            source: self.source(service, node, source, target)?,
            target: target.to_owned(),
            read_only: has(&["ro"]),
            shared: has(&["shared", "rshared"]),
            must_exist: false,
            optional: false,
        })
    }

    fn long_volume(
        &mut self,
        service: &str,
        node: &Node,
        tmpfs: &mut Vec<String>,
    ) -> Result<Option<Volume>, ComposeError> {
        let get = |key: &str| node.get(key).map_or(Ok(String::new()), |value| self.string(value));
        let inner = |outer: &str, key: &str| node.get(outer).and_then(|outer| outer.get(key));
        let (kind, source, target) = (get("type")?, get("source")?, get("target")?);
        let read_only = node.get("read_only").map_or(Ok(false), |value| self.boolean(value))?;
        if kind == "tmpfs" {
            let size = inner("tmpfs", "size").map(|size| self.bytes(size)).transpose()?;
            let mode = inner("tmpfs", "mode").map(|mode| self.number::<u32>(mode)).transpose()?;
            let options: Vec<String> = [
                size.map(|size| format!("size={size}")),
                mode.map(|mode| format!("mode={mode:o}")),
            ]
            .into_iter()
            .flatten()
            .collect();
            tmpfs.push(if options.is_empty() {
                target
            } else {
                format!("{target}:{}", options.join(","))
            });
            return Ok(None);
        }
        if !["", "bind", "volume"].contains(&kind.as_str()) {
            return Err(self.error(
                node.at,
                format!("volume type {kind:?} is not one of bind, volume, tmpfs"),
            ));
        }
        let propagation =
            inner("bind", "propagation").map_or(Ok(String::new()), |value| self.string(value))?;
        let creates =
            inner("bind", "create_host_path").map_or(Ok(true), |value| self.boolean(value))?;
        if let Some(subpath) = inner("volume", "subpath") {
            self.warn(
                subpath.key_at,
                "subpath: has no effect here: the complete volume is mounted".to_owned(),
            );
        }
        Ok(Some(Volume {
            source: self.source(service, node, &source, &target)?,
            target,
            read_only,
            shared: ["shared", "rshared"].contains(&propagation.as_str()),
            must_exist: kind == "bind" && !creates,
            optional: false,
        }))
    }

    /// A path, the name of a volume, or nothing: then the volume is the service's own, of that
    /// target.
    fn source(
        &self,
        service: &str,
        node: &Node,
        source: &str,
        target: &str,
    ) -> Result<Source, ComposeError> {
        if !target.starts_with('/') {
            return Err(self.error(
                node.at,
                format!("volume: {target:?}: the path in the container must be absolute"),
            ));
        }
        if source.starts_with('/') {
            return Ok(Source::Path(source.to_owned()));
        }
        if source.starts_with(['.', '~']) || source.contains('/') {
            return Err(self.error(
                node.at,
                format!("volume {source:?}: expected an absolute path or the name of a volume"),
            ));
        }
        if source.is_empty() {
            return Ok(Source::Volume(format!("{service}{}", target.replace('/', "_"))));
        }
        match self.project.volumes.get(source) {
            Some(name) => Ok(Source::Volume(name.clone())),
            // v1 has nowhere to define them.
            None if !self.project.has_own_network => Ok(Source::Volume(source.to_owned())),
            None => {
                Err(self.error(node.at, format!("volume {source:?} is not defined in this file")))
            }
        }
    }

    /// Secrets and configs: files of the host at a path of the container.
    pub(super) fn files(&mut self, kind: &str, node: &Node) -> Result<Vec<Volume>, ComposeError> {
        let mut volumes = Vec::new();
        for item in self.items(node)? {
            let name = self.string(item.get("source").unwrap_or(item))?;
            let defined =
                if kind == "secrets" { &self.project.secrets } else { &self.project.configs };
            let Some(path) = defined.get(&name).cloned() else {
                return Err(
                    self.error(item.at, format!("{kind}: {name:?} is not defined in this file"))
                );
            };
            let folder = if kind == "secrets" { "/run/secrets/" } else { "/" };
            let target = match item.get("target").map(|target| self.string(target)).transpose()? {
                Some(target) if target.starts_with('/') => target,
                Some(target) => format!("{folder}{target}"),
                None => format!("{folder}{name}"),
            };
            for key in ["uid", "gid", "mode"] {
                if let Some(value) = item.get(key) {
                    self.warn(
                        value.key_at,
                        format!(
                            "{kind}: {key}: has no effect here: the file keeps its owner and mode"
                        ),
                    );
                }
            }
            volumes.push(Volume {
                source: Source::Path(path),
                target,
                read_only: true,
                shared: false,
                must_exist: true,
                optional: false,
            });
        }
        Ok(volumes)
    }
}
