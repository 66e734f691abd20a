//! The table of all keys.

use super::key::{Key, Type, key, later, old, vital};
use super::kinds::{ANY, BOOL, HOSTNAME, PATH, SECRET, STRING, STRING_MAP, STRINGS};
use super::range::Range;
use super::{cautions, facts, logins, of_cloud_init};

const PORT: Type = Type::Integer(Range::or_zero(1, 65_535));
/// IPv4 needs 68 bytes (RFC 791); no driver has more than 16 bits.
const MTU: Type = Type::Integer(Range::or_zero(68, 65_535));
/// The kernel has 32 bits for it.
const METRIC: Type = Type::Integer(Range::or_zero(1, 4_294_967_295));
const COMMANDS: Type = Type::List(&Type::Command);
const ANY_MAP: Type = Type::Map(&Type::Any);
const ADDRESS: Type = Type::Text(&facts::ADDRESS);
const NETWORK_ADDRESS: Type = Type::Text(&facts::NETWORK);

/// The complete document.
pub const ROOT: Type = Type::Keys(&ALL);

const ALL: [Key; OURS.len() + logins::KEYS.len() + of_cloud_init::KEYS.len()] =
    joined(OURS, logins::KEYS, of_cloud_init::KEYS);

const OURS: &[Key] = &[
    key(
        "hostname",
        HOSTNAME,
        "host name; without it the DHCP server's is used, then `rancher.defaults.hostname`",
    )
    .warns(cautions::long_name),
    key(
        "write_files",
        Type::List(&Type::Keys(WRITE_FILE)),
        "files to write, at each start of their container",
    )
    .warns(cautions::unread_file),
    key(
        "mounts",
        Type::List(&Type::Mount),
        "`[device, target, type, options]`, mounted in the console; see *Mounts*",
    ),
    key(
        "bootcmd",
        COMMANDS,
        "commands to run at each boot before sshd and the network, in the bootstrap container",
    ),
    key(
        "runcmd",
        COMMANDS,
        "commands to run in the console at each boot, in order; Docker starts after them, or when \
         the first of them calls `docker`; the first failure ends the sequence",
    ),
    key("rancher", Type::Keys(RANCHER), "the keys of Corral and RancherOS"),
    old(
        "EXTRA_CMDLINE",
        STRING,
        "RancherOS's copy of the words after `--`; see `rancher.environment`",
    ),
    old("coreos", ANY, "CoreOS's"),
];

/// One table of three.
const fn joined<const N: usize>(ours: &[Key], logins: &[Key], others: &[Key]) -> [Key; N] {
    let mut all = [ours[0]; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < ours.len() {
            ours[at]
        } else if at < ours.len() + logins.len() {
            logins[at - ours.len()]
        } else {
            others[at - ours.len() - logins.len()]
        };
        at += 1;
    }
    all
}

const WRITE_FILE: &[Key] = &[
    vital("path", PATH, "path of the file; missing folders are created"),
    vital("content", STRING, "content of the file"),
    vital(
        "encoding",
        Type::Text(&facts::ENCODING),
        "how `content` is encoded: `b64`, `gzip`, `gz+b64`; plain text without it",
    ),
    vital("permissions", Type::Text(&facts::MODE), "octal mode; default: 0644"),
    vital("owner", STRING, "`user` or `user:group`, by name or number; default: root"),
    vital("container", STRING, "the system container to write into; default: console"),
];

const RANCHER: &[Key] = &[
    key("debug", BOOL, "more lines in the logs, also of Docker; includes `log`"),
    key("log", BOOL, "show the output of system services on the machine's console too"),
    key(
        "autologin",
        STRINGS,
        "terminals that log rancher in without a password; as a kernel parameter it may be \
         repeated",
    ),
    key(
        "password",
        Type::Secret(&facts::PASSWORD),
        "password of rancher on terminals, and over ssh with `ssh_pwauth`: its hash \
         (`openssl passwd -6`), or clear text",
    )
    .warns(cautions::clear_text),
    key("modules", STRINGS, "kernel modules to load at boot: a name, then parameters"),
    key("sysctl", STRING_MAP, "values for /proc/sys: `net.ipv4.ip_forward: 1`"),
    key(
        "environment",
        STRING_MAP,
        "variables that services refer to by name (`A`, `B*`, `service/KEY`) and in `${NAME}`",
    ),
    key(
        "services",
        ANY_MAP,
        "services in compose form; with the label `io.rancher.os.scope: system` a system \
         service, else for the user's Docker",
    ),
    key(
        "shutdown_timeout",
        Type::Seconds(Range::new(0, 86_400)),
        "after it a shutdown is forced: `90s`, `10m`, or seconds; 1 to 4 s mean 5 s, 0 means 60 s",
    ),
    key("cloud_init", Type::Keys(CLOUD_INIT), "data sources of the configuration"),
    key("state", Type::Keys(STATE), "the state disk"),
    key("network", Type::Keys(NETWORK), "addresses, names and proxies"),
    key("defaults", Type::Keys(DEFAULTS), "fallback values"),
    key("ssh", Type::Keys(SSH), "the ssh server"),
    key("docker", Type::Keys(DOCKER), "the user's Docker"),
    key(
        "resize_device",
        STRING,
        "disk whose first partition and file system grow to the end of the disk, once",
    ),
    key(
        "restart_services",
        STRINGS,
        "system containers to restart when the boot has reached the console",
    ),
    key(
        "registry_auths",
        Type::Map(&Type::Keys(REGISTRY_AUTH)),
        "logins for registries, by registry",
    ),
    key("system_docker", Type::Keys(SYSTEM_DOCKER), "the system engine"),
    key(
        "console",
        STRING,
        "default, alpine, centos, debian, fedora, ubuntu; an image such as `debian:trixie`; or a \
         file with a service `console`: absolute path, URL, or name in a repository",
    ),
    key(
        "services_include",
        Type::Map(&Type::Bool),
        "compose files with system services: absolute path, URL, or name in the catalogue or in a \
         repository → enabled; fetched files are kept in /var/lib/rancher/cache",
    ),
    key(
        "repositories",
        Type::Map(&Type::Keys(REPOSITORY)),
        "repositories where `services_include` finds files by name; the keys are names of your \
         choice",
    ),
    key("upgrade", Type::Keys(UPGRADE), "where releases are found"),
    key(
        "recovery",
        BOOL,
        "recovery console before the state disk is mounted; on the kernel command line, or in the \
         boot menu",
    ),
    key(
        "os_release_id",
        Type::Text(&facts::OS_ID),
        "the `ID` in /etc/os-release of the built-in console; `rancheros` for Docker Machine",
    ),
    key("force_console_rebuild", BOOL, "recreate a persistent console, once"),
    key(
        "hypervisor_service",
        BOOL,
        "run the agent that the hypervisor talks to (QEMU, VMware, Hyper-V); default: true",
    ),
    old(
        "bootstrap_docker",
        Type::Keys(DOCKER),
        "there is one engine, PID 1, from the first moment",
    ),
    old("bootstrap", ANY_MAP, "the bootstrap container is the image's"),
    old("cloud_init_services", ANY_MAP, "the cloud-init containers are the image's"),
    old("http_load_retries", ANY, "see `rancher.cloud_init.timeout`"),
    old("preload_wait", BOOL, "services that may need a preloaded image always wait for it"),
    old("rm_usr", BOOL, "the system image is read-only, nothing is copied"),
    old("no_sharedroot", BOOL, "the root is always shared"),
    old("disable", STRINGS, "never had an effect"),
    old("autoformat", ANY, "never had an effect: see `rancher.state.autoformat`"),
    old("default_network", ANY, "never had an effect: see `rancher.defaults.network`"),
];

const CLOUD_INIT: &[Key] = &[
    key(
        "datasources",
        Type::List(&Type::Text(&facts::DATA_SOURCE)),
        "data sources in order of preference, `type[:argument]`; see below",
    ),
    key(
        "timeout",
        Type::Seconds(Range::new(0, 3_600)),
        "for all data sources on the network together: `90s`, `10m`, or seconds",
    ),
];

const REGISTRY_AUTH: &[Key] = &[
    key("username", STRING, "user"),
    key("password", SECRET, "password"),
    key("auth", SECRET, "base64 of user:password, instead of both"),
    old("email", STRING, "registries no longer use it"),
    old("server_address", STRING, "the key of the map names it"),
    key("identity_token", SECRET, "token instead of a password"),
    key("registry_token", SECRET, "bearer token for the registry"),
];

const REPOSITORY: &[Key] = &[key(
    "url",
    STRING,
    "base URL: service NAME is at `URL/N/NAME.yml`, where N is its first letter",
)];

const UPGRADE: &[Key] = &[
    key(
        "url",
        STRING,
        "list of releases for `ros os list`: a URL, or the path of a file, with `current` and \
         `available`",
    ),
    key(
        "image",
        STRING,
        "release that `ros os upgrade` takes if none is named; default: the list's current one",
    ),
    later("policy", STRING, "when to upgrade"),
    old("rollback", STRING, "never had an effect"),
];

const STATE: &[Key] = &[
    key(
        "dev",
        STRING,
        "device, `LABEL=` or `UUID=` of the state disk; empty: the machine runs from memory",
    ),
    key("fstype", STRING, "its type; default: auto"),
    key("wait", BOOL, "wait for the disk up to a minute instead of 10 seconds"),
    key("required", BOOL, "start the recovery console if the disk is missing"),
    key("autoformat", STRINGS, "disks; the first blank one is formatted as the state disk"),
    key(
        "docker_machine",
        BOOL,
        "without `dev`: the disk that Docker Machine marked, or that was formatted for it, is the \
         state disk; set on the ISO",
    ),
    key("directory", STRING, "folder of the disk to use as its root"),
    key("script", STRING, "script to run first, in the bootstrap container"),
    key("oem_dev", STRING, "OEM partition, with oem-config.yml"),
    key("oem_fstype", STRING, "its type; default: auto"),
    key("mdadm_scan", BOOL, "assemble software RAID first"),
    later("lvm_scan", BOOL, "look for LVM first"),
    key(
        "cryptsetup",
        BOOL,
        "open every encrypted disk (LUKS) first, as `encryption` does with one",
    ),
    key("encryption", Type::Keys(ENCRYPTION), "the state disk is encrypted"),
    old("rngd", BOOL, "the kernel gathers its own entropy"),
    old("boot_fstype", STRING, "found by itself"),
    old("boot_dev", STRING, "found by itself"),
];

const ENCRYPTION: &[Key] = &[
    key(
        "device",
        STRING,
        "device or `UUID=` of the LUKS container with the state disk; opened by the TPM, the \
         key file, or a passphrase typed at the console",
    ),
    key("key_file", STRING, "file with a key: `DRIVE:/PATH`, as in `LABEL=KEYS:/state.key`"),
];

const NETWORK: &[Key] = &[
    key(
        "interfaces",
        Type::Map(&Type::Keys(INTERFACE)),
        "by name, `mac=…`, or a pattern of either (`eth*`, `mac=52:54:*`); without any entry every \
         interface uses DHCP",
    ),
    key("dns", Type::Keys(DNS), "name servers"),
    key(
        "pre_cmds",
        STRINGS,
        "commands before all interfaces, in the network container; words with a shell's quotes, no \
         shell",
    ),
    key("post_cmds", STRINGS, "commands after all interfaces"),
    key(
        "http_proxy",
        STRING,
        "proxy for http: of both engines, data sources, `ros`, logins, and services that request \
         it",
    ),
    key("https_proxy", STRING, "proxy for https"),
    key("no_proxy", STRING, "hosts to reach without a proxy, comma-separated"),
    old("dhcp_timeout", ANY, "nothing waits for a lease"),
    later("wifi_networks", ANY_MAP, "wireless networks"),
    later("modem_networks", ANY_MAP, "modems"),
];

const DNS: &[Key] = &[
    key(
        "nameservers",
        Type::List(&ADDRESS),
        "addresses of name servers; they take precedence over DHCP's",
    ),
    key("search", STRINGS, "domains to search"),
];

const INTERFACE: &[Key] = &[
    key("match", STRING, "name, `mac=…` or pattern, instead of the key of the map"),
    key("dhcp", BOOL, "get an address by DHCP"),
    key("dhcp_args", STRING, "full command line instead of `dhcpcd -MA4`"),
    key("address", NETWORK_ADDRESS, "address with prefix length"),
    key(
        "addresses",
        Type::List(&NETWORK_ADDRESS),
        "more addresses; an address that is not listed is removed",
    ),
    key("ipv4ll", BOOL, "a link-local address, 169.254.x.y"),
    key("gateway", ADDRESS, "default route"),
    key("gateway_ipv6", ADDRESS, "default route for IPv6"),
    key(
        "metric",
        METRIC,
        "of its default routes, also of DHCP's: the lowest wins; 0: static routes before DHCP's, \
         by name",
    ),
    key("mtu", MTU, "largest packet, in bytes; 0: the driver's default"),
    key("bridge", STRING, "`true`: this is a bridge; else the bridge to join, created if missing"),
    key("bond", STRING, "the bond to join, created if missing"),
    key("bond_opts", STRING_MAP, "options of a bond, as in /sys/class/net/BOND/bonding"),
    key(
        "vlans",
        Type::Text(&facts::VLANS),
        "`id[:name]`, comma-separated; default name: INTERFACE.id",
    ),
    key("pre_up", STRINGS, "commands before this interface; `$iface` is its name"),
    key("post_up", STRINGS, "commands after this interface"),
];

const DEFAULTS: &[Key] = &[
    key("hostname", HOSTNAME, "the host name if no source has one").warns(cautions::long_name),
    key("network", Type::Keys(DEFAULT_NETWORK), "the network if no source configures it"),
    old("docker", Type::Keys(DOCKER), "the engine is the image's"),
    old("system_docker_logs", STRING, "always /var/log/system-docker.log"),
];

/// Only name servers have a default that is the owner's.
const fn no_default(name: &'static str, kind: Type) -> Key {
    old(name, kind, "only `dns` is read here: see `rancher.network`")
}

const DEFAULT_DNS: &[Key] = &[
    key("nameservers", Type::List(&ADDRESS), "used if neither the configuration nor DHCP has any"),
    key("search", STRINGS, "domains to search"),
];

const DEFAULT_NETWORK: &[Key] = &[
    key("dns", Type::Keys(DEFAULT_DNS), "name servers"),
    no_default("interfaces", Type::Map(&Type::Keys(INTERFACE))),
    no_default("pre_cmds", STRINGS),
    no_default("post_cmds", STRINGS),
    no_default("http_proxy", STRING),
    no_default("https_proxy", STRING),
    no_default("no_proxy", STRING),
    no_default("dhcp_timeout", ANY),
    no_default("wifi_networks", ANY_MAP),
    no_default("modem_networks", ANY_MAP),
];

const SSH: &[Key] = &[
    key("daemon", BOOL, "run sshd"),
    key("keys", Type::Map(&SECRET), "host keys: `rsa`, `ecdsa`, `ed25519`, and each with `-pub`"),
    key("port", PORT, "port to listen on; 0 and default: 22"),
    key("listen_address", ADDRESS, "address to listen on; default: all"),
];

const DOCKER: &[Key] = &[
    key("extra_args", STRINGS, "more arguments of dockerd").warns(cautions::old_arguments),
    key("environment", STRINGS, "variables of dockerd, `KEY=VALUE`"),
    key("host", STRINGS, "sockets to listen on"),
    key("group", STRING, "group of the socket"),
    key("debug", BOOL, "more lines in its log"),
    key("graph", STRING, "where images and containers are"),
    key("bridge", STRING, "bridge, or none"),
    key("bip", STRING, "address of docker0 with prefix length"),
    key("config_file", STRING, "daemon.json; `{}` is written if the file is missing"),
    key("containerd", STRING, "socket of another containerd"),
    key("exec_root", STRING, "folder for runtime state"),
    key("pid_file", STRING, "its pid file"),
    key("insecure_registry", STRINGS, "registries without TLS"),
    key("registry_mirror", STRING, "mirror of Docker Hub"),
    key("live_restore", BOOL, "containers keep running while dockerd restarts; false for Swarm"),
    key("log_driver", STRING, "log driver; not `awslogs` in a release, see docs/engines.md"),
    key("log_opts", STRING_MAP, "its options"),
    key("selinux_enabled", BOOL, "passed to dockerd; there is no SELinux here that it could use")
        .warns(cautions::no_selinux),
    key(
        "storage_driver",
        STRING,
        "storage driver; not `btrfs` or `zfs` in a release, see docs/engines.md",
    )
    .warns(cautions::old_driver),
    key("userland_proxy", BOOL, "a proxy process for each published port"),
    key("storage_context", STRING, "the container whose file system dockerd uses"),
    key("tls", BOOL, "listen with TLS, with `tls_args`; requires certificate, key and authority"),
    key("tls_args", STRINGS, "arguments for TLS"),
    key("ca_cert", SECRET, "certificate of the authority, PEM"),
    key("ca_key", SECRET, "key of the authority; `ros tls generate` signs with it"),
    key("server_cert", SECRET, "the server's certificate, PEM"),
    key("server_key", SECRET, "its key"),
    key(
        "engine",
        STRING,
        "a replacement engine: its name, an image, or the absolute path or URL of a file with a \
         service `docker`",
    ),
    key(
        "engine_images",
        STRING,
        "repository of a registry with engines; the name of an engine is its tag there",
    ),
    old("exec", BOOL, "PID 1 is the engine of the system"),
    old("restart", BOOL, "Docker dropped it"),
    old("args", STRINGS, "never had an effect: see `extra_args`"),
];

/// PID 1 is the engine, so the settings of a dockerd mean nothing to it.
const fn unused(name: &'static str, kind: Type) -> Key {
    old(name, kind, "the engine of the system is PID 1, not a dockerd")
}

const SYSTEM_DOCKER: &[Key] = &[
    unused("extra_args", STRINGS),
    unused("environment", STRINGS),
    unused("host", STRINGS),
    unused("group", STRING),
    unused("debug", BOOL),
    unused("graph", STRING),
    unused("bridge", STRING),
    unused("bip", STRING),
    unused("config_file", STRING),
    unused("containerd", STRING),
    unused("exec_root", STRING),
    unused("pid_file", STRING),
    key("insecure_registry", STRINGS, "registries without TLS"),
    key("registry_mirror", STRING, "mirror of Docker Hub"),
    unused("live_restore", BOOL),
    unused("log_driver", STRING),
    unused("log_opts", STRING_MAP),
    unused("selinux_enabled", BOOL),
    unused("storage_driver", STRING),
    unused("userland_proxy", BOOL),
    unused("storage_context", STRING),
    unused("tls", BOOL),
    unused("tls_args", STRINGS),
    unused("ca_cert", SECRET),
    unused("ca_key", SECRET),
    unused("server_cert", SECRET),
    unused("server_key", SECRET),
    unused("engine", STRING),
    unused("exec", BOOL),
    unused("restart", BOOL),
    unused("args", STRINGS),
];
