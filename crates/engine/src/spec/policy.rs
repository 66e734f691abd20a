//! When a container is started again, and how long it may take to stop.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// When a container that ended is started again. In text as in Docker's command line: `on-failure:3`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum RestartPolicy {
    #[default]
    No,
    Always,
    UnlessStopped,
    /// After an exit code other than 0; at most so many times, if there is a limit.
    OnFailure(Option<u32>),
}

impl RestartPolicy {
    /// Docker's name of it.
    pub fn name(self) -> &'static str {
        match self {
            RestartPolicy::No => "no",
            RestartPolicy::Always => "always",
            RestartPolicy::UnlessStopped => "unless-stopped",
            RestartPolicy::OnFailure(_) => "on-failure",
        }
    }

    /// By Docker's name and limit, 0 for none.
    pub fn parse(name: &str, limit: u32) -> Result<RestartPolicy, UnknownPolicy> {
        match name {
            "" | "no" => Ok(RestartPolicy::No),
            "always" => Ok(RestartPolicy::Always),
            "unless-stopped" => Ok(RestartPolicy::UnlessStopped),
            "on-failure" => Ok(RestartPolicy::OnFailure((limit > 0).then_some(limit))),
            other => Err(UnknownPolicy(other.to_owned())),
        }
    }
}

/// Text that names no restart policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid restart policy: unknown policy '{0}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
)]
pub struct UnknownPolicy(String);

impl fmt::Display for RestartPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestartPolicy::OnFailure(Some(limit)) => write!(formatter, "{}:{limit}", self.name()),
            _ => formatter.write_str(self.name()),
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<RestartPolicy, UnknownPolicy> {
        let unknown = || UnknownPolicy(text.to_owned());
        let (name, limit) = match text.split_once(':') {
            Some((name, limit)) => (name, limit.parse().map_err(|_| unknown())?),
            None => (text, 0),
        };
        RestartPolicy::parse(name, limit).map_err(|_| unknown())
    }
}

impl From<RestartPolicy> for String {
    fn from(policy: RestartPolicy) -> String {
        policy.to_string()
    }
}

impl TryFrom<String> for RestartPolicy {
    type Error = UnknownPolicy;

    fn try_from(text: String) -> Result<RestartPolicy, UnknownPolicy> {
        text.parse()
    }
}

/// How long a container may take between its stop signal and the kill. In JSON seconds, -1 for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "i64", from = "i128")]
pub enum Grace {
    Limited(Duration),
    Unlimited,
}

impl Grace {
    /// As clients write it: any negative number is for ever.
    pub fn from_seconds(seconds: i64) -> Grace {
        u64::try_from(seconds)
            .map_or(Grace::Unlimited, |seconds| Grace::Limited(Duration::from_secs(seconds)))
    }

    /// Seconds; -1 for ever.
    pub fn seconds(self) -> i64 {
        match self {
            Grace::Limited(time) => i64::try_from(time.as_secs()).unwrap_or(-1),
            Grace::Unlimited => -1,
        }
    }
}

/// Docker's.
impl Default for Grace {
    fn default() -> Grace {
        Grace::Limited(Duration::from_secs(10))
    }
}

impl From<Grace> for i64 {
    fn from(grace: Grace) -> i64 {
        grace.seconds()
    }
}

/// Records of earlier versions have the largest unsigned number for ever.
impl From<i128> for Grace {
    fn from(seconds: i128) -> Grace {
        i64::try_from(seconds).map_or(Grace::Unlimited, Grace::from_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json, to_value};

    #[test]
    fn restart_policies_are_written_as_in_dockers_command_line() {
        let cases = [
            ("no", RestartPolicy::No),
            ("always", RestartPolicy::Always),
            ("unless-stopped", RestartPolicy::UnlessStopped),
            ("on-failure", RestartPolicy::OnFailure(None)),
            ("on-failure:3", RestartPolicy::OnFailure(Some(3))),
        ];
        for (text, policy) in cases {
            assert_eq!(text.parse(), Ok(policy));
            assert_eq!(policy.to_string(), text);
        }
        assert!(
            "sometimes".parse::<RestartPolicy>().is_err() && "on-failure:x".parse::<RestartPolicy>().is_err()
        );
    }

    #[test]
    fn a_stop_without_a_limit_is_minus_one() {
        for (value, grace) in [
            (json!(-1), Grace::Unlimited),
            (json!(u64::MAX), Grace::Unlimited),
            (json!(7), Grace::Limited(Duration::from_secs(7))),
        ] {
            assert_eq!(from_value::<Grace>(value).unwrap(), grace);
        }
        assert_eq!(to_value(Grace::Unlimited).unwrap(), json!(-1));
    }
}
