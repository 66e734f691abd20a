//! What a service may use, how it is restarted and how much of its output is kept. `deploy` defines
//! the same in the words of a cluster.

use super::error::ComposeError;
use super::reader::Reader;
use crate::service::{Restart, Service, Ulimit};
use corral_config::yaml::{Kind, Node};

/// Microseconds of a period of the processor.
const PERIOD: u64 = 100_000;

impl Reader<'_> {
    /// Takes one key; false if it is not one of these.
    pub(super) fn limits(
        &mut self,
        to: &mut Service,
        key: &str,
        value: &Node,
    ) -> Result<bool, ComposeError> {
        match key {
            "restart" => to.restart = self.restart(value)?,
            "stop_signal" => to.stop_signal = self.string(value)?,
            "stop_grace_period" => to.stop_grace = self.duration(value)?,
            "mem_limit" => to.limits.memory = self.bytes(value)?,
            "mem_reservation" => to.limits.memory_reservation = self.bytes(value)?,
            "memswap_limit" => {
                to.limits.memory_swap = match self.string(value)?.as_str() {
                    "-1" => -1,
                    _ => self.bytes(value)?.cast_signed(),
                };
            }
            "cpus" => self.cpus(to, value)?,
            "cpu_quota" => to.limits.cpu_quota = self.number(value)?,
            "cpu_period" => to.limits.cpu_period = self.number(value)?,
            "cpu_shares" => to.limits.cpu_shares = self.number(value)?,
            "cpuset" => to.limits.cpuset = self.string(value)?,
            "pids_limit" => to.limits.pids = self.number(value)?,
            "oom_score_adj" => to.oom_score_adj = self.number(value)?,
            "ulimits" => to.ulimits = self.ulimits(value)?,
            "logging" => {
                for (key, value) in self.mapping(value)? {
                    match key.as_str() {
                        "driver" => self.log_driver(to, value)?,
                        "options" => self.log_options(to, value)?,
                        other => self.warn(value.key_at, format!("logging: {other}: unknown key")),
                    }
                }
            }
            "log_driver" => self.log_driver(to, value)?,
            "log_opt" => self.log_options(to, value)?,
            "deploy" => self.deploy(to, value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn restart(&self, node: &Node) -> Result<Restart, ComposeError> {
        let text = self.string(node)?;
        let (policy, limit) = text.split_once(':').unwrap_or((&text, "0"));
        match (policy, limit.parse()) {
            ("no" | "false" | "", _) => Ok(Restart::No),
            ("always", _) => Ok(Restart::Always),
            ("unless-stopped", _) => Ok(Restart::UnlessStopped),
            ("on-failure", Ok(limit)) => Ok(Restart::OnFailure(limit)),
            _ => Err(self.error(
                node.at,
                format!("{text:?} is not one of no, always, unless-stopped, on-failure[:N]"),
            )),
        }
    }

    /// A number of processors, such as 1.5.
    fn cpus(&self, to: &mut Service, node: &Node) -> Result<(), ComposeError> {
        let cpus: f64 = self.number(node)?;
        if !(0.0..=4096.0).contains(&cpus) {
            return Err(self.error(node.at, format!("{cpus} is not a number of processors")));
        }
        to.limits.cpu_period = PERIOD;
        // At most 4096 processors: the product fits.
        to.limits.cpu_quota = (cpus * PERIOD as f64) as i64;
        Ok(())
    }

    fn ulimits(&self, node: &Node) -> Result<Vec<Ulimit>, ComposeError> {
        // -1 is "no limit".
        let value = |node: &Node| self.number::<i64>(node).map(i64::cast_unsigned);
        let limit = |(name, node): &(String, Node)| {
            let (soft, hard) = match &node.kind {
                Kind::Mapping(_) => {
                    let get = |key| node.get(key).map(value).transpose();
                    let (soft, hard) = (get("soft")?, get("hard")?);
                    let one = soft
                        .or(hard)
                        .ok_or_else(|| self.error(node.at, "expected soft and hard"))?;
                    (soft.unwrap_or(one), hard.unwrap_or(one))
                }
                _ => (value(node)?, value(node)?),
            };
            Ok(Ulimit { name: name.clone(), soft, hard })
        };
        self.mapping(node)?.iter().map(limit).collect()
    }

    fn log_driver(&mut self, to: &mut Service, node: &Node) -> Result<(), ComposeError> {
        match self.string(node)?.as_str() {
            "" | "json-file" | "local" => {}
            "none" => to.logging.none = true,
            other => self.warn(
                node.key_at,
                format!("log driver {other}: has no effect here: the engine keeps the logs itself"),
            ),
        }
        Ok(())
    }

    fn log_options(&mut self, to: &mut Service, node: &Node) -> Result<(), ComposeError> {
        for (key, value) in self.optional_mapping(node)? {
            match key.as_str() {
                "max-size" => to.logging.max_bytes = self.bytes(value)?,
                "max-file" => to.logging.max_files = self.number(value)?,
                other => self.warn(value.key_at, format!("log option {other}: has no effect here")),
            }
        }
        Ok(())
    }

    fn deploy(&mut self, to: &mut Service, node: &Node) -> Result<(), ComposeError> {
        for (key, value) in self.optional_mapping(node)? {
            match key.as_str() {
                "resources" => self.resources(to, value)?,
                "restart_policy" => self.restart_policy(to, value)?,
                "replicas" if self.number::<u64>(value)? == 1 => {}
                other => self.warn(
                    value.key_at,
                    format!("deploy: {other}: has no effect here: each service has one container"),
                ),
            }
        }
        Ok(())
    }

    fn resources(&mut self, to: &mut Service, node: &Node) -> Result<(), ComposeError> {
        for (kind, values) in self.optional_mapping(node)? {
            for (key, value) in self.optional_mapping(values)? {
                match (kind.as_str(), key.as_str()) {
                    ("limits", "cpus") => self.cpus(to, value)?,
                    ("limits", "memory") => to.limits.memory = self.bytes(value)?,
                    ("limits", "pids") => to.limits.pids = self.number(value)?,
                    ("reservations", "memory") => {
                        to.limits.memory_reservation = self.bytes(value)?
                    }
                    (kind, key) => {
                        self.warn(
                            value.key_at,
                            format!("deploy: {kind}.{key}: has no effect here"),
                        );
                    }
                }
            }
        }
        Ok(())
    }

    fn restart_policy(&mut self, to: &mut Service, node: &Node) -> Result<(), ComposeError> {
        let attempts = node.get("max_attempts").map_or(Ok(0), |value| self.number(value))?;
        let condition =
            node.get("condition").map_or(Ok("any".to_owned()), |value| self.string(value))?;
        to.restart = match condition.as_str() {
            "none" => Restart::No,
            "on-failure" => Restart::OnFailure(attempts),
            "any" => Restart::Always,
            other => {
                return Err(
                    self.error(node.at, format!("{other:?} is not one of none, on-failure, any"))
                );
            }
        };
        Ok(())
    }
}
