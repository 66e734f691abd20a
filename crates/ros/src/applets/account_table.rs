//! Tables of accounts as text: passwd(5), group(5), shadow(5). Each line has a name, then fields
//! between colons.

use anyhow::{Context, Result};

/// A field of the line of that name; the name itself is field 0.
pub(crate) fn field<'a>(table: &'a str, name: &str, number: usize) -> Option<&'a str> {
    let line = table.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(number)
}

/// `docker:x:1101:rancher` → 1101.
pub(crate) fn group_id(groups: &str, name: &str) -> Result<u32> {
    let id = field(groups, name, 2).with_context(|| format!("there is no group {name}"))?;
    id.parse().with_context(|| format!("the id of the group {name}: {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_the_complete_name() {
        let shadow = "root:*:1::::::\nrancher:$6$a$b:1::::::\nranch:x\n";
        assert_eq!(field(shadow, "rancher", 1), Some("$6$a$b"));
        assert_eq!(field(shadow, "ranch", 1), Some("x"));
        assert_eq!(field(shadow, "ranch", 2), None);
        assert_eq!(field(shadow, "ranche", 1), None);
    }

    #[test]
    fn a_group_has_a_number() {
        let groups = "dockers:x:7:\ndocker:x:1101:rancher\nbroken\nodd:x:y:\n";
        assert_eq!(group_id(groups, "docker").unwrap(), 1101);
        for name in ["staff", "broken", "odd"] {
            assert!(group_id(groups, name).unwrap_err().to_string().contains(name));
        }
    }
}
