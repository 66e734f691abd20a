//! Which shared libraries a program needs: the names in its dynamic section.

use goblin::elf::Elf;

/// DT_NEEDED of an ELF file; empty for anything else.
pub(crate) fn needed(bytes: &[u8]) -> Vec<String> {
    if !bytes.starts_with(b"\x7fELF") {
        return Vec::new();
    }
    Elf::parse(bytes)
        .map(|elf| elf.libraries.iter().map(|name| (*name).to_owned()).collect())
        .unwrap_or_default()
}
