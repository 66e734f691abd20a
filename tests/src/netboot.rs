//! What a machine without a disk starts by iPXE: kernel, initrd, system image, and two scripts that
//! name them, one of them with the drivers. iPXE puts the images into the initramfs, where stage 0
//! finds them. `cargo xtask release` writes the scripts, and a story starts a machine by one.

/// The folder in the release.
pub const FOLDER: &str = "netboot";
/// A script in it, and the files that it names.
pub const SCRIPT: &str = "corral.ipxe";
pub const FILES: [&str; 3] = ["vmlinuz", "initrd", "system.erofs"];
/// The script that has all drivers.
pub const FULL: &str = "corral-full.ipxe";

/// Kernel parameters: a console on the screen and on the first serial line, no state disk.
const APPEND: &str = "console=tty1 console=ttyS0 printk.devkmsg=on panic=10 quiet";

/// A script. Names are relative to its own address.
pub fn script(name: &str, version: &str) -> String {
    let drivers = match name {
        FULL => "initrd drivers.initrd\ninitrd drivers.erofs /drivers.erofs\n",
        _ => "",
    };
    format!(
        "#!ipxe
# Corral {version}. Serve this folder by HTTP, and start in iPXE:
#   chain http://SERVER/{name}
# Parameters in ${{corral-append}} are added, such as cloud-config-url=http://SERVER/my.yml:
#   set corral-append cloud-config-url=http://SERVER/my.yml
kernel vmlinuz initrd=initrd.magic {APPEND} corral.version={version} ${{corral-append}}
initrd initrd
{drivers}initrd system.erofs /system.erofs
boot
"
    )
}

#[cfg(test)]
mod tests {
    use super::{FILES, FULL, SCRIPT, script};

    #[test]
    fn the_scripts_are_of_ipxe_and_name_the_files() {
        let drivers = ["vmlinuz", "initrd", "drivers.initrd", "drivers.erofs", "system.erofs"];
        for (name, expected) in [(SCRIPT, &FILES[..]), (FULL, &drivers[..])] {
            let text = script(name, "1.2.3");
            assert!(text.starts_with("#!ipxe\n") && text.ends_with("\nboot\n"));
            let files: Vec<&str> = text
                .lines()
                .filter(|line| line.starts_with("kernel ") || line.starts_with("initrd "))
                .filter_map(|line| line.split(' ').nth(1))
                .collect();
            assert_eq!(files, expected);
            assert!(text.contains(&format!("chain http://SERVER/{name}\n")), "{text}");
            assert!(text.contains("corral.version=1.2.3 ${corral-append}\n"), "{text}");
        }
    }
}
