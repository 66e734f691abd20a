//! Repairs the checksums of tar headers after a fuzzer has changed them. Otherwise no changed
//! archive would get past its first header.

use tar::Header;

/// Sparse files of more bytes take seconds, although they have an end.
pub(crate) const LARGEST_SPARSE: u64 = 1 << 20;
const BLOCK: usize = 512;

/// The same archive, in which each header has the checksum that it should have.
pub(crate) fn repair(bytes: &[u8]) -> Vec<u8> {
    let mut repaired = bytes.to_vec();
    let mut at = 0;
    while let Some(block) = repaired.get_mut(at..at + BLOCK) {
        at += BLOCK;
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        let mut header = Header::from_byte_slice(block).clone();
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
        let size = header.entry_size().unwrap_or(0);
        let blocks = usize::try_from(size.div_ceil(BLOCK as u64)).unwrap_or(usize::MAX);
        at = at.saturating_add(blocks.saturating_mul(BLOCK)).min(repaired.len());
    }
    repaired
}

/// Is there a sparse file in it that would take long? A header may be in each block.
pub(crate) fn is_slow(bytes: &[u8]) -> bool {
    bytes.chunks_exact(BLOCK).map(Header::from_byte_slice).any(|header| {
        let size = header.as_gnu().map_or(0, |gnu| gnu.real_size().unwrap_or(0));
        header.entry_type().is_gnu_sparse() && size > LARGEST_SPARSE
    })
}
