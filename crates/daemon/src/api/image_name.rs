//! Names of images as clients write them: in requests, in filters, in patterns.

use corral_engine::image::reference;

/// The name that a client requests for a new image; None: it has only its id.
pub(super) fn image_name(repository: &str, tag: &str) -> Option<String> {
    match (repository, tag) {
        ("", _) => None,
        (repository, "") => Some(repository.to_owned()),
        (repository, tag) => Some(format!("{repository}:{tag}")),
    }
}

/// Does an image's name, as a client wrote it, mean the wanted one? A wanted name without a tag
/// means every tag.
pub(super) fn is_same(name: &str, wanted: &str) -> bool {
    let full = |text: &str| reference::familiar(text).ok();
    let (Some(name), Some(full_wanted)) = (full(name), full(wanted)) else { return name == wanted };
    let bare = name.rsplit_once(':').map_or(name.as_str(), |(bare, _)| bare);
    name == full_wanted || bare == wanted
}

/// A pattern as in a shell, of a name without or with a tag.
pub fn is_like(name: &str, pattern: &str) -> bool {
    let bare = name.rsplit_once(':').map_or(name, |(bare, _)| bare);
    [name, bare].iter().any(|text| fits_pattern(text.as_bytes(), pattern.as_bytes()))
}

/// Where it does not fit, the last star takes one more byte: an earlier one need never be tried
/// again.
fn fits_pattern(text: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut next, mut star) = (0, 0, None);
    while at < text.len() {
        match (pattern.get(next), star) {
            (Some(b'*'), _) => {
                star = Some((next, at));
                next += 1;
            }
            (Some(byte), _) if *byte == b'?' || *byte == text[at] => {
                (at, next) = (at + 1, next + 1)
            }
            (_, Some((after, taken))) => {
                star = Some((after, taken + 1));
                (at, next) = (taken + 1, after + 1);
            }
            (_, None) => return false,
        }
    }
    pattern[next..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_is_every_tag() {
        for (name, wanted, expected) in [
            ("busybox", "busybox:latest", true),
            ("busybox:latest", "busybox", true),
            ("busybox:1", "busybox", true),
            ("busybox:1", "busybox:latest", false),
            ("docker.io/library/busybox", "busybox", true),
            ("busy", "busybox", false),
        ] {
            assert_eq!(is_same(name, wanted), expected, "{name} {wanted}");
        }
    }

    #[test]
    fn names_fit_patterns() {
        for (name, pattern, expected) in [
            ("busybox:latest", "busybox", true),
            ("busybox:latest", "busy*", true),
            ("busybox:1", "busybox:2", false),
            ("corral/os-base:1", "corral/*", true),
            ("a:1", "?:1", true),
            ("abcabd:1", "*ab?:1", true),
            ("abc", "a*b*c*", true),
            ("abc", "*b", false),
            ("", "**", true),
            ("", "?", false),
            (&"a".repeat(200), &"*a".repeat(100), true),
            (&"a".repeat(200), &format!("{}b", "*a".repeat(100)), false),
        ] {
            assert_eq!(is_like(name, pattern), expected, "{name} {pattern}");
        }
    }
}
