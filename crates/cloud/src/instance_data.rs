//! What a data source holds.

use anyhow::Result;
use corral_config::metadata::Metadata;
use serde_json::Value;

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

    /// The same with the provider's configuration. Without one, or if it cannot be read, the
    /// owner's takes effect alone.
    pub(super) fn with_vendor_data(self, vendor_data: Option<Vec<u8>>) -> InstanceData {
        let is_some = |data: &Vec<u8>| !data.trim_ascii().is_empty();
        InstanceData { vendor_data: vendor_data.filter(is_some), ..self }
    }

    /// Nothing in it that would make a difference?
    pub fn is_empty(&self) -> bool {
        self.user_data.as_ref().is_none_or(|data| data.trim_ascii().is_empty())
            && self.metadata.is_empty()
            && self.network.is_none()
            && self.vendor_data.is_none()
    }
}
