//! What old files say to dockerd → what today's Docker takes. It does not start with an option that
//! it does not know.

/// Storage drivers that Docker removed (23.0 to 25.0). No other driver can read what they stored.
const REMOVED_DRIVERS: [&str; 3] = ["aufs", "devicemapper", "overlay"];
const DRIVER: &str = "overlay2";
const STORAGE_DRIVER: &str = "--storage-driver";
/// Old and new names of options with a value.
const RENAMED: [(&str, &str); 3] =
    [("-g", "--data-root"), ("--graph", "--data-root"), ("-s", STORAGE_DRIVER)];
const STORAGE_OPTION: &str = "--storage-opt";
/// How the options of removed storage drivers begin. No other driver takes them.
const REMOVED_STORAGE_OPTIONS: [&str; 2] = ["dm.", "aufs."];
/// It was an option without a value, and has no effect since 17.12.
const REMOVED: &str = "--disable-legacy-registry";

/// The driver to use.
pub(crate) fn storage_driver(name: &str) -> &str {
    if REMOVED_DRIVERS.contains(&name) { DRIVER } else { name }
}

/// The arguments as today's Docker takes them. The value of an option may be a word of its own.
pub fn arguments(words: &[String]) -> Vec<String> {
    let mut result: Vec<String> = Vec::new();
    let mut words = words.iter().filter(|word| word.split('=').next() != Some(REMOVED));
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        let name = RENAMED.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| *new);
        let has_value = [STORAGE_DRIVER, STORAGE_OPTION].contains(&name);
        let next = if value.is_none() && has_value { words.next() } else { None };
        let of_driver = value.or(next.map(String::as_str)).unwrap_or_default();
        if name == STORAGE_OPTION && is_removed_option(of_driver) {
            continue;
        }
        let text = |value: &str| {
            if name == STORAGE_DRIVER { storage_driver(value).to_owned() } else { value.to_owned() }
        };
        match value {
            Some(value) => result.push(format!("{name}={}", text(value))),
            None => result.push(name.to_owned()),
        }
        result.extend(next.map(|value| text(value)));
    }
    result
}

fn is_removed_option(option: &str) -> bool {
    REMOVED_STORAGE_OPTIONS.iter().any(|prefix| option.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_options_have_their_new_names() {
        for (old, new) in [
            ("-g /mnt/docker --debug", "--data-root /mnt/docker --debug"),
            ("--graph=/mnt/a=b", "--data-root=/mnt/a=b"),
            ("--graph /mnt", "--data-root /mnt"),
            (
                "-s overlay --storage-driver=aufs",
                "--storage-driver overlay2 --storage-driver=overlay2",
            ),
            (
                "-s devicemapper --storage-opt dm.basesize=20G --storage-opt=dm.fs=xfs -D",
                "--storage-driver overlay2 -D",
            ),
            (
                "--storage-opt aufs.x --storage-opt overlay2.size=1G --storage-opt=size=1G",
                "--storage-opt overlay2.size=1G --storage-opt=size=1G",
            ),
            ("--debug --storage-opt", "--debug --storage-opt"),
            ("--storage-driver btrfs", "--storage-driver btrfs"),
            ("--disable-legacy-registry --disable-legacy-registry=false -D", "-D"),
            (
                "--insecure-registry r:5000 --label overlay",
                "--insecure-registry r:5000 --label overlay",
            ),
        ] {
            let words: Vec<String> = old.split(' ').map(str::to_owned).collect();
            assert_eq!(arguments(&words).join(" "), new, "{old}");
        }
    }
}
