//! What old files say to dockerd → what today's Docker takes. It does not start with an option that
//! it does not know.

/// Storage drivers that Docker removed (23.0 to 25.0). No other driver can read what they stored.
const REMOVED_DRIVERS: [&str; 3] = ["aufs", "devicemapper", "overlay"];
const DRIVER: &str = "overlay2";
/// Old and new names of options with a value.
const RENAMED: [(&str, &str); 3] =
    [("-g", "--data-root"), ("--graph", "--data-root"), ("-s", "--storage-driver")];
/// It was an option without a value, and has no effect since 17.12.
const REMOVED: &str = "--disable-legacy-registry";

/// The driver to use.
pub(crate) fn storage_driver(name: &str) -> &str {
    if REMOVED_DRIVERS.contains(&name) { DRIVER } else { name }
}

/// The arguments as today's Docker takes them. The value of an option may be a word of its own.
pub(crate) fn arguments(words: &[String]) -> Vec<String> {
    let mut result: Vec<String> = Vec::new();
    let mut is_driver = false;
    for word in words.iter().filter(|word| word.split('=').next() != Some(REMOVED)) {
        if std::mem::take(&mut is_driver) {
            result.push(storage_driver(word).to_owned());
            continue;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        let name = RENAMED.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| *new);
        match value {
            Some(value) if name == "--storage-driver" => {
                result.push(format!("{name}={}", storage_driver(value)));
            }
            Some(value) => result.push(format!("{name}={value}")),
            None => {
                is_driver = name == "--storage-driver";
                result.push(name.to_owned());
            }
        }
    }
    result
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
