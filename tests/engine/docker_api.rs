//! Requests of the Docker API beyond the daily ones, by the docker CLI.

use super::sandbox;
use anyhow::Result;

#[test]
fn version_names_the_system() -> Result<()> {
    let engine = sandbox("version")?;
    let version = engine.docker("version")?;
    assert!(version.contains("linux/amd64") && version.contains("none (Rust)"), "{version}");
    assert!(!version.lines().any(|line| line.trim() == "OS/Arch:          /"), "{version}");
    let server = "version -f '{{.Server.Os}} {{.Server.Arch}} {{.Server.KernelVersion}}'";
    assert!(engine.docker(server)?.starts_with("linux amd64 "), "{version}");
    Ok(())
}

#[test]
fn a_container_becomes_an_image() -> Result<()> {
    let engine = sandbox("commit")?;
    // A file is added, one is changed, one and a folder are removed, a folder is replaced.
    engine.docker(
        "run --name made -e A=1 -l x=y busybox sh -c 'echo new > /srv/new; echo changed > \
         /etc/group; rm /etc/passwd; rm -r /tmp; mkdir /tmp; echo in > /tmp/in'",
    )?;
    let id = engine.docker(
        "commit -a ann -m 'what it is' -c 'CMD [\"cat\", \"/srv/new\"]' -c 'EXPOSE 80' -c 'ENV \
         B=2' made own:1",
    )?;
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(engine.docker("run --rm own:1")?, "new");
    let files = engine.docker("run --rm own:1 sh -c 'ls /etc /tmp; cat /etc/group; echo $A$B'")?;
    assert!(files.contains("changed\n12") && files.contains("in\n"), "{files}");
    assert!(!files.contains("passwd"), "a removed file stays removed: {files}");
    let shown = engine.docker(
        "image inspect own:1 -f '{{.Author}} {{.Comment}} {{json .Config.ExposedPorts}} \
         {{.Config.Labels.x}} {{len .RootFS.Layers}}'",
    )?;
    assert_eq!(shown, r#"ann what it is {"80/tcp":{}} y 2"#);
    let parent =
        "[ $(docker inspect -f '{{.Parent}}' own:1) = $(docker inspect -f '{{.Id}}' busybox) ]";
    engine.run(parent)?;
    assert!(engine.docker("history own:1")?.contains("what it is"));
    // One that runs is paused meanwhile, and goes on.
    engine.docker("run -d --name running busybox sh -c 'while true; do date > /srv/d; done'")?;
    engine.docker("commit running own:2 && docker commit --pause=false running own:3")?;
    assert_eq!(engine.docker("inspect -f '{{.State.Status}}' running")?, "running");
    assert!(engine.run("docker commit nosuch 2>&1 || true")?.contains("No such container"));
    // It goes by save and load, and is found sound.
    let folder = engine.folder().display().to_string();
    engine.run(&format!(
        "docker save own:1 -o {folder}/own.tar && docker rmi own:1 && docker load -i \
         {folder}/own.tar"
    ))?;
    assert_eq!(engine.docker("run --rm own:1")?, "new");
    assert_eq!(engine.ros("engine fsck")?, "all images are intact");
    Ok(())
}

#[test]
fn files_are_copied_to_volumes_of_stopped_containers() -> Result<()> {
    let engine = sandbox("copies")?;
    let folder = engine.folder().display().to_string();
    engine
        .run(&format!("echo hello > {folder}/text; mkdir {folder}/sub; echo x > {folder}/sub/x"))?;
    engine.docker(
        "create --name before -v data:/data -v /anonymous -v own:/srv:ro -v etc:/etc busybox cat \
         /data/text /anonymous/text",
    )?;
    engine.docker(&format!("cp {folder}/text before:/data/text"))?;
    engine.docker(&format!("cp {folder}/text before:/anonymous"))?;
    engine.docker(&format!("cp {folder}/sub before:/data"))?;
    let refused = engine.run(&format!("docker cp {folder}/text before:/srv 2>&1 || true"))?;
    assert!(refused.contains("mounted volume is marked read-only"), "{refused}");
    // What the image has at the place of an empty volume is not lost by this.
    engine.docker(&format!("cp {folder}/text before:/etc/text"))?;
    assert_eq!(engine.docker("start -a before")?, "hello\nhello");
    engine.docker(&format!("cp before:/data/sub {folder}/back"))?;
    assert_eq!(std::fs::read_to_string(engine.folder().join("back/x"))?, "x\n");
    assert_eq!(engine.docker("cp before:/data/text - | tar -tf -")?, "text");
    assert!(engine.docker("cp before:/data - | tar -tf -")?.contains("data/sub/x"));
    let etc = engine.docker("run --rm -v etc:/e busybox ls /e")?;
    assert!(etc.contains("passwd") && etc.contains("text"), "{etc}");
    let missing = engine.run("docker cp before:/data/none - 2>&1 || true")?;
    assert!(missing.contains("Could not find the file /data/none"), "{missing}");
    // By a link, and in a bind of one file.
    engine.docker(&format!(
        "create --name linked -v data:/data -v {folder}/text:/etc/text busybox true"
    ))?;
    engine.run(
        "docker run --name maker busybox ln -s /data /tmp/link && docker commit maker linky",
    )?;
    engine.docker("create --name by-link -v data:/data linky true")?;
    assert!(engine.docker("cp by-link:/tmp/link/text - | tar -xOf -")?.contains("hello"));
    assert!(engine.docker("cp linked:/etc/text - | tar -xOf -")?.contains("hello"));
    Ok(())
}

#[test]
fn links_are_names_for_one_container() -> Result<()> {
    let engine = sandbox("links")?;
    engine.docker("run -d --name db -e PASSWORD=x --expose 80 busybox httpd -f -h /etc")?;
    let linked = engine.docker(
        "run --rm --name web --link db:my-store busybox sh -c 'wget -qO- http://my-store/group; \
         wget -qO- http://db/group; env'",
    )?;
    assert_eq!(linked.matches("ann:x:1000").count(), 2, "{linked}");
    for line in
        ["MY_STORE_NAME=/web/my-store", "MY_STORE_ENV_PASSWORD=x", "MY_STORE_PORT_80_TCP_PORT=80"]
    {
        assert!(linked.lines().any(|found| found == line), "{line}: {linked}");
    }
    engine.docker("create --name shown --link db:alias busybox true")?;
    assert_eq!(engine.docker("inspect -f '{{.HostConfig.Links}}' shown")?, "[/db:/shown/alias]");
    // In a network of one's own the name server answers, and only to the one that has the link.
    engine.docker("network create team")?;
    engine.docker("run -d --name api --network team busybox httpd -f -h /etc")?;
    let fetch = "wget -T 5 -qO- http://other/group || echo none";
    let own = engine
        .docker(&format!("run --rm --network team --link api:other busybox sh -c '{fetch}'"))?;
    assert!(own.contains("ann"), "{own}");
    let others = engine.docker(&format!("run --rm --network team busybox sh -c '{fetch}' 2>&1"))?;
    assert!(others.contains("none"), "{others}");
    for (options, reason) in [
        ("--link nosuch", "No such container"),
        ("--network host --link db", "links are only supported for user-defined networks"),
        ("--link api:a", "not on the same network"),
    ] {
        let refused = engine.run(&format!("docker create {options} busybox true 2>&1 || true"))?;
        assert!(refused.contains(reason), "{options}: {refused}");
    }
    Ok(())
}

/// There is no such server in busybox.
const ECHO: &str = r#"import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 53))
while True: data, sender = s.recvfrom(99); s.sendto(data, sender)"#;

#[test]
fn ports_are_published_on_the_loopback_address() -> Result<()> {
    let engine = sandbox("loopback")?;
    engine.docker("run -d --name open -p 8080:80 busybox httpd -f -h /etc")?;
    engine.docker("run -d --name closed -p 127.0.0.1:8081:80 busybox httpd -f -h /etc")?;
    let get = |address: &str, port: u16| {
        engine.inside(&format!(
            "exec 3<>/dev/tcp/{address}/{port} && printf 'GET /group HTTP/1.0\\r\\n\\r\\n' >&3 \
             && cat <&3"
        ))
    };
    for port in [8080, 8081] {
        assert!(get("127.0.0.1", port)?.contains("ann"), "{port}");
    }
    assert!(get("172.18.42.1", 8080)?.contains("ann"));
    assert!(get("172.18.42.1", 8081).is_err(), "it is for the host alone");
    engine.docker("rm -f closed")?;
    engine.expect("! (exec 3<>/dev/tcp/127.0.0.1/8081)")?;
    engine.docker("run -d --name datagrams -p 127.0.0.1:5353:53/udp busybox sleep 1000")?;
    let pid = engine.docker("inspect -f '{{.State.Pid}}' datagrams")?;
    engine.inside(&format!(
        "nsenter -t {pid} -n timeout 60 python3 -c '{ECHO}' >/dev/null 2>&1 </dev/null &"
    ))?;
    engine.expect(
        "exec 3<>/dev/udp/127.0.0.1/5353; echo hello >&3; \
         [ \"$(timeout 2 head -c 5 <&3)\" = hello ]",
    )?;
    let all = engine.docker("run -d -P --expose 90 busybox sleep 99")?;
    assert!(engine.docker(&format!("port {all}"))?.contains("90/tcp -> 0.0.0.0:"));
    Ok(())
}

#[test]
fn networks_have_ipv6() -> Result<()> {
    let engine = sandbox("ipv6")?;
    engine.docker("network create --ipv6 --subnet fd00:77::/64 six")?;
    engine.docker("run -d --name web --network six -p 8080:80 busybox httpd -f -h /etc")?;
    let fixed = "run -d --name fixed --network six --ip6 fd00:77::f00d busybox sleep 1000";
    engine.docker(fixed)?;
    let show = "{{range \
     .NetworkSettings.Networks}}{{.GlobalIPv6Address}}/{{.GlobalIPv6PrefixLen}} \
     {{.IPv6Gateway}}{{end}}";
    assert_eq!(engine.docker(&format!("inspect -f '{show}' web"))?, "fd00:77::2/64 fd00:77::1");
    assert_eq!(
        engine.docker(&format!("inspect -f '{show}' fixed"))?,
        "fd00:77::f00d/64 fd00:77::1"
    );
    let seen = engine.docker(
        "exec fixed sh -c 'ip -6 addr show eth0; ip -6 route; wget -T 5 -qO- \
         http://[fd00:77::2]/group'",
    )?;
    assert!(seen.contains("fd00:77::f00d/64") && seen.contains("default via fd00:77::1"), "{seen}");
    assert!(seen.contains("ann"), "{seen}");
    let names = engine.docker("exec fixed nslookup -type=aaaa web")?;
    assert!(names.contains("fd00:77::2"), "{names}");
    // From the host, by a published port.
    let get =
        "exec 3<>/dev/tcp/fd00:77::1/8080; printf 'GET /group HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
    assert!(engine.inside(get)?.contains("ann"));
    assert_eq!(engine.inside("cat /proc/sys/net/ipv6/conf/all/forwarding")?, "1");
    // Without a subnet: unique local addresses.
    engine.docker("network create --ipv6 any")?;
    let range = engine
        .docker("network inspect any -f '{{.EnableIPv6}} {{(index .IPAM.Config 1).Subnet}}'")?;
    assert!(range.starts_with("true fd") && range.ends_with("::/64"), "{range}");
    for (command, reason) in [
        ("network create --ipv6 --subnet fd00:77::/80 more", "Pool overlaps"),
        ("create --network six --ip6 fd00:78::1 busybox true", "is not in fd00:77::/64"),
        ("create --network six --ip6 fd00:77::2 busybox true", "Address already in use"),
    ] {
        let refused = engine.run(&format!("docker {command} 2>&1 || true"))?;
        assert!(refused.contains(reason), "{command}: {refused}");
    }
    engine.docker("rm -f web fixed && docker network rm six any").map(drop)
}

#[test]
fn what_a_client_requests_is_shown() -> Result<()> {
    let engine = sandbox("shown")?;
    engine.docker(
        "create --name shown --log-driver local --log-opt max-size=1m --runtime runc \
         --mac-address 02:42:ac:11:00:0a --restart on-failure:3 busybox sleep 99",
    )?;
    let inspect = |format: &str| engine.docker(&format!("inspect -f '{format}' shown"));
    assert_eq!(
        inspect("{{json .HostConfig.LogConfig}}")?,
        r#"{"Type":"local","Config":{"max-size":"1m"}}"#
    );
    assert_eq!(inspect("{{.HostConfig.Runtime}}")?, "runc");
    assert_eq!(inspect("{{.HostConfig.RestartPolicy}}")?, "{on-failure 3}");
    assert_eq!(inspect("{{.Config.Image}}")?, "busybox");
    engine.docker("start shown")?;
    assert_eq!(inspect("{{.NetworkSettings.MacAddress}}")?, "02:42:ac:11:00:0a");
    assert!(
        engine.docker("exec shown cat /sys/class/net/eth0/address")?.contains("02:42:ac:11:00:0a")
    );
    let kept = engine.run("docker rm shown 2>&1 || true")?;
    assert!(kept.contains("stop the container before removing or force remove"), "{kept}");
    engine.docker("kill shown")?;
    assert_eq!(inspect("{{.State.Status}}")?, "exited", "kill waits for the end");
    for (driver, reason) in [
        ("asdf", "logger: no log driver named 'asdf' is registered"),
        ("syslog", "the system engine has no log driver syslog"),
    ] {
        let refused = engine
            .run(&format!("docker create --log-driver {driver} busybox true 2>&1 || true"))?;
        assert!(refused.contains(reason), "{refused}");
    }
    Ok(())
}

#[test]
fn images_are_imported_with_changes_and_pruned_by_filters() -> Result<()> {
    let engine = sandbox("import")?;
    let folder = engine.folder().display().to_string();
    engine.docker(&format!(
        "import -m 'by hand' -c 'USER ann' -c 'CMD [\"id\", \"-un\"]' -c 'LABEL keep=1' \
         {folder}/busybox.tar own"
    ))?;
    assert_eq!(engine.docker("run --rm own")?, "ann");
    assert_eq!(engine.docker("image inspect -f '{{.Comment}}' own")?, "by hand");
    let wrong = engine
        .run(&format!("echo abc > {folder}/abc; docker load -i {folder}/abc 2>&1 || true"))?;
    assert!(wrong.contains("reading the archive"), "{wrong}");
    // By its id an image is saved without its names.
    let loaded = engine.run("docker save $(docker images -q own) | docker load")?;
    assert!(loaded.contains("Loaded image ID: sha256:"), "{loaded}");
    engine.docker("image prune -af --filter label!=keep")?;
    assert_eq!(engine.docker("images --format '{{.Repository}}'")?, "own");
    engine.docker("image prune -af --filter until=24h")?;
    assert_eq!(engine.docker("images --format '{{.Repository}}'")?, "own");
    engine.docker("image prune -af")?;
    assert_eq!(engine.docker("images --format '{{.Repository}}'")?, "");
    Ok(())
}
