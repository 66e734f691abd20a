//! `extends`: a service that begins as a copy of another one of the same file.
//! <https://github.com/compose-spec/compose-spec/blob/main/spec.md#extends>

use super::error::ComposeError;
use super::reader::Reader;
use corral_config::yaml::{Kind, Node};

/// Services that may stand above one.
const MAX_DEPTH: usize = 16;

/// Keys that bind a service to others, and are not inherited.
const OWN: [&str; 4] = ["depends_on", "links", "volumes_from", "extends"];
/// Lists to which the copy adds; other lists are replaced by the copy's own.
const ADDED: [&str; 13] = [
    "cap_add",
    "cap_drop",
    "devices",
    "dns",
    "dns_search",
    "env_file",
    "expose",
    "external_links",
    "extra_hosts",
    "ports",
    "security_opt",
    "tmpfs",
    "volumes",
];

/// The complete definition of a service: what it extends, with its own keys.
pub(super) fn extend(
    reader: &Reader<'_>,
    name: &str,
    node: &Node,
    services: &[(String, Node)],
) -> Result<Node, ComposeError> {
    extend_within(reader, (name, node), services, MAX_DEPTH)
}

fn extend_within(
    reader: &Reader<'_>,
    (name, node): (&str, &Node),
    services: &[(String, Node)],
    depth: usize,
) -> Result<Node, ComposeError> {
    let Some(extends) = node.get("extends") else { return Ok(node.clone()) };
    if let Some(file) = extends.get("file") {
        return Err(reader.error(
            file.at,
            format!(
                "{name}: extends a service of another file; copy it into this file, each file is \
                 read on its own"
            ),
        ));
    }
    let base = reader.string(extends.get("service").unwrap_or(extends))?;
    let Some((base_name, base)) = services.iter().find(|(other, _)| *other == base) else {
        return Err(
            reader.error(extends.at, format!("{name}: extends {base:?}: no such service here"))
        );
    };
    if depth == 0 {
        return Err(
            reader.error(extends.at, format!("{name}: extends itself, or has too many levels"))
        );
    }
    let base = extend_within(reader, (base_name, base), services, depth - 1)?;
    let mut merged = merge(&base, node);
    if let Kind::Mapping(items) = &mut merged.kind {
        let own = |key: &String| OWN.contains(&key.as_str());
        items.retain(|(key, _)| !own(key) || (key != "extends" && node.get(key).is_some()));
        for (key, value) in items.iter_mut().filter(|(key, _)| own(key)) {
            if let Some(own) = node.get(key) {
                *value = own.clone();
            }
        }
    }
    Ok(merged)
}

fn merge(base: &Node, own: &Node) -> Node {
    let (Kind::Mapping(below), Kind::Mapping(above)) = (&base.kind, &own.kind) else {
        return own.clone();
    };
    let mut items = below.clone();
    for (key, value) in above {
        match items.iter_mut().find(|(name, _)| name == key) {
            None => items.push((key.clone(), value.clone())),
            Some((_, old)) => *old = merge_value(key, old, value),
        }
    }
    Node { at: own.at, key_at: own.key_at, kind: Kind::Mapping(items) }
}

fn merge_value(key: &str, base: &Node, own: &Node) -> Node {
    let kind = match (&base.kind, &own.kind) {
        (Kind::Mapping(_), Kind::Mapping(_)) => return merge(base, own),
        (Kind::Sequence(below), Kind::Sequence(above)) if ADDED.contains(&key) => {
            Kind::Sequence(below.iter().chain(above).cloned().collect())
        }
        // `A=1` below and `A=2` above: the later one takes effect wherever these are read.
        (Kind::Sequence(below), Kind::Sequence(above))
            if ["environment", "labels"].contains(&key) =>
        {
            Kind::Sequence(below.iter().chain(above).cloned().collect())
        }
        (_, other) => other.clone(),
    };
    Node { at: own.at, key_at: own.key_at, kind }
}
