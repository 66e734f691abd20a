//! The pictures of the manual: the boot menu of the ISO, the banner, and the dialogue of
//! `ros install`, on the screen of a PC. They must show what the screen shows now.
//!
//! `cargo xtask docs --pictures` takes them again.

use anyhow::{Result, ensure};
use vmtest::pictures::Pictures;
use vmtest::{Machine, Medium, Options, drive, folder};

const VERSION: (&str, &str) = (env!("CARGO_PKG_VERSION"), "VERSION");
/// MiB of the disk to install to; the file is sparse.
const DISK: u64 = 16 * 1024;
/// What a shell shows when it waits for a command.
const PROMPT: &str = "~]$";
/// What the menu draws last.
const COUNTDOWN: &str = "Automatic boot in ";
/// The last line of the banner, but for what is wrong.
const BANNER: &str = "log in: ssh rancher@";

/// What is typed at each prompt of the installer before Enter. The cloud-config, the password and
/// the address are left empty.
const ANSWERS: [(&str, &str); 4] = [
    ("cloud-config (file or URL), empty for none", ""),
    ("Password of rancher for the console, empty for none", ""),
    ("Host name, empty for that of DHCP", "web-1"),
    ("Static address (192.168.1.5/24), empty for DHCP", ""),
];

#[test]
fn the_pictures_of_the_manual_are_of_today() -> Result<()> {
    let folder = folder("pictures")?;
    let disk = folder.join("disk.img");
    drive::blank(&disk, DISK)?;
    let options = Options { medium: Medium::Iso, disks: vec![disk], ..Options::default() };
    let mut machine = super::with_config(&folder, "", options)?;
    let mut pictures = Pictures::new(&folder);
    of_the_menu(&mut machine, &mut pictures)?;
    // From now on, the banner has all that it can show.
    machine.expect_login()?;
    machine.expect_docker()?;
    of_the_banner(&mut machine, &mut pictures)?;
    of_the_installer(&mut machine, &mut pictures)?;
    machine.check_alarms()?;
    pictures.finish()
}

/// The menu goes on by itself: the machine is held as long as it takes to look at it.
fn of_the_menu(machine: &mut Machine, pictures: &mut Pictures) -> Result<()> {
    machine.hold_at_screen_of_firmware(COUNTDOWN)?;
    let screen = machine.screen_of_firmware()?;
    pictures.take(machine, "menu", &screen, &[VERSION])?;
    machine.go_on()
}

/// On an empty screen, in the shell that is started when this one has ended: it shows all that is
/// known by now.
fn of_the_banner(machine: &mut Machine, pictures: &mut Pictures) -> Result<()> {
    machine.expect_on_screen(PROMPT)?;
    machine.run("sudo sh -c \"printf '\\033[H\\033[J' > /dev/tty1\" && sudo pkill -HUP -t tty1")?;
    machine.expect_on_screen(PROMPT)?;
    let (screen, kernel) = (machine.screen()?, machine.run("uname -r")?);
    ensure!(screen.has(BANNER), "there is no banner:\n{}", screen.masked(&[]));
    pictures.take(machine, "banner", &screen, &[(&kernel, "KERNEL"), VERSION])
}

/// From the command to its last question, which is answered with no.
fn of_the_installer(machine: &mut Machine, pictures: &mut Pictures) -> Result<()> {
    machine.press("ctrl-l")?;
    machine.type_text("sudo ros install")?;
    machine.expect_on_screen("$ sudo ros install")?;
    machine.press("ret")?;
    machine.expect_on_screen("> hybrid")?;
    machine.press("ret")?;
    machine.expect_on_screen("/dev/vda (")?;
    // The list may begin with the drive that has the ISO.
    if !machine.screen()?.has("> /dev/vda (") {
        machine.press("down")?;
        machine.expect_on_screen("> /dev/vda (")?;
    }
    machine.press("ret")?;
    for (prompt, answer) in ANSWERS {
        machine.expect_on_screen(prompt)?;
        machine.type_text(answer)?;
        machine.press("ret")?;
    }
    machine.expect_on_screen("Continue [y/N]:")?;
    pictures.take(machine, "installer", &machine.screen()?, &[VERSION])?;
    machine.type_text("n")?;
    machine.press("ret")?;
    machine.expect_on_screen("nothing was changed")
}
