//! Which key of compose is which flag of `docker create`, and which keys below others are known.

/// Keys that are a flag with one value.
pub(super) const SCALARS: [(&str, &str); 35] = [
    ("hostname", "--hostname"),
    ("domainname", "--domainname"),
    ("user", "--user"),
    ("working_dir", "--workdir"),
    ("restart", "--restart"),
    ("net", "--network"),
    ("network_mode", "--network"),
    ("pid", "--pid"),
    ("ipc", "--ipc"),
    ("uts", "--uts"),
    ("userns_mode", "--userns"),
    ("mem_limit", "--memory"),
    ("mem_reservation", "--memory-reservation"),
    ("memswap_limit", "--memory-swap"),
    ("mem_swappiness", "--memory-swappiness"),
    ("cpus", "--cpus"),
    ("cpu_shares", "--cpu-shares"),
    ("cpu_quota", "--cpu-quota"),
    ("cpu_period", "--cpu-period"),
    ("cpuset", "--cpuset-cpus"),
    ("pids_limit", "--pids-limit"),
    ("oom_score_adj", "--oom-score-adj"),
    ("mac_address", "--mac-address"),
    ("cgroup", "--cgroupns"),
    ("cgroup_parent", "--cgroup-parent"),
    ("log_driver", "--log-driver"),
    ("volume_driver", "--volume-driver"),
    ("stop_signal", "--stop-signal"),
    ("shm_size", "--shm-size"),
    ("runtime", "--runtime"),
    ("platform", "--platform"),
    ("gpus", "--gpus"),
    ("isolation", "--isolation"),
    ("cpu_rt_period", "--cpu-rt-period"),
    ("cpu_rt_runtime", "--cpu-rt-runtime"),
];

/// Keys that are a flag for each item of a list.
pub(super) const LISTS: [(&str, &str); 16] = [
    ("expose", "--expose"),
    ("volumes_from", "--volumes-from"),
    ("links", "--link"),
    ("external_links", "--link"),
    ("cap_add", "--cap-add"),
    ("cap_drop", "--cap-drop"),
    ("devices", "--device"),
    ("device_cgroup_rules", "--device-cgroup-rule"),
    ("dns", "--dns"),
    ("dns_opt", "--dns-option"),
    ("dns_search", "--dns-search"),
    ("security_opt", "--security-opt"),
    ("tmpfs", "--tmpfs"),
    ("extra_hosts", "--add-host"),
    ("group_add", "--group-add"),
    ("label_file", "--label-file"),
];

/// Keys that are a flag when they are true.
pub(super) const SWITCHES: [(&str, &str); 6] = [
    ("privileged", "--privileged"),
    ("read_only", "--read-only"),
    ("tty", "--tty"),
    ("stdin_open", "--interactive"),
    ("init", "--init"),
    ("oom_kill_disable", "--oom-kill-disable"),
];

/// Keys that are a flag `KEY=VALUE` for each entry.
pub(super) const MAPS: [(&str, &str); 6] = [
    ("labels", "--label"),
    ("log_opt", "--log-opt"),
    ("storage_opt", "--storage-opt"),
    ("sysctls", "--sysctl"),
    ("ulimits", "--ulimit"),
    ("annotations", "--annotation"),
];

/// Keys of a health check.
pub(super) const HEALTH: [&str; 7] =
    ["test", "interval", "timeout", "start_period", "start_interval", "retries", "disable"];

/// Keys of a network that a service is in.
pub(super) const ENDPOINT: [&str; 4] = ["aliases", "ipv4_address", "ipv6_address", "mac_address"];

/// Keys of a volume in the long form.
pub(super) const VOLUME: [&str; 7] =
    ["type", "source", "target", "read_only", "bind", "tmpfs", "volume"];
