//! `healthcheck` of a service.
//! <https://github.com/compose-spec/compose-spec/blob/main/05-services.md#healthcheck>

use super::error::ComposeError;
use super::reader::Reader;
use crate::service::Health;
use corral_config::yaml::{Kind, Node};

impl Reader<'_> {
    pub(super) fn health(&mut self, node: &Node) -> Result<Option<Health>, ComposeError> {
        let mut health = Health::default();
        for (key, value) in self.mapping(node)? {
            match key.as_str() {
                "test" => health.test = self.health_test(value)?,
                "interval" => health.interval = self.duration(value)?,
                "timeout" => health.timeout = self.duration(value)?,
                "start_period" => health.start_period = self.duration(value)?,
                "start_interval" => health.start_interval = self.duration(value)?,
                "retries" => health.retries = self.number(value)?,
                "disable" => {
                    if self.boolean(value)? {
                        health.test = vec!["NONE".to_owned()];
                    }
                }
                other if other.starts_with("x-") => {}
                other => self.warn(value.key_at, format!("healthcheck: {other}: unknown key")),
            }
        }
        Ok(Some(health))
    }

    fn health_test(&self, node: &Node) -> Result<Vec<String>, ComposeError> {
        let test = match &node.kind {
            Kind::String(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
            _ => self.strings(node)?,
        };
        match test.first().map(String::as_str) {
            None => Ok(test),
            Some("NONE") => Ok(test),
            Some("CMD" | "CMD-SHELL") if test.len() > 1 => Ok(test),
            _ => Err(self.error(
                node.at,
                "healthcheck: test: expected a string or a list with CMD, CMD-SHELL or NONE first",
            )),
        }
    }
}
