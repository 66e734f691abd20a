//! Reads nodes of a compose file, and collects what is worth a warning.

use super::error::ComposeError;
use super::interpolate;
use crate::resolved::Environment;
use crate::service::BridgeNetwork;
use corral_config::Position;
use corral_config::yaml::{Kind, Node};
use std::collections::BTreeMap;

/// Reads nodes of one file, and collects what is worth a warning.
pub(super) struct Reader<'a> {
    pub(super) file: &'a str,
    pub(super) warnings: Vec<ComposeError>,
    /// What the file says besides its services.
    pub(super) project: Project,
}

/// The entries of a mapping.
pub(super) type Items = [(String, Node)];

impl Reader<'_> {
    pub(super) fn error(&self, at: Position, message: impl Into<String>) -> ComposeError {
        ComposeError {
            file: self.file.to_owned(),
            line: at.line,
            column: at.column,
            message: message.into(),
        }
    }

    pub(super) fn warn(&mut self, at: Position, message: String) {
        let warning = self.error(at, message);
        self.warnings.push(warning);
    }

    pub(super) fn mapping<'n>(&self, node: &'n Node) -> Result<&'n Items, ComposeError> {
        match &node.kind {
            Kind::Mapping(items) => Ok(items),
            other => Err(self.error(node.at, format!("expected a mapping, not {}", other.name()))),
        }
    }

    /// A mapping that may be left empty.
    pub(super) fn optional_mapping<'n>(&self, node: &'n Node) -> Result<&'n Items, ComposeError> {
        if node.kind == Kind::Null { Ok(&[]) } else { self.mapping(node) }
    }

    /// A copy with its variables put in.
    pub(super) fn interpolate(
        &mut self,
        node: &Node,
        owner: &str,
        table: &Environment,
    ) -> Result<Node, ComposeError> {
        let mut complaints = Vec::new();
        let node = interpolate::interpolate(node, owner, table, &mut complaints);
        for complaint in complaints {
            if complaint.is_fatal {
                return Err(self.error(complaint.at, complaint.message));
            }
            self.warn(complaint.at, complaint.message);
        }
        Ok(node)
    }
}

/// The top level of a file.
#[derive(Debug, Default)]
pub(super) struct Project {
    /// False for v1, whose services meet on the engine's own bridge.
    pub(super) has_own_network: bool,
    /// By the names that services use.
    pub(super) networks: BTreeMap<String, BridgeNetwork>,
    /// The engine's names by the names that services use; None: such a volume cannot be had.
    pub(super) volumes: BTreeMap<String, String>,
    /// Files of the host.
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) configs: BTreeMap<String, String>,
}
