//! What a switch means for images, containers and volumes that are there: each engine keeps its own
//! data, and an older one may not read what a newer one wrote.

/// An engine by what it does with data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) name: String,
    /// Empty if it is not known.
    pub(super) version: String,
    pub(super) is_podman: bool,
}

impl Kind {
    /// Major and minor version.
    fn release(&self) -> Option<(u32, u32)> {
        let mut parts = self.version.split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    }
}

/// The text that is shown before a switch.
pub(super) fn consequences(from: &Kind, to: &Kind) -> Vec<String> {
    let mut lines = vec![format!("Docker is restarted as {}.", shown(to))];
    match (from.is_podman, to.is_podman) {
        (false, true) => lines.push(
            "Podman has a storage of its own, /var/lib/docker/podman: Docker's containers are \
             stopped, and its images, containers, volumes and networks are not shown. They are \
             kept, and are there again after a switch back."
                .to_owned(),
        ),
        (true, false) => lines.push(
            "Podman's containers are stopped, and its images, containers, volumes and networks \
             are not shown. They are kept in /var/lib/docker/podman."
                .to_owned(),
        ),
        (true, true) => {}
        (false, false) => lines.extend(between_versions(from, to)),
    }
    lines.push("If it runs no container, the engine before it runs again.".to_owned());
    lines
}

fn between_versions(from: &Kind, to: &Kind) -> Vec<String> {
    let (Some(old), Some(new)) = (from.release(), to.release()) else {
        return vec!["Its version is not known: make a copy of what must not be lost.".to_owned()];
    };
    let mut lines = vec!["Running containers are stopped, and started again.".to_owned()];
    if new < old {
        lines.push(format!(
            "{} is older than {}: it may not show or start containers and networks that the newer \
             one made. Images in containerd's own store (the feature containerd-snapshotter) are \
             not shown. Volumes and files stay. Make a copy of what must not be lost.",
            shown(to),
            shown(from)
        ));
    } else if new > old {
        lines.push(format!(
            "{} may write data that {} does not read after a switch back.",
            shown(to),
            shown(from)
        ));
    }
    lines
}

fn shown(kind: &Kind) -> String {
    match kind.version.as_str() {
        "" => kind.name.clone(),
        version => format!("{} ({version})", kind.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, version: &str) -> Kind {
        Kind { name: name.to_owned(), version: version.to_owned(), is_podman: false }
    }

    #[test]
    fn what_is_lost_to_view_is_shown() {
        let (old, built_in, new) = (
            kind("docker-20.10", "20.10.24"),
            kind("docker-26.1", "26.1.5"),
            kind("docker-28.5", "28.5.2"),
        );
        let podman = Kind { is_podman: true, ..kind("registry:5000/engine:5", "5.4.2") };
        for (from, to, expected) in [
            (&new, &old, "is older than docker-28.5 (28.5.2)"),
            (&built_in, &new, "may write data that docker-26.1 (26.1.5) does not read"),
            (&built_in, &podman, "Podman has a storage of its own"),
            (&podman, &new, "They are kept in /var/lib/docker/podman"),
            (&built_in, &kind("x:1", ""), "Its version is not known"),
        ] {
            let text = consequences(from, to).join("\n");
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
        let same = consequences(&built_in, &built_in).join("\n");
        assert!(!same.contains("older") && !same.contains("may write"), "{same}");
    }
}
