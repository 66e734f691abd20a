//! What compose files mean, and what is said about mistakes in them.

use super::{parse, parse_with};
use crate::resolved::Environment;
use crate::service::{
    Condition, Health, Link, Logging, Network, Port, Pull, Restart, Service, Sharing, Source,
    Ulimit,
};
use std::time::Duration;

fn service(text: &str) -> Service {
    parse("f", &format!("services:\n  s: {text}\n")).unwrap().services.remove(0)
}

#[test]
fn v1_and_the_specification_mean_the_same() {
    let body = "image: i\n  net: host\n  privileged: \"true\"\n  restart: on-failure:3\n  \
                command: sh -c 'echo \"a b\"'\n  environment: {A: 1, B: }\n  \
                volumes: ['/a:/b:ro,shared']\n  labels:\n  - io.rancher.os.scope=system\n";
    let v1 = parse("f", &format!("s:\n  {body}")).unwrap();
    let spec = parse("f", &format!("services:\n s:\n  {body}")).unwrap();
    assert_eq!(v1.services, spec.services);
    let service = &v1.services[0];
    assert_eq!(service.network, Network::Host);
    assert_eq!(service.restart, Restart::OnFailure(3));
    assert_eq!(service.command, Some(vec!["sh".into(), "-c".into(), "echo \"a b\"".into()]));
    assert_eq!(service.environment, ["A=1", "B"]);
    assert!(service.volumes[0].read_only && service.volumes[0].shared && service.labels.system);
}

#[test]
fn without_a_network_v1_is_on_the_engines_bridge_and_later_files_on_one_of_their_own() {
    let name = |network: &Network| match network {
        Network::Bridges(places) => {
            places.iter().map(|place| place.network.name.clone()).collect::<Vec<_>>().join(" ")
        }
        other => format!("{other:?}"),
    };
    assert_eq!(name(&parse("f", "s: {image: i}").unwrap().services[0].network), "bridge");
    assert_eq!(name(&service("{image: i}").network), "system_default");
    assert_eq!(name(&service("{image: i, network_mode: bridge}").network), "bridge");
    assert_eq!(
        service("{image: i, network_mode: 'service:db'}").network,
        Network::Service("db".into())
    );
}

#[test]
fn networks_and_volumes_are_those_that_the_file_defines() {
    let text = "services:
  s:
    image: i
    networks: {front: {aliases: [www], ipv4_address: 10.1.0.9}, back: }
    volumes: [data:/data, logs:/logs:ro, /scratch, \
      {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0700}}]
    secrets: [key, {source: key, target: other}]
networks:
  front: {ipam: {config: [{subnet: 10.1.0.0/16, gateway: 10.1.0.1}]}}
  back: {internal: true, name: behind}
volumes: {data: , logs: {external: true}}
secrets: {key: {file: /etc/key}}
";
    let file = parse("f", text).unwrap();
    assert!(file.warnings.is_empty(), "{:?}", file.warnings);
    let service = &file.services[0];
    let Network::Bridges(places) = &service.network else { panic!("{:?}", service.network) };
    assert_eq!(places[0].address, Some("10.1.0.9".parse().unwrap()));
    assert_eq!(places[0].aliases, ["www"]);
    assert_eq!(places[0].network.name, "system_front");
    assert_eq!(places[0].network.subnet, Some("10.1.0.0/16".parse().unwrap()));
    assert!(places[1].network.internal && places[1].network.name == "behind");
    let sources: Vec<&Source> = service.volumes.iter().map(|volume| &volume.source).collect();
    let volume = |name: &str| Source::Volume(name.to_owned());
    let key = Source::Path("/etc/key".to_owned());
    assert_eq!(
        sources,
        [&volume("system_data"), &volume("logs"), &volume("s_scratch"), &key, &key]
    );
    assert_eq!(service.volumes[4].target, "/run/secrets/other");
    assert_eq!(service.tmpfs, ["/t:size=1048576,mode=700"]);
}

#[test]
fn ports_are_read_in_every_form() {
    let service = service(
        "{image: i, ports: ['80', '8080:80', '127.0.0.1:53:53/udp', '[::1]:7:7', \
         '9000-9001:90-91', {target: 443, published: '8443', host_ip: 10.0.0.1}]}",
    );
    let port = |host_ip: &str, host_port, container_port, protocol: &str| Port {
        host_ip: host_ip.into(),
        host_port,
        container_port,
        protocol: protocol.into(),
    };
    assert_eq!(
        service.ports,
        [
            port("", 0, 80, "tcp"),
            port("", 8080, 80, "tcp"),
            port("127.0.0.1", 53, 53, "udp"),
            port("::1", 7, 7, "tcp"),
            port("", 9000, 90, "tcp"),
            port("", 9001, 91, "tcp"),
            port("10.0.0.1", 8443, 443, "tcp"),
        ]
    );
}

#[test]
fn limits_checks_and_dependencies_are_typed() {
    let service = service(
        "{image: i, pull_policy: always, cpus: 1.5, mem_limit: 64m, memswap_limit: -1, \
        pids_limit: 9, init: true,
        ulimits: {nofile: {soft: 1, hard: 2}, nproc: 7, core: -1}, \
        sysctls: [net.core.somaxconn=1], pid: 'service:db',
        logging: {driver: json-file, options: {max-size: 1m, max-file: 2}}, profiles: [debug], \
        links: ['db:store'],
        healthcheck: {test: 'wget -q x', interval: 1m30s, timeout: 2s, retries: 3, \
        start_period: 500ms},
        depends_on: {db: {condition: service_healthy}}}",
    );
    assert_eq!((service.pull, service.init), (Pull::Always, true));
    assert_eq!((service.limits.cpu_quota, service.limits.cpu_period), (150_000, 100_000));
    assert_eq!(
        (service.limits.memory, service.limits.memory_swap, service.limits.pids),
        (64 << 20, -1, 9)
    );
    let limit = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
    assert_eq!(
        service.ulimits,
        [limit("nofile", 1, 2), limit("nproc", 7, 7), limit("core", u64::MAX, u64::MAX)]
    );
    assert_eq!(service.sysctls["net.core.somaxconn"], "1");
    assert_eq!(service.logging, Logging { none: false, max_bytes: 1 << 20, max_files: 2 });
    let health = Health {
        test: vec!["CMD-SHELL".into(), "wget -q x".into()],
        interval: Duration::from_secs(90),
        timeout: Duration::from_secs(2),
        start_period: Duration::from_millis(500),
        retries: 3,
        ..Health::default()
    };
    assert_eq!(service.health, Some(health));
    assert_eq!(service.depends_on["db"].condition, Condition::ServiceHealthy);
    assert_eq!(service.links, [Link { container: "db".into(), alias: "store".into() }]);
    assert_eq!(
        (service.pid, service.profiles),
        (Sharing::Service("db".into()), vec!["debug".into()])
    );
}

#[test]
fn deploy_says_the_same_in_other_words() {
    let service = service(
        "{image: i, deploy: {resources: {limits: {cpus: '0.5', memory: 1g, pids: 5}, \
         reservations: {memory: 1m}}, restart_policy: {condition: on-failure, max_attempts: 4}}}",
    );
    assert_eq!(
        (service.limits.cpu_quota, service.limits.memory, service.limits.pids),
        (50_000, 1 << 30, 5)
    );
    assert_eq!(
        (service.limits.memory_reservation, service.restart),
        (1 << 20, Restart::OnFailure(4))
    );
}

#[test]
fn a_service_extends_another() {
    let text = "services:
  base: {image: i, environment: {A: 1, B: 1}, cap_add: [NET_ADMIN], command: [a], depends_on: [x]}
  s: {extends: {service: base}, environment: {B: 2}, cap_add: [SYS_TIME], command: [b]}
  x: {image: i}\n";
    let file = parse("f", text).unwrap();
    let service = &file.services[1];
    assert_eq!((service.image.as_str(), service.environment.join(" ").as_str()), ("i", "A=1 B=2"));
    assert_eq!(
        (service.cap_add.join(" ").as_str(), service.command.clone()),
        ("NET_ADMIN SYS_TIME", Some(vec!["b".into()]))
    );
    assert!(service.depends_on.is_empty());
    let cycle = "services: {a: {extends: b}, b: {extends: a}}";
    assert!(parse("f", cycle).unwrap_err().to_string().contains("extends itself"));
}

#[test]
fn mistakes_have_a_place() {
    let cases = [
        ("s: {image: i, privileged: perhaps}", "f:1:27: expected true or false, not a string"),
        ("s: {command: x}", "f:1:4: s: image is missing"),
        ("s: 1", "f:1:4: expected a mapping, not a number"),
        (
            "s: {image: i, volumes: [a]}",
            "f:1:25: volume: \"a\": the path in the container must be absolute",
        ),
        (
            "s: {image: i, ports: ['80:x']}",
            "f:1:23: \"x\" is not a port or a range of ports such as 8000-8010",
        ),
        (
            "services: {s: {image: i, networks: [lan]}}",
            "f:1:37: network \"lan\" is not defined in this file",
        ),
        (
            "services: {s: {image: i, volumes: ['v:/v']}}",
            "f:1:36: volume \"v\" is not defined in this file",
        ),
        (
            "services: {s: {image: i, depends_on: {d: {condition: soon}}}}",
            "f:1:54: \"soon\" is not one of service_started, service_healthy, \
             service_completed_successfully",
        ),
        ("services: {s: {image: '${TAG:?which one}'}}", "f:1:23: s: ${TAG}: which one"),
    ];
    for (text, expected) in cases {
        assert_eq!(parse("f", text).unwrap_err().to_string(), expected);
    }
}

#[test]
fn unknown_keys_are_named_where_they_stand() {
    let text = "services:\n  s:\n    image: i\n    imgae:\n      x: 1\n    build: .\nnetwroks:\n";
    let warnings: Vec<String> =
        parse("f", text).unwrap().warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "f:7:1: netwroks: unknown key",
            "f:4:5: s: imgae: unknown key",
            "f:6:5: s: build: has no effect for a service of the system: images are not built on \
             this machine: `image` is what runs",
        ]
    );
}

#[test]
fn variables_are_put_in_with_their_defaults() {
    let table: Environment = [("TAG".to_owned(), "2".to_owned())].into();
    let file =
        parse_with("f", "s: {image: 'i:${TAG:-1}', command: '${X:-${TAG}}'}", &table).unwrap();
    assert_eq!(file.services[0].image, "i:2");
    assert_eq!(file.services[0].command, Some(vec!["2".to_owned()]));
}

#[test]
fn a_label_that_is_none_of_ours_is_a_warning_with_the_nearest() {
    let text = "s:\n  image: i\n  labels:\n    io.rancher.os.scope: system\n    \
                io.rancher.os.afer: console\n    io.corral.what: x\n    com.example.afer: x\n";
    let file = parse("f.yml", text).unwrap();
    let shown: Vec<String> = file.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 2, "{shown:?}");
    let expected = "s: labels: io.rancher.os.afer: unknown label, without effect; did you mean \
                    io.rancher.os.after?";
    assert!(
        shown.iter().any(|line| line.starts_with("f.yml:3:") && line.ends_with(expected)),
        "{shown:?}"
    );
    assert!(shown.iter().any(|line| line.contains("io.corral.what: unknown label")), "{shown:?}");
}
