//! Images as consoles: the distributions' own, by name, and any other image by its reference. Such
//! a console has no service file; what it needs comes from ours (`replacement`).

use corral_engine::image::reference;

/// Names of RancherOS's consoles, and the stock image of each distribution.
pub(crate) const STOCK: [(&str, &str); 5] = [
    ("alpine", "alpine:3"),
    ("centos", "centos:7"),
    ("debian", "debian:stable-slim"),
    ("fedora", "fedora:latest"),
    ("ubuntu", "ubuntu:24.04"),
];

/// The image that such a name stands for. None for a path, a URL, or the name of a service file in
/// a repository: a reference has a tag, a digest or a folder.
pub(crate) fn image(name: &str) -> Option<String> {
    if let Some((_, image)) = STOCK.iter().find(|(stock, _)| *stock == name) {
        return Some((*image).to_owned());
    }
    let is_file = name.starts_with('/') || name.contains("://");
    let is_reference = name.contains(['/', ':', '@']) && reference::familiar(name).is_ok();
    (!is_file && is_reference).then(|| name.to_owned())
}

/// The service file of such a console. It keeps its file system over restarts.
pub(crate) fn file(name: &str, image: &str) -> String {
    format!(
        "console:\n  image: \"{image}\"\n  labels:\n    io.rancher.os.scope: system\n    \
         io.docker.compose.rebuild: \"false\"\n    io.rancher.os.console: \"{name}\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_plan::compose::parse;

    #[test]
    fn a_name_of_a_distribution_and_any_reference_are_images() {
        let cases = [
            ("debian", Some("debian:stable-slim")),
            ("debian:trixie", Some("debian:trixie")),
            ("registry:5000/my/console:1", Some("registry:5000/my/console:1")),
            ("team/console", Some("team/console")),
            ("site", None),
            ("/opt/console.yml", None),
            ("https://example.com/console.yml", None),
            ("../console", None),
            ("Debian: x", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(image(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn such_a_console_is_kept_and_belongs_to_the_system() {
        for (name, image) in STOCK {
            let service = parse("f", &file(name, image)).unwrap().services.remove(0);
            assert_eq!((service.name.as_str(), service.image.as_str()), ("console", image));
            assert!(service.labels.system && service.labels.rebuild == Some(false), "{name}");
        }
    }
}
