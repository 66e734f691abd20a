//! What has an id, and mostly a name: containers, networks, images. A client names one by its id,
//! its name, or the beginning of an id that no other has.

use crate::error::EngineError;

/// The item of that id, else of that name, else the only one whose id begins so. `key` is the id
/// and the name of an item, `unknown` the error where there is none.
pub fn find<T>(
    items: impl IntoIterator<Item = T>,
    wanted: &str,
    key: impl Fn(&T) -> (&str, &str),
    unknown: impl FnOnce(String) -> EngineError,
) -> Result<T, EngineError> {
    let (mut named, mut begun, mut are_several) = (None, None, false);
    for item in items {
        let (id, name) = key(&item);
        match (id == wanted, name == wanted, !wanted.is_empty() && id.starts_with(wanted)) {
            (true, ..) => return Ok(item),
            (_, true, _) => named = named.or(Some(item)),
            (.., true) => are_several |= begun.replace(item).is_some(),
            _ => {}
        }
    }
    match named.or(begun.filter(|_| !are_several)) {
        Some(item) => Ok(item),
        // Docker's text.
        None if are_several => Err(EngineError::BadRequest(format!(
            "multiple IDs found with provided prefix: {wanted}"
        ))),
        None => Err(unknown(wanted.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Item = (String, String);

    fn look(items: &[Item], wanted: &str) -> Result<Item, EngineError> {
        find(items, wanted, |(id, name)| (id.as_str(), name.as_str()), EngineError::NoSuchContainer)
            .cloned()
    }

    /// Ids are unique; names look like ids, and like the beginnings of them.
    fn items() -> impl Strategy<Value = Vec<Item>> {
        prop::collection::btree_map("[ab]{4}", "[ab]{1,5}", 0..8)
            .prop_map(|items| items.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn an_id_comes_before_a_name_and_a_name_before_a_prefix(
            items in items(),
            wanted in "[ab]{1,5}",
        ) {
            let begun: Vec<&Item> =
                items.iter().filter(|(id, _)| id.starts_with(&wanted)).collect();
            let of_id = items.iter().find(|(id, _)| *id == wanted);
            let exact = of_id.or_else(|| items.iter().find(|(_, name)| *name == wanted));
            let expected = match (exact, begun.as_slice()) {
                (Some(item), _) => Ok(item.clone()),
                (None, [item]) => Ok((*item).clone()),
                (None, []) => Err(EngineError::NoSuchContainer(wanted.clone())),
                (None, _) => Err(EngineError::BadRequest(format!(
                    "multiple IDs found with provided prefix: {wanted}"
                ))),
            };
            prop_assert_eq!(look(&items, &wanted), expected);
        }

        #[test]
        fn nothing_is_the_beginning_of_no_id(items in items()) {
            prop_assert_eq!(look(&items, ""), Err(EngineError::NoSuchContainer(String::new())));
        }
    }
}
