//! What the metadata services of providers answer, and the seeds on drives that say the same.

use crate::instance_data;
use corral_cloud::{
    InstanceData, azure, digitalocean, ec2, gce, network_data, openstack, packet, seed,
};
use corral_config::metadata::Metadata;
use serde_json::Value;

pub(crate) fn check(bytes: &[u8]) {
    // The services answer in JSON, a drive may have YAML too.
    for tree in [seed::parse_tree("meta-data", bytes).ok(), serde_json::from_slice(bytes).ok()] {
        tree.iter().for_each(check_tree);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(metadata) = Metadata::parse(text) {
        instance_data::check(&InstanceData { metadata, ..InstanceData::default() });
    }
    let ssh_public_keys = gce::parse_keys(text, "project");
    instance_data::check(&InstanceData {
        metadata: Metadata { ssh_public_keys, ..Metadata::default() },
        ..InstanceData::default()
    });
    for (number, _) in ec2::parse_key_list(text) {
        assert!(text.contains(&number.to_string()));
    }
    if let Ok(report) = azure::parse_goal_state(text) {
        let document = roxmltree::Document::parse(&report).expect("a report is XML");
        assert_eq!(
            document.descendants().filter(roxmltree::Node::is_element).count(),
            9,
            "{report}"
        );
    }
}

fn check_tree(tree: &Value) {
    if let Some(said) = azure::parse(tree) {
        instance_data::check(&said);
    }
    if let Some(said) = digitalocean::parse(tree) {
        instance_data::check(&said);
    }
    instance_data::check(&packet::parse(tree));
    for network in [network_data::from_openstack(tree), network_data::from_nocloud(tree)] {
        instance_data::check(&InstanceData {
            metadata: openstack::metadata(tree),
            network,
            ..InstanceData::default()
        });
    }
}
