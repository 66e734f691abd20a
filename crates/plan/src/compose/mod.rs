//! Compose files → services: v1 (services at the top), v2, v3 and the Compose Specification
//! (`services:`), as far as they mean something on one machine. They are read leniently, as
//! RancherOS did (`privileged: "true"`). An unknown key is a warning, a wrong type an error, both
//! with line and column.
//! <https://github.com/compose-spec/compose-spec/blob/main/spec.md>

mod error;
mod extends;
mod health;
mod interpolate;
mod limits;
mod networks;
mod project;
mod reader;
mod scalar;
mod service;
#[cfg(test)]
mod tests;
mod volumes;

use crate::resolved::Environment;
use crate::service::Service;
use corral_config::names::ServiceName;
use corral_config::yaml::{self, Node};
pub use error::ComposeError;
pub use interpolate::UNSET;
use reader::{Project, Reader};
pub use scalar::{duration, env_file, split_words};

/// A parsed compose file.
#[derive(Debug, Clone)]
pub struct ServiceFile {
    pub services: Vec<Service>,
    /// Keys that are not known, or known and without effect.
    pub warnings: Vec<ComposeError>,
}

/// Parses a compose file that refers to no variables.
pub fn parse(file: &str, text: &str) -> Result<ServiceFile, ComposeError> {
    parse_with(file, text, &Environment::new())
}

/// Parses a compose file; `${NAME}` is looked up in the table.
pub fn parse_with(
    file: &str,
    text: &str,
    table: &Environment,
) -> Result<ServiceFile, ComposeError> {
    let tree = yaml::parse(text).map_err(|error| ComposeError {
        file: file.to_owned(),
        line: error.line,
        column: error.column,
        message: error.message,
    })?;
    parse_tree(file, &tree, table)
}

/// Parses a compose document that stands in a configuration.
pub fn parse_tree(
    file: &str,
    tree: &Node,
    table: &Environment,
) -> Result<ServiceFile, ComposeError> {
    let mut reader = Reader { file, warnings: Vec::new(), project: Project::default() };
    let top = reader.mapping(tree)?;
    let is_v1 = !top.iter().any(|(key, _)| key == "services");
    let written = if is_v1 { top.to_vec() } else { reader.project(top, table)? };
    let mut services = Vec::new();
    for (name, node) in &written {
        let checked = ServiceName::try_from(name.clone())
            .map_err(|error| reader.error(node.key_at, error.to_string()))?;
        let complete = extends::extend(&reader, name, node, &written)?;
        let node = reader.interpolate(&complete, name, table)?;
        services.push(service::parse(&mut reader, checked, &node)?);
    }
    Ok(ServiceFile { services, warnings: reader.warnings })
}

/// Is one of a service's profiles active? Those in `COMPOSE_PROFILES` are, with commas; `*` stands
/// for all.
pub fn is_active(profiles: &[String], table: &Environment) -> bool {
    let active = table.get("COMPOSE_PROFILES").map(String::as_str).unwrap_or_default();
    let is_active = |profile: &String| {
        active.split(',').map(str::trim).any(|other| other == profile || other == "*")
    };
    profiles.is_empty() || profiles.iter().any(is_active)
}

/// A definition with its variables put in, as plain data; and what could not be put in.
pub fn interpolate_value(
    name: &str,
    node: &Node,
    table: &Environment,
) -> (serde_json::Value, Vec<String>) {
    let mut complaints = Vec::new();
    let value = interpolate::interpolate(node, name, table, &mut complaints).to_value();
    (value, complaints.into_iter().map(|complaint| complaint.message).collect())
}
