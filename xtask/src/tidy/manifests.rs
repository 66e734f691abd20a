//! Dependencies in the list of the workspace that none of its packages takes: cargo-machete looks
//! into packages only.

use std::collections::BTreeSet;

/// What is wrong, by the workspace's manifest and those of its packages.
pub(super) fn unused(workspace: &str, packages: &[String]) -> Vec<String> {
    let list = workspace.split("\n[").find_map(|part| part.strip_prefix("workspace.dependencies]"));
    let listed = list
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name);
    let taken: BTreeSet<&str> =
        packages.iter().flat_map(|text| text.lines().filter_map(taken)).collect();
    let unused = listed.filter(|name| !name.starts_with('#') && !taken.contains(name));
    unused.map(|name| format!("Cargo.toml: no package of the workspace takes {name}")).collect()
}

/// `name.workspace = true` and `name = { workspace = true, … }`
fn taken(line: &str) -> Option<&str> {
    let (name, value) = line.split_once(" = ")?;
    name.strip_suffix(".workspace")
        .or_else(|| value.starts_with("{ workspace = true").then_some(name))
}

#[cfg(test)]
mod tests {
    use super::unused;

    #[test]
    fn what_no_package_takes_is_named() {
        let workspace = "[workspace]\nmembers = []\n\n[workspace.dependencies]\na = \"1\"\n\
                         # b = 2\nc-d = { version = \"1\", features = [] }\ne = \"2\"\n\n\
                         [workspace.lints.rust]\nf = \"deny\"\n";
        let packages =
            ["a.workspace = true\n[lints]\nworkspace = true\n", "e = { workspace = true }\n"];
        let found = unused(workspace, &packages.map(str::to_owned));
        assert_eq!(found, ["Cargo.toml: no package of the workspace takes c-d"]);
    }
}
