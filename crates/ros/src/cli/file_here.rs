//! A file of the current folder that an owner named without its path. Where a command takes names
//! too, such an argument is a name, and the message about it shows the path to write.

use std::path::Path;

/// Service files, which the configuration names by their absolute paths.
const OF_SERVICES: [&str; 2] = [".yml", ".yaml"];

/// What to write for a file; None if there is none of that name here.
pub(crate) fn any(name: &str) -> Option<String> {
    in_folder(&std::env::current_dir().ok()?, name)
}

/// The same for commands that take service files only.
pub(crate) fn service_file(name: &str) -> Option<String> {
    any(name).filter(|_| is_of_services(name))
}

/// Is it the name of a service file?
pub(crate) fn is_of_services(name: &str) -> bool {
    OF_SERVICES.iter().any(|extension| name.ends_with(extension))
}

fn in_folder(folder: &Path, name: &str) -> Option<String> {
    let file = folder.join(name);
    if name.contains('/') || !file.is_file() {
        return None;
    }
    let path = if is_of_services(name) { file.display().to_string() } else { format!("./{name}") };
    Some(format!("a file of this name is here: write {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_without_its_path_is_answered_with_its_path() {
        let folder = std::env::temp_dir().join(format!("corral-here-{}", std::process::id()));
        fs::create_dir_all(folder.join("docker")).unwrap();
        for file in ["podman.tar", "site.yml"] {
            fs::write(folder.join(file), "").unwrap();
        }
        let absolute = folder.join("site.yml").display().to_string();
        for (name, expected) in [
            ("podman.tar", Some("./podman.tar")),
            ("site.yml", Some(absolute.as_str())),
            ("./podman.tar", None),
            ("docker", None),
            ("docker-28.5.tar", None),
            ("", None),
        ] {
            let expected =
                expected.map(|path| format!("a file of this name is here: write {path}"));
            assert_eq!(in_folder(&folder, name), expected, "{name}");
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_archive_is_no_service_file() {
        // Tests run in the folder of their crate.
        assert!(any("Cargo.toml").is_some() && service_file("Cargo.toml").is_none());
        assert!(is_of_services("a.yml") && is_of_services("a.yaml") && !is_of_services("a.tar"));
    }
}
