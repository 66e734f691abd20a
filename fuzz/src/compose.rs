//! What stands in a compose file: services for PID 1, and what would be typed for the user's
//! Docker.

use corral_plan::compose::parse_with;
use corral_plan::resolved::Environment;
use corral_plan::{Plan, user_service};

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let table: Environment = [("A".to_owned(), "value".to_owned())].into();
    if let Ok(file) = parse_with("fuzz", text, &table) {
        let _ = Plan::new(file.services);
    }
    if let Ok(tree) = corral_config::yaml::parse(text) {
        let _ = user_service::parse("fuzz", &tree.to_value(), &table);
    }
}
