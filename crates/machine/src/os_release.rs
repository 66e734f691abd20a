//! Which version of the system runs: os-release(5) of the system image.

use std::fs;

/// The file of the system image.
pub const FILE: &str = "/usr/share/ros/os-release";

/// The version that runs; that of this program where there is no system image.
pub fn running_version() -> String {
    field(&text(), "VERSION_ID").unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned())
}

/// The commit of git that the system image was built from; none if the build did not know it.
pub fn running_commit() -> Option<String> {
    field(&text(), "CORRAL_COMMIT")
}

fn text() -> String {
    fs::read_to_string(FILE).unwrap_or_default()
}

fn field(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_is_found_by_its_complete_key() {
        let text = "VERSION=\"v1.2\"\nVERSION_ID=\"1.2\"\nCORRAL_COMMIT=\"0a1b\"\n";
        assert_eq!(field(text, "VERSION_ID").as_deref(), Some("1.2"));
        assert_eq!(field(text, "CORRAL_COMMIT").as_deref(), Some("0a1b"));
        assert_eq!(field(text, "VERSION_I"), None);
        assert_eq!(field("", "VERSION_ID"), None);
    }
}
