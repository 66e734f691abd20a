//! A shared library without its code: a program that needs it starts, and every function returns
//! -1. It is for libraries that programs link and never use here. Only what the loader reads stays,
//! so that it finds the same symbols, in the same versions; no other library is needed.

use anyhow::{Context, Result, ensure};
use goblin::elf::Elf;
use goblin::elf::dynamic::{
    DT_GNU_HASH, DT_SONAME, DT_STRSZ, DT_STRTAB, DT_SYMENT, DT_SYMTAB, DT_VERDEF, DT_VERDEFNUM,
    DT_VERSYM,
};
use goblin::elf::program_header::{PT_DYNAMIC, PT_GNU_STACK, PT_LOAD};
use goblin::elf::sym::STT_GNU_IFUNC;
use std::collections::BTreeSet;
use std::ops::Range;

const SECTIONS: [&str; 6] =
    [".dynamic", ".dynstr", ".dynsym", ".gnu.hash", ".gnu.version", ".gnu.version_d"];
const TAGS: [u64; 9] = [
    DT_SONAME,
    DT_STRTAB,
    DT_STRSZ,
    DT_SYMTAB,
    DT_SYMENT,
    DT_GNU_HASH,
    DT_VERSYM,
    DT_VERDEF,
    DT_VERDEFNUM,
];
/// `mov $-1, %rax; ret`
const FUNCTION: [u8; 8] = [0x48, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff, 0xc3];

/// Sizes of the header, of a program header, and of an entry of `.dynamic`.
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const DYNAMIC: usize = 16;

/// Makes the stub of a library for x86-64.
pub(crate) fn of(library: &[u8]) -> Result<Vec<u8>> {
    let elf = Elf::parse(library).context("reading the library")?;
    ensure!(elf.is_64 && elf.is_lib, "it is no 64-bit shared library");
    let has_hash = elf.dynamic.iter().flat_map(|all| &all.dyns).any(|tag| tag.d_tag == DT_GNU_HASH);
    ensure!(has_hash, "it has no table of symbols in the form of GNU");
    let loaded = elf.program_headers.iter().filter(|header| header.p_type == PT_LOAD);
    let ends = loaded.map(|header| header.p_offset.saturating_add(header.p_filesz));
    let mut stub = vec![0; usize::try_from(ends.max().unwrap_or(0))?];
    for section in &elf.section_headers {
        if SECTIONS.contains(&elf.shdr_strtab.get_at(section.sh_name).unwrap_or_default()) {
            let range = section.file_range().context("a section without content")?;
            copy(library, &mut stub, range)?;
        }
    }
    write_headers(&elf, library, &mut stub)?;
    write_dynamic(&elf, &mut stub)?;
    for address in functions(&elf)? {
        write(&mut stub, offset(&elf, address)?, &FUNCTION)?;
    }
    Ok(stub)
}

/// Their addresses, with room for ours at each.
fn functions(elf: &Elf<'_>) -> Result<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    for symbol in elf.dynsyms.iter().filter(|symbol| !symbol.is_import()) {
        ensure!(symbol.st_type() != STT_GNU_IFUNC, "it chooses functions when it is loaded");
        if symbol.is_function() {
            found.insert(symbol.st_value);
        }
    }
    let next = found.iter().skip(1);
    let has_room = found.iter().zip(next).all(|(one, next)| next - one >= FUNCTION.len() as u64);
    ensure!(has_room, "its functions are too small");
    Ok(found)
}

/// Keeps what is loaded, and leaves out the table of sections, which the loader does not read.
fn write_headers(elf: &Elf<'_>, library: &[u8], stub: &mut [u8]) -> Result<()> {
    copy(library, stub, 0..HEADER)?;
    // e_shoff; then e_shentsize, e_shnum and e_shstrndx.
    write(stub, 40, &[0; 8])?;
    write(stub, 58, &[0; 6])?;
    let table = usize::try_from(elf.header.e_phoff)?;
    for (index, header) in elf.program_headers.iter().enumerate() {
        let start = table + index * PROGRAM_HEADER;
        if [PT_LOAD, PT_DYNAMIC, PT_GNU_STACK].contains(&header.p_type) {
            copy(library, stub, start..start + PROGRAM_HEADER)?;
        }
    }
    Ok(())
}

/// Keeps the tables of symbols and versions: no needed library, no relocation, no initialization.
fn write_dynamic(elf: &Elf<'_>, stub: &mut [u8]) -> Result<()> {
    let header = elf.program_headers.iter().find(|header| header.p_type == PT_DYNAMIC);
    let header = header.context("it has no dynamic section")?;
    let (start, size) = (usize::try_from(header.p_offset)?, usize::try_from(header.p_filesz)?);
    write(stub, start, &vec![0; size])?;
    let dynamic = elf.dynamic.as_ref().context("it has no dynamic section")?;
    let kept = dynamic.dyns.iter().filter(|entry| TAGS.contains(&entry.d_tag));
    for (index, entry) in kept.enumerate() {
        let place = start + index * DYNAMIC;
        write(stub, place, &entry.d_tag.to_le_bytes())?;
        write(stub, place + 8, &entry.d_val.to_le_bytes())?;
    }
    Ok(())
}

/// Where an address is in the file.
fn offset(elf: &Elf<'_>, address: u64) -> Result<usize> {
    let loaded = elf.program_headers.iter().filter(|header| header.p_type == PT_LOAD);
    let place = |start: u64, size: u64| address.checked_sub(start).filter(|from| *from < size);
    let mut found = loaded
        .filter_map(|header| header.p_offset.checked_add(place(header.p_vaddr, header.p_filesz)?));
    Ok(usize::try_from(found.next().context("a function that is not in the file")?)?)
}

fn copy(from: &[u8], to: &mut [u8], range: Range<usize>) -> Result<()> {
    let bytes = from.get(range.clone()).context("it ends early")?;
    write(to, range.start, bytes)
}

fn write(to: &mut [u8], start: usize, bytes: &[u8]) -> Result<()> {
    let place = to.get_mut(start..).and_then(|rest| rest.get_mut(..bytes.len()));
    place.context("a part that is not loaded")?.copy_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_stub_has_the_symbols_of_the_library_and_needs_nothing() {
        let library = fs::read("/usr/lib/x86_64-linux-gnu/libz.so.1").unwrap();
        let stub = of(&library).unwrap();
        let (before, after) = (Elf::parse(&library).unwrap(), Elf::parse(&stub).unwrap());
        assert!(!before.libraries.is_empty());
        assert!(after.libraries.is_empty(), "{:?}", after.libraries);
        assert_eq!(after.soname, before.soname);
        let exported = |elf: &Elf<'_>| -> Vec<String> {
            let symbols = elf.dynsyms.iter().filter(|symbol| !symbol.is_import());
            symbols
                .filter_map(|symbol| Some(elf.dynstrtab.get_at(symbol.st_name)?.to_owned()))
                .collect()
        };
        assert_eq!(exported(&after), exported(&before));
        assert!(exported(&after).contains(&"inflate".to_owned()));
    }

    #[test]
    fn what_is_no_library_is_refused() {
        assert!(of(b"#!/bin/sh\n").is_err());
    }
}
