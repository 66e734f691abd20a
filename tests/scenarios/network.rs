//! Links and addresses: bridges, bonds, VLANs, static addresses, DHCP, and the commands around
//! them. An interface with a static address never sends a DHCP packet. An interface without an
//! entry stays down. The configuration comes from a cloud-config and from kernel parameters.

use anyhow::Result;
use std::fs;
use std::net::UdpSocket;
use std::time::Duration;
use vmtest::image::Image;
use vmtest::installer::device;
use vmtest::report::is_left_out;
use vmtest::{Machine, Options, folder, servers};

/// netconsole sends the kernel's log, with our messages in it, to another machine.
#[test]
fn netconsole_sends_the_log_elsewhere() -> Result<()> {
    let folder = folder("netconsole")?;
    let listener = UdpSocket::bind("127.0.0.1:0")?;
    listener.set_read_timeout(Some(Duration::from_secs(120)))?;
    let port = listener.local_addr()?.port();
    let append = format!("netconsole=@/,{port}@10.0.2.2/ loglevel=8");
    let mut machine = super::with_config(&folder, "", Options { append, ..Options::default() })?;
    let (mut log, mut packet) = (String::new(), [0; 2048]);
    while !(log.contains("Linux version") && log.contains("corral: started")) {
        let length = listener.recv(&mut packet)?;
        log.push_str(&String::from_utf8_lossy(&packet[..length]));
    }
    machine.expect_login()?;
    machine.check_alarms()
}

/// The ports of a packet to a DHCP server, and the magic cookie behind the fields of BOOTP (RFC
/// 2131, section 3). The header of UDP and those fields have 244 bytes.
const DHCP_PORTS: [u8; 4] = [0, 68, 0, 67];
const DHCP_COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
const DHCP_FIELDS: usize = 244;

/// Is a request to a DHCP server among the recorded packets?
pub(super) fn has_dhcp_request(packets: &[u8]) -> bool {
    let is_request = |bytes: &[u8]| bytes.starts_with(&DHCP_PORTS) && bytes.ends_with(&DHCP_COOKIE);
    packets.windows(DHCP_FIELDS + DHCP_COOKIE.len()).any(is_request)
}

const CONFIG: &str = r##"
write_files:
  - {path: /usr/bin/note, container: network, permissions: "0755",
     content: "#!/bin/sh\necho $@ >> /var/log/net.log\n"}
rancher:
  network:
    pre_cmds: ["sh -c 'note pre_cmds | cat'"]
    post_cmds: [note post_cmds]
    dns: {search: [mydomain.com, example.com], nameservers: [208.67.222.123, 208.67.220.123]}
    interfaces:
      eth0: {dhcp: true, metric: 20, pre_up: ["note pre_up $iface"],
             post_up: ["note post_up $iface"]}
      eth1: {vlans: "100,200:foobar"}
      eth1.100: {bridge: br0}
      br0: {bridge: "true", vlans: "100", addresses: [10.9.0.1/24], gateway: 10.9.0.254}
      br0.100: {address: 10.8.0.1/24}
      bond0: {bond_opts: {mode: "1", miimon: "100"}, address: 10.7.0.1/24,
              gateway: 10.7.0.254, mtu: 1400}
      mac=52:54:*:58: {bond: bond0}
      eth3: {bond: bond0}
      mac=52:54:00:12:34:5a: {address: 10.1.0.41/24, gateway_ipv6: "fd00::1",
                              addresses: ["fd00::41/64", "10.1.0.41/24"], dhcp: false}
"##;

/// Interface, gateway and metric. Static ones have 100 and more, in the order of all interfaces.
const DEFAULT_ROUTES: &str = "eth0 10.0.2.2 20\nbond0 10.7.0.254 100\nbr0 10.9.0.254 101";

#[test]
fn links_are_made_and_what_is_static_stays_static() -> Result<()> {
    let folder = folder("network")?;
    let recorded = vec![4, 5];
    // The kernel's command line overrides the configuration.
    let append = "rancher.network.interfaces.bond0.address=10.7.0.2/24".to_owned();
    let options = Options { nics: 6, recorded: recorded.clone(), append, ..Options::default() };
    let mut machine = super::with_config(&folder, CONFIG, options)?;
    machine.expect_login()?;
    machine.expect("grep -q post_cmds /var/log/net.log")?;
    assert_eq!(
        machine.run("cat /var/log/net.log")?,
        "pre_cmds\npre_up eth0\npost_up eth0\npost_cmds"
    );
    the_links_are_there(&machine)?;
    addresses_are_those_of_the_configuration(&machine)?;
    let resolv = machine.run("grep -v '^#' /etc/resolv.conf")?;
    assert_eq!(
        resolv,
        "search mydomain.com example.com\nnameserver 208.67.222.123\nnameserver 208.67.220.123"
    );
    time_servers_of_dhcp_are_used(&mut machine)?;
    machine.expect("grep -q 'eth4: .*fd00::41/64' /etc/issue")?;
    a_change_removes_what_is_not_listed_any_more(&mut machine)?;
    for nic in recorded {
        let has_dhcp = has_dhcp_request(&machine.packets(nic)?);
        assert!(!has_dhcp, "a DHCP request on eth{nic}, a card without DHCP");
    }
    machine.check_alarms()
}

/// A machine that is not reachable over the network reports the reason on its console.
#[test]
fn a_machine_that_gets_no_address_says_so() -> Result<()> {
    let folder = folder("no-address")?;
    let append =
        "rancher.network.interfaces.eth0.dhcp=false rancher.network.interfaces.eth1.dhcp=true"
            .to_owned();
    let options = Options { nics: 2, recorded: vec![1], append, ..Options::default() };
    let mut machine = Machine::start(&folder, options)?;
    machine.expect_console("network: no address from DHCP within 30 s (eth1: link u")?;
    assert!(has_dhcp_request(&machine.packets(1)?), "no DHCP request on eth1");
    machine.check_alarms()
}

/// Another process has the name and the appetite of a dhcpcd in its endless loop. The service
/// starts again, and the address stays all the time.
#[test]
fn a_dhcpcd_that_only_computes_is_started_again() -> Result<()> {
    if is_left_out("only_computes") {
        return Ok(());
    }
    let folder = folder("dhcpcd-loop")?;
    let mut machine = super::with_config(&folder, "", Options::default())?;
    machine.expect_login()?;
    let pid = "sudo system-docker inspect --format '{{.State.Pid}}' network";
    let before = machine.run(pid)?;
    machine.run(
        "sudo system-docker exec -d network \
         sh -c 'printf dhcpcd > /proc/self/comm; while :; do :; done'",
    )?;
    machine.expect_console("network: dhcpcd does nothing but compute")?;
    machine.expect(&format!("[ $({pid}) != 0 ] && [ $({pid}) != {before} ]"))?;
    machine.run("ip -o address | grep 10.0.2.15")?;
    machine.expect("sudo system-docker exec network ps | grep dhcpcd")?;
    machine.check_alarms()
}

/// The system engine pulls, and `ros os` and `ros install` fetch, names that only the proxy knows.
/// The engine daemon restarts for that, and no container does. Shells of logins have the proxy too.
#[test]
fn what_the_system_fetches_goes_through_the_proxy() -> Result<()> {
    let folder = folder("proxy")?;
    let content = folder.join("www");
    fs::create_dir_all(&content)?;
    fs::write(content.join("list.yml"), "current: corral:9\navailable: [corral:9]\n")?;
    fs::write(content.join("my.yml"), "#cloud-config\nrancher: {password: mine}\n")?;
    let (registry, web) = (servers::registry(&folder)?, servers::web(&folder, &content)?);
    let names = [
        ("registry.test", registry.port),
        ("releases.test", web.port),
        ("upgrades.test", registry.port),
        ("configs.test", web.port),
    ];
    let proxy = servers::proxy(&folder, &names)?;
    let direct = format!("10.0.2.2:{}", registry.port);
    let config = format!(
        "rancher:\n  upgrade: {{url: \"http://releases.test/list.yml\"}}\n  \
         system_docker: {{insecure_registry: [registry.test, upgrades.test, \"{direct}\"]}}\n"
    );
    let options = Options { sticks: vec![Image::find()?.archive], ..Options::default() };
    let mut machine = super::with_config(&folder, &config, options)?;
    machine.expect_login()?;
    machine.run(&format!(
        "tar -C / -cf /tmp/i.tar bin/busybox usr/bin/busybox && \
         sudo system-docker import /tmp/i.tar {direct}/hello:1"
    ))?;
    let pid = "sudo system-docker inspect -f '{{.State.Pid}}' syslog";
    let before = machine.run(pid)?;
    let address = format!("http://me:secret@10.0.2.2:{}", proxy.port);
    let apply = |proxy: &str| {
        let text = format!("rancher: {{network: {{http_proxy: '{proxy}', no_proxy: 10.0.2.2}}}}");
        format!("echo \"{text}\" > /tmp/p.yml && sudo ros config apply /tmp/p.yml")
    };
    machine.run(&apply(&address))?;
    machine.expect_console("the engine daemon restarts, for its proxies or certificates change")?;
    // Not by the proxy: `no_proxy`.
    machine.expect(&format!("sudo system-docker push {direct}/hello:1"))?;
    machine.expect("sudo system-docker pull registry.test/hello:1")?;
    assert_eq!(machine.run("sudo ros os list | grep remote")?, "corral:9 remote latest");
    assert_eq!(machine.run(pid)?, before, "no container notices");
    an_upgrade_and_an_installation_fetch(&machine)?;
    let proxied = fs::read_to_string(folder.join("proxied"))?;
    super::says_all(&proxied, &["registry.test Basic bWU6c2VjcmV0", "releases.test Basic "]);
    super::says_all(&proxied, &["upgrades.test Basic ", "configs.test Basic "]);
    assert!(!proxied.contains("10.0.2.2"), "{proxied}");
    machine.expect("test -e /etc/profile.d/proxy.sh")?;
    let shown = machine
        .run("sh -lc 'echo $http_proxy $NO_PROXY'; stat -c '%a %G' /etc/profile.d/proxy.sh")?;
    assert_eq!(shown, format!("{address} 10.0.2.2\n640 docker"));
    machine.run(
        "echo 'rancher: {network: {http_proxy: \"\", no_proxy: \"\"}}' > /tmp/p.yml && \
         sudo ros config apply /tmp/p.yml",
    )?;
    machine.expect("! test -e /etc/profile.d/proxy.sh")?;
    machine.check_alarms()
}

/// Neither comes to its end: this image is not a release, and that disk is not there.
fn an_upgrade_and_an_installation_fetch(machine: &Machine) -> Result<()> {
    machine.run("! sudo ros os upgrade -i upgrades.test/hello:1 --stage 2>&1")?;
    let said = machine.run(&format!(
        "! sudo ros install -i {} -d /dev/none -c http://configs.test/my.yml -f --no-reboot 2>&1",
        device(0)?
    ))?;
    super::says_all(&said, &["/dev/none"]);
    Ok(())
}

fn the_links_are_there(machine: &Machine) -> Result<()> {
    for script in [
        "ip -o link show eth1.100 | grep -q 'master br0'",
        "ip -d -o link show foobar | grep -q 'vlan protocol 802.1Q id 200'",
        "ip -o link show br0.100 | grep -q 'br0.100@br0'",
        "grep -qx 'eth2 eth3' /sys/class/net/bond0/bonding/slaves",
        "grep -qx 'active-backup 1' /sys/class/net/bond0/bonding/mode",
        "grep -qx 1400 /sys/class/net/bond0/mtu",
    ] {
        machine.run(script)?;
    }
    Ok(())
}

fn addresses_are_those_of_the_configuration(machine: &Machine) -> Result<()> {
    let ipv4 = machine
        .run("ip -4 -br address show scope global | grep -v ^docker0 | awk '{print $1, $3, $4}'")?;
    let mut lines: Vec<&str> = ipv4.lines().map(str::trim).collect();
    lines.sort_unstable();
    let expected = [
        "bond0 10.7.0.2/24",
        "br0 10.9.0.1/24",
        "br0.100@br0 10.8.0.1/24",
        "eth0 10.0.2.15/24",
        "eth4 10.1.0.41/24",
    ];
    assert_eq!(lines, expected);
    machine.run(
        "ip -6 address show dev eth4 | grep -q fd00::41/64 && \
         ip -6 route | grep -q '^default via fd00::1 dev eth4'",
    )?;
    let shape = r"s/.*via (\S+) dev (\S+).* metric ([0-9]+).*/\2 \1 \3/";
    let routes = format!("ip -4 route show default | sed -E '{shape}'");
    assert_eq!(machine.run(&routes)?, DEFAULT_ROUTES);
    // Both are in the log of the service.
    let log = machine.run("sudo system-docker logs network 2>&1")?;
    for line in
        ["bond0: 10.7.0.2/24, gateway 10.7.0.254", "eth0: DHCP", "leased 10.0.2.15", "DUID 00:03"]
    {
        assert!(log.contains(line), "{line}: {log}");
    }
    // The configuration has no entry for it.
    assert_eq!(machine.run("cat /sys/class/net/eth5/operstate")?, "down");
    Ok(())
}

/// The hook of dhcpcd is called as for a lease, which here has no time server.
fn time_servers_of_dhcp_are_used(machine: &mut Machine) -> Result<()> {
    let hook = |servers: &str| {
        format!(
            "sudo system-docker exec -e reason=RENEW -e interface=eth0 \
             -e new_ntp_servers='{servers}' \
             network sh /usr/lib/dhcpcd/dhcpcd-hooks/60-corral"
        )
    };
    let sources = "sudo system-docker exec ntp chronyc -n sources";
    machine.run(&hook("10.0.2.8 10.0.2.9"))?;
    machine.expect(&format!("{sources} | grep 10.0.2.8 && {sources} | grep 10.0.2.9"))?;
    machine.run(&hook("10.0.2.9"))?;
    machine.expect(&format!("! {sources} | grep 10.0.2.8"))?;
    machine.run(&format!("{sources} | grep 10.0.2.9")).map(drop)
}

fn a_change_removes_what_is_not_listed_any_more(machine: &mut Machine) -> Result<()> {
    let change = "rancher: {network: {interfaces: {bond0: {gateway: 10.7.0.253, metric: 7}, \
                  eth1: {vlans: '100'}, \
                  'mac=52:54:00:12:34:5a': {address: 10.1.0.42/24, addresses: []}}}}";
    machine.run(&format!("echo \"{change}\" > /tmp/c.yml && sudo ros config apply /tmp/c.yml"))?;
    machine.expect("ip -4 -o address show dev eth4 | grep -q 10.1.0.42/24")?;
    assert_eq!(
        machine.run(
            "ip -4 -o address show dev eth4 | wc -l; \
             ip -6 address show dev eth4 | grep -c fd00; true"
        )?,
        "1\n0"
    );
    machine.run("ip link show eth1.100 && ip link show br0.100 && ! ip link show foobar")?;
    let route = machine.run("ip -4 route show default dev bond0")?;
    assert_eq!(route.trim(), "default via 10.7.0.253 proto static metric 7 onlink");
    Ok(())
}
