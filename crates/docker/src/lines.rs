//! Lines of a container's log, from the pieces in which the API sends it: raw if it has a terminal,
//! else in frames of kind (2 is standard error), three zeros, length (big endian) and data.
//! <https://docs.docker.com/reference/api/engine/#tag/Container/operation/ContainerAttach>

const HEADER: usize = 8;

/// Input that is not a complete line yet.
#[derive(Debug)]
pub(super) struct Lines {
    is_framed: bool,
    /// The beginning of a frame's header.
    header: Vec<u8>,
    /// Bytes of the current frame that are still to come, and their stream.
    left: usize,
    stream: usize,
    /// The beginning of a line of each stream.
    open: [Vec<u8>; 2],
}

impl Lines {
    pub(super) fn new(is_framed: bool) -> Lines {
        Lines { is_framed, header: Vec::new(), left: 0, stream: 0, open: Default::default() }
    }

    /// The lines that a piece completes, without their line ends.
    pub(super) fn add(&mut self, mut piece: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        while !piece.is_empty() {
            if self.is_framed && self.left == 0 {
                piece = self.read_header(piece);
                continue;
            }
            let count = if self.is_framed { self.left.min(piece.len()) } else { piece.len() };
            let (data, next) = piece.split_at(count);
            self.left = self.left.saturating_sub(count);
            self.split(data, &mut lines);
            piece = next;
        }
        lines
    }

    /// Output without a line end.
    pub(super) fn rest(self) -> Vec<String> {
        self.open.iter().filter(|line| !line.is_empty()).map(|line| text(line)).collect()
    }

    /// Reads the bytes of a header; returns what follows it.
    fn read_header<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let (head, next) = piece.split_at(piece.len().min(HEADER - self.header.len()));
        self.header.extend_from_slice(head);
        if let Ok([kind, _, _, _, a, b, c, d]) = <[u8; HEADER]>::try_from(self.header.as_slice()) {
            self.stream = usize::from(kind == 2);
            self.left = u32::from_be_bytes([a, b, c, d]) as usize;
            self.header.clear();
        }
        next
    }

    fn split(&mut self, data: &[u8], lines: &mut Vec<String>) {
        let Some(open) = self.open.get_mut(self.stream) else { return };
        for part in data.split_inclusive(|byte| *byte == b'\n') {
            open.extend_from_slice(part);
            if part.ends_with(b"\n") {
                lines.push(text(open));
                open.clear();
            }
        }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "one" and "err" interleaved, then the rest of each.
    const FRAMES: &[u8] = b"\x01\0\0\0\0\0\0\x02on\x02\0\0\0\0\0\0\x02er\x01\0\0\0\0\0\0\x00\
        \x01\0\0\0\0\0\0\x05e\nnex\x02\0\0\0\0\0\0\x02r\n";

    #[test]
    fn streams_are_taken_apart_wherever_a_piece_ends() {
        for size in 1..=FRAMES.len() {
            let mut lines = Lines::new(true);
            let found: Vec<String> =
                FRAMES.chunks(size).flat_map(|piece| lines.add(piece)).collect();
            assert_eq!(found, ["one", "err"], "pieces of {size} bytes");
            assert_eq!(lines.rest(), ["nex"]);
        }
    }

    #[test]
    fn a_terminal_has_no_frames() {
        let mut lines = Lines::new(false);
        assert_eq!(lines.add(b"\x02\0a\r\n\nb"), ["\x02\0a\r", ""]);
        assert_eq!(lines.add(b"c\xff\n"), ["bc\u{fffd}"]);
        assert!(lines.rest().is_empty());
    }
}
