//! What only a PC has: a power button, a keyboard, a screen. Stories press the one and read the
//! other through QEMU's monitor.

use crate::machine::{BOOT, Machine};
use crate::screen::{SCRIPT, Screen};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::PathBuf;

/// Where a VGA card in text mode has its characters, and how many bytes are those of a screen.
const TEXT_MEMORY: &str = "0xb8000 4000";

impl Machine {
    /// Presses the power button.
    pub fn press_power_button(&self) -> Result<()> {
        self.order("system_powerdown")
    }

    /// Stops the machine in the middle of what it does, until `go_on`.
    pub fn hold(&self) -> Result<()> {
        self.order("stop")
    }

    /// Lets it continue.
    pub fn go_on(&self) -> Result<()> {
        self.order("cont")
    }

    /// Presses a key of the keyboard, by QEMU's name: `ret`, `down`, `ctrl-l`.
    pub fn press(&self, key: &str) -> Result<()> {
        self.order(&format!("sendkey {key}"))
    }

    /// Types a text on the keyboard, which has the layout of the United States.
    pub fn type_text(&self, text: &str) -> Result<()> {
        text.chars().try_for_each(|letter| self.press(&key(letter)?))
    }

    /// Takes a picture of the screen: `NAME.png` in the folder of the machine.
    pub fn picture(&self, name: &str) -> Result<PathBuf> {
        let file = self.login.folder.join(format!("{name}.png"));
        self.order(&format!("screendump \"{}\" -f png", file.display()))?;
        ensure!(file.exists(), "QEMU has not written {}", file.display());
        Ok(file)
    }

    /// What the screen shows as long as no kernel runs.
    pub fn screen_of_firmware(&self) -> Result<Screen> {
        let file = self.login.folder.join("screen.bin");
        self.order(&format!("pmemsave {TEXT_MEMORY} \"{}\"", file.display()))?;
        let memory = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        Ok(Screen::of_vga(&memory))
    }

    /// Holds the machine as soon as that screen shows a text. It is held for each look: what is
    /// there for seconds only is not missed. The monitor may not be there yet.
    pub fn hold_at_screen_of_firmware(&mut self, text: &str) -> Result<()> {
        self.wait(BOOT, &format!("the screen to show {text:?}"), |machine| {
            if machine.hold().is_err() {
                return Ok(false);
            }
            let is_shown = machine.screen_of_firmware().is_ok_and(|screen| screen.has(text));
            if !is_shown {
                machine.go_on()?;
            }
            Ok(is_shown)
        })
    }

    /// What the first terminal of Linux shows, which is on the screen.
    pub fn screen(&self) -> Result<Screen> {
        Screen::of_terminal(&self.login.run(SCRIPT)?)
    }

    /// Waits until that terminal shows a text.
    pub fn expect_on_screen(&mut self, text: &str) -> Result<()> {
        let waited = self.wait(BOOT, &format!("the screen to show {text:?}"), |machine| {
            Ok(machine.screen().is_ok_and(|screen| screen.has(text)))
        });
        waited.with_context(|| match self.screen() {
            Ok(screen) => format!("the screen shows:\n{}", screen.masked(&[])),
            Err(error) => format!("the screen cannot be read: {error:#}"),
        })
    }

    /// A command that answers nothing unless it fails.
    fn order(&self, command: &str) -> Result<()> {
        let answer = self.monitor(command)?;
        ensure!(answer.is_empty(), "QEMU's monitor: {command}: {answer}");
        Ok(())
    }
}

/// The key with a letter, by QEMU's name.
fn key(letter: char) -> Result<String> {
    let name = match letter {
        'a'..='z' | '0'..='9' => return Ok(letter.to_string()),
        ' ' => "spc",
        '-' => "minus",
        '.' => "dot",
        '/' => "slash",
        other => bail!("no key is known for {other:?}: add it to tests/src/pc.rs"),
    };
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn letters_have_keys() {
        let keys: Vec<String> = "a 1-.".chars().map(|letter| key(letter).unwrap()).collect();
        assert_eq!(keys, ["a", "spc", "1", "minus", "dot"]);
        assert!(key('ä').unwrap_err().to_string().contains("pc.rs"));
    }
}
