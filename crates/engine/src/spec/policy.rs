//! When a container is started again, and how long it may take to stop.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// When a container that ended is started again. In JSON Docker's name and limit, as two fields of
/// the container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Fields", from = "Fields")]
pub enum RestartPolicy {
    #[default]
    No,
    Always,
    UnlessStopped,
    /// After an exit code other than 0; at most so many times, if there is a limit.
    OnFailure(Option<u32>),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Fields {
    restart: String,
    /// 0: no limit.
    restart_limit: u32,
}

impl From<RestartPolicy> for Fields {
    fn from(policy: RestartPolicy) -> Fields {
        Fields { restart: policy.name().to_owned(), restart_limit: policy.limit() }
    }
}

/// Names are checked where a client says them.
impl From<Fields> for RestartPolicy {
    fn from(fields: Fields) -> RestartPolicy {
        RestartPolicy::parse(&fields.restart, fields.restart_limit).unwrap_or_default()
    }
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

    /// The limit of starts; 0 for none.
    pub fn limit(self) -> u32 {
        match self {
            RestartPolicy::OnFailure(limit) => limit.unwrap_or(0),
            RestartPolicy::No | RestartPolicy::Always | RestartPolicy::UnlessStopped => 0,
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
    "invalid restart policy: unknown policy '{0}'; \
     use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
)]
pub struct UnknownPolicy(String);

/// How long a container may take between its stop signal and the kill. In JSON seconds; the largest
/// number means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u64", from = "u64")]
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

impl From<Grace> for u64 {
    fn from(grace: Grace) -> u64 {
        match grace {
            Grace::Limited(time) => time.as_secs(),
            Grace::Unlimited => u64::MAX,
        }
    }
}

impl From<u64> for Grace {
    fn from(seconds: u64) -> Grace {
        match seconds {
            u64::MAX => Grace::Unlimited,
            seconds => Grace::Limited(Duration::from_secs(seconds)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json, to_value};

    #[test]
    fn restart_policies_are_written_as_a_name_and_a_limit() {
        let cases = [
            ("no", 0, RestartPolicy::No),
            ("always", 0, RestartPolicy::Always),
            ("unless-stopped", 0, RestartPolicy::UnlessStopped),
            ("on-failure", 0, RestartPolicy::OnFailure(None)),
            ("on-failure", 3, RestartPolicy::OnFailure(Some(3))),
        ];
        for (name, limit, policy) in cases {
            let document = json!({"restart": name, "restart_limit": limit});
            assert_eq!(to_value(policy).unwrap(), document);
            assert_eq!(from_value::<RestartPolicy>(document).unwrap(), policy);
            assert_eq!(RestartPolicy::parse(name, limit), Ok(policy));
        }
        assert!(RestartPolicy::parse("sometimes", 0).is_err());
    }

    #[test]
    fn a_stop_without_a_limit_is_the_largest_number() {
        for (value, grace) in [
            (json!(u64::MAX), Grace::Unlimited),
            (json!(7), Grace::Limited(Duration::from_secs(7))),
        ] {
            assert_eq!(from_value::<Grace>(value.clone()).unwrap(), grace);
            assert_eq!(to_value(grace).unwrap(), value);
        }
        assert_eq!(Grace::from_seconds(-1), Grace::Unlimited);
    }
}
