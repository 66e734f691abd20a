//! The YAML examples of the manual, each with the check that proves its effect. Examples that do
//! not contradict each other share a machine.

/// An example and its check.
pub(super) struct Example {
    pub(super) file: &'static str,
    /// A text that is in this example and in no other of the file.
    pub(super) has: &'static str,
    /// A script that succeeds on the machine once the example has its effect.
    pub(super) check: &'static str,
}

/// A machine that boots with some of the examples, all in one user data.
pub(super) struct Setup {
    pub(super) name: &'static str,
    pub(super) nics: u32,
    /// What its owner adds to the examples.
    pub(super) more: &'static str,
    pub(super) examples: &'static [Example],
}

const README: &str = "README.md";
const CONFIGURATION: &str = "docs/configuration.md";
const CONSOLE: &str = "docs/console.md";
const INSTALLING: &str = "docs/installing.md";
const SERVICES: &str = "docs/system-services.md";
const ENGINES: &str = "docs/engines.md";
const CATALOGUE: &str = "docs/service-catalogue.md";
const DOCKER: &str = "docs/docker.md";
const NETWORK: &str = "docs/network.md";
const QUICK_START: &str = "docs/quick-start.md";
const SECURITY: &str = "docs/security.md";
const STORAGE: &str = "docs/storage.md";

/// The machines. Their disks have what `super::PREPARE` makes.
pub(super) const SETUPS: [Setup; 9] = [
    Setup {
        name: "a-first-server",
        nics: 1,
        more: "",
        examples: &[
            Example {
                file: README,
                has: "hostname: web-1",
                check: "[ $(hostname) = web-1 ] && grep -qx welcome /etc/motd &&
                    sudo grep -q you@home /run/corral/ssh/authorized_keys.d/rancher &&
                    [ $(stat -c %a /etc/motd) = 644 ] && curl -s http://127.0.0.1/ | grep stand-in",
            },
            Example {
                file: CONFIGURATION,
                has: "http_proxy: http://proxy.example.com:3128",
                check: "proxy=http://proxy.example.com:3128
                    [ $(docker info --format '{{.HTTPProxy}}') = $proxy ] &&
                    bash -lc 'echo $https_proxy $no_proxy' |
                    grep -qxF \"$proxy localhost,127.0.0.1,10.0.0.0/8,.example.com\"",
            },
        ],
    },
    Setup {
        name: "the-long-example",
        nics: 1,
        more: "",
        examples: &[Example {
            file: CONFIGURATION,
            has: "hostname: node-1",
            check: "set -e; [ $(hostname) = node-1 ]
                sudo grep -q me@desk /run/corral/ssh/authorized_keys.d/rancher
                sudo grep -q ann@desk /run/corral/ssh/authorized_keys.d/ann
                id -nG ann | grep -qw docker; [ $(sudo -u ann sudo id -un) = root ]
                bash -lc true | grep -qx hello
                sudo system-docker exec ntp chronyc -n sources | grep -w 10.0.2.2
                grep ' /mnt/data ext4' /proc/mounts; grep ' /mnt/media nfs4' /proc/mounts
                grep -q ^/dev/vdd /proc/swaps
                [ $(docker inspect -f '{{.HostConfig.RestartPolicy.Name}}' hello) = always ]
                curl -s http://127.0.0.1:8080/ | grep stand-in
                [ $(cat /proc/sys/vm/max_map_count) = 262144 ]; lsmod | grep -q ^zram
                [ $(sudo ros env printenv GREETING) = hello ]
                curl -s http://127.0.0.1/ | grep stand-in
                docker exec web sh -c 'echo $GREETING' | grep -qx hello
                sudo ros net | grep 10.0.2.15/24 | grep static
                ip route show default | grep 'via 10.0.2.2 dev eth0 proto static metric 100'
                grep -qx 'nameserver 10.0.2.2' /etc/resolv.conf",
        }],
    },
    Setup {
        name: "logins-and-a-bond",
        nics: 2,
        more: "",
        examples: &[
            Example {
                file: CONFIGURATION,
                has: "MaxAuthTries 3",
                check: "set -e; id -nG ann | grep -qw docker
                    sudo grep -q me@desk /run/corral/ssh/authorized_keys.d/rancher
                    sudo grep -q ann@desk /run/corral/ssh/authorized_keys.d/ann
                    sudo grep -qF 'ann:$6$salt$ABCDEF' /etc/shadow
                    sudo /usr/sbin/sshd -T -f /run/corral/ssh/sshd_config |
                    grep -qx 'maxauthtries 3'",
            },
            Example {
                file: CONFIGURATION,
                has: "bond_opts",
                check: "set -e; cd /sys/class/net; grep -q ^active-backup bond0/bonding/mode
                    grep -qx 100 bond0/bonding/miimon; grep -qw eth1 bond0/bonding/slaves
                    ip -4 addr show bond0 | grep 10.0.2.15/24
                    [ -e br0/brif/bond0.100 ]; ip -d link show storage | grep 'vlan.* id 200 '
                    ip route show default | grep 'via 10.0.2.2 dev bond0'
                    pgrep -a dhcpcd | grep br0",
            },
        ],
    },
    Setup {
        name: "disks-and-services",
        nics: 1,
        more: "",
        examples: &[
            Example {
                file: CONFIGURATION,
                has: "[/mnt/data/www, /opt/www, none, bind]",
                check: "grep -q '/mnt/data ext4 .*noatime' /proc/mounts &&
                    test -e /opt/www/index.html &&
                    grep 'over nfs' /mnt/media/file && grep -q ^/dev/vdd /proc/swaps",
            },
            Example {
                file: CONSOLE,
                has: "content: \"welcome\\n\"",
                check: "[ \"$(cat /etc/motd)\" = welcome ] && [ $(stat -c %a /etc/motd) = 644 ]",
            },
            Example {
                file: SERVICES,
                has: "prom/node-exporter",
                check: "set -e; format='{{.State.Status}} {{.HostConfig.PidMode}}'
                    format=\"$format {{.HostConfig.ReadonlyRootfs}}\"
                    sudo system-docker inspect -f \"$format\" exporter |
                    grep -x 'running host true'
                    sudo system-docker exec exporter test -e /host/usr/share/ros/os.yml
                    sudo system-docker inspect of-the-site of-the-repository",
            },
            Example {
                file: SERVICES,
                has: "cron.schedule: \"0 30 3 * * ?\"",
                check: "[ \"$(sudo system-docker inspect -f '{{.State.Status}} \
                    {{index .Config.Labels \"cron.missed\"}}' backup)\" = 'created run' ]",
            },
            Example {
                file: CONSOLE,
                has: "image: tailscale/tailscale",
                check: "cd /opt/vpn && docker compose up -d &&
                    docker compose exec vpn test -c /dev/net/tun",
            },
        ],
    },
    Setup {
        name: "messages-and-sources",
        nics: 1,
        more: "",
        examples: &[
            Example {
                file: SERVICES,
                has: "com.example.team: storage",
                check: "set -e; [ \"$(sudo system-docker inspect -f '{{index .Config.Labels \
                    \"com.example.team\"}} {{index .HostConfig.LogConfig.Config \"max-size\"}}' \
                    syslog)\" = 'storage 5242880' ]
                    sudo system-docker inspect -f '{{.Config.Env}}' syslog | grep TZ=Europe/Berlin
                    sudo system-docker exec syslog test -e /opt/rsyslog/mounted
                    (while sleep 1; do logger sent-to-another; done) &
                    sudo timeout 40 busybox nc -l -p 514 < /dev/null > /tmp/received || true
                    kill $!; grep -q sent-to-another /tmp/received",
            },
            Example {
                file: CONFIGURATION,
                has: "datasources: [nocloud, ec2,",
                check: "[ $(sudo ros config get rancher.environment.FROM_URL) = yes ] &&
                    sudo ros config status | grep 'url.*on the network'",
            },
            Example {
                file: NETWORK,
                has: "search: [lab.example]",
                check: "set -e; [ $(hostname) = db-1 ]
                    sudo ros net | grep 10.0.2.15/24 | grep static
                    ip route show default | grep 'via 10.0.2.2 dev eth0'
                    grep -qx 'nameserver 10.0.2.2' /etc/resolv.conf
                    grep -q '^search.* lab.example' /etc/resolv.conf",
            },
            Example {
                file: NETWORK,
                has: "iptables -I DOCKER-USER",
                check: "sudo iptables -S DOCKER-USER | grep -F -- '! -s 10.0.0.0/8' | grep DROP &&
                    sudo iptables -S INPUT | grep -- '--dport 9100 -j DROP'",
            },
        ],
    },
    Setup {
        name: "files-and-gateways",
        nics: 2,
        more: "",
        examples: &[
            Example {
                file: SERVICES,
                has: "path: /etc/logrotate.d/shop",
                check: "sudo ros service start logrotate &&
                    sudo grep -r /opt/shop/log/shop.log /var/lib/rancher/logrotate",
            },
            Example {
                file: CONFIGURATION,
                has: "eth1: {dhcp: true, metric: 50}",
                check: "ip route show default | head -n 1 |
                    grep 'via 10.0.3.2 dev eth1 .*metric 50' &&
                    ip route show default | grep 'via 10.0.2.2 dev eth0 proto static metric 100'",
            },
            Example {
                file: SECURITY,
                has: "kernel.kptr_restrict",
                // sshd listens on port 22 of 10.0.2.15, and of no other address.
                check: "set -e; [ $(cat /proc/sys/kernel/kptr_restrict) = 2 ]
                    [ $(cat /proc/sys/net/ipv4/conf/all/rp_filter) = 1 ]
                    sudo ros config get rancher.cloud_init.datasources | grep -w nocloud
                    [ \"$(awk '$2 ~ /:0016$/ && $4 == \"0A\" {print $2}' /proc/net/tcp \
                    /proc/net/tcp6)\" = 0F02000A:0016 ]",
            },
        ],
    },
    Setup {
        name: "what-platforms-write",
        nics: 1,
        more: "",
        examples: &[
            Example {
                file: CONFIGURATION,
                has: "hostname: vm-100",
                check: "set -e; [ $(hostname) = vm-100 ]; [ $(hostname -f) = vm-100.lab.example ]
                    id -nG ops | grep -qw docker; sudo grep -qF 'ops:$6$salt$ABCDEF' /etc/shadow
                    sudo grep -q me@desk /run/corral/ssh/authorized_keys.d/ops
                    sudo grep -q me@desk /run/corral/ssh/authorized_keys.d/rancher
                    [ $(cat /etc/timezone) = Europe/Berlin ]; grep -q swap /proc/swaps
                    sudo system-docker exec ntp grep -r time.example.com /etc/chrony",
            },
            Example {
                file: CATALOGUE,
                has: "qemu-guest-agent: false",
                check: "[ \"$(sudo ros config get rancher.hypervisor_service)\" = true ] &&
                    ! sudo system-docker inspect qemu-guest-agent",
            },
            Example {
                file: STORAGE,
                has: "[LABEL=data, /mnt/files",
                check: "grep ' /mnt/files ext4 .*noatime' /proc/mounts",
            },
        ],
    },
    Setup {
        name: "a-catalogue",
        nics: 1,
        more: "",
        examples: &[
            Example {
                file: CATALOGUE,
                has: "QEMU_GUEST_AGENT_BLOCKED:",
                check: "[ \"$(sudo ros env printenv QEMU_GUEST_AGENT_BLOCKED)\" = \
                    guest-set-user-password,guest-set-time ]",
            },
            Example {
                file: CATALOGUE,
                has: "TS_AUTHKEY: tskey-auth-0123",
                // The test kernel has no iSCSI.
                check: "set -e; sudo system-docker inspect open-iscsi > /dev/null
                    docker inspect -f '{{.Config.Env}}' tailscale |
                    grep TS_AUTHKEY=tskey-auth-0123",
            },
            Example {
                file: QUICK_START,
                has: "hostname: web-1",
                check: "set -e; [ $(hostname) = web-1 ]
                    sudo grep -q you@home /run/corral/ssh/authorized_keys.d/rancher
                    curl -s http://127.0.0.1:8091/ | grep stand-in",
            },
            Example {
                file: DOCKER,
                has: "registry_auths:",
                check: "set -e; sudo ros config get rancher.registry_auths | grep puller
                    docker info --format '{{json .RegistryConfig}}' |
                    grep https://mirror.example.com | grep registry.lab:5000",
            },
        ],
    },
    Setup {
        name: "replacements",
        nics: 1,
        more: "rancher: {console: /opt/console.yml, docker: {engine: /opt/engine.yml}}\n",
        examples: &[
            Example {
                file: SERVICES,
                has: "debian-console:1",
                check: "test -e /etc/other-release &&
                    sudo ros console list | grep current.*console.yml",
            },
            Example {
                file: SERVICES,
                has: "image: docker:28-dind",
                check: "grep -qx other /run/which-engine && docker version",
            },
        ],
    },
];

/// Examples that are files of their own, and where the manual puts them.
pub(super) const FILES: [(&str, &str, &str); 3] = [
    (SERVICES, "debian-console:1", "/opt/console.yml"),
    (SERVICES, "image: docker:28-dind", "/opt/engine.yml"),
    (CONSOLE, "image: tailscale/tailscale", "/opt/vpn/compose.yml"),
];

/// Examples that are only checked by `ros config validate`, and why.
pub(super) const ONLY_VALIDATED: [(&str, &str, &str); 3] = [
    (
        STORAGE,
        "autoformat: [/dev/vdb, /dev/vda]",
        "user data comes after the state disk; stories of `state` boot with these parameters",
    ),
    (
        INSTALLING,
        "encryption: {device:",
        "the test kernel has no dm-crypt; stories of `encryption` boot such a machine in QEMU",
    ),
    (ENGINES, "engine_images:", "no registry has engines; stories of `engines` switch to some"),
];

/// Names of other machines and parts that test machines do not have, and what stands in for them.
/// `@…@` is filled in by the story.
pub(super) const STAND_INS: [(&str, &str); 16] = [
    ("ssh-ed25519 AAAA...", "@KEY@"),
    ("https://example.com/", "@WEB@/"),
    ("nas.example.com:/media", "10.0.2.2:/export"),
    ("\"ro,nofail\"", "\"ro,nofail,port=@NFS@\""),
    ("/dev/vdb2", "/dev/vdd"),
    ("[wireguard]", "[zram]"),
    ("logs.example.com", "127.0.0.1"),
    ("address: 10.0.0.5/24", "address: 10.0.2.15/24"),
    ("listen_address: 10.0.0.5", "listen_address: 10.0.2.15"),
    ("gateway: 10.0.0.1", "gateway: 10.0.2.2"),
    ("nameservers: [10.0.0.1]", "nameservers: [10.0.2.2]"),
    ("[192.168.1.10/24]", "[10.0.2.15/24]"),
    ("gateway: 192.168.1.1", "gateway: 10.0.2.2"),
    ("server time.example.com", "server 10.0.2.2"),
    ("timeout: 30", "timeout: 10"),
    ("swap: {size: 1G}", "swap: {size: 64M}"),
];
