//! Whatever stands in a compose file: services for PID 1, and what would be typed for the user's Docker.

#![no_main]

use corral_plan::compose::{Environment, parse_with};
use corral_plan::{Plan, user_service};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let table: Environment = [("A".to_owned(), "value".to_owned())].into();
    if let Ok(file) = parse_with("fuzz", text, &table) {
        let _ = Plan::new(file.services);
    }
    if let Ok(tree) = corral_config::yaml::parse(text) {
        let _ = user_service::parse("fuzz", &tree.to_value(), &table);
    }
});
