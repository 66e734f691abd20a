//! What a program needs to start: its loader and its shared libraries.

use anyhow::{Context, Result, ensure};
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

/// Makes another loader the one that starts a program. Its path must not be longer than that of the
/// loader before it, so that nothing in the file moves. A program without a loader stays as it is.
pub(crate) fn set_loader(bytes: &mut [u8], loader: &str) -> Result<()> {
    let Some(place) = interpreter(bytes) else { return Ok(()) };
    let place = bytes.get_mut(place).context("a loader outside of the file")?;
    ensure!(loader.len() < place.len(), "the path of the loader is too long: {loader}");
    place.fill(0);
    place[..loader.len()].copy_from_slice(loader.as_bytes());
    Ok(())
}

/// Replaces a text in the read-only data of a program by one that is as long. An error if it is not
/// there.
pub(crate) fn replace_text(bytes: &mut [u8], old: &str, new: &str) -> Result<()> {
    ensure!(old.len() == new.len(), "{old} and {new} differ in length");
    let (old, mut count) = ([old.as_bytes(), b"\0"].concat(), 0);
    for at in 0..bytes.len().saturating_sub(old.len()) {
        if bytes[at..].starts_with(&old) {
            bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
            count += 1;
        }
    }
    ensure!(count > 0, "{} is not in it", String::from_utf8_lossy(&old));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::replace_text;

    #[test]
    fn a_text_is_replaced_wherever_it_ends() {
        let mut bytes = *b"\0/lib/a/\0/usr/lib/a/\0/lib/a/b\0";
        replace_text(&mut bytes, "/lib/a/", "/run/b/").unwrap();
        assert_eq!(&bytes, b"\0/run/b/\0/usr/run/b/\0/lib/a/b\0");
        assert!(replace_text(&mut bytes, "/none/", "/some/").is_err());
        assert!(replace_text(&mut bytes, "/lib", "/").is_err());
    }
}
