//! Networks, ports and names.

use super::sandbox;
use anyhow::Result;

#[test]
fn networks_carry_names_and_ports() -> Result<()> {
    let engine = sandbox("network")?;
    engine.docker("run -d --name web -p 8080:80 busybox httpd -f -h /etc")?;
    // From the host, by a published port, directly after the CLI reports that the container runs.
    assert!(
        engine
            .inside(
                "exec 3<>/dev/tcp/172.18.42.1/8080; printf 'GET /group HTTP/1.0\\r\\n\\r\\n' >&3; \
                 cat <&3"
            )?
            .contains("ann")
    );
    engine.docker("network create --subnet 10.77.0.0/24 team")?;
    engine.docker(
        "run -d --name api --network team --network-alias alpha --ip 10.77.0.9 \
         busybox httpd -f -h /etc",
    )?;
    let asked = engine.docker(
        "run --rm --network team busybox sh -c 'nslookup alpha | grep 10.77.0.9; \
         wget -qO- http://api/group; wget -T 2 -qO- http://172.18.0.1/group || echo apart'",
    )?;
    assert!(
        asked.contains("10.77.0.9") && asked.contains("ann:x:1000") && asked.contains("apart"),
        "{asked}"
    );
    engine.docker("network connect team web")?;
    assert!(
        engine
            .docker("run --rm --network team busybox wget -qO- http://web/group")?
            .contains("ann")
    );
    assert_eq!(engine.docker("network inspect team -f '{{len .Containers}}'")?, "2");
    engine.docker("network disconnect team web")?;
    assert!(
        engine
            .docker("run --rm --network container:web busybox wget -qO- http://127.0.0.1/group")?
            .contains("ann")
    );
    let taken = engine.run(
        "docker run -d --name second -p 8080:80 busybox sleep 9 2>&1 || true; docker rm second",
    )?;
    assert!(taken.contains("already allocated to web"), "{taken}");
    let none = engine.docker("run --rm --network none busybox ls /sys/class/net")?;
    assert_eq!(none, "lo");
    let busy = engine.run("docker network rm team 2>&1 || true")?;
    assert!(busy.contains("active endpoints: api"), "{busy}");
    engine.docker("rm -f web api && docker network rm team").map(drop)
}
