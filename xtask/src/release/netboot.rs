//! What a machine without a disk starts by iPXE: kernel, initrd, system image, and the script that
//! names them. iPXE puts the system image into the initramfs, where stage 0 finds it.

/// The folder in the release.
pub(super) const FOLDER: &str = "netboot";
pub(super) const SCRIPT: &str = "corral.ipxe";

/// Kernel parameters: a console on the screen and on the first serial line, no state disk.
const APPEND: &str = "console=tty1 console=ttyS0 printk.devkmsg=on panic=10 quiet";

/// The script. Names are relative to its own address.
pub(super) fn script(version: &str) -> String {
    format!(
        "#!ipxe
# Corral {version}. Serve this folder by HTTP, and start in iPXE:
#   chain http://SERVER/corral.ipxe
# Parameters in ${{corral-append}} are added, such as cloud-config-url=http://SERVER/my.yml:
#   set corral-append cloud-config-url=http://SERVER/my.yml
kernel vmlinuz initrd=initrd.magic {APPEND} corral.version={version} ${{corral-append}}
initrd initrd
initrd system.erofs /system.erofs
boot
"
    )
}

#[cfg(test)]
mod tests {
    use super::script;

    #[test]
    fn the_script_is_one_of_ipxe_and_names_the_three_files() {
        let text = script("1.2.3");
        assert!(text.starts_with("#!ipxe\n") && text.ends_with("\nboot\n"));
        let files: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("kernel ") || line.starts_with("initrd "))
            .filter_map(|line| line.split(' ').nth(1))
            .collect();
        assert_eq!(files, ["vmlinuz", "initrd", "system.erofs"]);
        assert!(text.contains("corral.version=1.2.3 ${corral-append}\n"), "{text}");
    }
}
