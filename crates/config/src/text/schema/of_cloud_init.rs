//! The other keys of cloud-init's modules. Each has its effect, or is accepted because it is so
//! anyway, or has no effect and a reason. No documented key is unknown.
//! <https://cloudinit.readthedocs.io/en/latest/reference/modules.html>

use super::key::{Key, Type, key, old, taken};
use super::kinds::{ANY, BOOL, HOSTNAME, PATH, STRING, STRINGS};
use super::range::Range;
use super::{cautions, facts};

const SERVERS: Type = Type::List(&Type::Text(&facts::SERVER));
const SIZE: Type = Type::Text(&facts::SIZE);

pub(super) const KEYS: &[Key] = &[
    key("fqdn", HOSTNAME, "full name of the machine; `hostname` defaults to its first part")
        .warns(cautions::long_name),
    key("prefer_fqdn_over_hostname", BOOL, "`hostname` prints the full name"),
    key(
        "preserve_hostname",
        BOOL,
        "`hostname`, `fqdn` and the provider's name have no effect: the DHCP server's name is used",
    ),
    taken("manage_etc_hosts", ANY, "/etc/hosts always names the machine"),
    taken("create_hostname_file", ANY, "there is no /etc/hostname"),
    key("timezone", Type::Text(&facts::ZONE), "time zone of console and services: `Europe/Berlin`")
        .warns(cautions::unknown_zone),
    key("ntp", Type::Keys(NTP), "time servers of chrony"),
    key("keyboard", Type::Keys(KEYBOARD), "keyboard of the machine's own terminals"),
    key("ca_certs", Type::Keys(CA_CERTS), "authorities that console, engines and Docker trust"),
    key("swap", Type::Keys(SWAP), "a swap file on the state disk"),
    key("power_state", Type::Keys(POWER), "shutdown when the owner's commands have ended, once"),
    key("vendor_data", Type::Keys(VENDOR_DATA), "the provider's configuration below user data"),
    taken("growpart", ANY, "the state disk grows at the boot after its disk has grown"),
    taken("resize_rootfs", ANY, "the state's file system grows with its partition"),
    taken("package_update", BOOL, "there are no packages; upgrade with `ros os upgrade`"),
    taken("package_upgrade", BOOL, "there are no packages; upgrade with `ros os upgrade`"),
    taken("repo_update", ANY, "there are no packages"),
    taken("repo_upgrade", ANY, "there are no packages"),
    taken("package_reboot_if_required", BOOL, "there are no packages"),
    taken("apt_update", BOOL, "there are no packages"),
    taken("apt_upgrade", BOOL, "there are no packages"),
    taken("apt_reboot_if_required", BOOL, "there are no packages"),
    taken("apt_pipelining", ANY, "there are no packages"),
    taken("apt_preserve_sources_list", ANY, "there are no packages"),
    taken("manual_cache_clean", ANY, "the data sources are read at each boot"),
    taken("datasource", ANY, "see `rancher.cloud_init.datasources`"),
    taken("datasource_list", ANY, "see `rancher.cloud_init.datasources`"),
    taken("system_info", ANY, "there is one distribution"),
    taken("output", ANY, "output goes to the log of the console"),
    taken("syslog_fix_perms", ANY, "logs belong to root"),
    taken("merge_how", ANY, "mappings merge, later values replace earlier ones"),
    taken("merge_type", ANY, "mappings merge, later values replace earlier ones"),
    taken("cloud_init_modules", ANY, "there are no modules to choose"),
    taken("cloud_config_modules", ANY, "there are no modules to choose"),
    taken("cloud_final_modules", ANY, "there are no modules to choose"),
    taken("mount_default_fields", ANY, "missing fields of `mounts` have defaults"),
    taken("random_seed", ANY, "the kernel gathers its own entropy"),
    taken("byobu_by_default", ANY, "there is no byobu"),
    old("packages", ANY, "there are no packages; run a container, or `ros service`"),
    old("apt", ANY, "there are no packages"),
    old("apt_sources", ANY, "there are no packages"),
    old("apt_mirror", ANY, "there are no packages"),
    old("apt_proxy", ANY, "there are no packages; see `rancher.network.http_proxy`"),
    old("apk_repos", ANY, "there are no packages"),
    old("yum_repos", ANY, "there are no packages"),
    old("yum_repo_dir", ANY, "there are no packages"),
    old("zypper", ANY, "there are no packages"),
    old("snap", ANY, "there is no snapd"),
    old("ubuntu_advantage", ANY, "Ubuntu's"),
    old("ubuntu_pro", ANY, "Ubuntu's"),
    old("ubuntu_autoinstall", ANY, "Ubuntu's; see `ros install`"),
    old("autoinstall", ANY, "Ubuntu's; see `ros install`"),
    old("landscape", ANY, "Ubuntu's"),
    old("drivers", ANY, "see `rancher.modules`"),
    old("grub_dpkg", ANY, "the boot loader is extlinux or systemd-boot"),
    old("lxd", ANY, "there is no LXD"),
    old("fan", ANY, "Ubuntu's"),
    old("ansible", ANY, "there is no Python; run it in a container"),
    old("chef", ANY, "there is no Chef; run it in a container"),
    old("mcollective", ANY, "there is no MCollective"),
    old("puppet", ANY, "there is no Puppet; run it in a container"),
    old("salt_minion", ANY, "there is no Salt; run it in a container"),
    old("spacewalk", ANY, "Red Hat's"),
    old("rh_subscription", ANY, "Red Hat's"),
    old("rpi", ANY, "Raspberry Pi OS's"),
    old("disk_setup", ANY, "disks are not partitioned at boot; see `rancher.state.autoformat`"),
    old("fs_setup", ANY, "disks are not formatted at boot; see `rancher.state.autoformat`"),
    old("device_aliases", ANY, "name devices by `LABEL=` or `UUID=`"),
    old("disable_ec2_metadata", ANY, "block it with `runcmd` and iptables"),
    old("final_message", ANY, "`ros boot` shows how long the boot took"),
    old("phone_home", ANY, "call curl in `runcmd`"),
    old("reporting", ANY, "call curl in `runcmd`"),
    old("locale", ANY, "the only locale is C.UTF-8"),
    old("locale_configfile", ANY, "the only locale is C.UTF-8"),
    old("manage_resolv_conf", ANY, "see `rancher.network.dns`"),
    old("resolv_conf", ANY, "see `rancher.network.dns`"),
    old("network", ANY, "see `rancher.network`"),
    old("rsyslog", ANY, "write its files with `write_files`, container `syslog`"),
    old("updates", ANY, "the network is configured at boot and on `ros config apply`"),
    old("wireguard", ANY, "use `rancher.modules` and a container"),
];

const NTP: &[Key] = &[
    key("enabled", BOOL, "false: the clock is not set from the network"),
    key("servers", SERVERS, "single servers; they replace the default pool"),
    key("pools", SERVERS, "names with several servers; they replace the default pool"),
    key("peers", SERVERS, "servers of the same rank"),
    key("allow", SERVERS, "networks that may ask this machine for the time"),
    taken("ntp_client", ANY, "the client is chrony"),
    old("config", ANY, "write /etc/chrony/conf.d/NAME.conf with `write_files`, container `ntp`"),
];

const KEYBOARD: &[Key] = &[
    key("layout", STRING, "layout, such as `de` or `us`").warns(cautions::unknown_layout),
    key("variant", STRING, "variant, such as `dvorak`"),
    taken("model", ANY, "the terminals know one model, with 105 keys"),
    taken("options", ANY, "the terminals know no options"),
];

const CA_CERTS: &[Key] = &[
    key("trusted", STRINGS, "certificates in PEM form").warns(cautions::no_certificate),
    key("remove_defaults", BOOL, "trust no other authorities"),
];

const SWAP: &[Key] = &[
    key("filename", PATH, "the file; what is not on the state disk is put in /var/lib/rancher"),
    key("size", SIZE, "`auto` (by the size of the memory), bytes, or `512M`, `2G`"),
    key("maxsize", SIZE, "limit of `auto`"),
];

const POWER: &[Key] = &[
    key("mode", Type::Text(&facts::POWER_MODE), "`poweroff`, `halt` or `reboot`"),
    key("delay", Type::Text(&facts::DELAY), "`now`, or minutes: `+5`"),
    key("message", STRING, "written to the console before"),
    key(
        "timeout",
        Type::Seconds(Range::new(0, 86_400)),
        "how long to wait for services that still start or work; default: 30 s",
    ),
    key(
        "condition",
        Type::BoolOr(&Type::Command),
        "a command that must succeed, or `true` or `false`; default: true",
    ),
];

const VENDOR_DATA: &[Key] = &[
    key("enabled", BOOL, "false: it has no effect; default: true"),
    taken("prefix", ANY, "vendor data is cloud-config only, no script"),
];
