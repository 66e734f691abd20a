//! What a data source holds.

use anyhow::Result;
use corral_config::metadata::Metadata;
use serde_json::Value;

/// What a data source has but did not give. What is stored of it stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unread {
    /// At least one ssh key of the provider, or their list.
    pub keys: bool,
    pub network: bool,
    pub vendor_data: bool,
}

/// What a data source holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InstanceData {
    pub user_data: Option<Vec<u8>>,
    /// A cloud-config of the provider, below the owner's.
    pub vendor_data: Option<Vec<u8>>,
    pub metadata: Metadata,
    /// The value of `rancher.network`, where the provider says how the machine is connected.
    pub network: Option<Value>,
    /// What could not be read of it.
    pub problems: Vec<String>,
    pub unread: Unread,
}

impl InstanceData {
    /// Metadata, and user data if it could be read. Without user data, the provider's keys still
    /// let the owner in.
    pub(super) fn with_user_data(
        user_data: Result<Option<Vec<u8>>>,
        metadata: Metadata,
    ) -> InstanceData {
        let (user_data, problems) = match user_data {
            Ok(user_data) => (user_data, Vec::new()),
            Err(error) => (None, vec![format!("user-data: {error:#}")]),
        };
        InstanceData { user_data, metadata, problems, ..InstanceData::default() }
    }

    /// The same with the provider's configuration.
    pub(super) fn with_vendor_data(mut self, vendor_data: Result<Option<Vec<u8>>>) -> InstanceData {
        match vendor_data {
            Ok(data) => self.vendor_data = data.filter(|data| !data.trim_ascii().is_empty()),
            Err(error) => {
                self.unread.vendor_data = true;
                self.problems.push(format!("vendor data: {error:#}"));
            }
        }
        self
    }

    /// The same with the provider's network.
    pub(super) fn with_network(mut self, network: Result<Option<Value>>) -> InstanceData {
        match network {
            Ok(network) => self.network = network,
            Err(error) => {
                self.unread.network = true;
                self.problems.push(format!("network: {error:#}"));
            }
        }
        self
    }

    /// Nothing in it that would make a difference?
    pub fn is_empty(&self) -> bool {
        self.user_data.as_ref().is_none_or(|data| data.trim_ascii().is_empty())
            && self.metadata.is_empty()
            && self.network.is_none()
            && self.vendor_data.is_none()
    }
}
