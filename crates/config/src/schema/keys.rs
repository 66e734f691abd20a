//! The table of all keys.

use super::key::{Caution, Key, Standing, Type};
use super::range::Range;
use super::{cautions, facts};

const fn key(name: &'static str, kind: Type, about: &'static str) -> Key {
    Key { name, kind, about, standing: Standing::Effective, caution: None, vital: false }
}

const fn later(name: &'static str, kind: Type, about: &'static str) -> Key {
    Key { standing: Standing::Later, ..key(name, kind, about) }
}

const fn old(name: &'static str, kind: Type, about: &'static str) -> Key {
    Key { standing: Standing::Old, ..key(name, kind, about) }
}

const fn vital(name: &'static str, kind: Type, about: &'static str) -> Key {
    Key { vital: true, ..key(name, kind, about) }
}

impl Key {
    const fn warns(self, caution: Caution) -> Key {
        Key { caution: Some(caution), ..self }
    }
}

const BOOL: Type = Type::Bool;
const PORT: Type = Type::Integer(Range::or_zero(1, 65_535));
/// IPv4 needs 68 bytes (RFC 791); no driver has more than 16 bits.
const MTU: Type = Type::Integer(Range::or_zero(68, 65_535));
/// 0 is root, and the last one stands for "no change" in chown(2).
const UID: Type = Type::Integer(Range::new(1, 4_294_967_294));
const STRING: Type = Type::String;
const SECRET: Type = Type::Secret(&facts::ANYTHING);
const STRINGS: Type = Type::List(&Type::String);
const COMMANDS: Type = Type::List(&Type::Command);
const STRING_MAP: Type = Type::Map(&Type::String);
const ANY: Type = Type::Any;
const ANY_MAP: Type = Type::Map(&Type::Any);
const ADDRESS: Type = Type::Text(&facts::ADDRESS);
const NETWORK_ADDRESS: Type = Type::Text(&facts::NETWORK);
const PATH: Type = Type::Text(&facts::PATH);
const HOSTNAME: Type = Type::Text(&facts::HOSTNAME);

/// The whole document.
pub const ROOT: Type = Type::Keys(&[
    key(
        "hostname",
        HOSTNAME,
        "the machine's name; without it the DHCP server's counts, then `rancher.defaults.hostname`",
    ),
    key("ssh_authorized_keys", STRINGS, "public keys that may log in as rancher and docker")
        .warns(cautions::no_ssh_key),
    key("ssh_pwauth", BOOL, "sshd takes passwords too (users must have one); false")
        .warns(cautions::ssh_passwords),
    key("users", Type::List(&Type::Named(USER)), "more users; `default` stands for rancher and is skipped"),
    key(
        "write_files",
        Type::List(&Type::Keys(WRITE_FILE)),
        "files to write, at each start of their container",
    ),
    key(
        "mounts",
        Type::List(&Type::Mount),
        "`[device, target, type, options]`, made in the console; see below",
    ),
    key(
        "bootcmd",
        COMMANDS,
        "commands to run at each boot before sshd and the network, in the bootstrap container",
    ),
    key(
        "runcmd",
        COMMANDS,
        "commands to run in the console, in order, before Docker starts; the first failure ends the sequence",
    ),
    key("rancher", Type::Keys(RANCHER), "everything that is this system's own"),
    old("EXTRA_CMDLINE", STRING, "the original's note of the words after `--`; see `rancher.environment`"),
    old("manage_etc_hosts", ANY, "cloud-init's; /etc/hosts always names the machine"),
    old("coreos", ANY, "CoreOS's"),
]);

const WRITE_FILE: &[Key] = &[
    vital("path", PATH, "where to write it; the folders above are made"),
    vital("content", STRING, "what is in it"),
    vital(
        "encoding",
        Type::Text(&facts::ENCODING),
        "how `content` is encoded: `b64`, `gzip`, `gz+b64`; plain text without it",
    ),
    vital("permissions", Type::Text(&facts::MODE), "octal mode; 0644"),
    vital("owner", STRING, "`user` or `user:group`, by name or number; root"),
    vital("container", STRING, "the system container to write into; console"),
];

const USER: &[Key] = &[
    key("name", Type::Text(&facts::USER), "its name; a user of this name that is there already is changed"),
    key("gecos", STRING, "its full name"),
    key("primary_group", STRING, "its group; one of its own name without it"),
    key(
        "groups",
        STRINGS,
        "more groups; `docker` is needed to log in by ssh and to use Docker; made if they are not there",
    ),
    key("uid", UID, "its number; the next free one from 1200 without it"),
    key("homedir", PATH, "its home; /home/NAME"),
    key("no_create_home", BOOL, "make no home"),
    key("system", BOOL, "a user for a program: no home"),
    key("shell", PATH, "its shell; /bin/bash"),
    key("ssh_authorized_keys", STRINGS, "public keys that may log in as it").warns(cautions::no_ssh_key),
    key(
        "passwd",
        Type::Secret(&facts::PASSWORD_HASH),
        "hash of its password, as in /etc/shadow (`openssl passwd -6`); `*` and `!`: none",
    ),
    key("lock_passwd", BOOL, "no log-in by password; true unless `passwd` is given"),
    key(
        "sudo",
        Type::BoolOr(&STRINGS),
        "lines for sudoers without the name, such as `ALL=(ALL) NOPASSWD:ALL`; false for none",
    ),
    old("plain_text_passwd", SECRET, "not taken: give a hash (`passwd`)"),
    old("ssh_import_id", STRINGS, "not taken: give the keys"),
    old("inactive", ANY, "cloud-init's"),
    old("expiredate", ANY, "cloud-init's"),
    old("no_user_group", ANY, "cloud-init's"),
    old("no_log_init", ANY, "cloud-init's"),
];

const RANCHER: &[Key] = &[
    key("debug", BOOL, "more lines in the logs, also of Docker; and `log`"),
    key("log", BOOL, "show what the services of the system write on the console too"),
    key(
        "autologin",
        STRINGS,
        "terminals that log rancher in without asking; a kernel parameter, may be repeated",
    ),
    key(
        "password",
        Type::Secret(&facts::PASSWORD),
        "password of rancher on terminals, and over ssh with `ssh_pwauth`: its hash (`openssl passwd -6`), or clear text; a kernel parameter",
    )
    .warns(cautions::clear_text),
    key("modules", STRINGS, "kernel modules to load at boot: a name, then parameters"),
    key("sysctl", STRING_MAP, "values for /proc/sys: `net.ipv4.ip_forward: 1`"),
    key(
        "environment",
        STRING_MAP,
        "variables that services ask for by name (`A`, `B*`, `service/KEY`) and in `${NAME}`",
    ),
    key(
        "services",
        ANY_MAP,
        "services in compose form; with the label `io.rancher.os.scope: system` one of the system's, else of the user's Docker",
    ),
    key(
        "shutdown_timeout",
        Type::Integer(Range::new(0, 86_400)),
        "seconds until the machine ends in any case; less than 5 is taken as 5, 0 as 60",
    ),
    key("cloud_init", Type::Keys(CLOUD_INIT), "where to look for a configuration"),
    key("state", Type::Keys(STATE), "the state disk"),
    key("network", Type::Keys(NETWORK), "addresses, names and proxies"),
    key("defaults", Type::Keys(DEFAULTS), "fall-backs"),
    key("ssh", Type::Keys(SSH), "the ssh server"),
    key("docker", Type::Keys(DOCKER), "the user's Docker"),
    key("resize_device", STRING, "disk whose first partition and file system grow to its end, once"),
    key("restart_services", STRINGS, "system containers to restart when the boot has got to the console"),
    key("registry_auths", Type::Map(&Type::Keys(REGISTRY_AUTH)), "logins for registries, by registry"),
    key(
        "system_docker",
        Type::Keys(DOCKER),
        "the engine of the system: `insecure_registry` and `registry_mirror` count",
    ),
    key(
        "console",
        STRING,
        "name in a repository, absolute path or URL of a file with another service `console`",
    ),
    key(
        "services_include",
        Type::Map(&Type::Bool),
        "compose files with services of the system: absolute path, URL, or name in a repository → enabled; what is fetched is kept in /var/lib/rancher/cache",
    ),
    key(
        "repositories",
        Type::Map(&Type::Keys(REPOSITORY)),
        "where `services_include` finds files by name, by any name of your own",
    ),
    key("upgrade", Type::Keys(UPGRADE), "where releases are found"),
    key(
        "recovery",
        BOOL,
        "recovery console before the state disk is mounted; on the kernel command line, or in the boot menu",
    ),
    key("force_console_rebuild", BOOL, "make a persistent console anew, once"),
    key(
        "hypervisor_service",
        BOOL,
        "run the tools for guests of VMware or Hyper-V, if a repository has them; true",
    ),
    old("bootstrap_docker", Type::Keys(DOCKER), "there is one engine, PID 1, from the first moment"),
    old("bootstrap", ANY_MAP, "the bootstrap container is the image's"),
    old("cloud_init_services", ANY_MAP, "the cloud-init containers are the image's"),
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
        Type::Integer(Range::new(0, 3_600)),
        "seconds that all data sources on the network may take together; 60",
    ),
];

const REGISTRY_AUTH: &[Key] = &[
    key("username", STRING, "user"),
    key("password", SECRET, "password"),
    key("auth", SECRET, "base64 of user:password, in place of both"),
    old("email", STRING, "registries no longer ask for it"),
    old("server_address", STRING, "the key of the map says it"),
    key("identity_token", SECRET, "token in place of a password"),
    key("registry_token", SECRET, "bearer token for the registry"),
];

const REPOSITORY: &[Key] =
    &[key("url", STRING, "base of the URLs: service NAME is at `URL/N/NAME.yml`, N its first letter")];

const UPGRADE: &[Key] = &[
    key(
        "url",
        STRING,
        "list of releases for `ros os list`: a URL, or the path of a file, with `current` and `available`",
    ),
    key("image", STRING, "release that `ros os upgrade` takes if none is named; the list's current one"),
    later("policy", STRING, "when to upgrade"),
    old("rollback", STRING, "never had an effect"),
];

const STATE: &[Key] = &[
    key("dev", STRING, "device, `LABEL=` or `UUID=` of the state disk; empty: the machine runs from memory"),
    key("fstype", STRING, "its type; auto"),
    key("wait", BOOL, "wait for it up to a minute instead of 10 seconds"),
    key("required", BOOL, "recovery console when it is not there"),
    key("autoformat", STRINGS, "disks of which the first blank one becomes the state disk"),
    key("directory", STRING, "folder of the disk to use as its root"),
    key("script", STRING, "script to run first, in the bootstrap container"),
    key("oem_dev", STRING, "disk with the maker's configuration, oem-config.yml; LABEL=RANCHER_OEM"),
    key("oem_fstype", STRING, "its type; auto"),
    key("mdadm_scan", BOOL, "assemble software RAID first"),
    later("lvm_scan", BOOL, "look for LVM first"),
    key("cryptsetup", BOOL, "open every encrypted disk (LUKS) first, as `encryption` does with one"),
    key("encryption", Type::Keys(ENCRYPTION), "the state disk is encrypted"),
    old("rngd", BOOL, "the kernel gathers its own entropy"),
    old("boot_fstype", STRING, "found by itself"),
    old("boot_dev", STRING, "found by itself"),
];

const ENCRYPTION: &[Key] = &[
    key(
        "device",
        STRING,
        "device or `UUID=` of the LUKS container that the state disk is in; opened by the TPM, the key file, or a passphrase typed at the console",
    ),
    key("key_file", STRING, "file with a key: `DRIVE:/PATH`, as in `LABEL=KEYS:/state.key`"),
];

const NETWORK: &[Key] = &[
    key(
        "interfaces",
        Type::Map(&Type::Keys(INTERFACE)),
        "by name, pattern (`eth*`) or `mac=…`; `eth*: {dhcp: true}` if there is none",
    ),
    key("dns", Type::Keys(DNS), "name servers"),
    key("pre_cmds", STRINGS, "commands before everything, in the network container; words, no shell"),
    key("post_cmds", STRINGS, "commands after everything"),
    key("http_proxy", STRING, "proxy for http, for Docker, data sources and services that ask for it"),
    key("https_proxy", STRING, "proxy for https"),
    key("no_proxy", STRING, "what goes without a proxy, comma-separated"),
    old("dhcp_timeout", ANY, "nothing waits for a lease"),
    later("wifi_networks", ANY_MAP, "wireless networks"),
    later("modem_networks", ANY_MAP, "modems"),
];

const DNS: &[Key] = &[
    key("nameservers", Type::List(&ADDRESS), "addresses of name servers; win over DHCP's"),
    key("search", STRINGS, "domains to search"),
];

const INTERFACE: &[Key] = &[
    key("match", STRING, "name, pattern or `mac=…`, in place of the key of the map"),
    key("dhcp", BOOL, "ask for an address by DHCP"),
    key("dhcp_args", STRING, "full command line in place of `dhcpcd -MA4`"),
    key("address", NETWORK_ADDRESS, "address with prefix length"),
    key("addresses", Type::List(&NETWORK_ADDRESS), "more of them; what is not listed is taken away"),
    key("ipv4ll", BOOL, "a link-local address, 169.254.x.y"),
    key("gateway", ADDRESS, "default route"),
    key("gateway_ipv6", ADDRESS, "default route for IPv6"),
    key("mtu", MTU, "largest packet, in bytes; 0: as the driver says"),
    key("bridge", STRING, "`true`: this is a bridge; else the bridge to join, made if it is not there"),
    key("bond", STRING, "the bond to join, made if it is not there"),
    key("bond_opts", STRING_MAP, "options of a bond, as in /sys/class/net/BOND/bonding"),
    key(
        "vlans",
        Type::Text(&facts::VLANS),
        "`id[:name]`, comma-separated; the name is INTERFACE.id without one",
    ),
    key("pre_up", STRINGS, "commands before this interface; `$iface` is its name"),
    key("post_up", STRINGS, "commands after this interface"),
];

const DEFAULTS: &[Key] = &[
    key("hostname", HOSTNAME, "the name where nothing gives one"),
    key("network", Type::Keys(NETWORK), "the network where nothing is said"),
    old("docker", Type::Keys(DOCKER), "the engine is the image's"),
    old("system_docker_logs", STRING, "always /var/log/system-docker.log"),
];

const SSH: &[Key] = &[
    key("daemon", BOOL, "run sshd"),
    key("keys", Type::Map(&SECRET), "host keys: `rsa`, `ecdsa`, `ed25519`, and each with `-pub`"),
    key("port", PORT, "port to listen on; 0: 22"),
    key("listen_address", ADDRESS, "address to listen on; all of them without it"),
];

const DOCKER: &[Key] = &[
    key("extra_args", STRINGS, "more arguments of dockerd"),
    key("environment", STRINGS, "variables of dockerd, `KEY=VALUE`"),
    key("host", STRINGS, "sockets to listen on"),
    key("group", STRING, "group of the socket"),
    key("debug", BOOL, "more lines in its log"),
    key("graph", STRING, "where images and containers are"),
    key("bridge", STRING, "bridge, or none"),
    key("bip", STRING, "address of docker0 with prefix length"),
    key("config_file", STRING, "daemon.json; `{}` is written if it is not there"),
    key("containerd", STRING, "socket of another containerd"),
    key("exec_root", STRING, "folder for run-time state"),
    key("pid_file", STRING, "its pid file"),
    key("insecure_registry", STRINGS, "registries without TLS"),
    key("registry_mirror", STRING, "mirror of Docker Hub"),
    key("live_restore", BOOL, "containers live on while dockerd is replaced; false for Swarm"),
    key("log_driver", STRING, "log driver"),
    key("log_opts", STRING_MAP, "its options"),
    key("selinux_enabled", BOOL, "SELinux labels"),
    key("storage_driver", STRING, "storage driver"),
    key("userland_proxy", BOOL, "a proxy process for each published port"),
    key("storage_context", STRING, "the container whose files dockerd sees; console"),
    key("tls", BOOL, "listen with TLS, with `tls_args`; needs certificate, key and authority"),
    key("tls_args", STRINGS, "arguments for TLS"),
    key("ca_cert", SECRET, "certificate of the authority, PEM"),
    key("ca_key", SECRET, "its key; what `ros tls generate` signs with"),
    key("server_cert", SECRET, "the server's certificate, PEM"),
    key("server_key", SECRET, "its key"),
    key(
        "engine",
        STRING,
        "name in a repository, absolute path or URL of a file with another service `docker`",
    ),
    old("exec", BOOL, "PID 1 is the engine of the system"),
    old("restart", BOOL, "Docker dropped it"),
    old("args", STRINGS, "never had an effect: see `extra_args`"),
];
