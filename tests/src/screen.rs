//! What a screen in text mode shows, as text. What differs from machine to machine can be masked,
//! so that two such texts can be compared. It reads no machine itself.

use anyhow::{Context, Result, ensure};
use std::net::IpAddr;

/// Prints what `Screen::of_terminal` reads: rows and columns of the first terminal (vcs(4)), then
/// its characters without line ends.
pub const SCRIPT: &str = "sudo od -An -tu1 -N2 /dev/vcsa1; sudo cat /dev/vcs1 | tr -c ' -~' ' '";

/// Columns of a VGA card in text mode.
const VGA_COLUMNS: usize = 80;
/// A fingerprint of an ssh key: this, and so many letters of base64.
const FINGERPRINT: &str = "SHA256:";
const FINGERPRINT_LETTERS: usize = 43;
/// The line with the time until a boot menu goes on.
const COUNTDOWN: &str = "Automatic boot in ";

/// A screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screen {
    columns: usize,
    /// All rows, without line ends. What is not ASCII, such as a frame, is blank.
    cells: String,
}

impl Screen {
    /// From the memory of a VGA card: two bytes for each cell, first the character.
    pub fn of_vga(memory: &[u8]) -> Screen {
        let letter = |byte: &u8| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => ' ',
        };
        Screen { columns: VGA_COLUMNS, cells: memory.iter().step_by(2).map(letter).collect() }
    }

    /// From what `SCRIPT` has printed; blanks at its end may be missing.
    pub fn of_terminal(printed: &str) -> Result<Screen> {
        let (size, cells) = printed.split_once('\n').unwrap_or((printed, ""));
        let columns = size.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        let columns = columns.with_context(|| format!("{size:?} is not the size of a terminal"))?;
        ensure!(columns > 0 && cells.is_ascii(), "this is no text of a terminal: {printed:?}");
        Ok(Screen { columns, cells: cells.to_owned() })
    }

    /// Is this text on the screen? It may begin in one row and end in the next.
    pub fn has(&self, text: &str) -> bool {
        self.cells.contains(text)
    }

    /// The rows, without blanks at their ends. Fingerprints, addresses and the time of a boot menu
    /// are masked, and so are `words`, each by its name.
    pub fn masked(&self, words: &[(&str, &str)]) -> String {
        // Before it is divided into rows: a fingerprint may be in two of them.
        let cells: Vec<char> = without_fingerprints(&self.cells).chars().collect();
        let rows = cells.chunks(self.columns).map(|row| row.iter().collect::<String>());
        let mut text: String =
            rows.map(|row| format!("{}\n", without_addresses(&row).trim_end())).collect();
        for (word, name) in words {
            text = text.replace(word, name);
        }
        // What was there before decides how many lines are empty above it.
        format!("{}\n", text.trim_start_matches('\n').trim_end())
    }
}

/// As many letters stay: what follows does not move.
fn without_fingerprints(text: &str) -> String {
    let mut parts = text.split(FINGERPRINT);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_of_it = |letter: &char| letter.is_ascii_alphanumeric() || "+/".contains(*letter);
        let letters = part.chars().take(FINGERPRINT_LETTERS).take_while(is_of_it).count();
        masked.push_str(FINGERPRINT);
        masked.push_str(&".".repeat(letters));
        masked.push_str(&part[letters..]);
    }
    masked
}

/// Several addresses in a row are one: how many a card has by IPv6 depends on the time.
fn without_addresses(row: &str) -> String {
    if let Some((before, _)) = row.split_once(COUNTDOWN) {
        return format!("{before}{COUNTDOWN}TIME");
    }
    let mut words: Vec<String> = Vec::new();
    for word in row.split(' ') {
        let (before, address) = match word.rsplit_once('@') {
            Some((user, host)) => (format!("{user}@"), host),
            None => (String::new(), word),
        };
        let bare = address.split('/').next().unwrap_or_default();
        if bare.parse::<IpAddr>().is_err() {
            words.push(word.to_owned());
        } else if !before.is_empty() || words.last().is_none_or(|last| last != "ADDRESS") {
            words.push(format!("{before}ADDRESS"));
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::{FINGERPRINT_LETTERS, Screen};

    /// As the script prints a terminal of 30 columns.
    fn terminal(rows: &[&str]) -> Screen {
        let cells: String = rows.iter().map(|row| format!("{row:30}")).collect();
        Screen::of_terminal(&format!("   4  30\n{}", cells.trim_end())).unwrap()
    }

    #[test]
    fn the_rows_of_a_terminal_are_lines() {
        let screen = terminal(&["one", "  two  three", "", "four"]);
        assert_eq!(screen.masked(&[("two", "TWO")]), "one\n  TWO  three\n\nfour\n");
        assert!(screen.has("two") && !screen.has("TWO"));
        for wrong in ["", "4\nx", "a b\nx", "4 0\nx"] {
            assert!(Screen::of_terminal(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_memory_of_a_vga_card_has_colours_between_the_letters() {
        let mut memory = vec![0; 4000];
        for (at, letter) in [(0, b'A'), (2, 0xb3), (158, b'z'), (160, b'B')] {
            memory[at] = letter;
            memory[at + 1] = b'!';
        }
        let line = format!("A{}z\nB\n", " ".repeat(78));
        assert_eq!(Screen::of_vga(&memory).masked(&[]), line);
    }

    #[test]
    fn what_differs_from_machine_to_machine_is_masked() {
        let print = "aB+/".repeat(11);
        let print = &print[..FINGERPRINT_LETTERS];
        let long = format!("256 SHA256:{print} me (RSA)");
        let rows = [
            "eth0: 10.0.2.15/24 fec0::1/64",
            "log in: ssh rancher@10.0.2.15",
            &long[..30],
            &long[30..60],
            &long[60..],
            "Static (192.168.1.5/24), 1.2.3",
            "  Automatic boot in 2 seconds.",
        ];
        let expected = format!(
            "eth0: ADDRESS\nlog in: ssh rancher@ADDRESS\n256 SHA256:{}\n{} me (R\nSA)\n\
             Static (192.168.1.5/24), VER\n  Automatic boot in TIME\n",
            ".".repeat(19),
            ".".repeat(24),
        );
        assert_eq!(terminal(&rows).masked(&[("1.2.3", "VER")]), expected);
    }
}
