//! The order of a shutdown: a container is stopped as soon as nothing that is up waits for it.

use std::collections::{BTreeMap, BTreeSet};

/// A container that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Up {
    pub(crate) id: String,
    pub(crate) name: String,
    /// It was stopped already, and has not ended yet.
    pub(crate) is_stopping: bool,
}

/// The ids of those to stop now. `waits_for`: service → the services that it waits for.
pub(crate) fn next<'a>(
    up: &'a [Up],
    waits_for: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<&'a str> {
    let is_needed = |name: &String| {
        up.iter().any(|other| waits_for.get(&other.name).is_some_and(|names| names.contains(name)))
    };
    let free = up.iter().filter(|container| !container.is_stopping && !is_needed(&container.name));
    free.map(|container| container.id.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(number: usize) -> String {
        format!("s{number}")
    }

    proptest! {
        /// For any dependencies and any order of ends: each container is stopped once, after all
        /// that wait for it have ended.
        #[test]
        fn each_is_stopped_once_and_after_those_that_wait_for_it(
            count in 1..12_usize,
            edges in prop::collection::vec((0..12_usize, 0..12_usize), 0..30),
            ends in prop::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let mut waits_for: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            // A plan has no cycles: each waits for earlier ones only.
            for (a, b) in edges.iter().filter(|(a, b)| b < a && *a < count) {
                waits_for.entry(name(*a)).or_default().insert(name(*b));
            }
            let as_up =
                |number| Up { id: number_id(number), name: name(number), is_stopping: false };
            let mut up: Vec<Up> = (0..count).map(as_up).collect();
            let mut ends = ends.iter();
            while !up.is_empty() {
                let free: Vec<String> =
                    next(&up, &waits_for).into_iter().map(str::to_owned).collect();
                for container in up.iter_mut().filter(|container| free.contains(&container.id)) {
                    prop_assert!(!container.is_stopping);
                    container.is_stopping = true;
                }
                for stopping in up.iter().filter(|container| container.is_stopping) {
                    let waits = |other: &Up| {
                        let before = waits_for.get(&other.name);
                        before.is_some_and(|names| names.contains(&stopping.name))
                    };
                    prop_assert!(!up.iter().any(waits), "{} is stopped too early", stopping.name);
                }
                let stopping: Vec<usize> = (0..up.len()).filter(|at| up[*at].is_stopping).collect();
                prop_assert!(!stopping.is_empty(), "nothing is stopped any more: {up:?}");
                let ended = ends.next().map_or(stopping[0], |index| *index.get(&stopping));
                up.remove(ended);
            }
        }
    }

    fn number_id(number: usize) -> String {
        format!("id-{number}")
    }
}
