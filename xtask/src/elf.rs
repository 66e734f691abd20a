//! What a program needs to start: its loader and its shared libraries.

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::Elf;
use goblin::elf::program_header::{PT_INTERP, ProgramHeader};
use std::ops::Range;

/// DT_NEEDED of an ELF file; empty for anything else.
pub(crate) fn needed(bytes: &[u8]) -> Vec<String> {
    if !bytes.starts_with(b"\x7fELF") {
        return Vec::new();
    }
    Elf::parse(bytes)
        .map(|elf| elf.libraries.iter().map(|name| (*name).to_owned()).collect())
        .unwrap_or_default()
}

/// Where the path of its loader is in the file, with its NUL; None for a library, a static program,
/// or anything else.
pub(crate) fn interpreter(bytes: &[u8]) -> Option<Range<usize>> {
    if !bytes.starts_with(b"\x7fELF") {
        return None;
    }
    let header = Elf::parse_header(bytes).ok()?;
    let context = Ctx::new(Container::Big, Endian::Little);
    let offset = usize::try_from(header.e_phoff).ok()?;
    let headers = ProgramHeader::parse(bytes, offset, usize::from(header.e_phnum), context).ok()?;
    let header = headers.iter().find(|header| header.p_type == PT_INTERP)?;
    let start = usize::try_from(header.p_offset).ok()?;
    let end = start.checked_add(usize::try_from(header.p_filesz).ok()?)?;
    (end <= bytes.len()).then_some(start..end)
}
