//! The OVF environment that hypervisors hand over on a CD or through guestinfo, and Azure's.

use crate::instance_data;
use corral_cloud::azure::provisioning;
use corral_cloud::vmware::parse_environment;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(Some(said)) = provisioning::parse(text) {
        instance_data::check(&said);
        let completed = provisioning::complete(Default::default(), said.clone());
        assert_eq!(completed.user_data, said.user_data);
        assert_eq!(completed.metadata.hostname, said.metadata.hostname);
        let keys = &completed.metadata.ssh_public_keys;
        for key in said.metadata.ssh_public_keys.values() {
            assert!(keys.values().any(|known| known == key), "a key of the CD is lost");
        }
    }
    if let Ok((said, url)) = parse_environment(text) {
        instance_data::check(&said);
        assert!(url.is_none() || said.user_data.is_none(), "a URL is used only without user data");
    }
}
