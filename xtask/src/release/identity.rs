//! What is usually drawn at random: identifiers of disks, partitions, file systems and documents.
//! In a release they come from what they are for, so that two builds have the same.

use sha2::{Digest, Sha256};

/// Reflected polynomials: of GPT (ISO 3309), and of VHDX (Castagnoli).
pub(super) const CRC32: u32 = 0xedb8_8320;
pub(super) const CRC32C: u32 = 0x82f6_3b78;

/// What the identifiers of something are made from.
#[derive(Debug, Clone)]
pub(super) struct Identity(String);

impl Identity {
    /// Of a file in a version of the product.
    pub(super) fn new(name: &str, version: &str, epoch: u64) -> Identity {
        Identity(format!("corral {version}+{epoch} {name}"))
    }

    /// The identifier of a part.
    pub(super) fn uuid(&self, part: &str) -> [u8; 16] {
        of_hash(&Sha256::digest(format!("{}\0{part}", self.0)).into())
    }

    /// The same in the byte order of GPT and of VHDX.
    pub(super) fn guid(&self, part: &str) -> [u8; 16] {
        let mut bytes = self.uuid(part);
        for field in [0..4, 4..6, 6..8] {
            bytes[field].reverse();
        }
        bytes
    }

    /// A number for a part, neither zero nor all ones.
    pub(super) fn word(&self, part: &str) -> u32 {
        let [a, b, c, d, ..] = self.uuid(part);
        u32::from_be_bytes([a & 0x7f, b, c, d | 1])
    }
}

/// A UUID of version 8, whose bits are free to choose (RFC 9562): the same parts have the same.
pub(super) fn of_hash(hash: &[u8; 32]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// As it is written: `01234567-89ab-8def-…`.
pub(super) fn text(uuid: [u8; 16]) -> String {
    let text = hex::encode(uuid);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

/// The cyclic redundancy check of bytes by one of the polynomials.
pub(super) fn crc(polynomial: u32, bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ polynomial } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

#[cfg(test)]
mod tests {
    use super::{CRC32, CRC32C, Identity, crc, text};

    #[test]
    fn checks_are_those_of_the_catalogue_of_crcs() {
        assert_eq!(crc(CRC32, b"123456789"), 0xcbf4_3926);
        assert_eq!(crc(CRC32C, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn an_identifier_depends_on_the_file_the_version_and_the_part() {
        let identity = Identity::new("any.raw", "1.2.3", 1);
        let id = text(identity.uuid("disk"));
        assert_eq!((id.len(), &id[14..15]), (36, "8"));
        assert_eq!(id, text(Identity::new("any.raw", "1.2.3", 1).uuid("disk")));
        for other in [
            identity.uuid("partition 1"),
            Identity::new("ec2.raw", "1.2.3", 1).uuid("disk"),
            Identity::new("any.raw", "1.2.4", 1).uuid("disk"),
            Identity::new("any.raw", "1.2.3", 2).uuid("disk"),
        ] {
            assert_ne!(text(other), id);
        }
        // Version and variant are where Microsoft's order has them.
        assert_eq!(identity.guid("disk")[7] >> 4, 8);
        assert_ne!(identity.word("disk"), 0);
    }
}
