//! The fields of `/proc/PID/stat`, by their numbers in proc_pid_stat(5).

/// A field of the text. The name of the program, field 2, may hold spaces and parentheses.
pub fn field(stat: &str, number: usize) -> Option<&str> {
    let (start, rest) = stat.rsplit_once(')')?;
    match number {
        1 => start.split_whitespace().next(),
        2 => start.split_once('(').map(|(_, name)| name),
        _ => rest.split_whitespace().nth(number.checked_sub(3)?),
    }
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_name_may_look_like_fields() {
        let stat = "70 (a) (b) S 69 71 72 34816";
        let fields = [0, 1, 2, 3, 4, 7, 8].map(|number| field(stat, number));
        let expected =
            [None, Some("70"), Some("a) (b"), Some("S"), Some("69"), Some("34816"), None];
        assert_eq!(fields, expected);
        assert_eq!(field("broken", 3), None);
    }
}
