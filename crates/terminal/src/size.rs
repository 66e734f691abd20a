//! Sizes for display.

/// In megabytes, as disks and downloads are measured.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// The size of a disk: in gigabytes from 10 GB on.
pub fn of_disk(bytes: u64) -> String {
    if bytes >= 10_000_000_000 {
        format!("{:.1} GB", bytes as f64 / 1e9)
    } else {
        format!("{:.0} MB", bytes as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_powers_of_ten() {
        let cases = [
            (0, "0.0 MB"),
            (49_999, "0.0 MB"),
            (1_550_000, "1.6 MB"),
            (12_300_000_000, "12300.0 MB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(megabytes(bytes), text);
        }
        for (bytes, text) in
            [(512 << 20, "537 MB"), (9_999_999_999, "10000 MB"), (10_000_000_000, "10.0 GB")]
        {
            assert_eq!(of_disk(bytes), text);
        }
    }
}
